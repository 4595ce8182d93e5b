"""Where foreign graphs are cut: weights behind operators, quantised files, outputs, detectors."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from graphs import Maker
from headstart.backbones import export, layers_of
from headstart.backbones.inference.runner import Runner
from headstart.backbones.onnx_import.cut import choose
from headstart.backbones.onnx_import.graph import Graph
from headstart.backbones.onnx_import.recipe import Recipe
from headstart.backbones.onnx_import.shapes import shapes_of
from headstart.core.errors import BackboneError
from headstart.core.records import Choice
from onnx import helper, numpy_helper

pytestmark = pytest.mark.usefixtures("fresh_cache_home", "no_sandbox")  # exports say something


def trunk(opset=13):
    return Maker(["n", 3, 32, 32], opset).conv(3, 8, 3, 2).add("Relu").conv(8, 24, 3, 2).add("Relu")


def pooled(opset=13):
    return trunk(opset).add("GlobalAveragePool").add("Flatten", axis=1)


def node(made, kind, inputs, output, **attributes):
    made.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
    return output


def constant(made, name, value):
    made.constants.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def weight(made, way, classes):
    """Put a classifier's weights (24, classes) into a graph, one of the ways that tools have."""
    values = made.rng.normal(0, 0.2, (24, classes)).astype(np.float32)
    if way == "Reshape":
        names = (
            constant(made, "w", values.reshape(1, 1, 24, classes)),
            constant(made, "s", [24, -1]),
        )
    elif way == "Transpose":
        names = (constant(made, "w", values.T),)
    elif way == "Mul":
        names = constant(made, "w", values), constant(made, "s", np.float32(0.5))
    elif way == "DequantizeLinear":
        scaled = np.clip(np.round(values / 0.01), -127, 127).astype(np.int8)
        names = constant(made, "w", scaled), constant(made, "s", np.float32(0.01))
    elif way == "Constant":
        node(made, "Constant", [], "made", value=numpy_helper.from_array(values))
        return "made"
    else:
        names = (constant(made, "w", np.array([24, classes])),)
        made.nodes.append(
            helper.make_node(way, [*names], ["made"], value=numpy_helper.from_array(
                np.array([0.1], np.float32)))
        )  # fmt: skip
        return "made"
    return node(made, way, names, "made")


def cut_of(made, outputs=(), classes=0):
    model = made.model(outputs=outputs) if isinstance(made, Maker) else made
    graph = Graph(model)
    return choose(graph, "", lambda: shapes_of(model, graph, Recipe()), classes)


@pytest.mark.parametrize(
    "way", ["Reshape", "Transpose", "Mul", "DequantizeLinear", "Constant", "ConstantOfShape"]
)
def test_weights_made_by_operators_are_those_of_a_classifier(way):
    made = pooled()
    features = made.last
    made.last = node(made, "MatMul", [features, weight(made, way, 7)], "scores")
    made.add("Add", np.zeros(7, np.float32)).add("Softmax", axis=1)
    cut = cut_of(made)
    assert (cut.tensor, "7 classes" in cut.note) == (features, True)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["QDQ", "QOperator"])
def test_files_quantised_by_onnxruntime(way, tmp_path):
    from onnxruntime import quantization as q

    made = pooled(18)
    dense = made.rng.normal(0, 0.2, (24, 5)).astype(np.float32)
    made.add("MatMul", dense).add("Add", np.zeros(5, np.float32)).add("Softmax", axis=1)
    onnx.save(made.model(), tmp_path / "float.onnx")

    class Reader(q.CalibrationDataReader):
        images = iter(np.random.default_rng(1).normal(0, 1, (4, 1, 3, 32, 32)).astype(np.float32))

        def get_next(self):
            image = next(self.images, None)
            return None if image is None else {"data": image}

    q.quantize_static(
        tmp_path / "float.onnx", tmp_path / "int8.onnx", Reader(),
        quant_format=q.QuantFormat[way], weight_type=q.QuantType.QInt8,
    )  # fmt: skip
    float_file, _ = export.model_file(f"onnx:{tmp_path / 'float.onnx'}")
    model, parity = export.model_file(f"onnx:{tmp_path / 'int8.onnx'}")
    assert "5 classes" in str(parity)
    images = np.random.default_rng(2).integers(0, 256, (6, 32, 32, 3), np.uint8)
    ours, exact = Runner(model).embed(images), Runner(float_file).embed(images)
    assert ours.shape == (6, 24)
    assert np.corrcoef(ours.ravel(), exact.ravel())[0, 1] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["n", 1])
