"""``headstart evaluate``."""

import hashlib
import json

import fastjsonschema
import numpy as np
import pytest
from factories import with_facts
from headstart.report.schema import evaluation_schema


@pytest.fixture
def photos(image_folder):
    return image_folder(splits=["test"], per_class=8)


@pytest.mark.slow
def test_a_model_is_scored_as_its_predictions_are(headstart, tiny_classifier, photos, tmp_path):
    headstart("predict", tiny_classifier, photos, "--out", "p.csv")
    headstart("predict", tiny_classifier, photos, "--out", "p.jsonl")
    documents = [
        json.loads(headstart("evaluate", name, photos, "--json").stdout)
        for name in (tiny_classifier, "p.csv", "p.jsonl")
    ]
    for document in documents:
        fastjsonschema.compile(evaluation_schema())(document)
        assert document["images"] == 16
        assert document["models"][0]["log_loss"] == pytest.approx(
            documents[0]["models"][0]["log_loss"], abs=1e-4
        )
    first, second = documents[0]["models"][0], documents[1]["models"][0]
    assert first["confusion"] == second["confusion"]


def test_the_table_fits_eighty_columns(headstart, tiny_classifier, photos):
    headstart("predict", tiny_classifier, photos, "--out", "p.csv")
    out = headstart("evaluate", tiny_classifier, photos, "--against", "p.csv").stdout
    tables = [line for line in out.splitlines() if line.startswith(" ")]
    assert max(map(len, tables)) <= 80
    assert "accuracy" in out
    assert "McNemar p = 1" in out
    assert "0 changed answers" in out


@pytest.mark.slow
def test_images_of_the_training_are_named(headstart, tiny_classifier, photos, tmp_path):
    files = sorted(path for path in photos.rglob("*") if path.is_file())
    hashes = [hashlib.sha256(path.read_bytes()).digest() for path in files[:5]]
    listed = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32)
    model = with_facts(tiny_classifier, tmp_path / "listed.onnx", trained_on=listed)
    document = json.loads(headstart("evaluate", model, photos, "--json").stdout)
    assert document["models"][0]["seen"] == 5
    assert any("trained on 5 of these" in remark["text"] for remark in document["remarks"])
    assert document["models"][0]["accuracy_unseen"] is not None
    assert (
        "on the 11 images that the model has not seen"
        in headstart("evaluate", model, photos).stdout
    )
    plain = json.loads(headstart("evaluate", tiny_classifier, photos, "--json").stdout)
    assert plain["models"][0]["seen"] is None


def test_a_condition_that_fails_is_exit_code_3(headstart, tiny_classifier, photos):
    words = ["evaluate", tiny_classifier, photos]
    done = headstart(*words, "--fail-below", "accuracy=99%", "--json", code=3)
    assert not json.loads(done.stdout)["gates"][0]["passed"]
    assert "WARNING" in done.stderr
    assert "passed" in headstart(*words, "--fail-below", "accuracy=1%").stdout


@pytest.mark.slow
def test_a_worse_model_is_exit_code_3(headstart, tmp_path):
    rows = [("bark", "cloth")[row % 2] for row in range(40)]
    for name, answers in (("good", rows), ("bad", ["bark"] * 40)):
        lines = [
            f"{n},{true},{answer}"
            for n, (true, answer) in enumerate(zip(rows, answers, strict=True))
        ]
        (tmp_path / f"{name}.csv").write_text("\n".join(["path,true,predicted", *lines]))
    words = ["--against", "good.csv", "--fail-worse"]
    assert "WORSE" in headstart("evaluate", "bad.csv", *words, code=3).stdout
    headstart("evaluate", "good.csv", "--against", "bad.csv", "--fail-worse")
    headstart("evaluate", "good.csv", *words)


