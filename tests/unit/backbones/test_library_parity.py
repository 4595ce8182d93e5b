"""Every provider's features of real photos, against its library's own transforms and forward.

The weights are random where no published ones can be had: parity is a matter of the arithmetic.
Random networks give similar features to all images, so the features less their mean are compared
as well.
"""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from headstart import backbones
from headstart.backbones import export
from headstart.backbones.inference.runner import Runner
from headstart.core.records import Choice
from headstart.core.torchvision_import import import_timm, import_torchvision
from headstart.datasets import images
from PIL import Image, ImageOps

PHOTOS = 16


def torchvisions(name: str):
    """Give torchvision's transforms and its forward up to the classifier, by its own extractor."""
    models = import_torchvision().models
    from torchvision.models.feature_extraction import create_feature_extractor

    candidate = backbones.find(Choice(name, "random"))
    enum = models.get_model_weights(candidate.entry.architecture).DEFAULT
    node = "features" if "squeezenet" in name else "flatten"
    extractor = create_feature_extractor(candidate.build().module, {node: "out"})

    def forward(batch):
        out = extractor(batch)["out"]
        return out.mean((2, 3)) if out.dim() == 4 else out

    return enum.transforms(), forward


def timms(name: str):
    """Give timm's transforms and its own forward without a classifier."""
    import torch

    timm = import_timm()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(backbones.find(Choice(name, "random")).entry.name[5:]).eval()
    config = timm.data.resolve_data_config(model=network)
    return timm.data.create_transform(**config), lambda batch: network.forward_head(
        network.forward_features(batch), pre_logits=True
    )


@pytest.mark.long
@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("keras:MobileNet", "conv_pw_3_relu"),  # -1…1
        ("keras:ResNet50", "conv2_block1_out"),  # caffe: BGR less the means
        ("keras:DenseNet121", "conv2_block1_concat"),  # as torch prepares images
        ("keras:EfficientNetB1", "block1b_add"),  # prepares them by layers of its own
    ],
)
def test_features_of_photos_are_keras_own(name, layer, clothing):
    """Layers early in a network, where one will do: torch takes long to trace Keras."""
    import torch
    from headstart.backbones import keras_import

    keras = keras_import.import_keras()
    choice = Choice(name, "random", layer=layer)
    candidate = backbones.find(choice)
    model = candidate.build().module
    extractor = keras.Model(model.input, model.get_layer(layer).output)
    function = getattr(keras.applications, candidate.entry.architecture)
    prepare = sys.modules[function.__module__].preprocess_input
    every = sorted((clothing / "test").rglob("*.jpg"))
    paths = [every[at] for at in np.linspace(0, len(every) - 1, PHOTOS).astype(int)]
    theirs = []
    for path in paths:
        upright = io.BytesIO()
        ImageOps.exif_transpose(Image.open(path)).convert("RGB").save(upright, "PNG")
        image = keras.utils.load_img(upright, target_size=model.input_shape[1:3])
        batch = prepare(keras.utils.img_to_array(image)[np.newaxis])
        with torch.inference_mode():
            theirs.append(extractor(batch, training=False).numpy().astype(np.float64))
    theirs = np.concatenate(theirs)
    theirs = theirs.mean((1, 2)) if theirs.ndim == 4 else theirs
    runner = Runner(export.model_file(choice)[0])
    crops = [images.decode(path.read_bytes(), runner.backbone.preprocess) for path in paths]
    ours = np.concatenate([runner.embed(crop[np.newaxis]) for crop in crops]).astype(np.float64)
    assert ours.shape == theirs.shape
    for mean in (0, theirs.mean(axis=0)):
        cosine = cosines(ours - mean, theirs - mean)
        assert cosine.mean() >= 0.9999
        assert cosine.min() >= 0.999


def cosines(left, right):
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return (left * right).sum(axis=1) / lengths


@pytest.mark.long
@pytest.mark.acceptance
@pytest.mark.parametrize(
    "name",
    [
        "torchvision:resnet18",  # bilinear
        "torchvision:squeezenet1_1",  # a fully convolutional classifier
        "torchvision:swin_t",  # bicubic, maps with the channels last
        "timm:resnet18",  # 0.95 of the image
        "timm:vit_tiny_patch16_224",  # tokens
        "timm:mobilenetv4_conv_small_035",
        "timm:convnext_atto_ols",
    ],
)
def test_features_of_photos_are_the_librarys_own(name, clothing):
    import torch

    transform, forward = (torchvisions if name.startswith("torchvision:") else timms)(name)
    every = sorted((clothing / "test").rglob("*.jpg"))
    photos = [every[at] for at in np.linspace(0, len(every) - 1, PHOTOS).astype(int)]
    upright = [ImageOps.exif_transpose(Image.open(path)).convert("RGB") for path in photos]
    with torch.inference_mode():
        theirs = forward(torch.stack([transform(image) for image in upright])).double().numpy()
    runner = Runner(export.model_file(Choice(name, "random"))[0])
    crops = [images.decode(path.read_bytes(), runner.backbone.preprocess) for path in photos]
    ours = np.concatenate([runner.embed(crop[np.newaxis]) for crop in crops]).astype(np.float64)
    assert ours.shape == theirs.shape
    for mean in (0, theirs.mean(axis=0)):
        cosine = cosines(ours - mean, theirs - mean)
        assert cosine.mean() >= 0.9999
        assert cosine.min() >= 0.999
