"""Label files of Label Studio, CVAT and FiftyOne: read as sources, and written with guesses."""

from __future__ import annotations

import json

import pytest
from factories import write_image
from headstart import datasets
from headstart.core.errors import InputError
from headstart.core.records import SUGGESTED
from headstart.datasets import Options, cvat, fiftyone, label_studio
from headstart.datasets.label_files import Task

GUESSES = [Task("a/1.png", (("cat", 0.75),)), Task("a/2 ü.png")]
SEVERAL = [Task("a/1.png", (("cat", 0.75), ("<dog>", 0.5))), Task("a/2 ü.png")]


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("a/1.png", "a/2 ü.png", "b.png")):
        write_image(tmp_path / name, number)
    return tmp_path


def listed(path, options=datasets.DEFAULTS):
    listing = datasets.open_source(str(path), options)
    return {image.path: image for image in listing.images}


def labels_of(path):
    return {name: image.label for name, image in listed(path).items()}


def annotated(image, *choices, cancelled=False, **data):
    result = [{"type": "choices", "value": {"choices": list(choices)}}] if choices else []
    return {
        "id": 7,
        "data": {"image": image, **data},
        "annotations": [{"was_cancelled": cancelled, "result": result}],
        "predictions": [{"result": [{"type": "choices", "value": {"choices": ["wrong"]}}]}],
    }


def test_label_studio_has_the_labels_that_people_chose(folder):
    file = folder / "export.json"
    tasks = [
        annotated("/data/local-files/?d=photos/a/1.png", "cat", origin=SUGGESTED),
        annotated("/data/upload/3/0a1b2c3d-b.png", "dog"),
        annotated("https://host/bucket/a/2%20%C3%BC.png", "cat", cancelled=True),
    ]
    file.write_text(json.dumps(tasks))
    images = listed(file)
    assert {name: image.label for name, image in images.items()} == {
        "a/1.png": "cat",
        "b.png": "dog",
        "a/2 ü.png": None,
    }
    assert images["a/1.png"].origin == SUGGESTED
    assert images["b.png"].origin == ""


def test_label_studio_s_short_export_is_read(folder):
    file = folder / "min.json"
    rows = [{"id": 1, "image": "a/1.png", "choice": "cat"}, {"id": 2, "image": "b.png"}]
    file.write_text(json.dumps(rows))
    assert labels_of(file) == {"a/1.png": "cat", "b.png": None}


def test_several_choices_are_several_labels(folder):
    file = folder / "export.json"
    file.write_text(json.dumps([annotated("b.png", "cat", "dog"), annotated("a/1.png", "dog")]))
    assert listed(file)["b.png"].labels.present == ("cat", "dog")
    with pytest.raises(InputError, match="several labels"):
        listed(file, Options(target="single-label"))


def several_people(*answers, **facts):
    annotations = [
        {"completed_by": who, "result": [{"from_name": "c", "value": {"choices": list(choices)}}]}
        for who, *choices in answers
    ]
    return {"data": {"image": "b.png"}, "annotations": annotations, **facts}


@pytest.mark.parametrize(
    ("answers", "label"),
    [
        ([(1, "cat"), (2, "dog"), (3, "cat")], "cat"),
        ([(1, "cat"), (2, "dog")], None),
        ([(1, "cat"), (2, "dog"), (2, "cat")], "cat"),  # the second one thought again
        ([(1, "cat"), (2,)], "cat"),
    ],
)
def test_label_studio_has_the_label_that_most_people_chose(folder, answers, label):
    file = folder / "export.json"
    file.write_text(json.dumps([several_people(*answers)]))
    listing = datasets.open_source(str(file), datasets.DEFAULTS)
    assert [image.label for image in listing.images] == [label]
    assert any("b.png" in remark for remark in listing.remarks) == (label is None)


def test_the_ground_truth_of_label_studio_is_right(folder):
    task = several_people((1, "cat"), (2, "dog"), (3, "cat"))
    task["annotations"][1]["ground_truth"] = True
    (folder / "export.json").write_text(json.dumps([task]))
    assert labels_of(folder / "export.json") == {"b.png": "dog"}


def test_rows_of_one_task_in_the_short_export_are_answers_of_several_people(folder):
    file = folder / "min.json"
    row = {"id": 1, "image": "b.png"}
    people = [row | {"choice": c, "annotator": c + "@x"} for c in ("cat", "dog")]
    file.write_text(json.dumps(people))
    assert labels_of(file) == {"b.png": None}
    file.write_text(json.dumps([*people, row | {"choice": "cat", "annotator": "c@x"}]))
    assert labels_of(file) == {"b.png": "cat"}


def test_a_submitted_annotation_without_choices_is_none_of_several_labels(folder):
    file = folder / "export.json"
    empty = annotated("a/1.png") | {"annotations": [{"result": []}]}
    file.write_text(json.dumps([annotated("b.png", "cat", "dog"), empty]))
    assert listed(file)["a/1.png"].labels.present == ()
    file.write_text(json.dumps([annotated("b.png", "cat"), empty]))
    assert labels_of(file) == {"b.png": "cat", "a/1.png": None}


def test_the_choices_of_several_tags_are_those_of_the_tag_named_choice(folder):
    task = annotated("b.png")
    results = [
        {"from_name": tag, "value": {"choices": [value]}}
        for tag, value in (("quality", "sharp"), ("choice", "cat"))
    ]
    task["annotations"][0]["result"] = results
    (folder / "export.json").write_text(json.dumps([task]))
    assert labels_of(folder / "export.json") == {"b.png": "cat"}
    results[1]["from_name"] = "animal"
    (folder / "export.json").write_text(json.dumps([task]))
    with pytest.raises(InputError, match="quality, animal"):
        listed(folder / "export.json")