@pytest.mark.slow
def test_the_page_shows_what_changed(headstart, tiny_classifier, photos, tmp_path):
    headstart("predict", tiny_classifier, photos, "--out", "p.csv")
    rows = (tmp_path / "p.csv").read_text().splitlines()
    plain = ["path,label", *(f"{row.split(',')[0]},drain" for row in rows[1:])]
    (tmp_path / "drain.csv").write_text("\n".join(plain))
    words = ["evaluate", tiny_classifier, photos, "--against", "drain.csv"]
    headstart(*words, "--report", "page.html")
    page = (tmp_path / "page.html").read_text()
    for text in ('id="scores"', 'id="changes"', 'id="classes"', "data:image/webp", "drain"):
        assert text in page
    headstart("evaluate", "drain.csv", photos, "--report", "page.html")
    assert 'id="changes"' not in (tmp_path / "page.html").read_text()


@pytest.mark.slow
def test_the_test_split_is_scored_if_there_is_one(headstart, tiny_classifier, image_folder):
    both = image_folder(per_class=3)
    words = ["evaluate", tiny_classifier, both, "--json"]
    for split, images in (("auto", 6), ("all", 12), ("train", 6)):
        assert json.loads(headstart(*words, "--split", split).stdout)["images"] == images
    assert "validation" in headstart(*words, "--split", "validation", code=1).stderr


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["{model}"], 2, "labelled images"),
        (["{model}", "{photos}", "--fail-worse"], 2, "--against"),
        (["{model}", "{photos}", "--fail-below", "speed=3"], 2, "no score"),
        (["{model}", "{photos}/test/bark"], 1, "no image"),
        (["{model}", "missing"], 1, "no such file"),
        (["{model}", "moons"], 1, "a label that the model does not know (full, new)"),
        (["labels.csv"], 1, "no column of true labels"),
        (["labels.csv", "{photos}"], 1, "no image in common"),
        (["{model}", "{photos}", "--report", "page.png"], 1, "name of an image"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(headstart, tiny_classifier, photos, tmp_path, words, code, text):
    (tmp_path / "labels.csv").write_text("path,label\nx.png,bark\n")
    for phase in ("full", "new"):  # refused before the images are read, which are none
        (tmp_path / "moons" / phase).mkdir(parents=True)
        (tmp_path / "moons" / phase / "moon.png").write_bytes(b"no image")
    words = [word.format(model=tiny_classifier, photos=photos) for word in words]
    assert text in headstart("evaluate", *words, code=code).stderr


def test_images_that_cannot_be_used_are_counted(headstart, tiny_classifier, photos):
    files = sorted(path for path in photos.rglob("*") if path.is_file())
    files[0].write_bytes(b"no image")
    words = ["evaluate", tiny_classifier, photos]
    document = json.loads(headstart(*words, "--json").stdout)
    assert document["images"] == 15
    assert document["skipped"] == [{"reason": "no answer", "images": 1, "label": ""}]
    assert "HS509" in [remark["code"] for remark in document["remarks"]]
    assert "--max-failures" in headstart(*words, "--max-failures", "0", code=1).stderr


def test_a_kind_of_remark_can_be_ignored(headstart, tiny_classifier, photos):
    words = ["evaluate", tiny_classifier, photos]
    assert "remark HS506" in headstart(*words).stdout
    left = headstart(*words, "--ignore", "HS506").stdout
    assert "HS506" not in left
    assert "remark HS501" in left
    assert "no remark HS999" in headstart(*words, "--ignore", "HS999", code=2).stderr


@pytest.mark.slow
def test_the_page_shows_operating_points_costs_and_what_remarks_mean(
    headstart, tiny_classifier, photos, tmp_path
):
    points = [{"target": 0.9, "threshold": 0.7, "share": 0.5}]
    model = with_facts(tiny_classifier, tmp_path / "m.onnx", operating_points=points)
    (tmp_path / "costs.csv").write_text(
        "true,bark,cloth,drain\nbark,0,1,1\ncloth,1,0,1\ndrain,9,9,0\n"
    )
    words = ["evaluate", model, photos, "--costs", "costs.csv", "--report", "page.html", "--json"]
    document = json.loads(headstart(*words).stdout)
    fastjsonschema.compile(evaluation_schema())(document)
    assert document["models"][0]["costs"]["saved"] is not None
    page = (tmp_path / "page.html").read_text()
    for text in ("predict --costs", 'id="operating-points"', "HS506: Few images"):
        assert text in page