def test_files_quantised_dynamically_are_refused_with_the_reason(batch, tmp_path):
    from onnxruntime import quantization as q

    made = pooled(18)
    made.shape = [batch, 3, 32, 32]
    for width in (96, 128):
        made.add("MatMul", made.rng.normal(0, 1, (24 if width == 96 else 96, width)).astype("f"))
        made.add("Relu")
    onnx.save(made.model(), tmp_path / "float.onnx")
    q.quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx")
    with pytest.raises(BackboneError, match="quantised dynamically"):
        export.model_file(f"onnx:{tmp_path / 'int8.onnx'}")


def test_a_softmax_is_never_the_default():
    made = pooled()
    features = made.last
    made.add("Einsum", np.eye(24, 3, dtype=np.float32), equation="ab,bc->ac").add("Softmax", axis=1)
    assert cut_of(made).tensor != made.last
    written_out = pooled().gemm(24, 6)
    scores = written_out.last
    written_out.add("Exp")
    total = node(written_out, "ReduceSum", [written_out.last], "total", keepdims=1)
    written_out.last = node(written_out, "Div", [written_out.last, total], "shares")
    assert cut_of(written_out).tensor == features
    assert scores


def test_what_has_no_softmax_is_told_by_names_and_numbers():
    few = pooled().gemm(24, 10)
    assert "10 values" in cut_of(few).note
    wide = pooled().gemm(24, 128)
    assert cut_of(wide).tensor == wide.last
    assert "whose names the file has" in cut_of(wide, classes=128).note
    wide.last = node(wide, "Identity", [wide.last], "logits")
    assert "by the output's name" in cut_of(wide).note


def test_several_outputs_share_a_trunk():
    made = pooled()
    features = made.last
    box = made.gemm(24, 4).last
    made.last = features
    scores = made.gemm(24, 2).add("Softmax", axis=1).last
    cut = cut_of(made, [box, scores])
    assert (cut.tensor, "all 2 outputs" in cut.note) == (features, True)
    logits = pooled().gemm(24, 90)
    outputs = [logits.last, logits.add("Softmax", axis=1).last]
    assert "90 classes" in cut_of(logits, outputs).note


def two_towers():
    """Write a network of images and texts as CLIP's: both embeddings and their products."""
    made = pooled().gemm(24, 96)
    image = made.last
    made.constants.append(numpy_helper.from_array(np.eye(9, 96, dtype=np.float32), "table"))
    text = node(made, "Gather", ["table", "input_ids"], "token")
    text = node(made, "ReduceMean", [text], "text_embeds", axes=[1], keepdims=0)
    turned = node(made, "Transpose", [text], "turned", perm=[1, 0])
    scores = node(made, "MatMul", [image, turned], "logits_per_image")
    other = node(made, "Transpose", [scores], "logits_per_text", perm=[1, 0])
    model = made.model(outputs=[scores, other, text, image])
    ids = helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["m", "t"])
    model.graph.input.insert(0, ids)
    return model, image


@pytest.mark.slow
def test_beside_a_text_the_features_are_those_of_the_image_alone(tmp_path):
    model, image = two_towers()
    cut = cut_of(model)
    assert (cut.tensor, "all 3 outputs" in cut.note) == (image, True)
    onnx.save(model, tmp_path / "clip.onnx")
    path, _ = export.model_file(f"onnx:{tmp_path / 'clip.onnx'}")
    assert Runner(path).backbone.dim == 96
    listed = {layer.name for layer in layers_of(f"onnx:{tmp_path / 'clip.onnx'}").layers}
    assert image in listed
    assert listed.isdisjoint({"text_embeds", "logits_per_image"})
    with pytest.raises(BackboneError, match=r"takes 2 inputs \(input_ids .* needs the image alone"):
        export.model_file(f"onnx:{tmp_path / 'clip.onnx'}#logits_per_image")


def reader(sides):
    """Write a reader of text, whose recurrent layer takes a sequence of columns."""
    made = Maker(sides, 13).conv(1, 8, 3, 2).add("Relu").conv(8, 24, 3, 2).add("Relu")
    made.add("AveragePool", kernel_shape=[8, 1])
    maps = made.add("Relu").last
    made.add("Squeeze", np.array([2])).add("Transpose", perm=[2, 0, 1])
    weights = [made.rng.normal(0, 0.2, (1, 64, side)).astype(np.float32) for side in (24, 16)]
    made.add("LSTM", *weights, hidden_size=16)
    made.add("Squeeze", np.array([1])).add("MatMul", np.eye(16, 90, dtype=np.float32))
    return made, maps


