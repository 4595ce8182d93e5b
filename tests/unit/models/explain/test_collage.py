"""Maps of pictures in which the place of each object is known."""

import csv
import io
import re
from collections import Counter

import headstart as hs
import numpy as np
import pytest
from factories import write_tiny_backbone
from headstart.models.classifier import Classifier
from headstart.models.explain import Explainer, stage
from PIL import Image

COLOURS = {"blue": (30, 40, 200), "green": (40, 170, 60), "red": (200, 40, 40), "white": (230,) * 3}
SIDE = 48
ONCE = {"folds": 3, "repeats": 1}


def patch(rng, colour):
    """Return pixels of a colour with noise."""
    noise = rng.normal(0, 25, (SIDE, SIDE, 3))
    return np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)


LINEAR_SVM = pytest.param(
    "linear-svm", marks=pytest.mark.further("test_most_of_a_map_is_in_the_quarter_of_its_class")
)


@pytest.fixture(scope="module")
def store(tiny_backbone, tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for colour in COLOURS:
        (folder / "photos" / colour).mkdir(parents=True)
        for number in range(12):
            path = folder / "photos" / colour / f"{number}.png"
            Image.fromarray(patch(rng, colour)).save(path)
    hs.extract_features(folder / "photos", folder / "colours.h5", backbone=str(tiny_backbone))
    return folder / "colours.h5"


@pytest.fixture(scope="module", params=["logistic-regression", LINEAR_SVM])
def model(request, store, tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    hs.train_heads(store, out, heads=request.param, **ONCE, near_duplicates=False)
    return Classifier(out / "model.onnx")


def collage_file(rng, colours):
    """Return a file of four patches: upper left, upper right, lower left and right."""
    a, b, c, d = (patch(rng, colour) for colour in colours)
    out = io.BytesIO()
    Image.fromarray(np.vstack([np.hstack([a, b]), np.hstack([c, d])])).save(out, "PNG")
    return out.getvalue()


def collage(model, rng, colours):
    """Return the model's picture of `collage_file`."""
    return model.decode(collage_file(rng, colours))


def quarters_of(heat):
    """Return the sums of a map over its quarters, in the order of `collage_file`."""
    middle = len(heat) // 2
    rows = heat[:middle], heat[-middle:]
    return [part.sum() for row in rows for part in (row[:, :middle], row[:, -middle:])]


@pytest.mark.slow
def test_most_of_a_map_is_in_the_quarter_of_its_class(model):
    rng, explainer = np.random.default_rng(1), Explainer(model, model.path)
    assert explainer.method == "class-map"
    for _ in range(3):
        colours = rng.permutation(list(COLOURS)).tolist()
        codes = [model.classes.index(colour) for colour in colours]
        for place, each in enumerate(explainer.explain(collage(model, rng, colours), codes)):
            assert int(np.argmax(quarters_of(np.maximum(each.heat(), 0)))) == place
            assert each.exact


@pytest.mark.slow
def test_a_map_adds_up_to_its_evidence(model):
    rng, explainer = np.random.default_rng(2), Explainer(model, model.path)
    crop = collage(model, rng, list(COLOURS))
    explained = explainer.explain(crop, list(range(4)))
    for each in explained:
        total = sum(grid.values.mean() for grid in each.grids) + each.bias
        assert total == pytest.approx(each.evidence, abs=1e-4)
    assert sum(each.evidence for each in explained) == pytest.approx(0, abs=1e-3)
    patch_ = collage(model, rng, ["red"] * 4)
    evidence = [each.evidence for each in explainer.explain(patch_, list(range(4)))]
    assert model.classes[int(np.argmax(evidence))] == "red"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_a_variant_is_explained_like_its_model_or_says_that_it_is_not_exact(
    model, store, kind, tmp_path
):
    path, photos = tmp_path / "small.onnx", store.parent / "photos"
    wide = {"max_drift": 2, "max_accuracy_loss": 100}
    hs.export_model(model.path, photos, path, precision=kind, **wide)
    variant = Classifier(path)
    explainer, rng = Explainer(variant, path), np.random.default_rng(4)
    crop = collage(variant, rng, list(COLOURS))
    for each in explainer.explain(crop, list(range(4))):
        assert np.isfinite(each.heat()).all()
        if each.exact:
            total = sum(grid.values.mean() for grid in each.grids) + each.bias
            assert total == pytest.approx(each.evidence, abs=0.01 * max(1, abs(each.evidence)))
        assert each.exact == (explainer.method == "class-map")


@pytest.mark.slow
def test_networks_side_by_side_have_a_map_each(store, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        write_tiny_backbone(tmp_path / f"{name}.onnx", seed, name=name)
    backbone = f"{tmp_path / 'a.onnx'}+{tmp_path / 'b.onnx'}"
    hs.extract_features(store.parent / "photos", tmp_path / "s.h5", backbone=backbone)
    hs.train_heads(tmp_path / "s.h5", tmp_path / "r", heads="logistic-regression", **ONCE)
    joint = Classifier(tmp_path / "r" / "model.onnx")
    explainer, rng = Explainer(joint, joint.path), np.random.default_rng(5)
    colours = list(COLOURS)
    for each in explainer.explain(collage(joint, rng, colours), list(range(4))):
        assert each.exact
        assert len(each.grids) == 2
        total = sum(grid.values.mean() for grid in each.grids) + each.bias
        assert total == pytest.approx(each.evidence, abs=1e-3)


@pytest.mark.slow
def test_each_of_several_labels_has_its_own_map(tiny_backbone, tmp_path):
    rng, rows = np.random.default_rng(6), ["path,label"]
    (tmp_path / "photos").mkdir()
    for number in range(48):
        colours = rng.choice(list(COLOURS), 4)
        pixels = [patch(rng, colour) for colour in colours]
        whole = np.vstack([np.hstack(pixels[:2]), np.hstack(pixels[2:])])
        Image.fromarray(whole).save(tmp_path / "photos" / f"{number}.png")
        rows.append(f"photos/{number}.png,{'|'.join(sorted(set(colours)))}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    hs.extract_features(
        tmp_path / "labels.csv",
        tmp_path / "s.h5",
        backbone=str(tiny_backbone),
        target="multi-label",
    )
    hs.train_heads(tmp_path / "s.h5", tmp_path / "r", heads="logistic-regression", **ONCE)
    model = Classifier(tmp_path / "r" / "model.onnx")
    assert model.target == "multi-label"
    explainer = Explainer(model, model.path)
    for each in explainer.explain(collage(model, rng, list(COLOURS)), list(range(4))):
        total = sum(grid.values.mean() for grid in each.grids) + each.bias
        assert not each.exact or total == pytest.approx(each.evidence, abs=1e-3)
    page = hs.write_report(tmp_path / "r")
    assert "map of what speaks for" not in page.read_text()
    hs.write_report(tmp_path / "r", explain=True)
    with (tmp_path / "r" / "predictions.csv").open() as file:
        kinds = Counter(
            (name, row[f"true:{name}"])
            for row in csv.DictReader(file)
            for name in model.classes
            if row[f"true:{name}"] != str(int(name in row["predicted"].split("|")))
        )
    expected = Counter()
    for (name, _), number in kinds.items():
        expected[name] += min(number, 4)
    assert expected
    shown = re.findall('alt="map of what speaks for ([a-z]+)"', page.read_text())
    assert Counter(shown) == expected


@pytest.mark.slow
def test_pictures_are_of_the_classes_in_their_order(model):
    rng, explainer = np.random.default_rng(7), Explainer(model, model.path)
    colours = list(COLOURS)
    codes = [model.classes.index(colour) for colour in colours]
    drawn = stage.pictures(explainer, collage_file(rng, colours), codes)
    for place, picture in enumerate(drawn):
        red, _, blue = np.moveaxis(picture.astype(int), 2, 0)
        assert int(np.argmax(quarters_of(np.maximum(red - blue, 0)))) == place


@pytest.mark.slow
def test_the_report_shows_maps_of_the_errors(store, tiny_backbone, tmp_path):
    photos, rng = store.parent / "photos", np.random.default_rng(3)
    wrong = photos / "red" / "wrong.png"
    Image.fromarray(patch(rng, "blue")).save(wrong)
    hs.extract_features(photos, tmp_path / "s.h5", backbone=str(tiny_backbone))
    hs.train_heads(tmp_path / "s.h5", tmp_path / "r", heads="linear-svm", **ONCE)
    hs.write_report(tmp_path / "r", explain=True)
    alt = "map of what speaks for blue"
    assert alt in (tmp_path / "r" / "report.html").read_text()
    wrong.unlink()
    notices = []
    hs.write_report(tmp_path / "r", explain=True, hooks=hs.Hooks(notice=notices.append))
    assert alt not in (tmp_path / "r" / "report.html").read_text()
    assert any("have no map" in line for line in notices)


FURTHER = pytest.mark.further("test_the_views_of_an_image_add_up_and_lie_over_the_same_picture")


@pytest.mark.slow
@pytest.mark.parametrize(
    "views",
    [
        pytest.param("flip", marks=FURTHER),
        "crop+flip+whole",
        pytest.param("crop+flip+pad+whole", marks=FURTHER),
    ],
)
def test_the_views_of_an_image_add_up_and_lie_over_the_same_picture(
    store, tiny_backbone, views, tmp_path
):
    hs.extract_features(
        store.parent / "photos", tmp_path / "s.h5", backbone=str(tiny_backbone), views=views
    )
    hs.train_heads(tmp_path / "s.h5", tmp_path / "r", heads="logistic-regression", **ONCE)
    model, rng = Classifier(tmp_path / "r" / "model.onnx"), np.random.default_rng(8)
    explainer, colours = Explainer(model, model.path), list(COLOURS)
    assert explainer.method == "class-map"
    codes = [model.classes.index(colour) for colour in colours]
    content = collage_file(rng, colours)
    crop = model.decode(content)
    logs = np.log(model.predict(crop[np.newaxis])[0].astype(np.float64))
    for place, each in enumerate(explainer.explain(crop, codes)):
        assert len(each.grids) == len({"crop", *views.split("+")})
        total = sum(grid.values.mean() for grid in each.grids) + each.bias
        assert total == pytest.approx(logs[codes[place]] - logs.mean(), abs=1e-3)
        assert each.heat().mean() + each.bias == pytest.approx(total, abs=0.02 * abs(total))
        for part in np.split(each.heat(), len(model.backbone.preprocess.each_view)):
            assert int(np.argmax(quarters_of(np.maximum(part, 0)))) == place
    for place, picture in enumerate(stage.pictures(explainer, content, codes)):
        red, _, blue = np.moveaxis(picture.astype(int), 2, 0)
        assert int(np.argmax(quarters_of(np.maximum(red - blue, 0)))) == place
    (lost,) = Explainer(model, model.path, "ablation").explain(crop, codes[:1])
    assert int(np.argmax(quarters_of(np.maximum(lost.heat(), 0)[: len(crop[0])]))) == 0
