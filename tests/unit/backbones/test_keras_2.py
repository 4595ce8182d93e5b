"""What Keras 2 wrote into its files, and slices that Keras 3 cannot compute on torch."""

from __future__ import annotations

import json

import numpy as np
import pytest
from headstart.backbones import keras_2, keras_file
from headstart.backbones.inference.runner import open_session
from headstart.backbones.keras_import import import_keras
from headstart.core.errors import BackboneError

pytestmark = pytest.mark.slow

ELLIPSIS = {"class_name": "__ellipsis__"}  # parts of slices, as Keras 2 writes them
EVERYTHING = {"start": None, "stop": None, "step": None}
REVERSED = {"start": None, "stop": None, "step": -1}
CAFFE = (-103.939, -116.779, -123.68)


def layers_of(network):
    """Yield the layers of a network's configuration, and those of networks inside."""
    for layer in network["config"].get("layers", ()):
        yield layer
        yield from layers_of(layer)


def as_keras_2(path, former):
    """Write layers of a file as operations of Keras 2: kind, function, input and arguments."""
    import h5py

    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in layers_of(config):
            if layer.get("name") in former:
                kind, function, before, arguments = former[layer["name"]]
                layer["class_name"] = kind
                layer["config"] = {"name": layer["name"], "function": function}
                layer["inbound_nodes"] = [[before, 0, 0, arguments]]
        file.attrs["model_config"] = json.dumps(config)


def keras_2_network(path, key):
    """Write a network that slices images and adds a mean, in the form of Keras 2; return it."""
    keras = import_keras()
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Activation("linear", name="sliced")(image)
    x = keras.layers.Activation("linear", name="centred")(x)
    model = keras.Model(image, keras.layers.Conv2D(4, 3, name="conv")(x))
    model.save(path)
    former = {
        "sliced": ("SlicingOpLambda", "__operators__.getitem", "image", {"slice_spec": key}),
        "centred": ("TFOpLambda", "nn.bias_add", "sliced", {"bias": CAFFE, "data_format": "NHWC"}),
    }
    as_keras_2(path, former)
    return model


def outputs_of(path, images):
    session = open_session(path)
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def test_what_keras_2_wrote_of_convolutions(tmp_path):
    import h5py

    keras, path = import_keras(), tmp_path / "net.h5"
    layers = keras.layers
    model = keras.Sequential(
        [
            *(keras.Input((12, 12, 3)), layers.DepthwiseConv2D(3)),
            *(layers.SeparableConv2D(4, 3), layers.Conv2DTranspose(5, 2)),
        ]
    )
    model.save(path)
    former = {"DepthwiseConv2D": {"groups": 1}, "Conv2DTranspose": {"groups": 1}}
    former["SeparableConv2D"] = {
        "groups": 1,
        "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
        "kernel_regularizer": None,
        "kernel_constraint": None,
    }
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            layer["config"] |= former.get(layer["class_name"], {})
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(TypeError, match="groups"):
        keras.saving.load_model(path, compile=False)
    keras_file.convert(path, tmp_path / "net.onnx")
    images = np.random.default_rng(0).uniform(0, 1, (2, 12, 12, 3)).astype(np.float32)
    outputs = outputs_of(tmp_path / "net.onnx", images)
    assert np.allclose(outputs, model(images).detach().numpy(), atol=1e-5)
    config["config"]["layers"][1]["config"]["groups"] = 3
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(BackboneError, match="DepthwiseConv2D"):
        keras_file.convert(path, tmp_path / "net.onnx")


def test_what_keras_2_wrote_of_arithmetic(tmp_path):
    """As ``preprocess_input`` between layers, in the tutorials of that time."""
    keras, path = import_keras(), tmp_path / "net.h5"
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Activation("linear", name="divided")(image)
    x = layers.Activation("linear", name="less")(x)
    x = layers.Conv2D(4, 3, name="conv")(layers.Activation("linear", name="biased")(x))
    model = keras.Model(image, x)
    model.save(path)
    bias = {"bias": [0.1, 0.2, 0.3], "data_format": "NHWC"}
    former = {
        "divided": ("TFOpLambda", "math.truediv", "image", {"y": 127.5, "name": None}),
        "less": ("TFOpLambda", "math.subtract", "divided", {"y": 1.0, "name": None}),
        "biased": ("TFOpLambda", "nn.bias_add", "less", bias),
    }
    as_keras_2(path, former)
    keras_file.convert(path, tmp_path / "net.onnx")
    images = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    outputs = outputs_of(tmp_path / "net.onnx", images)
    expected = model.get_layer("conv")(images / 127.5 - 1 + np.float32([0.1, 0.2, 0.3]))
    assert np.allclose(outputs, expected.detach().numpy(), atol=1e-5)
    as_keras_2(path, {"divided": ("TFOpLambda", "image.resize", "image", {"size": [9, 9]})})
    with pytest.raises(BackboneError, match="layers or code"):
        keras_file.convert(path, tmp_path / "net.onnx")


