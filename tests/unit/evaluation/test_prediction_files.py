"""Tables of predictions."""

import json

import numpy as np
import pytest
from headstart.core.errors import InputError
from headstart.evaluation import prediction_files

HEADER = "path,label,confidence,p:bark,p:cloth,error"


def table(path, *rows, header=HEADER):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_predictions_are_read_with_their_probabilities(tmp_path):
    file = table(tmp_path / "p.csv", "a.png,bark,0.7,0.7,0.3,", "b.png,,,,,cannot be read")
    found = prediction_files.read(file)
    assert found.paths == ["a.png", "b.png"]
    assert found.answers.predicted == ["bark", ""]
    assert found.answers.probabilities.tolist() == [[0.7, 0.3], [0, 0]]
    assert found.true is None


def test_json_lines_say_the_same(tmp_path):
    file = tmp_path / "p.jsonl"
    row = {"path": "a", "label": "bark", "probability": 0.7}
    lines = [row | {"probabilities": {"bark": 0.7, "cloth": 0.3}}, {"path": "b", "error": "broken"}]
    file.write_text("\n".join(map(json.dumps, lines)))
    answers = prediction_files.read(file).answers
    assert answers.predicted == ["bark", ""]
    assert answers.probabilities.tolist() == [[0.7, 0.3], [0, 0]]


def test_the_answer_stays_the_answer_where_rounding_made_a_tie(tmp_path):
    file = table(tmp_path / "p.csv", "a,cloth,0.500000,0.500000,0.500000,")
    answers = prediction_files.read(file).answers
    assert answers.classes[answers.probabilities[0].argmax()] == "cloth"


def test_an_unsure_answer_counts_as_the_most_probable_class(tmp_path):
    answers = prediction_files.read(table(tmp_path / "p.csv", "a,unknown,0.6,0.4,0.6,")).answers
    assert answers.predicted == ["cloth"]


def test_an_unsure_answer_of_the_most_probable_classes_counts_too(tmp_path):
    header = "path,label,confidence,class_1,probability_1,error"
    rows = ["a,unknown,0.6,cloth,0.6,", "b,bark,0.9,bark,0.9,", "c,,,,,broken"]
    csv = prediction_files.read(table(tmp_path / "p.csv", *rows, header=header))
    file = tmp_path / "p.jsonl"
    top = [[{"class": "cloth", "probability": 0.6}], [{"class": "bark", "probability": 0.9}]]
    lines = [{"path": p, "label": label, "top": t}
             for p, label, t in zip("ab", ("unknown", "bark"), top, strict=True)]  # fmt: skip
    file.write_text("\n".join(map(json.dumps, [*lines, {"path": "c", "error": "broken"}])))
    for found in (csv, prediction_files.read(file)):
        assert found.answers.predicted == ["cloth", "bark", ""]
        assert found.answers.classes == ("bark", "cloth")
    bare = table(tmp_path / "q.csv", "a,unknown", "b,bark", header="path,label")
    assert prediction_files.read(bare).answers.predicted == ["", "bark"]


def test_labels_without_probabilities_are_enough(tmp_path):
    file = table(tmp_path / "p.csv", "a,bark,oak", "b,bark,bark", header="path,label,true")
    found = prediction_files.read(file)
    assert found.answers.probabilities is None
    assert found.answers.classes == ("bark", "oak")
    assert found.true == ["oak", "bark"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["a,cloth,0.7,0.7,0.3,"], "labelled cloth"),
        (["a,oak,0.7,0.7,0.3,"], "labelled oak"),
        (["a,bark,0.7,0.7,,"], "probability of every class"),
        (["a,bark,nan,nan,0.3,"], "no number"),
        (["a,bark,0.7,0.4,0.3,"], "0.7"),
        (["a,bark,70,70,30,"], "70 as a probability"),
        (["a,bark,-0.1,-0.1,-2.3,"], "-0.1 as a probability"),
        (["a,bark,0.7,0.7,0.3,", "a,bark,0.7,0.7,0.3,"], "more than once"),
        ([], "no predictions"),
    ],
)
def test_rows_that_contradict_are_refused(tmp_path, rows, words):
    with pytest.raises(InputError, match=words):
        prediction_files.read(table(tmp_path / "p.csv", *rows))


def test_files_of_another_kind_are_refused(tmp_path):
    for name, text in {"a.csv": "path,split\nx,y\n", "b.jsonl": "[1]\n", "c.jsonl": "{\n"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError):
            prediction_files.read(tmp_path / name)
    with pytest.raises(InputError, match="cannot read"):
        prediction_files.read(tmp_path / "missing.csv")
    with pytest.raises(InputError, match="no column truth"):
        prediction_files.read(table(tmp_path / "p.csv", "a,bark,0.7,0.7,0.3,"), "truth")


def test_a_column_that_comes_twice_is_refused(tmp_path):
    file = table(tmp_path / "p.csv", "a,bark,0.7,0.3", header="path,label,p:bark,p:bark")
    with pytest.raises(InputError, match="several columns p:bark"):
        prediction_files.read(file)


@pytest.mark.parametrize("header", ["path,label,true", "path,labels,p:bark,p:oak,true:bark"])
def test_files_with_different_true_labels_are_not_compared(tmp_path, header):
    several = "true:bark" in header
    pairs = [("1", "0"), ("0", "0")] if several else [("oak", "bark"), ("oak", "oak")]
    answer = "bark,0.9,0.2" if several else "bark"
    ours, theirs, alike = (
        prediction_files.read(table(tmp_path / name, *rows, header=header))
        for name, rows in {
            "a.csv": [f"{n},{answer},{pair[0]}" for n, pair in enumerate(pairs)],
            "b.csv": [f"{n},{answer},{pair[1]}" for n, pair in enumerate(pairs)][::-1],
            "c.csv": [f"1,{answer},{pairs[1][0]}", f"2,{answer},{pairs[0][0]}"],
        }.items()
    )
    ours.check_truths(alike)
    with pytest.raises(InputError, match="1 image, first 0"):
        ours.check_truths(theirs)


def test_images_are_matched_by_any_of_their_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = ["photos/a.png,bark,0.7,0.7,0.3,", "b.png,cloth,0.6,0.4,0.6,"]
    found = prediction_files.read(table(tmp_path / "p.csv", *rows))
    images = [("b.png", "x/b.png"), ("c.png", "c.png"), ("a.png", str(tmp_path / "photos/a.png"))]
    matched = found.matched(images, "photos")
    assert matched.predicted == ["cloth", "", "bark"]
    assert np.allclose(matched.probabilities[:, 0], [0.4, 0, 0.7])
    with pytest.raises(InputError, match="no image in common"):
        found.matched([("z.png",)], "photos")
