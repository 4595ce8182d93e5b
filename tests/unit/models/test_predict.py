"""Predicting with a real, tiny classifier file: the stream, its order, what fails."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from headstart.backbones.inference.description import METADATA, MODEL_METADATA
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import BackboneError, ImageError, InputError, RunnerError
from headstart.datasets.images import decode
from headstart.models import seal as modelfile
from headstart.models.predict import Model, Prediction, predict


@pytest.fixture(scope="module")
def model(tiny_classifier) -> Model:
    return Model(tiny_classifier)


@pytest.fixture
def rewritten(tiny_classifier, tmp_path):
    """Give a function that saves the tiny classifier with one more or another metadata entry."""

    def write(key: str, text: str):
        classifier = onnx.load(tiny_classifier)
        properties = {prop.key: prop.value for prop in classifier.metadata_props}
        seal = {modelfile.KEY: modelfile.blank()}
        onnx.helper.set_model_props(classifier, properties | {key: text} | seal)
        onnx.save(classifier, tmp_path / "rewritten.onnx")
        modelfile.seal(tmp_path / "rewritten.onnx")
        return tmp_path / "rewritten.onnx"

    return write


@pytest.fixture
def image(tmp_path, write_image) -> Path:
    return write_image(tmp_path / "good.png", 1)


def names(found: list[Prediction]) -> list[str]:
    return [prediction.path for prediction in found]


class TestModel:
    def test_it_says_what_it_is(self, model):
        assert model.classes == ("bark", "cloth", "drain")
        assert model.backbone.name == "tiny"

    def test_probabilities_are_those_of_backbone_and_head(
        self, model, tiny_classifier, tiny_backbone, image_folder
    ):
        weight = next(
            onnx.numpy_helper.to_array(tensor)
            for tensor in onnx.load(tiny_classifier).graph.initializer
            if tensor.name == "weight"
        )
        runner = Runner(tiny_backbone)
        best = set()
        for path in sorted(image_folder().rglob("*.*")):
            data = path.read_bytes()
            crop = decode(data, runner.backbone.preprocess)
            scores = np.exp(runner.embed(crop[np.newaxis])[0].astype(np.float64) @ weight)
            found = model.predict(model.decode(data)[np.newaxis])[0]
            assert found == pytest.approx(scores / scores.sum(), abs=1e-5)
            assert sum(found) == pytest.approx(1, abs=1e-6)
            best.add(int(np.argmax(found)))
        assert len(best) > 1  # a classifier that always says the same would prove little

    def test_a_bad_image_is_an_image_error(self, model):
        with pytest.raises(ImageError, match="empty file"):
            model.decode(b"")

    def test_a_missing_file(self, tmp_path):
        for name in ("missing.onnx", "n" * 300, "nul\0.onnx", "."):
            with pytest.raises(BackboneError, match=r"^no model at .*: headstart train-heads$"):
                Model(tmp_path / name)

    def test_a_backbone_alone_is_no_classifier(self, tiny_backbone):
        with pytest.raises(BackboneError, match=r"tiny.onnx is not a classifier"):
            Model(tiny_backbone)

    @pytest.mark.parametrize("key", [METADATA, MODEL_METADATA])
    @pytest.mark.parametrize("text", ["", "{", "null", "[]", "{}", '{"classes": null}'])
    def test_a_description_that_is_none(self, rewritten, key, text):
        with pytest.raises(BackboneError, match=r"(classifier|not a file) that Headstart wrote"):
            Model(rewritten(key, text))

    def test_a_file_that_is_no_onnx(self, tmp_path):
        (tmp_path / "foreign.onnx").write_bytes(b"not ONNX")
        with pytest.raises(BackboneError, match=r"foreign.onnx is not a classifier"):
            Model(tmp_path / "foreign.onnx")

    def test_a_description_that_does_not_fit_the_graph(self, rewritten, tiny_classifier, image):
        properties = {p.key: p.value for p in onnx.load(tiny_classifier).metadata_props}
        facts = json.loads(properties[METADATA])
        facts["preprocess"]["crop"] = 16
        with pytest.raises(RunnerError, match=r"^inference failed: ") as caught:
            Model(rewritten(METADATA, json.dumps(facts)))
        assert str(caught.value).isprintable()

    def test_other_preprocessing_is_noticed(self, rewritten, tiny_classifier):
        properties = {p.key: p.value for p in onnx.load(tiny_classifier).metadata_props}
        facts = json.loads(properties[METADATA])
        facts["preprocess"]["interpolation"] = "nearest"
        with pytest.raises(BackboneError, match=r"differ from the exporter's: cosine 0\.\d+"):
            Model(rewritten(METADATA, json.dumps(facts)))


class TestStream:
    @pytest.mark.parametrize("workers", [1, 5, 16, None])
    def test_predictions_come_in_order(self, model, image_folder, workers):
        root = image_folder(per_class=8)
        paths = sorted(map(str, root.rglob("*.*")), reverse=True)
        found = list(predict(model, paths, workers))
        assert names(found) == paths
        for prediction, path in zip(found, paths, strict=True):
            crop = model.decode(Path(path).read_bytes())
            assert prediction.probabilities == tuple(model.predict(crop[np.newaxis])[0].tolist())
            best = int(np.argmax(prediction.probabilities))
            assert (prediction.label, prediction.error) == (model.classes[best], "")

    def test_files_folders_and_manifests_may_be_mixed(self, model, tmp_path, write_image):
        for number in (10, 9):
            write_image(tmp_path / f"folder/a/{number}.png", number)
        write_image(tmp_path / "one.webp", 1)
        write_image(tmp_path / "list/two.gif", 2)
        (tmp_path / "list/list.csv").write_text("path,label\ntwo.gif,a\n../one.webp,b\n")
        (tmp_path / "list/list.TSV").write_text("path\tlabel\ntwo.gif\ta\n")
        given = ["one.webp", "folder", "list/list.csv", "one.webp", "list/list.TSV"]
        found = list(predict(model, [str(tmp_path / name) for name in given]))
        assert not any(prediction.error for prediction in found)
        assert [os.path.relpath(name, tmp_path) for name in names(found)] == [
            "one.webp",
            "folder/a/9.png",
            "folder/a/10.png",
            "list/two.gif",  # in the order of listings, whatever the lines' order is
            "one.webp",
            "one.webp",
            "list/two.gif",
        ]

    def test_a_bad_image_is_a_row_with_an_error(self, model, tmp_path, image):
        (tmp_path / "empty.jpg").touch()
        (tmp_path / "text").write_text("no image")
        os.mkfifo(tmp_path / "pipe.jpg")
        (tmp_path / "list.csv").write_text("path,label\ngood.png,a\nmissing.png,a\n")
        given = ["empty.jpg", "text", "pipe.jpg", "list.csv"]
        found = list(predict(model, [str(tmp_path / name) for name in given], workers=2))
        assert [prediction.error for prediction in found] == [
            "empty file",
            "not a JPEG, PNG, WebP, AVIF, BMP, TIFF or GIF image, but text",
            "not a regular file",
            "",
            "file not found",
        ]
        for prediction in found:
            assert bool(prediction.error) == (prediction.label == "")
            assert len(prediction.probabilities) == (0 if prediction.error else 3)

    def test_names_may_be_anything(self, model, tmp_path, image):
        for name in (b"a b.png", b"new\nline.png", b"caf\xe9.png"):
            path = tmp_path / os.fsdecode(name)
            path.write_bytes(image.read_bytes())
            (found,) = predict(model, [str(path)])
            assert (found.path, found.error) == (str(path), "")

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("missing", r"^no such file or folder: .*/missing;"),
            ("missing.csv", "no such file or folder"),
            ("mis\nsing", r"^no such file or folder: .*/mis\\nsing;"),
            ("nul\0", r"^no such file or folder: .*/nul\\x00;"),
            ("n" * 300, r"^cannot read .*: File name too long$"),
            ("good.png/below", r"^no such file or folder: "),
            ("empty", "no images in "),
        ],
        ids=["missing", "missing list", "newline", "NUL", "long name", "below a file", "empty"],
    )
    def test_a_path_that_cannot_be_used_is_an_error(self, model, tmp_path, image, name, message):
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match=message):
            list(predict(model, [str(image), str(tmp_path / name)]))

    def test_no_path_at_all(self, model):
        assert list(predict(model, [])) == []
        with pytest.raises(InputError):
            list(predict(model, [""]))

    @pytest.mark.slow
    def test_leaving_the_stream_stops_the_workers(self, model, image_folder):
        threads = threading.active_count()
        stream = predict(model, [str(image_folder(per_class=24))], workers=5)
        assert next(stream).error == ""
        stream.close()
        assert threading.active_count() == threads


def test_predicting_needs_no_library_of_the_training(fresh_python, tiny_classifier, image_folder):
    script = """
        import json, sys
        from pathlib import Path
        from headstart.models.predict import Model, predict
        found = list(predict(Model(Path(sys.argv[1])), [sys.argv[2]]))
        heavy = {"torch", "torchvision", "timm", "onnx", "sklearn", "scipy", "h5py"}
        print(json.dumps([len(found), sorted(heavy & set(sys.modules))]))
    """
    assert fresh_python(script, tiny_classifier, image_folder()) == [24, []]


def test_a_model_predicts_one_file_or_several(tiny_classifier, image_folder):
    model = Model(str(tiny_classifier))
    folder = image_folder(per_class=2)
    paths = sorted(folder.rglob("*.png"))
    several = model.predict_paths(paths)
    assert [prediction.path for prediction in several] == list(map(str, paths))
    assert model.predict_paths(paths[0]) == several[:1]
    crops = np.stack([model.decode(path.read_bytes()) for path in paths])
    scores = [prediction.probabilities for prediction in several]
    np.testing.assert_allclose(scores, model.predict(crops), atol=1e-6)
