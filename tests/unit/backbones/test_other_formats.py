"""Files that hold no network that can be read: each says what it is and what to do."""

from __future__ import annotations

import shlex
import subprocess
import sys
import zipfile

import onnx
import pytest
import torch
from click.testing import CliRunner
from graphs import Maker
from headstart.backbones import other_formats
from headstart.cli import cli
from headstart.core.errors import BackboneError
from safetensors.torch import save_file
from torch import nn

pytestmark = pytest.mark.usefixtures("fresh_cache_home", "no_sandbox")


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)).eval()


def scripted(path):
    torch.jit.save(torch.jit.trace(network(), torch.zeros(1, 3, 8, 8)), path)


def whole(path):
    torch.save(network(), path)


def bundle(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/hand.tflite", b"TFL3")


def lines(text):
    return lambda path: path.write_bytes(text)


FILES = {
    "net.jit": (scripted, "is a TorchScript network"),
    "net.pt": (whole, "pickled with code of torch.nn.modules"),
    "old.pt": (
        lambda path: torch.save(network(), path, _use_new_zipfile_serialization=False),
        "pickled with code of torch.nn.modules",
    ),
    "state.pth": (
        lambda path: torch.save({"state_dict": network().state_dict(), "epoch": 3}, path),
        "has weights without their network; name that too: --backbone timm:NAME --weights ",
    ),
    "older.bin": (
        lambda path: torch.save(network().state_dict(), path, _use_new_zipfile_serialization=False),
        "has weights without their network",
    ),
    "net.safetensors": (
        lambda path: save_file(network().state_dict(), path),
        "has weights without their network",
    ),
    "hand.task": (bundle, "is an archive of a/hand.tflite; unpack it: python -m zipfile -e "),
    "pointer.onnx": (
        lines(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
        "git lfs pull",
    ),
    "page.onnx": (lines(b"\n<!DOCTYPE html><html></html>"), "is a web page"),
    "net.ort": (lines(b"\x20\x00\x00\x00ORTM" + bytes(40)), "ORT"),
    "net.gguf": (lines(b"GGUF" + bytes(40)), "GGUF"),
    "net.engine": (lines(b"ftrt" + bytes(40)), "TensorRT"),
    "inference.pdmodel": (lines(b"\x0a\x00"), "--params_filename inference.pdiparams"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("prefix", ["", "onnx:"])
def test_it_says_what_the_file_is_and_what_to_do(name, prefix, tmp_path):
    make, said = FILES[name]
    path = tmp_path / name
    make(path)
    for words in (["backbones"], ["backbones", "--layers"], ["export", "--out", "x.onnx"]):
        result = CliRunner().invoke(cli, [words[0], f"{prefix}{path}", *words[1:]])
        assert isinstance(result.exception, BackboneError), (words, result.output)
        message = str(result.exception)
        assert said in message
        assert message.isprintable()


def test_a_network_of_ultralytics_gets_its_own_command(tmp_path, monkeypatch):
    class DetectionModel(nn.Module):
        pass

    package = type(sys)("ultralytics")
    package.DetectionModel = DetectionModel
    DetectionModel.__module__, DetectionModel.__qualname__ = "ultralytics", "DetectionModel"
    monkeypatch.setitem(sys.modules, "ultralytics", package)
    torch.save({"model": DetectionModel(), "epoch": -1}, tmp_path / "yolo.pt")
    said = other_formats.describe(tmp_path / "yolo.pt")
    assert "of ultralytics, which is not run; export it where that is: yolo export model=" in said


@pytest.mark.slow
def test_a_file_that_headstart_wrote_is_named_as_one(tmp_path):
    made = Maker(["n", 3, 16, 16]).conv(3, 8).add("Relu").model()
    onnx.save(made, tmp_path / "net.onnx")
    own = tmp_path / "own.onnx"
    words = ["--preprocess", "unit", "--out", str(own)]
    assert CliRunner().invoke(cli, ["export", str(tmp_path / "net.onnx"), *words]).exit_code == 0
    (tmp_path / "notes.txt").write_text("nothing")
    for path, said in (
        (own, "of onnx:net.onnx (8 features); give it as it is: --backbone "),
        (tmp_path / "notes.txt", "is not a file that Headstart wrote"),
    ):
        result = CliRunner().invoke(cli, ["backbones", str(path)])
        assert said in str(result.exception)


def test_what_can_be_read_or_is_unknown_is_left_alone(tmp_path):
    onnx.save(Maker(["n", 3, 16, 16]).conv(3, 8).model(), tmp_path / "net.onnx")
    (tmp_path / "notes.bin").write_bytes(b"anything at all")
    (tmp_path / "damaged.pt").write_bytes(b"PK\x03\x04" + bytes(30))
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name in ("net.onnx", "notes.bin", "damaged.pt", "empty.onnx", "absent.pt"):
        assert other_formats.describe(tmp_path / name) == ""


@pytest.mark.slow
def test_the_command_for_torchscript_makes_an_onnx_file(tmp_path):
    scripted(tmp_path / "net.jit")
    said = other_formats.describe(tmp_path / "net.jit")
    command = shlex.split(said.partition("images: ")[2])
    subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, check=True, capture_output=True)
    made = onnx.load(tmp_path / "net.onnx")
    assert [side.dim_value for side in made.graph.input[0].type.tensor_type.shape.dim] == [
        *(1, 3, 224, 224)
    ]