def test_what_keras_2_wrote_of_networks_inside(tmp_path):
    """Slashes in names, sums without a layer, and augmentation, as in DenseNet and RegNet."""
    import h5py

    keras, path = import_keras(), tmp_path / "net.h5"
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Activation("linear", name="sum")(layers.Conv2D(3, 1, name="conv_a")(image))
    inside = keras.Model(image, x, name="inside")
    outer = keras.Input((8, 8, 3), name="outer")
    x = inside(layers.RandomFlip(name="flip")(outer))
    model = keras.Model(outer, layers.Conv2D(4, 3, name="conv")(x))
    model.save(path)
    as_keras_2(
        path,
        {"sum": ("TFOpLambda", "__operators__.add", "conv_a", {"y": ["image", 0, 0]})},
    )
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"].replace('"conv_a"', '"conv/a"'))
        flip = next(layer for layer in layers_of(config) if layer["name"] == "flip")
        flip["config"]["rng_type"] = "stateful"
        file.attrs["model_config"] = json.dumps(config)
    keras_file.convert(path, tmp_path / "net.onnx")
    images = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 3)).astype(np.float32)
    outputs = outputs_of(tmp_path / "net.onnx", images)
    summed = images + inside.get_layer("conv_a")(images).detach().numpy()
    expected = model.get_layer("conv")(summed)
    assert np.allclose(outputs, expected.detach().numpy(), atol=1e-5)


@pytest.mark.parametrize(
    "key", [[ELLIPSIS, REVERSED], [EVERYTHING, EVERYTHING, EVERYTHING, REVERSED]]
)
def test_channels_that_keras_2_reversed(key, tmp_path):
    """As ``preprocess_input`` of ResNet50 and VGG16 does, with their mean after it."""
    path, model = tmp_path / "net.h5", keras_2_network(tmp_path / "net.h5", key)
    keras_file.convert(path, tmp_path / "net.onnx")
    images = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    outputs = outputs_of(tmp_path / "net.onnx", images)
    expected = model.get_layer("conv")(images[..., ::-1] + np.float32(CAFFE))
    assert np.allclose(outputs, expected.detach().numpy(), atol=1e-4)


@pytest.mark.parametrize(
    "key",
    [
        [ELLIPSIS, {"start": 1, "stop": None, "step": None}],
        [ELLIPSIS, {"start": None, "stop": None, "step": -2}],
        [ELLIPSIS, REVERSED, EVERYTHING],
        [EVERYTHING, REVERSED],
        [EVERYTHING, REVERSED, EVERYTHING, REVERSED],
        [ELLIPSIS, ELLIPSIS, REVERSED],
        [ELLIPSIS, 0],
        REVERSED,
        None,
    ],
)
def test_other_slices_of_keras_2_are_refused(key, tmp_path):
    keras_2_network(tmp_path / "net.h5", key)
    with pytest.raises(BackboneError, match=r"layers or code.*slice.*export it there") as error:
        keras_file.convert(tmp_path / "net.h5", tmp_path / "net.onnx")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_preprocessing_of_keras_3(suffix, mode, tmp_path):
    """As between the layers of a file of transfer learning; Keras itself reads no such .h5 file."""
    keras, path = import_keras(), tmp_path / f"net{suffix}"
    image = keras.Input((8, 8, 3))
    preprocess = keras.applications.imagenet_utils.preprocess_input
    x = preprocess(image, mode=mode, data_format="channels_last")
    x = keras.layers.Add()([x, x])  # a layer of the same name as an operation
    model = keras.Model(image, keras.layers.Conv2D(4, 3, name="conv")(x))
    model.save(path)
    keras_file.convert(path, tmp_path / "net.onnx")
    images = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    outputs = outputs_of(tmp_path / "net.onnx", images)
    prepared = preprocess(images.copy(), mode=mode, data_format="channels_last")
    expected = model.get_layer("conv")(np.ascontiguousarray(2 * prepared))
    assert np.allclose(outputs, expected.detach().numpy(), atol=1e-4)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_slices_of_keras_3(suffix, tmp_path):
    keras, path = import_keras(), tmp_path / f"net{suffix}"
    image = keras.Input((8, 8, 3))
    sliced = image[..., ::-1][:, 2:, :, :]
    model = keras.Model(image, keras.layers.Conv2D(4, 3, name="conv")(sliced))
    model.save(path)
    keras_file.convert(path, tmp_path / "net.onnx")
    images = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    outputs = outputs_of(tmp_path / "net.onnx", images)
    expected = model.get_layer("conv")(np.ascontiguousarray(images[:, 2:, :, ::-1]))
    assert np.allclose(outputs, expected.detach().numpy(), atol=1e-4)
    keras.Model(image, keras.layers.Conv2D(4, 3)(image[:, ::-1])).save(path)
    with pytest.raises(BackboneError, match="by Keras on torch"):
        keras_file.convert(path, tmp_path / "net.onnx")


def test_uses_of_a_network_inside_count_from_one_in_keras_2():
    layers = [
        {"name": "a", "class_name": "Functional", "inbound_nodes": [[["image", 0, 0, {}]]]},
        {"name": "b", "class_name": "Sequential", "inbound_nodes": [[["a", 1, 0, {}]]]},
        {"name": "c", "class_name": "ReLU", "inbound_nodes": [[["b", 0, 0, {}]]]},
        {"name": "d", "class_name": "ReLU", "inbound_nodes": [{"args": [], "kwargs": {}}]},
    ]
    keras_2.rejoin(layers)
    nodes = [layer["inbound_nodes"][0] for layer in layers]
    assert nodes[1:] == [[["a", 0, 0, {}]], [["b", 0, 0, {}]], {"args": [], "kwargs": {}}]
