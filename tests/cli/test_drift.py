"""``headstart drift``, and the summary of ``headstart predict``."""

import hashlib
import json

import fastjsonschema
import headstart as hs
import numpy as np
import pytest
from factories import TINY_DIM, with_facts
from headstart.core.training_profile import TrainingProfile
from headstart.report.schema import drift_schema

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(image_folder):
    return image_folder(splits=["test"], per_class=20)


@pytest.fixture
def model(tiny_classifier, photos, tmp_path):
    """The tiny classifier, as if it was trained on images like these photos."""
    opened = hs.load_model(tiny_classifier)
    predictions = list(hs.predict(opened, photos))
    scores = np.array([p.probabilities for p in predictions])
    shares = np.bincount(scores.argmax(axis=1), minlength=3) / len(scores)
    profile = TrainingProfile(
        images=400,
        independent=400.0,
        distances=tuple(sorted(p.distance for p in predictions)),
        confidences=tuple(sorted(scores.max(axis=1))),
        shares=tuple(shares),
        answers=tuple(shares),
        axes=np.eye(2, TINY_DIM, dtype=np.float16),
        centre=(0.0, 0.0),
        spread=(5.0, 5.0),
    )
    near = {"threshold": 1.5, "quantile": 0.99}  # no photo is farther
    return with_facts(tiny_classifier, tmp_path / "profiled.onnx", profile=profile, novelty=near)


def test_a_batch_is_compared_as_text_json_and_page(headstart, model, photos, tmp_path):
    done = headstart("drift", model, photos, "--report", "page.html")
    assert "verdict: no sign" in done.stdout
    assert "true share, estimated" in done.stdout
    named = ("  photos", str(photos), "  /", "the report")
    assert max(len(line) for line in done.stdout.splitlines() if not line.startswith(named)) <= 80
    document = json.loads(headstart("drift", model, photos, "--json").stdout)
    fastjsonschema.compile(drift_schema())(document)
    assert document["differs"] is False
    assert len(document["unusual"]) == 10
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/webp") == 10
    assert "Most unusual images" in page


def test_a_batch_that_differs_is_exit_code_3(headstart, model, photos):
    one_class = photos / "test" / "bark"
    text = headstart("drift", model, one_class, "--fail-on-drift", code=0).stdout
    assert "passed" in text
    images = [str(one_class / sorted(p.name for p in one_class.iterdir())[0])] * 60
    done = headstart("drift", model, *images, "--fail-on-drift", code=3)
    assert "FAILED" in done.stdout
    assert "HS701" in done.stdout
    assert "WARNING" in done.stderr


def test_groups_count_once(headstart, model, photos):
    files = sorted((photos / "test" / "bark").iterdir())
    lines = [f"test/bark/{file.name},one" for file in files]
    (photos.parent / "groups.csv").write_text("\n".join(["path,group", *lines]))
    words = ["drift", model, photos, "--groups", photos.parent / "groups.csv", "--json"]
    document = json.loads(headstart(*words).stdout)
    assert document["images"] == 40
    assert document["independent"] == pytest.approx(40**2 / (20**2 + 20))
    (photos.parent / "groups.csv").write_text("path,group\nnothing.png,one\n")
    assert "groups name none" in headstart(*words, code=1).stderr


@pytest.mark.parametrize("count", [1, 10])
def test_few_images_have_a_remark(headstart, model, photos, count):
    files = sorted(path for path in photos.rglob("*") if path.is_file())[:count]
    out = headstart("drift", model, *files).stdout
    assert "HS702" in out
    assert "HS702" not in headstart("drift", model, *files, "--ignore", "HS702").stdout


def test_no_usable_image_is_an_error_in_one_line(headstart, model, tmp_path):
    (tmp_path / "empty").mkdir()
    headstart("drift", model, "empty", code=1)
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    headstart("drift", model, "bad.jpg", code=1)
    assert (
        "could be used"
        in headstart("drift", model, "bad.jpg", "--max-failures", "1", code=1).stderr
    )


def test_a_model_without_a_profile_has_no_test(headstart, tiny_classifier, photos):
    out = headstart("drift", tiny_classifier, photos).stdout
    assert "no test" in out
    assert "HS703" in out
    assert "unlike any training image" in out
    assert (
        "train-heads"
        in headstart("drift", tiny_classifier, photos, "--fail-on-drift", code=1).stderr
    )


def test_training_images_are_named(headstart, model, photos, tmp_path):
    files = sorted(path for path in photos.rglob("*") if path.is_file())[:5]
    hashes = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)
    listed = np.frombuffer(hashes, np.uint8).reshape(-1, 32)
    known = with_facts(model, tmp_path / "listed.onnx", trained_on=listed)
    document = json.loads(headstart("drift", known, photos, "--json").stdout)
    assert document["seen"] == 5
    assert "HS704" in {remark["code"] for remark in document["remarks"]}


def test_the_summary_of_predictions_is_that_of_drift(headstart, model, photos):
    done = headstart("predict", model, photos, "--summary", "--out", "p.csv")
    assert "verdict: no sign" in done.stdout
    done = headstart("predict", model, photos, "--summary")
    assert "verdict" in done.stderr
    assert "verdict" not in done.stdout
    document = json.loads(headstart("predict", model, photos, "--summary", "--json").stdout)
    compared = json.loads(headstart("drift", model, photos, "--json").stdout)
    assert document["summary"]["tests"] == compared["tests"]


def test_probabilities_are_corrected_for_the_shares_of_the_batch(headstart, model, photos):
    plain = list(hs.predict(model, photos))
    better = list(hs.predict(model, photos, correct_priors=True))
    assert [p.path for p in plain] == [p.path for p in better]
    for prediction in better:
        assert sum(prediction.probabilities) == pytest.approx(1)
    some = sorted(path for path in photos.rglob("*") if path.is_file())[:3]
    words = ["predict", model, "--correct-priors"]
    assert "too few" in headstart(*words, *some, code=1).stderr
    headstart(*words, photos, "--sets", code=2)
    assert "--correct-priors" in headstart(*words, photos, "--at", "95%", code=2).stderr
    assert "explain" in headstart(*words, photos, "--explain", photos, code=2).stderr