def unshaped(made):
    """Reshape a tensor to its own shape, by operators that shape inference does not see through."""
    start = made.last
    shape = node(made, "Shape", [start], "own_shape")
    floats = node(made, "Cast", [shape], "floats", to=1)
    node(made, "Cast", [node(made, "Sqrt", [floats], "root")], "never", to=7)
    square = node(made, "Mul", ["root", "root"], "square")
    rounded = node(made, "Cast", [node(made, "Round", [square], "whole")], "again", to=7)
    made.last = node(made, "Reshape", [start, rounded], "reshaped")


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("sides", [["n", 1, 32, 48], [1, 1, 32, "w"]])
def test_of_a_reader_whose_batch_is_not_first_the_maps_are_taken(sides, known, tmp_path):
    made, maps = reader(sides)
    if not known:
        unshaped(made)
    cut = cut_of(made)
    assert (cut.tensor, "read as a sequence" in cut.note) == (maps, True)
    onnx.save(made.model(), tmp_path / "reader.onnx")
    path, _ = export.model_file(f"onnx:{tmp_path / 'reader.onnx'}")
    assert Runner(path).backbone.dim == 24
    listed = {layer.name for layer in layers_of(f"onnx:{tmp_path / 'reader.onnx'}").layers}
    assert maps in listed
    assert made.last not in listed


def test_of_a_detector_that_asks_for_sizes_the_trunk_is_taken():
    made = trunk()
    features = made.last
    made.conv(24, 6, 1).add("Flatten", axis=1)
    boxes = node(made, "Mul", [made.last, "image_shape"], "boxes")
    model = made.model(outputs=[boxes])
    model.graph.input.append(helper.make_tensor_value_info("image_shape", 1, ["n", 1]))
    assert cut_of(model).tensor == features


def test_of_a_detector_the_deepest_map_is_taken():
    made = trunk().conv(24, 48, 3, 2).add("Relu")
    deepest = made.last
    made.conv(48, 16, 1).add(
        "Resize", np.array([], np.float32), np.array([1, 1, 2, 2], np.float32), mode="nearest"
    )
    made.conv(16, 1, 3).add("Sigmoid")
    assert cut_of(made).tensor == deepest
    branched = trunk()
    start, ends = branched.last, []
    for _ in range(2):
        branched.last = start
        ends.append(branched.conv(24, 6, 3).add("Reshape", np.array([0, 6, -1])).last)
    branched.last = node(branched, "Concat", ends, "boxes", axis=2)
    assert cut_of(branched).tensor == start


def test_outputs_that_do_not_depend_on_the_image_are_refused():
    made = trunk()
    node(made, "Identity", [constant(made, "one", np.float32(1))], "still")
    with pytest.raises(BackboneError, match="0 outputs that depend on the image"):
        cut_of(made, ["still"])


@pytest.mark.slow
def test_features_that_tell_nothing_never_pass_in_silence(tmp_path):
    dead = pooled().add("Mul", np.float32(0))
    onnx.save(dead.model(), tmp_path / "dead.onnx")
    with pytest.raises(BackboneError, match="same features for 10 different images"):
        export.model_file(f"onnx:{tmp_path / 'dead.onnx'}")
    onnx.save(pooled().gemm(24, 2).model(), tmp_path / "two.onnx")
    parity = export.model_file(Choice(f"onnx:{tmp_path / 'two.onnx'}#gemm6"))[1]
    assert "only 2 features an image" in str(parity)
    sparse = pooled().add("Mul", np.eye(1, 24, 3, dtype=np.float32)[0])
    onnx.save(sparse.model(), tmp_path / "sparse.onnx")
    assert "only 1 of 24 features differ" in str(
        export.model_file(f"onnx:{tmp_path / 'sparse.onnx'}")[1]
    )


@pytest.mark.slow
def test_a_quantised_tensor_can_be_named(tmp_path):
    made = Maker(["n", 3, 16, 16], 13).conv(3, 8).add("Relu")
    made.add("QuantizeLinear", np.float32(0.05), np.uint8(0)).add(
        "DequantizeLinear", np.float32(0.05), np.uint8(0)
    )
    onnx.save(made.model(), tmp_path / "q.onnx")
    path, _ = export.model_file(f"onnx:{tmp_path / 'q.onnx'}#quantizelinear2")
    assert Runner(path).backbone.layer == "quantizelinear2"
    assert ort.InferenceSession(path).get_outputs()[0].shape[1] == 8
