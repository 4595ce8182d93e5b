"""Where a model looks: exact maps add up, and lie where the picture is."""

import json

import headstart as hs
import numpy as np
import pytest
from headstart.core.errors import InputError, UsageError
from headstart.models.classifier import Classifier
from headstart.models.explain import Explainer, drawing
from PIL import Image


@pytest.fixture
def opened(tiny_classifier):
    model = Classifier(tiny_classifier)
    crops = np.random.default_rng(0).integers(0, 256, (3, *model.backbone.preprocess.size, 3))
    return model, crops.astype(np.uint8)


def test_a_class_map_and_the_bias_add_up_to_the_evidence(opened, tiny_classifier):
    model, crops = opened
    explainer = Explainer(model, tiny_classifier)
    assert explainer.method == "class-map"
    for crop in crops:
        logs = np.log(model.predict(crop[np.newaxis])[0].astype(np.float64))
        for code, each in enumerate(explainer.explain(crop, list(range(len(model.classes))))):
            total = sum(grid.values.mean() for grid in each.grids) + each.bias
            assert each.exact
            assert total == pytest.approx(logs[code] - logs.mean(), abs=1e-3)
            assert each.heat().shape == crop.shape[:2]


@pytest.mark.parametrize("method", ["ablation", "occlusion"])
def test_perturbations_fit_any_head_and_say_that_they_are_not_exact(
    opened, tiny_classifier, method
):
    model, crops = opened
    (each,) = Explainer(model, tiny_classifier, method).explain(crops[0], [1])
    assert (each.exact, each.method) == (False, method)
    assert np.isfinite(each.heat()).all()
    assert each.heat().any()


def test_pictures_and_a_page_are_written_where_the_viewer_sees_them(tiny_classifier, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (60, 90, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif)
    (answer,) = hs.predict(tiny_classifier, tmp_path / "turned.jpg", explain=tmp_path / "e")
    (entry,) = json.loads((tmp_path / "e" / "explanations.json").read_text())["images"]
    assert entry["label"] == answer.label
    assert entry["picture"] in (tmp_path / "e" / "index.html").read_text()
    with Image.open(tmp_path / "e" / entry["picture"]) as drawn:
        assert drawn.size == (2 * 60 + 8, 90)  # upright, beside its map


def test_the_map_lies_over_the_crop_and_the_rest_is_dark(opened):
    model, _ = opened
    picture = np.full((80, 40, 3), 200, np.uint8)
    box = drawing.seen_box(picture, model.backbone.preprocess)
    heat = np.zeros((8, 8))
    heat[0, 0] = 1.0  # the upper left corner of what the model sees
    drawn = drawing.overlay(picture, heat, box).astype(int)
    left, top, right, bottom = map(int, box)
    inside = drawn[top + 1, left + 1]
    assert inside[0] - inside[2] > 50  # orange
    assert np.ptp(drawn[bottom - 2, right - 2]) == 0  # grey
    assert drawn[0, 20].max() < drawn[bottom - 2, right - 2].min()


def test_what_does_not_fit_is_one_line(opened, tiny_classifier, tmp_path):
    with pytest.raises(UsageError, match="explain"):
        hs.predict(tiny_classifier, tmp_path, explain_by="occlusion")
    features = np.random.default_rng(0).normal(size=(40, 6))
    hs.import_features(features, tmp_path / "f.h5", labels=np.arange(40) % 2)
    hs.train_heads(tmp_path / "f.h5", tmp_path / "r", heads="knn")
    with pytest.raises(InputError, match="features"):
        hs.predict(tmp_path / "r", tmp_path / "f.h5", explain=tmp_path / "e")
