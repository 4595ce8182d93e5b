"""Keras Applications: what is listed, weights of every kind, what bad input gets."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

import numpy as np
import pytest
from headstart import backbones
from headstart.backbones import cache, keras_import, keras_zoo
from headstart.core.errors import BackboneError, HeadstartError
from headstart.core.records import Choice
from headstart.finetune.config import FinetuneConfig
from headstart.finetune.stage import check_trainable

NAME = "keras:MobileNetV3Small"
KERAS = backbones.provider_of(NAME)
LAYERS = ("expanded_conv_project_bn", "activation_1")


@pytest.fixture(scope="module")
def model():
    """Give the network with random weights of another seed than 0, as Keras builds it."""
    return backbones.find(Choice(NAME, "random:7")).build().module


@pytest.fixture(scope="module")
def expected():
    """Give the features of a network with the weights of `model`, built from their seed."""
    return features(backbones.find(Choice(NAME, "random:7")))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def published(model, path):
    """Write weights as the files that Keras publishes hold them."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return path


def features(candidate):
    import torch

    module, _ = candidate.load()
    with torch.inference_mode():
        return module(torch.from_numpy(photo())).numpy()


def photo():
    return np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)


class TestNames:
    @pytest.mark.slow
    def test_every_network_that_torch_can_run_is_listed(self):
        names = {entry.architecture for entry in backbones.available("keras:")}
        functions = keras_zoo._functions(keras_import.import_keras()).keys()
        assert len(names) > 35
        assert functions - names == {"NASNetMobile"}  # Keras says so when it is built

    @pytest.mark.slow
    def test_what_comes_with_the_package_is_what_keras_says(self):
        (shipped,) = (files("headstart.backbones") / "").glob("keras-*.json")
        assert shipped.name == f"keras-{version('keras')}.json", "benchmarks/backbone_facts.py"
        entry = backbones.find(Choice(NAME, "random")).entry
        assert keras_zoo.entry_of("MobileNetV3Small") == entry
        assert (entry.parameters, entry.features, entry.size) == (2554968, 1024, (224, 224))

    def test_near_matches_are_named_whatever_the_case(self):
        with pytest.raises(BackboneError, match="did you mean keras:VGG16 or timm:vgg16 or torch"):
            backbones.find("keras:vgg16")
        with pytest.raises(BackboneError, match="did you mean keras:MobileNetV2"):
            backbones.find("keras:MobileNetV22")

    @pytest.mark.slow
    def test_layers_are_called_the_same_every_time(self):
        first, second = (backbones.layers_of(NAME).layers for _ in range(2))
        assert first == second
        assert {*LAYERS} <= {layer.name for layer in first}
        assert (first[-1].name, first[-1].shape, first[-1].layout) == (
            "predictions",
            (1000,),
            "vector",
        )
        assert next(one for one in first if one.name == "conv").layout == "hwc"

    @pytest.mark.slow
    def test_an_absent_layer_is_named_with_near_matches(self):
        with pytest.raises(BackboneError, match="no layer 'activation_1x'; did you mean activat"):
            backbones.find(Choice(NAME, "random", "activation_1x")).load()


class TestNetwork:
    @pytest.mark.slow
    def test_several_layers_are_the_tensors_of_the_model(self):
        import torch

        candidate = backbones.find(Choice(NAME, "random", layers=("pre-logits", *LAYERS)))
        module, backbone = candidate.load()
        assert [part.layer for part in backbone.parts] == [*LAYERS, "pre-logits"]
        keras, model = keras_import.import_keras(), candidate.build().module
        wanted = [model.get_layer(name).output for name in LAYERS]
        given = next(one for one in model.layers if one.name == "logits").input
        with torch.inference_mode():
            ours = module(torch.from_numpy(photo()))
            theirs = keras.Model(model.input, [*wanted, given])(
                photo().transpose(0, 2, 3, 1), training=False
            )
        for one, other in zip(ours, theirs, strict=True):
            assert torch.allclose(one, other.mean((1, 2)), atol=1e-6)

    @pytest.mark.slow
    def test_a_seed_decides_and_nobody_elses_draws_change(self, model):
        torch = pytest.importorskip("torch")
        random.seed(3), np.random.seed(3), torch.manual_seed(3)  # noqa: NPY002
        expected = [random.random(), np.random.rand(), torch.rand(1).item()]  # noqa: NPY002
        random.seed(3), np.random.seed(3), torch.manual_seed(3)  # noqa: NPY002
        again = backbones.find(Choice(NAME, "random:7")).build().module
        assert [random.random(), np.random.rand(), torch.rand(1).item()] == expected  # noqa: NPY002
        other = backbones.find(Choice(NAME, "random")).build().module
        for one, two, three in zip(model.weights, again.weights, other.weights, strict=True):
            assert np.array_equal(one.numpy(), two.numpy())
            if one.path.endswith("kernel"):
                assert not np.array_equal(one.numpy(), three.numpy())

    @pytest.mark.parametrize(
        ("architecture", "mean", "std", "order"),
        [
            ("VGG16", [123.68, 116.779, 103.939], [1, 1, 1], "BGR"),  # caffe
            ("MobileNetV2", [127.5] * 3, [127.5] * 3, "RGB"),  # tf
            ("DenseNet121", [123.675, 116.28, 103.53], [58.395, 57.12, 57.375], "RGB"),  # torch
            ("EfficientNetB0", [0] * 3, [1] * 3, "RGB"),  # by layers of its own
        ],
    )
    def test_preparation_is_read_off_the_librarys_function(self, architecture, mean, std, order):
        function = keras_zoo._functions(keras_import.import_keras())[architecture]
        found = keras_zoo._preparation(function)
        assert np.allclose(np.multiply(found[0], 255), mean)
        assert np.allclose(np.multiply(found[1], 255), std)
        assert found[2] == order

    def test_a_preparation_without_words_is_refused(self, monkeypatch):
        module = keras_import.import_keras().applications.vgg16
        function = module.VGG16
        source = __import__(function.__module__, fromlist=["preprocess_input"])
        monkeypatch.setattr(source, "preprocess_input", lambda x, data_format: np.sqrt(x))
        with pytest.raises(BackboneError, match="VGG16 uses preprocessing"):
            keras_zoo._preparation(function)

    def test_it_cannot_be_fine_tuned_and_says_what_can(self):
        with pytest.raises(BackboneError, match="choose a network of torchvision or timm"):
            check_trainable(Choice(NAME), FinetuneConfig())