def test_cvat_has_tags_and_subsets(folder):
    file = folder / "annotations.xml"
    file.write_text(
        '<?xml version="1.0"?><annotations><version>1.1</version>'
        '<image id="0" name="a/1.png" subset="Train" width="9" height="9"><tag label="cat"/>'
        '<box label="nose" xtl="0" ytl="0" xbr="1" ybr="1"/></image>'
        '<image id="1" name="b.png" subset="Validation"/></annotations>'
    )
    images = listed(file)
    assert (images["a/1.png"].label, images["a/1.png"].split) == ("cat", "train")
    assert (images["b.png"].label, images["b.png"].split) == (None, "validation")


def test_fiftyone_has_numbers_names_and_nothing(folder):
    (folder / "a").rename(folder / "data")
    file = folder / "labels.json"
    file.write_text(json.dumps({"classes": ["cat", "dog"], "labels": {"1": 1, "2 ü": None}}))
    assert labels_of(file) == {"1.png": "dog", "2 ü.png": None}
    named = {"1": {"label": "dog", "confidence": 0.5}, "2 ü.png": "cat"}
    file.write_text(json.dumps({"classes": None, "labels": named}))
    assert labels_of(file) == {"1.png": "dog", "2 ü.png": "cat"}


def test_guesses_for_label_studio_are_predictions_and_no_labels(folder):
    tasks = label_studio.tasks(GUESSES, "a model")
    (prediction,) = tasks[0]["predictions"]
    assert (prediction["score"], prediction["model_version"]) == (0.75, "a model")
    assert prediction["result"][0]["value"] == {"choices": ["cat"]}
    assert "predictions" not in tasks[1]
    file = folder / "tasks.json"
    file.write_text(json.dumps(tasks))
    images = listed(file)
    assert {name: image.label for name, image in images.items()} == dict.fromkeys(images)
    assert {image.origin for image in images.values()} == {SUGGESTED}


def test_guesses_for_cvat_and_fiftyone_are_labels_to_review(folder):
    file = folder / "annotations.xml"
    file.write_text(cvat.guesses(GUESSES, ["cat", "<dog>"]))
    assert labels_of(file) == {"a/1.png": "cat", "a/2 ü.png": None}
    assert "&lt;dog&gt;" in file.read_text()
    file = folder / "labels.json"
    file.write_text(json.dumps(fiftyone.guesses(GUESSES, ["cat", "dog"])))
    assert labels_of(file) == {"a/1.png": "cat", "a/2 ü.png": None}


def test_several_guesses_are_written_and_read(folder):
    (prediction,) = label_studio.tasks(SEVERAL, "m")[0]["predictions"]
    assert prediction["result"][0]["value"] == {"choices": ["cat", "<dog>"]}
    assert prediction["score"] == 0.5
    (folder / "t.xml").write_text(cvat.guesses(SEVERAL, ["cat", "<dog>"]))
    document = fiftyone.guesses(SEVERAL, ["cat", "<dog>"], several=True)
    (folder / "labels.json").write_text(json.dumps(document))
    for name in ("t.xml", "labels.json"):
        images = listed(folder / name)
        assert images["a/1.png"].labels.present == ("cat", "<dog>")
        assert not images["a/2 ü.png"].is_labelled


def test_fiftyone_knows_images_by_absolute_paths_or_a_manifest(folder):
    file = folder / "labels.json"
    file.write_text(json.dumps({"labels": {str(folder / "a/1.png"): ["cat"]}}))
    assert labels_of(file) == {"a/1.png": "cat"}
    (folder / "data.json").write_text(json.dumps({"x": "b.png", "scan.png": "a/1.png"}))
    file.write_text(json.dumps({"classes": None, "labels": {"x": 3, "scan.png": "cat"}}))
    assert labels_of(file) == {"b.png": "3", "a/1.png": "cat"}


def test_names_that_differ_in_their_extension_alone_are_one_in_fiftyone(folder):
    with pytest.raises(InputError, match="rename"):
        fiftyone.guesses([Task("b.png"), Task("b.jpg")], [])
    write_image(folder / "b.jpg", 5)
    (folder / "labels.json").write_text(json.dumps({"labels": {"b": "cat"}}))
    with pytest.raises(InputError, match=r"b\.jpg or b\.png"):
        listed(folder / "labels.json")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '[{"data": {"video": "film.mp4"}}]', "image"),
        ("a.json", "[1]", "Label Studio"),
        ("a.json", '[{"data": {"text": "x"}}]', "Label Studio"),
        ("a.json", "[", "not JSON"),
        ("a.json", "[]", "lists no images"),
        ("a.json", '[{"data": {"image": "gone.png"}, "annotations": 3}]', "annotations"),
        ("a.json", '[{"data": {"image": "gone.png"}}]', "exists"),
        ("labels.json", '{"labels": [], "classes": []}', "FiftyOne"),
        ("labels.json", '{"labels": {"b.png": 5}, "classes": ["a"]}', "label 5"),
        ("labels.json", '{"labels": {"b.png": [[]]}, "classes": ["a"]}', "no text"),
        ("a.xml", "<annotations><image></annotations>", "not XML"),
        ("a.xml", "<annotations><track/></annotations>", "video"),
        ("a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "entities"),
        ("a.xml", "<annotations/>", "lists no images"),
    ],
)
def test_bad_files_are_refused_in_one_line(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=message) as error:
        listed(folder / name)
    assert "\n" not in str(error.value)
