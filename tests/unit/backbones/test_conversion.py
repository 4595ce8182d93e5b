"""Files of Keras and TensorFlow: what they are, the way to ONNX, and what cannot go it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import types

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from graphs import Maker
from headstart import backbones
from headstart.backbones import conversion, export
from headstart.backbones.inference.description import describe
from headstart.backbones.inference.runner import Runner
from headstart.backbones.keras_import import import_keras
from headstart.cli import cli
from headstart.core.errors import BackboneError
from headstart.core.records import Choice
from headstart.workflows.features import choice

pytestmark = pytest.mark.usefixtures("fresh_cache_home", "no_sandbox")

TFLITE = b"\x1c\x00\x00\x00TFL3" + bytes(24)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"a graph")
    return tmp_path / "saved"


def classifier():
    made = Maker(["n", 3, 32, 32], 13).conv(3, 8, 3, 2).add("Relu")
    made.add("GlobalAveragePool").add("Flatten", axis=1)
    return made.gemm(8, 5).add("Softmax", axis=1).model()


@pytest.fixture
def converter(monkeypatch):
    """Stand for tf2onnx, which writes a small classifier and notes its arguments."""
    arguments = []

    def main():
        arguments.append(sys.argv[1:])
        onnx.save(classifier(), sys.argv[sys.argv.index("--output") + 1])

    package = types.ModuleType("tf2onnx")
    package.convert = types.SimpleNamespace(main=main)
    monkeypatch.setitem(sys.modules, "tf2onnx", package)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")
    return arguments


class TestFormats:
    def test_suffixes_identifiers_and_folders(self, tmp_path, folder):
        contents = {
            "a.keras": b"", "b.H5": b"", "c.tflite": b"", "d.bin": TFLITE, "e.onnx": b"onnx",
        }  # fmt: skip
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
        titles = [
            kind and kind.title for kind in (conversion.format_of(tmp_path / n) for n in contents)
        ]
        assert titles == [
            "Keras network",
            "Keras network",
            "TFLite network",
            "TFLite network",
            None,
        ]
        assert conversion.format_of(folder).title == "SavedModel"
        assert conversion.format_of(tmp_path) is None
        assert conversion.format_of(tmp_path / "absent.keras") is None

    @pytest.mark.parametrize(
        ("name", "extra", "command"),
        [
            ("net.tflite", "tensorflow", "python -m tf2onnx.convert --tflite net.tflite --output "),
            ("net.keras", "keras", "python -c 'import keras; keras.saving.load_model("),
        ],
    )
    def test_without_a_converter_the_command_is_named(
        self, name, extra, command, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        (tmp_path / name).write_bytes(TFLITE)
        monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
        for words in (["backbones", name], ["export", name, "--out", "x.onnx"]):
            result = CliRunner().invoke(cli, words)
            assert isinstance(result.exception, BackboneError)
            message = str(result.exception)
            assert message.isprintable()
            assert f"the extra [{extra}]" in message
            assert command.replace(name, str(tmp_path / name)) in message

    @pytest.mark.parametrize(
        ("name", "content", "command"),
        [
            ("net.pb", b"a graph", "--graphdef net.pb --inputs INPUT:0 --outputs OUTPUT:0 "),
            ("model.json", b'{"format": "graph-model", "modelTopology": {}}', "--tfjs model.json "),
            (
                "model.json",
                b'{"modelTopology": {"keras_version": "2.7.0"}}',
                "tfjs_layers_model --output_format keras model.json model.h5",
            ),
        ],
    )
    @pytest.mark.parametrize("prefix", ["", "onnx:"])
    def test_what_does_not_say_enough_is_refused(
        self, name, content, command, prefix, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        (tmp_path / name).write_bytes(content)
        for words in (["backbones"], ["export", "--out", "x.onnx"]):
            result = CliRunner().invoke(cli, [words[0], f"{prefix}{name}", *words[1:]])
            assert isinstance(result.exception, BackboneError)
            message = str(result.exception)
            assert message.isprintable()
            assert command.replace(name, str(tmp_path / name)) in message
            assert f"give that file as {'model.h5' if 'h5' in command else 'onnx:'}" in message
            assert ('pip install tensorflowjs "ydf<0.12"' in message) == ("h5" in command)

    def test_other_json_files_are_no_networks(self, tmp_path):
        (tmp_path / "results.json").write_text('{"classes": []}')
        assert conversion.format_of(tmp_path / "results.json") is None


class TestTensorFlow:
    @pytest.mark.parametrize("prefix", ["", "onnx:"])
    def test_a_file_goes_the_way_of_any_onnx_file(self, converter, tmp_path, prefix):
        path = tmp_path / "net.tflite"
        path.write_bytes(TFLITE)
        network = choice(f"{prefix}{path}", preprocess="unit")
        model, _ = export.model_file(network)
        described = describe(model)
        assert (described.name, described.dim) == ("onnx:net.tflite", 8)
        assert described.weights_sha256 == hashlib.sha256(TFLITE).hexdigest()
        again = backbones.choice_of(described, backbones.users_file(network))
        assert describe(export.model_file(again)[0]) == described
        assert [words[:2] for words in converter] == [["--tflite", str(path)]]  # once

    def test_a_folder_is_known_by_what_it_holds(self, converter, folder):
        name = choice(str(folder)).name
        first = backbones.find(name).identity
        (folder / "variables").mkdir()
        (folder / "variables" / "variables.index").write_bytes(b"weights")
        assert backbones.find(name).identity != first
        assert choice(str(folder / "saved_model.pb")).name.startswith("onnx:")
        inside = backbones.find(f"onnx:{folder / 'saved_model.pb'}")
        assert inside.name == "onnx:saved"
        assert inside.identity == backbones.find(name).identity
        assert [words[:2] for words in converter] == [["--saved-model", str(folder)]] * 2

    def test_names_of_fused_layers_are_those_of_the_first(self, converter, tmp_path):
        model = classifier()
        fused = {"relu1": "a/relu;a/norm;a/conv", "flatten3": "a/relu;b/flat", "gemm4": "d"}
        for node in model.graph.node:
            node.input[:] = [fused.get(name, name) for name in node.input]
            node.output[:] = [fused.get(name, name) for name in node.output]
        sys.modules["tf2onnx"].convert.main = lambda: onnx.save(model, sys.argv[4])
        (tmp_path / "net.tflite").write_bytes(TFLITE)
        name = f"onnx:{tmp_path / 'net.tflite'}"
        listed = [layer.name for layer in backbones.layers_of(name).layers]
        assert listed == ["conv0", "a/relu", "globalaveragepool2", "a/relu_2", "d", "softmax5"]
        assert describe(export.model_file(name)[0]).layer == "a/relu_2"

    def test_sparse_weights_are_named(self, converter, tmp_path):
        def fail():
            raise ValueError("cannot reshape array of size 77 into shape (8,1,1,32)")

        sys.modules["tf2onnx"].convert.main = fail
        (tmp_path / "net.tflite").write_bytes(TFLITE)
        with pytest.raises(BackboneError, match="holds weights as sparse matrices"):
            backbones.find(f"onnx:{tmp_path / 'net.tflite'}")

    @pytest.mark.parametrize("error", [SystemExit(2), ValueError("two\nlines")])
    def test_a_converter_that_fails_is_one_line(self, converter, tmp_path, error):
        def fail():
            raise error

        sys.modules["tf2onnx"].convert.main = fail
        (tmp_path / "net.tflite").write_bytes(TFLITE)
        with pytest.raises(BackboneError, match="tf2onnx cannot convert") as caught:
            backbones.find(f"onnx:{tmp_path / 'net.tflite'}")
        assert str(caught.value).isprintable()


@pytest.fixture(scope="module")
def model():
    keras = import_keras()
    layers = keras.layers
    inner = keras.Sequential([keras.Input((24, 24, 3)), layers.Conv2D(6, 3)], name="mobilenet")
    return keras.Sequential(
        [
            *(keras.Input((24, 24, 3)), layers.RandomFlip(), inner, layers.ReLU()),
            *(
                layers.GlobalAveragePooling2D(name="pool"),
                layers.Dense(4, activation="softmax"),
            ),
        ]
    )


@pytest.mark.slow
class TestKeras:
    @pytest.mark.parametrize("suffix", [".keras", ".h5"])
    def test_a_whole_network(self, suffix, model, tmp_path):
        keras, path = import_keras(), tmp_path / f"net{suffix}"
        model.save(path)
        described = CliRunner().invoke(cli, ["backbones", str(path)])
        assert "format: Keras network" in described.output, described.output
        assert "inception, a guess: mobilenet in its names" in described.output
        file, parity = export.model_file(choice(str(path), preprocess="inception"))
        assert "4 classes" in str(parity)
        images = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), np.uint8)
        features = keras.Model(model.inputs[0], model.get_layer("pool").output)
        expected = features(images.astype(np.float32) / 127.5 - 1, training=False)
        assert np.allclose(Runner(file).embed(images), expected.detach().numpy(), atol=1e-5)

    def test_a_chain_of_keras_2_without_a_suffix(self, tmp_path):
        """Whose input is a setting of its first layer, and whose file has a name alone."""
        import h5py

        keras, path = import_keras(), tmp_path / "flowers"
        layers = keras.layers
        chain = [
            *(layers.Conv2D(6, 3, activation="relu"), layers.GlobalAveragePooling2D()),
            layers.Dense(3, activation="softmax"),
        ]
        model = keras.Sequential([keras.Input((20, 16, 3)), *chain])
        model.save(tmp_path / "net.h5")
        (tmp_path / "net.h5").rename(path)
        with h5py.File(path, "a") as file:
            config = json.loads(file.attrs["model_config"])
            written = [
                {
                    "class_name": layer["class_name"],
                    "config": layer["config"] | {"dtype": "float32"},
                }
                for layer in config["config"]["layers"][1:]
            ]
            written[0]["config"]["batch_input_shape"] = [None, 20, 16, 3]
            chained = {"name": "sequential_1", "layers": written}
            file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": chained})
            file.attrs["keras_version"] = "2.3.1"
        described = CliRunner().invoke(cli, ["backbones", str(path)])
        assert "(n, 20, 16, 3)" in described.output, (described.output, described.exception)
        file, parity = export.model_file(choice(str(path), preprocess="unit"))
        assert "3 classes" in str(parity)
        images = np.random.default_rng(0).integers(0, 256, (3, 20, 16, 3), np.uint8)
        maps = model.layers[0](images.astype(np.float32) / 255).detach().numpy()
        assert np.allclose(Runner(file).embed(images), maps.mean((1, 2)), atol=1e-5)

    @pytest.mark.long
    def test_transfer_learning(self, tmp_path):
        """What most people save: augmentation, scaling, a network inside, a classifier."""
        keras, path = import_keras(), tmp_path / "flowers.keras"
        layers = keras.layers
        inside = keras.applications.MobileNetV2(
            (96, 96, 3), alpha=0.35, include_top=False, weights=None
        )
        inside.trainable = False
        for layer in inside.layers:  # as after training, or the signal is lost in rounding
            if isinstance(layer, layers.BatchNormalization):
                draw = np.random.default_rng(len(layer.name)).uniform
                layer.set_weights([draw(0.5, 1.5, w.shape) for w in layer.get_weights()])
        augmentation = keras.Sequential(
            [layers.RandomFlip("horizontal"), layers.RandomRotation(0.1), layers.RandomZoom(0.1)]
        )
        model = keras.Sequential(
            [
                *(keras.Input((96, 96, 3)), augmentation, layers.Rescaling(1 / 127.5, offset=-1)),
                *(inside, layers.GlobalAveragePooling2D(name="pool"), layers.Dropout(0.2)),
                layers.Dense(5, activation="softmax"),
            ]
        )
        model.save(path)
        described = CliRunner().invoke(cli, ["backbones", str(path)])
        assert "--preprocess raw" in described.output, described.output
        file, parity = export.model_file(choice(str(path), preprocess="raw"))
        assert "5 classes" in str(parity)
        images = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
        features = keras.Model(model.inputs[0], model.get_layer("pool").output)
        expected = features(images.astype(np.float32), training=False).detach().numpy()
        assert expected.shape == (3, 1280)
        assert np.allclose(Runner(file).embed(images), expected, atol=1e-5 * expected.max())

    def test_what_is_no_whole_network(self, model, tmp_path):
        keras = import_keras()
        model.save_weights(tmp_path / "a.weights.h5")
        own = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Lambda(lambda x: x / 255)])
        own.save(tmp_path / "b.keras")
        keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)]).save(tmp_path / "c.keras")
        (tmp_path / "d.keras").write_bytes(b"nothing")
        problems = (
            "weights without their network",
            "layers or code",
            "where one image",
            "no Keras",
        )
        for path, problem in zip(sorted(tmp_path.iterdir()), problems, strict=True):
            with pytest.raises(BackboneError, match=problem) as caught:
                backbones.find(f"onnx:{path}")
            assert str(caught.value).isprintable()


def test_a_file_of_weights_alone_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.pth").write_bytes(b"weights")
    with pytest.raises(BackboneError, match=r"weights without their network.*--weights own\.pth"):
        backbones.find(Choice("own.pth"))