class TestWeights:
    @pytest.mark.slow
    def test_a_published_file_is_taken_from_keras_home(self, model, expected, home, monkeypatch):
        entry = backbones.find(Choice(NAME, "random")).entry
        assert not backbones.is_available(entry)
        path = published(model, home / entry.file)
        assert backbones.is_available(entry)
        with pytest.raises(BackboneError, match=rf"have MD5 \w+, not {entry.md5}; delete the file"):
            backbones.find(NAME)
        known = dataclasses.replace(entry, md5=hashlib.md5(path.read_bytes()).hexdigest())
        monkeypatch.setattr(KERAS, "list_entries", lambda: [known])
        candidate = backbones.find(NAME)
        assert candidate.name == NAME
        assert candidate.weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert np.array_equal(features(candidate), expected)

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["published.h5", "own.weights.h5"])
    def test_a_users_file_of_each_kind(self, kind, model, expected, tmp_path):
        path = tmp_path / kind
        if kind.startswith("own"):
            model.save_weights(path)
        else:
            published(model, path)
        candidate = backbones.find(Choice(NAME, str(path)))
        assert candidate.name == NAME + "+file"
        assert np.array_equal(features(candidate), expected)

    @pytest.mark.further("test_a_users_file_of_each_kind")
    @pytest.mark.slow
    def test_a_file_without_the_classifier_is_enough(self, tmp_path):
        keras, name = keras_import.import_keras(), "keras:MobileNet"
        base = keras.applications.MobileNet(
            input_shape=(224, 224, 3), include_top=False, weights=None
        )
        keras_zoo._randomise(base, 7)
        candidate = backbones.find(Choice(name, str(published(base, tmp_path / "a_notop.h5"))))
        whole = backbones.find(Choice(name, "random:7"))  # draws in the same order
        assert np.array_equal(features(candidate), features(whole))

    @pytest.mark.cases(1)
    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["a.keras", "a.h5"])
    def test_a_classifier_of_other_classes_is_left_out(self, kind, model, expected, tmp_path):
        keras = keras_import.import_keras()
        with keras_zoo._settled(keras, lambda **_: "", load=False):
            own = keras.applications.MobileNetV3Small(
                input_shape=(224, 224, 3), weights=None, classes=5
            )
        for ours, theirs in zip(own.layers, model.layers, strict=True):
            if [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]:
                ours.set_weights(theirs.get_weights())
        own.save(tmp_path / kind)
        candidate = backbones.find(Choice(NAME, str(tmp_path / kind)))
        assert np.array_equal(features(candidate), expected)

    @pytest.mark.slow
    def test_other_shapes_before_the_classifier_are_refused(self, tmp_path):
        other = keras_import.import_keras().applications.MobileNetV3Small(
            input_shape=(224, 224, 3), alpha=0.75, weights=None, classes=5
        )
        other.save(tmp_path / "narrow.h5")
        with pytest.raises(BackboneError, match="do not fit this network"):
            backbones.find(Choice(NAME, str(tmp_path / "narrow.h5"))).build()

    @pytest.mark.slow
    def test_a_file_without_layers_before_the_classifier_is_refused(self, tmp_path):
        """They would stay random: a dense layer here, those of VGG16 likewise."""
        base = keras_import.import_keras().applications.MobileNetV3Small(
            input_shape=(224, 224, 3), include_top=False, weights=None
        )
        path = published(base, tmp_path / "a_notop.h5")
        with pytest.raises(BackboneError, match="they lack conv_2; give the file that has the"):
            backbones.find(Choice(NAME, str(path))).build()

    @pytest.mark.cases(2)
    @pytest.mark.slow
    @pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras", ".pth"])
    @pytest.mark.parametrize("content", [b"", b"no weights at all"])
    def test_what_holds_no_weights_is_one_line(self, suffix, content, tmp_path):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(content)
        with pytest.raises(BackboneError, match="do not fit this network: ") as caught:
            backbones.find(Choice(NAME, str(path))).build()
        assert str(caught.value).isprintable()

    @pytest.mark.slow
    def test_another_networks_weights_do_not_fit(self, tmp_path):
        keras = keras_import.import_keras()
        other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        with pytest.raises(BackboneError, match=r"do not fit this network: .*layers"):
            backbones.find(Choice(NAME, str(published(other, tmp_path / "other.h5")))).build()

    @pytest.mark.slow
    def test_a_file_is_fetched_into_keras_home_and_checked(self, model, home, tmp_path):
        path = published(model, tmp_path / "source.h5")
        entry = backbones.find(Choice(NAME, "random")).entry
        entry = dataclasses.replace(entry, url=path.as_uri(), md5=cache.md5_of(path))
        assert KERAS.fetch(entry) == home / entry.file
        assert (home / entry.file).read_bytes() == path.read_bytes()
        (home / entry.file).unlink()
        wrong = dataclasses.replace(entry, md5="0" * 32)
        with pytest.raises(BackboneError, match=f"its MD5 is {'0' * 32}"):
            KERAS.fetch(wrong)

    def test_without_a_network_the_error_says_what_to_do(self, home, capsys):
        entry = backbones.find(Choice(NAME, "random")).entry
        for url, md5, proof in (
            ("http://127.0.0.1:9/a.h5", "1" * 32, f"its MD5 is {'1' * 32}"),
            ("http://127.0.0.1:9/a.h5", "", "no hash of it is published"),
        ):
            with pytest.raises(BackboneError) as caught:
                KERAS.fetch(dataclasses.replace(entry, url=url, md5=md5))
            said = str(caught.value)
            assert f"fetch {url} ({proof}) and put it at {home / entry.file}" in said
            assert said.isprintable()
        assert capsys.readouterr().out == ""  # where results go


