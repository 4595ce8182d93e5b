"""Files that TensorFlow itself wrote, converted to the end, against TensorFlow's own features.

They run where the extra [tensorflow] is installed, which is too large for what `make` installs:
``pip install -c constraints.txt -e '.[dev,tensorflow]'``.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from headstart.backbones import export
from headstart.backbones.inference.runner import Runner
from headstart.cli import cli
from headstart.core.errors import BackboneError
from headstart.workflows.features import choice

pytestmark = [
    pytest.mark.long,
    pytest.mark.process,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("tensorflow", "tf2onnx"))),
        reason="the extra [tensorflow] is not installed",
    ),
]

KINDS = ("small", "MobileNetV2", "MobileNetV2 augmented", "ResNet50", "ResNet50 augmented")

# In a process of its own, because Keras has one backend in a process.
WRITE = """
import sys
from pathlib import Path
import numpy as np
import tensorflow as tf
from tensorflow import keras
kind, folder = sys.argv[1], Path(sys.argv[2])
layers = keras.layers
keras.utils.set_random_seed(3)
if kind == "small":
    image = keras.Input((48, 48, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.Conv2D(16, 3, strides=2, padding="same")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, strides=2, padding="same")(x)
    x = layers.Conv2D(80, 1, activation="swish")(x)
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D(name="pool")(x))
else:
    image = keras.Input((96, 96, 3))
    augmentation = [layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)]
    augmentation = keras.Sequential([*augmentation, layers.RandomZoom(0.1)])
    if kind.startswith("MobileNetV2"):
        package, build = keras.applications.mobilenet_v2, keras.applications.MobileNetV2
    else:
        package, build = keras.applications.resnet50, keras.applications.ResNet50
    inside = build(input_shape=(96, 96, 3), include_top=False, weights=None)
    normalisations = [x for x in inside.layers if isinstance(x, layers.BatchNormalization)]
    for layer in normalisations:  # as after training, or the signal is lost in rounding
        layer.momentum = 0.0
    noise = np.random.default_rng(1).integers(0, 256, (8, 96, 96, 3)).astype("float32")
    inside(package.preprocess_input(noise), training=True)
    x = augmentation(image) if kind.endswith("augmented") else image
    x = inside(package.preprocess_input(x), training=False)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D(name="pool")(x))
model = keras.Model(image, layers.Dense(5, activation="softmax")(x))
model.save(folder / "net.keras")
model.save(folder / "net.h5")
model.export(folder / "saved")
if not kind.endswith("augmented"):
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    (folder / "net.tflite").write_bytes(converter.convert())
images = np.random.default_rng(0).integers(0, 256, (4, *image.shape[1:]), np.uint8)
features = keras.Model(image, model.get_layer("pool").output)
values = features(images.astype("float32"), training=False)  # else Keras 3 augments
np.savez(folder / "expected.npz", images=images, features=values)
"""


@pytest.fixture(scope="module", params=KINDS)
def written(request, tmp_path_factory):
    """Give a folder with a network in every format, and the features that it should have."""
    folder = tmp_path_factory.mktemp(request.param)
    words = [sys.executable, "-c", WRITE, request.param, str(folder)]
    variables = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(words, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", ["net.keras", "net.h5", "net.tflite", "saved"])
def test_features_are_tensorflows(name, written, fresh_cache_home):
    path = written / name
    if not path.exists():
        pytest.skip("TFLite has no augmentation")
    described = CliRunner().invoke(cli, ["backbones", str(path)])
    assert described.exit_code == 0, described.exception
    assert "--preprocess raw" in described.output
    network = choice(str(path), preprocess="raw")
    if name == "saved" and "augmented" in written.name:  # it holds what training does, too
        with pytest.raises(BackboneError, match="StatelessRandomUniform"):
            export.model_file(network)
        return
    file, parity = export.model_file(network)
    assert "5 classes" in str(parity)
    with np.load(written / "expected.npz") as expected:
        ours, theirs = Runner(file).embed(expected["images"]), expected["features"]
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()
    assert theirs.std(axis=0).max() > 1e-3 * np.abs(theirs).max()  # they differ between images


TRAINED = """
import sys
import tensorflow as tf

class Network(tf.Module):
    def __init__(self):
        self.kernel = tf.Variable(tf.random.stateless_normal((3, 3, 3, 80), (1, 2)))
        self.optimizer = tf.compat.v1.train.AdamOptimizer()
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(self.kernel)
        self.optimizer.apply_gradients([(tape.gradient(loss, self.kernel), self.kernel)])

    @tf.function(input_signature=[tf.TensorSpec((None, 16, 16, 3))])
    def __call__(self, image):
        return tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(image, self.kernel, 2, "SAME")), (1, 2))

network = Network()
tf.saved_model.save(network, sys.argv[1], signatures=network.__call__)
"""


def test_a_folder_saved_with_its_optimizer(tmp_path, fresh_cache_home):
    """As Keras 2 saved each compiled network; TensorFlow has no such optimizers any more."""
    folder = tmp_path / "saved"
    words = [sys.executable, "-c", TRAINED, str(folder)]
    variables = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(words, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    file, _ = export.model_file(choice(str(folder), preprocess="unit"))
    assert Runner(file).backbone.dim == 80
