"""Where a model looks: exact maps add up, and lie where the picture is."""

import json

import factories
import headstart as hs
import numpy as np
import pytest
from headstart.core.errors import InputError, UsageError
from headstart.core.records import Preprocess
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
    heat = np.zeros(model.backbone.preprocess.size)
    heat[:2, :2] = 1.0  # the upper left corner of what the model sees
    maps = drawing.maps_of(picture, heat, model.backbone.preprocess)
    drawn = drawing.overlay(picture, maps).astype(int)
    left, top, right, bottom = map(int, maps[0].box)
    inside = drawn[top + 1, left + 1]
    assert inside[0] - inside[2] > 50  # orange
    assert np.ptp(drawn[bottom - 2, right - 2]) == 0  # grey
    assert drawn[0, 20].max() < drawn[bottom - 2, right - 2].min()


@pytest.mark.slow
@pytest.mark.parametrize(
    "rules",
    [
        Preprocess((64, 64), 64, fit="whole"),
        Preprocess((64, 64), 64, fit="pad", fill=(1, 2, 3)),
        Preprocess(72, 64, views="crop+whole"),
    ],
)
def test_maps_lie_where_a_fit_shows_the_image(rules, tmp_path):
    backbone = factories.write_tiny_backbone(tmp_path / "b.onnx", preprocess=rules)
    model = factories.write_tiny_classifier(tmp_path / "model.onnx", backbone)
    pixels = np.random.default_rng(1).integers(0, 256, (150, 300, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    (answer,) = hs.predict(model, tmp_path / "wide.png", explain=tmp_path / "e")
    (entry,) = json.loads((tmp_path / "e" / "explanations.json").read_text())["images"]
    assert (entry["label"], entry["exact"]) == (answer.label, True)
    with Image.open(tmp_path / "e" / entry["picture"]) as drawn:
        assert drawn.size == (2 * 300 + 8, 150)
        right = np.asarray(drawn)[:, 300 + 8 :].astype(int)
    coloured = np.ptp(right, axis=2) > 3
    assert coloured[:20].any()
    assert coloured[:, :20].any()
    assert coloured[:, -20:].any()


def test_each_view_has_its_part_of_the_map():
    picture = np.zeros((100, 200, 3), np.uint8)
    heat = np.arange(128 * 64.0).reshape(128, 64)
    crop, whole = drawing.maps_of(picture, heat, Preprocess(72, 64, views="crop+whole"))
    assert (crop.heat[0, 0], whole.heat[0, 0]) == (0, 64 * 64)
    assert whole.box == (0, 0, 200, 100)
    assert 50 < crop.box[0] < crop.box[2] < 150
    pad = Preprocess((64, 64), 64, fit="pad", fill=(0, 0, 0))
    (padded,) = drawing.maps_of(picture, heat[:64], pad)
    assert padded.heat.shape == (32, 64)
    assert padded.heat[0, 0] == 16 * 64


@pytest.mark.slow
def test_what_does_not_fit_is_one_line(opened, tiny_classifier, tmp_path):
    with pytest.raises(UsageError, match="explain"):
        hs.predict(tiny_classifier, tmp_path, explain_by="occlusion")
    features = np.random.default_rng(0).normal(size=(40, 6))
    hs.import_features(features, tmp_path / "f.h5", labels=np.arange(40) % 2)
    hs.train_heads(tmp_path / "f.h5", tmp_path / "r", heads="knn", repeats=1)
    with pytest.raises(InputError, match="features"):
        hs.predict(tmp_path / "r", tmp_path / "f.h5", explain=tmp_path / "e")