class TestKerasItself:
    @pytest.mark.slow
    def test_its_settings_are_left_alone_and_do_not_matter(self, model):
        keras = keras_import.import_keras()
        try:
            keras.config.set_image_data_format("channels_first")
            keras.config.set_floatx("float16")
            keras.config.set_dtype_policy("mixed_bfloat16")
            again = backbones.find(Choice(NAME, "random:7")).build().module
            assert keras.config.image_data_format() == "channels_first"
            assert keras.config.floatx() == "float16"
            assert keras.config.dtype_policy().name == "mixed_bfloat16"
        finally:
            keras.config.set_image_data_format("channels_last")
            keras.config.set_floatx("float32")
            keras.config.set_dtype_policy("float32")
        assert [w.shape for w in again.weights] == [w.shape for w in model.weights]
        assert {w.dtype for w in again.weights} == {"float32"}

    def test_the_backend_is_set_for_the_import_alone(self, monkeypatch, tmp_path):
        (tmp_path / "keras.py").write_text(
            "import os, types\n"
            "asked = os.environ['KERAS_BACKEND']\n"
            "backend = types.SimpleNamespace(backend=lambda: asked)\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        for name in [one for one in sys.modules if one.partition(".")[0] == "keras"]:
            monkeypatch.delitem(sys.modules, name)
        for asked in ("tensorflow", None):
            monkeypatch.delenv("KERAS_BACKEND", raising=False)
            if asked:
                monkeypatch.setenv("KERAS_BACKEND", asked)
            assert keras_import.import_keras().backend.backend() == "torch"
            assert os.environ.get("KERAS_BACKEND") == asked
            del sys.modules["keras"]

    @pytest.mark.long
    def test_the_environment_may_ask_for_another_backend(self, fresh_python, monkeypatch):
        monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
        script = """
            import json, os
            from headstart.backbones import keras_import, keras_zoo
            keras = keras_import.import_keras()
            print(json.dumps([keras.backend.backend(), os.environ["KERAS_BACKEND"]]))
        """
        assert fresh_python(script) == ["torch", "tensorflow"]

    def test_another_backend_in_this_process_is_one_line(self, monkeypatch):
        keras = keras_import.import_keras()
        monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
        with pytest.raises(HeadstartError, match="runs on jax in this process; set KERAS_BACKEND"):
            keras_import.import_keras()

    def test_without_keras_the_extra_is_named(self, monkeypatch):
        def absent(package):
            raise PackageNotFoundError(package)

        monkeypatch.setattr("importlib.metadata.version", absent)
        with pytest.raises(HeadstartError, match=r"the extra \[keras\]"):
            backbones.find("keras:VGG16")

    def test_a_broken_keras_is_one_line(self, monkeypatch, tmp_path):
        (tmp_path / "keras.py").write_text("raise OSError('no libfoo')")
        monkeypatch.syspath_prepend(tmp_path)
        for name in [one for one in sys.modules if one.partition(".")[0] == "keras"]:
            monkeypatch.delitem(sys.modules, name)
        with pytest.raises(
            HeadstartError, match=r"keras cannot be imported \(no libfoo\).* the extra \[keras\]"
        ):
            keras_import.import_keras()
