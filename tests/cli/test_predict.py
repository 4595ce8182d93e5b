"""``headstart predict``."""

import csv
import io
import json


def test_a_path_that_is_missing_is_told_before_the_first_row(
    headstart, tiny_classifier, image_folder
):
    done = headstart("predict", tiny_classifier, image_folder(), "missing", code=1)
    assert (done.stdout, "no such file or folder" in done.stderr) == ("", True)


def test_predict_writes_what_is_asked_for(headstart, tiny_classifier, image_folder, tmp_path):
    root = image_folder(tmp_path / "photos", splits=["test"])
    (root / "test" / "bark" / "broken.jpg").write_bytes(b"no image")
    words = ["predict", tiny_classifier, root]
    done = headstart(*words)
    assert "1 of 13 images could not be used" in done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 13
    for row in rows:
        scores = {name[2:]: value for name, value in row.items() if name.startswith("p:")}
        assert list(scores) == ["bark", "cloth", "drain"]
        if row["error"]:
            assert row["path"].endswith("broken.jpg")
            assert not row["label"]
        else:
            assert row["confidence"] == max(scores.values()) == scores[row["label"]]
    assert "13 predictions" in headstart(*words, "--out", "p.csv").stdout
    assert (tmp_path / "p.csv").read_text().splitlines() == done.stdout.splitlines()
    headstart(*words, "--out", "p.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    document = json.loads(headstart(*words, "--json").stdout)
    assert document["predictions"] == lines
    assert [line.get("label", "") for line in lines] == [row["label"] for row in rows]
