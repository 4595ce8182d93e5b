"""A runner on a real ONNX graph: what it refuses, and that neither batch nor thread matter."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pytest
from headstart.backbones.inference.description import INPUT, METADATA, OUTPUT
from headstart.backbones.inference.runner import Runner, device_name, open_session
from headstart.core.errors import BackboneError, RunnerError
from headstart.core.records import Preprocess

NO_BACKBONE = r"is not a file that Headstart wrote .* write onnx:PATH$"
without_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="this onnxruntime was built for CUDA",
)


@pytest.fixture
def crops():
    return np.random.default_rng(0).integers(0, 256, (17, 32, 32, 3), np.uint8)


@pytest.fixture
def rewritten(tiny_backbone, tmp_path):
    """Give a function that saves the tiny backbone with other metadata."""

    def write(properties: dict[str, str]):
        model = onnx.load(tiny_backbone)
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, properties)
        onnx.save(model, tmp_path / "rewritten.onnx")
        return tmp_path / "rewritten.onnx"

    return write


def test_it_says_what_it_runs_and_where(tiny_backbone):
    runner = Runner(tiny_backbone)
    assert runner.provider == "CPUExecutionProvider"
    assert (runner.backbone.name, runner.backbone.dim) == ("tiny", 12)
    assert runner.backbone.preprocess == Preprocess(36, 32, "bicubic")
    assert runner.backbone.mean == (0.5, 0.5, 0.5)


def test_features_are_those_of_the_graph(tiny_backbone, crops):
    """Against numpy: normalise, convolve with a stride of 3, rectify, average."""
    constants = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(tiny_backbone).graph.initializer
    }
    planes = (crops.transpose(0, 3, 1, 2) - 127.5) / 127.5
    windows = np.lib.stride_tricks.sliding_window_view(planes, (5, 5), (2, 3))[:, :, ::3, ::3]
    maps = np.einsum("nchwij,dcij->ndhw", windows, constants["kernel"])
    maps += constants["bias"][:, None, None]
    expected = np.maximum(maps, 0).mean((2, 3))
    features = Runner(tiny_backbone).embed(crops)
    assert features.dtype == np.float32
    assert features.shape == (17, 12)
    assert np.allclose(features, expected, atol=1e-5)


def test_a_batch_gives_what_single_images_give(tiny_backbone, crops):
    runner = Runner(tiny_backbone)
    single = np.concatenate([runner.embed(crop[np.newaxis]) for crop in crops])
    assert np.allclose(runner.embed(crops), single, atol=1e-6)
    assert runner.embed(crops[:0]).shape == (0, 12)


def test_threads_may_share_a_runner(tiny_backbone, crops):
    runner = Runner(tiny_backbone)
    alone = [runner.embed(crop[np.newaxis]) for crop in crops]
    with ThreadPoolExecutor(8) as pool:
        rounds = list(pool.map(lambda at: runner.embed(crops[at : at + 1]), [*range(17)] * 20))
    assert all((got == alone[at % 17]).all() for at, got in enumerate(rounds))


@pytest.mark.parametrize("batch", [2, 5, 17, 64])
def test_full_batches_give_what_single_images_give(tiny_backbone, crops, batch):
    """A batch is filled up, and what fills it up is not answered."""
    runner = Runner(tiny_backbone, batch=batch)
    assert runner.batch == batch
    expected = Runner(tiny_backbone).embed(crops)
    for n in (0, 1, batch - 1, batch, 17):
        got = runner.embed(crops[:n])
        assert got.shape == (min(n, 17), 12)
        assert np.allclose(got, expected[:n], atol=1e-6)


def test_a_feature_vector_does_not_depend_on_how_full_its_batch_was(tiny_backbone, crops):
    runner = Runner(tiny_backbone, batch=8)
    assert np.array_equal(runner.embed(crops[:8])[:3], runner.embed(crops[:3]))


def test_a_core_takes_four_images_at_once_where_that_changes_no_bit(tiny_backbone, crops):
    runner = Runner(tiny_backbone, batch=None)
    assert runner.batch == 4
    assert np.array_equal(runner.embed(crops), Runner(tiny_backbone).embed(crops))


def test_a_network_that_looks_at_its_neighbours_gets_single_images(tiny_backbone, tmp_path, crops):
    """The mean over the batch is added: what no network should do, and a batch would show."""
    model = onnx.load(tiny_backbone)
    (last,) = (node for node in model.graph.node if OUTPUT in node.output)
    last.output[0] = "own"
    axes = onnx.numpy_helper.from_array(np.array([0]), "axes")
    model.graph.initializer.append(axes)
    model.graph.node.append(onnx.helper.make_node("ReduceMean", ["own", "axes"], ["shared"]))
    model.graph.node.append(onnx.helper.make_node("Add", ["own", "shared"], [OUTPUT]))
    path = tmp_path / "sociable.onnx"
    onnx.save(model, path)
    runner = Runner(path, batch=None)
    assert runner.batch == 1
    assert np.array_equal(runner.embed(crops[:1]), Runner(path).embed(crops[:1]))


def test_the_processor_is_named(tiny_backbone):
    name = Runner(tiny_backbone).device
    assert name == device_name("cpu")
    assert name.isprintable()
    assert name


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_inside_one_inference_change_nothing(tiny_backbone, crops, threads):
    expected = Runner(tiny_backbone).embed(crops)
    assert np.allclose(Runner(tiny_backbone, threads=threads).embed(crops), expected, atol=1e-6)


@pytest.mark.parametrize(("fits", "batch"), [(100, 64), (64, 64), (63, 32), (3, 2), (1, 1)])
def test_a_gpu_gets_as_many_images_as_fit(tiny_backbone, monkeypatch, fits, batch):
    """No GPU is asked: the network refuses what a small one would have no memory for."""
    runner = Runner(tiny_backbone)
    run = runner._run

    def small(names, images):
        if len(images) > fits:
            raise RunnerError("inference failed: out of memory")
        return run(names, images)

    monkeypatch.setattr(runner, "_run", small)
    assert runner._gpu_batch() == batch


def test_a_gpu_without_room_for_one_image_is_an_error(tiny_backbone, monkeypatch):
    runner = Runner(tiny_backbone)

    def full(names, images):
        raise RunnerError("inference failed: out of memory")

    monkeypatch.setattr(runner, "_run", full)
    with pytest.raises(RunnerError, match="out of memory"):
        runner._gpu_batch()


class TestDevice:
    def test_one_that_does_not_exist_is_refused(self, tiny_backbone):
        with pytest.raises(
            RunnerError, match=r"^no device 'tpu'; use one of: cpu, cuda, tensorrt$"
        ):
            Runner(tiny_backbone, "tpu")

    @without_cuda
    def test_one_that_is_not_there_is_refused_and_not_replaced(self, tiny_backbone):
        with pytest.raises(
            RunnerError,
            match="install onnxruntime-gpu in place of onnxruntime, or use --device cpu",
        ):
            Runner(tiny_backbone, "cuda")
        with pytest.raises(RunnerError, match="device cuda needs CUDAExecutionProvider"):
            open_session(tiny_backbone, "cuda")
        with pytest.raises(RunnerError, match="needs TensorrtExecutionProvider"):
            open_session(tiny_backbone, "tensorrt")

    @pytest.mark.skipif(
        "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
        reason="this onnxruntime was not built for CUDA",
    )
    def test_a_gpu_makes_the_features_of_the_cpu(self, tiny_backbone, crops):
        runner = Runner(tiny_backbone, "cuda")
        assert runner.provider == "CUDAExecutionProvider"
        assert np.allclose(runner.embed(crops), Runner(tiny_backbone).embed(crops), atol=1e-4)


class TestFile:
    def test_a_missing_file(self, tmp_path):
        with pytest.raises(BackboneError, match=r"^no backbone file at .*a\\nb.onnx; see: headst"):
            Runner(tmp_path / "a\nb.onnx")

    def test_a_name_that_cannot_be(self, tmp_path):
        for name in ("n" * 300 + ".onnx", "nul\0.onnx"):
            with pytest.raises(BackboneError, match=r"^no backbone file at "):
                Runner(tmp_path / name)

    def test_a_folder(self, tmp_path):
        with pytest.raises(BackboneError, match=r"^no backbone file at "):
            Runner(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"not ONNX", b"\x89HDF\r\n\x1a\n" + bytes(500)])
    def test_a_file_that_is_no_onnx(self, tmp_path, content):
        path = tmp_path / "foreign.onnx"
        path.write_bytes(content)
        with pytest.raises((RunnerError, BackboneError)) as caught:
            Runner(path)
        assert "foreign.onnx" in str(caught.value)
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize("eighth", range(8))
    def test_a_truncated_file(self, tiny_backbone, tmp_path, eighth):
        data = tiny_backbone.read_bytes()
        path = tmp_path / "truncated.onnx"
        path.write_bytes(data[: len(data) * eighth // 8])
        with pytest.raises((RunnerError, BackboneError)) as caught:
            Runner(path)
        assert "truncated.onnx" in str(caught.value)
        assert str(caught.value).isprintable()

    def test_a_model_that_says_nothing_of_itself(self, rewritten):
        with pytest.raises(BackboneError, match=NO_BACKBONE):
            Runner(rewritten({}))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "null",
            "[]",
            "{}",
            '{"name": "tiny"}',
            '{"preprocess": null, "mean": 0, "std": 0}',
        ],
    )
    def test_a_description_that_is_none(self, rewritten, text):
        with pytest.raises(BackboneError, match=NO_BACKBONE):
            Runner(rewritten({METADATA: text}))

    def test_a_description_with_one_fact_too_many_or_too_few(self, rewritten, tiny_backbone):
        facts = json.loads(onnx.load(tiny_backbone).metadata_props[0].value)
        for changed in (facts | {"colour": "blue"}, {k: v for k, v in facts.items() if k != "dim"}):
            with pytest.raises(BackboneError, match=NO_BACKBONE):
                Runner(rewritten({METADATA: json.dumps(changed)}))
        assert Runner(rewritten({METADATA: json.dumps(facts)})).backbone.name == "tiny"

    @pytest.mark.parametrize("change", [{"crop": 64}, {"crop": 0}, {"interpolation": "magic"}])
    def test_preprocessing_that_makes_no_sense(self, rewritten, tiny_backbone, change):
        facts = json.loads(onnx.load(tiny_backbone).metadata_props[0].value)
        facts["preprocess"] |= change
        with pytest.raises(BackboneError, match=NO_BACKBONE):
            Runner(rewritten({METADATA: json.dumps(facts)}))

    def test_a_file_made_for_other_rules_of_decoding(self, rewritten, tiny_backbone):
        facts = json.loads(onnx.load(tiny_backbone).metadata_props[0].value)
        facts["preprocess"]["policy"] += 1
        with pytest.raises(BackboneError, match=r"decoding rules, .*; export it again$"):
            Runner(rewritten({METADATA: json.dumps(facts)}))

    def test_a_path_that_is_no_utf8(self, tiny_backbone, tmp_path, crops):
        path = tmp_path / os.fsdecode(b"caf\xe9 \n.onnx")
        path.write_bytes(tiny_backbone.read_bytes())
        expected = Runner(tiny_backbone).embed(crops)
        assert (Runner(path).embed(crops) == expected).all()


class TestInference:
    @pytest.mark.parametrize(
        "images",
        [
            np.zeros((1, 31, 32, 3), np.uint8),
            np.zeros((1, 3, 32, 32), np.uint8),
            np.zeros((32, 32, 3), np.uint8),
            np.zeros((1, 32, 32, 3), np.float32),
        ],
        ids=["size", "channels first", "no batch", "floats"],
    )
    def test_what_the_graph_cannot_take_is_one_line(self, tiny_backbone, images):
        with pytest.raises(RunnerError, match=r"^inference failed: ") as caught:
            Runner(tiny_backbone).embed(images)
        assert str(caught.value).isprintable()

    def test_the_session_takes_the_image_input(self, tiny_backbone):
        (given,) = open_session(tiny_backbone).get_inputs()
        assert (given.name, given.type) == (INPUT, "tensor(uint8)")
        assert given.shape == ["n", 32, 32, 3]
