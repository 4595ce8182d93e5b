"""ONNX files by others: networks as their makers export them, random weights, and bad files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from graphs import Maker
from headstart import backbones
from headstart.backbones import export, onnx_file
from headstart.backbones.inference.runner import Runner
from headstart.backbones.onnx_import import recipe
from headstart.core import sandbox
from headstart.core.errors import BackboneError
from headstart.core.records import Choice, Extraction
from headstart.datasets import images
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageOps

pytestmark = pytest.mark.usefixtures("fresh_cache_home", "no_sandbox")  # exports say something

CALL = sandbox.call


def caffenet():
    """AlexNet's plan at a quarter of its width, as Caffe's converters write it: opset 7."""
    m = Maker([1, 3, 227, 227], opset=7, ir=3)
    m.conv(3, 24, 11, 4, pads=[0] * 4).add("Relu").add("LRN", size=5)
    m.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2]).conv(24, 64, 5).add("Relu")
    m.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2]).conv(64, 96).add("Relu")
    m.conv(96, 64).add("Relu").add("MaxPool", kernel_shape=[3, 3], strides=[2, 2])
    m.add("Reshape", np.array([1, 2304])).gemm(2304, 256).add("Relu").add("Dropout")
    return m.gemm(256, 1000).add("Softmax", axis=1)


def darknet19():
    """Darknet-19's plan with YOLOv2's convolutions, at an eighth of its width."""
    m, before = Maker(["n", 3, 416, 416], opset=9), 3
    for stage in ([4], [8], [16, 8, 16], [32, 16, 32], [64, 32, 64, 32, 64], [128, 64, 128]):
        for number, after in enumerate(stage):
            m.conv(before, after, 3 if number % 2 == 0 else 1)
            m.add("LeakyRelu", alpha=0.1)
            before = after
        if stage[0] < 128:
            m.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    return m.conv(128, 128).add("LeakyRelu", alpha=0.1).conv(128, 425, 1)


def nn4_small2():
    """OpenFace's nn4.small2 with all its inception blocks, at a quarter of its width.

    As ``nn4.small2.def.lua`` has it: poolings within blocks shrink the maps, and Torch's
    DepthConcat puts zeros around the smaller ones.
    """
    m = Maker([1, 3, 96, 96], opset=11)
    pool = {"kernel_shape": [3, 3], "strides": [2, 2]}
    m.unit(3, 16, 7, 2).add("MaxPool", pads=[1] * 4, **pool).add("LRN", size=5)
    m.unit(16, 16, 1).unit(16, 48, 3).add("LRN", size=5).add("MaxPool", pads=[1] * 4, **pool)
    before, size = 48, 12
    for stride, branches, after_pool, alone, lp in (  # 3a to 5b; branches: side, reduced, wide
        (1, [(3, 24, 32), (5, 4, 8)], 8, 16, False),
        (1, [(3, 24, 32), (5, 8, 16)], 16, 16, True),
        (2, [(3, 32, 64), (5, 8, 16)], 0, 0, False),
        (1, [(3, 24, 48), (5, 8, 16)], 32, 64, True),
        (2, [(3, 40, 64), (5, 16, 32)], 0, 0, False),
        (1, [(3, 24, 96)], 24, 64, True),
        (1, [(3, 24, 96)], 24, 64, False),
    ):
        start, ends = m.last, []
        for side, reduced, wide in branches:
            m.last = start
            ends.append(m.unit(before, reduced, 1).unit(reduced, wide, side, stride).last)
        m.last, step = start, 3 if lp else 2
        if lp:
            m.add("Pow", np.float32(2)).add("AveragePool", kernel_shape=[3, 3], strides=[3, 3])
            m.add("Mul", np.float32(9)).add("Sqrt")
        else:
            m.add("MaxPool", **pool)
        if after_pool:
            m.unit(before, after_pool, 1)
        small, size = (size - 3) // step + 1, size // stride
        first = (size - small) // 2
        last = size - small - first
        m.add("Pad", np.array([0, 0, first, first, 0, 0, last, last], np.int64))
        ends.append(m.last)
        if alone:
            m.last = start
            ends.append(m.unit(before, alone, 1).last)
        before = sum(wide for _, _, wide in branches) + (after_pool or before) + alone
        m.join(ends)
    assert (before, size) == (184, 3)  # 736 at full width
    m.add("AveragePool", kernel_shape=[3, 3]).add("Flatten", axis=1).gemm(before, 128)
    return m.add("LpNormalization", axis=1, p=2)


def feature_vector():
    """What tf2onnx writes: channels last outside, a mean over places at the end."""
    m = Maker(["unk", 224, 224, 3], opset=13).add("Transpose", perm=[0, 3, 1, 2])
    m.conv(3, 16, 3, 2).add("Clip", np.float32(0), np.float32(6)).conv(16, 40, 3, 4)
    m.add("Relu").add("Transpose", perm=[0, 2, 3, 1])
    return m.add("ReduceMean", axes=[1, 2], keepdims=0)


def plain(opset=18, shape=("n", 3, 48, 48), kind=TensorProto.FLOAT):
    return Maker(list(shape), opset, kind, ir=10).conv(3, 8, 3, 2).add("Relu")


@pytest.fixture
def write(tmp_path):
    """Give ``write(maker_or_model, name)``: the name of the backbone in a file."""

    def write(made, name="net.onnx"):
        model = made.model() if isinstance(made, Maker) else made
        onnx.save(model, tmp_path / name)
        return f"onnx:{tmp_path / name}"

    return write


def by_pillow(path, resize, crop):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    if isinstance(resize, int):
        scale = resize / min(image.size)
        resize = tuple(resize if s == min(image.size) else int(s * scale) for s in image.size)
    image = image.resize(resize, Image.Resampling.BILINEAR)
    left, top = (round((side - crop) / 2) for side in image.size)
    return np.asarray(image.crop((left, top, left + crop, top + crop))).astype(np.float32)


def caffe(x):
    return (x[..., ::-1] - np.array([103.939, 116.779, 123.68])).transpose(2, 0, 1)


ARCHITECTURES = {
    # maker, preset, dim, layer's beginning, resize, crop, the plain preprocessing, the features
    "caffe": (caffenet, "caffe", 256, "dropout", (256, 256), 227, caffe, lambda x: x),
    "darknet": (
        darknet19, "darknet", 128, "leakyrelu", (416, 416), 416,
        lambda x: (x / 255).transpose(2, 0, 1), lambda x: x.mean((2, 3)),
    ),
    "openface": (
        nn4_small2, "openface", 128, "lpnorm", (96, 96), 96,
        lambda x: (x / 255).transpose(2, 0, 1), lambda x: x,
    ),
    "tfhub": (
        feature_vector, "tfhub", 40, "reducemean", (224, 224), 224,
        lambda x: x / 255, lambda x: x,
    ),
    "inception": (
        feature_vector, "inception", 40, "reducemean", 256, 224,
        lambda x: x / 127.5 - 1, lambda x: x,
    ),
}  # fmt: skip


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_features_are_those_of_the_file_by_plain_code(
    kind, write, tmp_path, write_image, monkeypatch
):
    """The file as it was, by onnxruntime, Pillow and numpy alone, on drawn images."""
    if kind == "caffe":
        monkeypatch.setattr(sandbox, "call", CALL)  # as users have it
    make, preset, dim, layer, resize, crop, prepare, pool = ARCHITECTURES[kind]
    name = write(make())
    path, parity = export.model_file(Choice(name, preprocess=preset))
    runner = Runner(path)
    assert runner.backbone.dim == dim
    assert runner.backbone.layer.startswith(layer)
    assert parity.notes
    assert "BGR" in runner.backbone.order if kind == "caffe" else runner.backbone.order == "RGB"
    photos = [write_image(tmp_path / f"{n}.png", n, (300 + 40 * n, 280)) for n in range(4)]
    cut = onnx.load(tmp_path / "net.onnx")
    if runner.backbone.layer != cut.graph.output[0].name:
        cut.graph.output[0].name = runner.backbone.layer
    session = ort.InferenceSession(cut.SerializeToString())
    theirs, ours = [], []
    for photo in photos:
        data = prepare(by_pillow(photo, resize, crop))[np.newaxis].astype(np.float32)
        theirs.append(pool(session.run(None, {"data": data})[0])[0])
        crop_ = images.decode(photo.read_bytes(), runner.backbone.preprocess)
        ours.append(runner.embed(crop_[np.newaxis])[0])
    ours, theirs = np.array(ours, np.float64), np.array(theirs, np.float64)
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosine = (ours * theirs).sum(axis=1) / lengths
    assert cosine.mean() >= 0.9999
    assert cosine.min() >= 0.999
    batch = np.stack([images.decode(p.read_bytes(), runner.backbone.preprocess) for p in photos])
    assert np.allclose(runner.embed(batch), ours, atol=1e-4 * np.abs(ours).max())


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize("opset", [7, 11, 13, 18, 21])
def test_old_and_new_operators(opset, write):
    path, _ = export.model_file(Choice(write(plain(opset)), preprocess="unit"))
    assert {one.domain: one.version for one in onnx.load(path).opset_import}[""] == export.OPSET


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "preset"), [(TensorProto.FLOAT16, "unit"), (TensorProto.DOUBLE, "imagenet")]
)
def test_other_types(kind, preset, write):
    made = Maker(["n", 3, 48, 48], 18, kind)
    if kind == TensorProto.DOUBLE:
        made.add("Cast", to=TensorProto.FLOAT)
        made.kind = TensorProto.FLOAT
    model = made.conv(3, 8, 3, 2).add("Relu").model()
    model.graph.input[0].type.tensor_type.elem_type = kind
    assert Runner(export.model_file(Choice(write(model), preprocess=preset))[0]).backbone.dim == 8


@pytest.mark.slow
def test_images_as_they_are(write):
    made = Maker(["n", 32, 32, 3], 18).add("Cast", to=TensorProto.FLOAT)
    made.add("Transpose", perm=[0, 3, 1, 2]).conv(3, 8, 3, 2).add("Relu")
    model = made.model()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    name = write(model)
    backbone = Runner(export.model_file(Choice(name))[0]).backbone
    assert (backbone.mean, backbone.preprocess.size) == ((0, 0, 0), (32, 32))
    with pytest.raises(BackboneError, match="use --preprocess raw"):
        export.model_file(Choice(name, preprocess="imagenet"))


@pytest.mark.slow
def test_a_node_can_be_chosen_and_pooled(write):
    name = write(plain().conv(8, 6))
    listed = {one.name: one.shape for one in backbones.layers_of(name).layers}
    assert listed == {"conv0": (8, 24, 24), "relu1": (8, 24, 24), "conv2": (6, 24, 24)}
    choice = Choice(name + "#relu1", pool="gem", preprocess="imagenet")
    backbone = Runner(export.model_file(choice)[0]).backbone
    assert (backbone.layer, backbone.pool, backbone.dim) == ("relu1", "gem", 8)
    assert Runner(export.model_file(Choice(name, layer="conv0", pool="flatten"))[0]).backbone.dim
    with pytest.raises(BackboneError, match="did you mean relu1"):
        export.model_file(Choice(name + "#relu11"))


@pytest.mark.slow
def test_what_is_assumed_is_said(write):
    parity = export.model_file(write(plain(shape=("n", "c", "h", "w"))))[1]
    assert "--preprocess imagenet (RGB), the layout NCHW" in str(parity)
    assert export.model_file(write(plain(), "other.onnx"))[1].original == "the file as it was"


@pytest.mark.slow
def test_weights_beside_the_file(tmp_path):
    model = plain().model()
    external = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    onnx.save(model, tmp_path / "a.onnx", **external)
    first = backbones.find(f"onnx:{tmp_path / 'a.onnx'}")
    assert export.model_file(f"onnx:{tmp_path / 'a.onnx'}")[1]
    data = bytearray((tmp_path / "w.bin").read_bytes())
    data[5] ^= 1
    (tmp_path / "w.bin").write_bytes(data)
    assert backbones.find(f"onnx:{tmp_path / 'a.onnx'}").sha256 != first.sha256


@pytest.mark.slow
def test_it_can_be_made_again_from_what_a_store_says(write):
    name = write(caffenet())
    backbone = Runner(export.model_file(Choice(name, preprocess="caffe"))[0]).backbone
    again = backbones.choice_of(backbone, backbones.users_file(name))
    assert Runner(export.model_file(again)[0]).backbone == backbone
    assert Extraction(backbone).to_json()["backbone"]["order"] == "BGR"


def with_external(location, offset="0"):
    model = plain().model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": offset, "length": "864"}.items():
        tensor.external_data.add(key=key, value=value)
    return model


def with_input(model):
    extra = helper.make_tensor_value_info("mask", 1, ["n", 1, None, None])
    model.graph.input.append(extra)
    model.graph.node.append(helper.make_node("Mul", ["relu1", "mask"], ["out"]))
    model.graph.output[0].name = "out"
    return model


def with_domain():
    model = plain().model()
    model.graph.node[1].domain = "evil.org"
    model.opset_import.append(helper.make_opsetid("evil.org", 1))
    return model


def gigantic(side=1 << 40):
    made = plain()
    shape = numpy_helper.from_array(np.array([side, 4]), "s")
    made.constants.append(shape)
    made.nodes.append(helper.make_node("ConstantOfShape", ["s"], ["big"]))
    made.nodes.append(helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0))
    made.nodes.append(helper.make_node("Add", [made.last, "sum"], ["out"]))
    made.last = "out"
    return made.model()


def endless():
    made = plain()
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Relu", ["x"], ["x2"])],
        "body",
        [helper.make_tensor_value_info(n, k, []) for n, k in (("i", 7), ("c", 9))]
        + [helper.make_tensor_value_info("x", 1, None)],
        [helper.make_tensor_value_info("c2", 9, []), helper.make_tensor_value_info("x2", 1, None)],
    )
    made.constants.append(numpy_helper.from_array(np.array(1 << 60), "times"))
    made.nodes.append(helper.make_node("Loop", ["times", "", made.last], ["out"], body=body))
    made.last = "out"
    return made.model()


def claiming():
    model = plain().model()
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 40]
    return model


def twice():
    model = plain().model()
    model.graph.node.append(helper.make_node("Neg", ["conv0"], ["relu1"]))
    return model


def of_chance():
    return plain().add("RandomNormalLike").model()


def of_neighbours():
    made = plain().add("GlobalAveragePool")
    made.constants.append(numpy_helper.from_array(np.array([0]), "batch"))
    made.nodes.append(helper.make_node("ReduceMean", [made.last, "batch"], ["mean"]))
    made.nodes.append(helper.make_node("Mul", [made.last, "mean"], ["out"]))
    made.last = "out"
    return made.model()


def circular():
    model = plain().model()
    opsets = [helper.make_opsetid("own", 1)]
    calls = [helper.make_node("Again", ["a"], ["b"], domain="own")]
    model.functions.append(helper.make_function("own", "Again", ["a"], ["b"], calls, opsets))
    model.opset_import.extend(opsets)
    model.graph.node[1].op_type, model.graph.node[1].domain = "Again", "own"
    return model


def fixed_for_good():
    made = Maker([2, 3, 16, 16], 18).conv(3, 8).add("Relu").add("GlobalAveragePool")
    return made.add("Reshape", np.array([16])).add("Reshape", np.array([4, 4])).model()


BAD = {
    "outside": (lambda: with_external("../secret"), "outside of its own folder"),
    "absolute": (lambda: with_external("/etc/passwd"), "outside of its own folder"),
    "link": (lambda: with_external("link"), "outside of its own folder"),
    "absent": (lambda: with_external("w.bin"), "fetch that too"),
    "past the end": (lambda: with_external("net.onnx", "999999"), "fetch both again"),
    "inputs": (lambda: with_input(plain().model()), r"takes 2 inputs \(data"),
    "domain": (with_domain, "operators that onnxruntime does not support: evil.org.Relu"),
    "grey": (lambda: plain(shape=("n", 1, 48, 48)).model(), "does not run|refuses|contradicts"),
    "vector": (lambda: plain(shape=("n", 3)).model(), "four dimensions|contradicts"),
    "gigantic": (gigantic, "refuses|damaged|does not run|claims"),
    "endless": (endless, "loops .Loop."),
    "claiming": (claiming, "claims the shape"),
    "old": (lambda: plain(opset=6).model(), "opset 6; 7 to"),
    "new": (lambda: plain(opset=999).model(), "opset 999; 7 to"),
    "batch": (fixed_for_good, "not a row an image|equal"),
    "twice": (twice, "two of its nodes make relu1"),
    "chance": (of_chance, "not equal .*: choose another layer"),
    "neighbours": (of_neighbours, "not equal .*: choose another layer"),
    "circular": (circular, "functions that cannot be written out"),
    "empty": (lambda: onnx.ModelProto(), "not an ONNX file"),
}


# What runs for ever or takes all memory needs the limits of a process.
BOUNDLESS = {"gigantic", "endless", "claiming", "circular"}


@pytest.mark.slow
@pytest.mark.parametrize("axes", [[0, 2, 3, 1], [1, 0, 2, 3]])
def test_a_slice_of_a_fixed_batch_takes_any(axes, write):
    """As tf2onnx writes a strided slice of TFLite: of all four sides."""
    ends = dict(enumerate([1, 6, 24, 24]))
    made = plain(shape=(1, 3, 48, 48))
    made.add("Slice", np.zeros(4, np.int64), np.array([ends[axis] for axis in axes]), axes)
    path, parity = export.model_file(write(made))
    assert Runner(path).backbone.dim == 6
    assert "smallest cosine 1.000" in str(parity)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_in_one_line(kind, write, tmp_path, monkeypatch):
    make, said = BAD[kind]
    if kind in BOUNDLESS:
        monkeypatch.setattr(sandbox, "call", CALL)
    (tmp_path.parent / "secret").write_bytes(bytes(2000))
    (tmp_path / "link").symlink_to(tmp_path.parent / "secret")
    with pytest.raises(BackboneError, match=said) as caught:
        export.model_file(write(make()))
    assert str(caught.value).isprintable()


def test_truncated_files_and_garbage(write, tmp_path):
    whole = plain().model().SerializeToString()
    path = tmp_path / "bad.onnx"
    rng = np.random.default_rng(3)
    for data in (b"", b"\x00" * 99, rng.bytes(5000), whole[: len(whole) // 2], whole[:-7]):
        path.write_bytes(data)
        with pytest.raises(BackboneError) as caught:
            export.model_file(f"onnx:{path}")
        assert str(caught.value).isprintable()
    with pytest.raises(BackboneError, match="no ONNX file at"):
        backbones.find(f"onnx:{tmp_path / 'gone.onnx'}")


def test_a_path_may_hold_the_sign_of_a_node(tmp_path):
    path = tmp_path / "a#b.onnx"
    path.write_bytes(b"x")
    assert onnx_file.split(f"onnx:{path}#/l/relu#1") == (path.resolve(), "/l/relu#1")


def test_options_that_do_not_belong(write):
    name = write(plain())
    for choice, said in (
        (Choice(name, weights="random"), "leave --weights out"),
        (Choice(name, layers=("conv0", "relu1")), "give one --layer"),
        (Choice(name + "#conv0", layer="relu1"), "two places"),
        (Choice(name, preprocess="imagenet:96"), "takes 48 × 48 alone"),
        (Choice("efficientnet-lite0", preprocess="caffe"), "is known"),
    ):
        with pytest.raises(BackboneError, match=said):
            export.model_file(choice)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([1], "must hold one object"),
        ({"sizes": 3}, "did you mean size"),
        ({"size": 0}, "size must be a whole number"),
        ({"size": True}, "size must be a whole number"),
        ({"mean": [1, 2]}, "mean must be one number or three"),
        ({"std": 0}, "std must be one number or three, above 0"),
        ({"scale": "x"}, "scale must be a number above 0"),
        ({"order": "GRB"}, "order must be one of RGB, BGR"),
        ({"interpolation": "area"}, "interpolation must be one of"),
        ({"size": 9, "crop": 8}, "leave one of them out"),
    ],
)
def test_recipes_that_make_no_sense(document, said, tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(document))
    with pytest.raises(BackboneError, match=said):
        recipe.read(str(path))


def test_recipes_by_word_and_by_file(tmp_path):
    assert recipe.read("unit:96:bgr").order == "BGR"
    assert recipe.read("caffe:227").preprocess().resize == (256, 256)
    assert recipe.read("imagenet").preprocess((160, 160)).resize == 183
    path: Path = tmp_path / "r.json"
    path.write_text('{"size": [96, 64], "resize": 128, "mean": 127.5, "std": [128, 128, 128]}')
    made = recipe.read(str(path)).preprocess()
    assert (made.size, made.resize) == ((96, 64), 128)
    for spec, said in (("cafe", "did you mean caffe"), ("unit:x", "neither a size"), ("{", "JSON")):
        with pytest.raises(BackboneError, match=said):
            recipe.read(spec)
