"""The range of values in a TFLite file's metadata, in FlatBuffers written here."""

from __future__ import annotations

import importlib.util
import shlex
import sys
import types

import flatbuffers
import onnx
import pytest
from click.testing import CliRunner
from graphs import Maker
from headstart.backbones import export
from headstart.backbones.inference.description import describe
from headstart.backbones.tflite_metadata import normalisation
from headstart.cli import cli
from headstart.workflows.features import choice

pytestmark = pytest.mark.usefixtures("fresh_cache_home", "no_sandbox")


def table(builder, size, fields):
    """Write a table; fields are numbers of bytes, or offsets of what is written already."""
    builder.StartObject(size)
    for number, (kind, value) in fields.items():
        if kind == "offset":
            builder.PrependUOffsetTRelativeSlot(number, value, 0)
        elif kind == "byte":
            builder.PrependUint8Slot(number, value, 0)
        else:
            builder.PrependUint32Slot(number, value, 0)
    return builder.EndObject()


def vector(builder, offsets):
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return "offset", builder.EndVector()


def floats(builder, values):
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return "offset", builder.EndVector()


def metadata(mean, std, kind=1):
    made = flatbuffers.Builder()
    options = table(made, 2, {0: floats(made, mean), 1: floats(made, std)})
    unit = table(made, 2, {0: ("byte", kind), 1: ("offset", options)})
    tensor = table(made, 5, {4: vector(made, [unit])})
    subgraph = table(made, 3, {2: vector(made, [tensor])})
    made.Finish(table(made, 4, {3: vector(made, [subgraph])}), file_identifier=b"M001")
    return bytes(made.Output())


def tflite(inside, name="TFLITE_METADATA"):
    made = flatbuffers.Builder()
    empty = table(made, 1, {})
    held = table(made, 1, {0: ("offset", made.CreateByteVector(inside))})
    entry = table(made, 2, {0: ("offset", made.CreateString(name)), 1: ("number", 1)})
    fields = {4: vector(made, [empty, held]), 6: vector(made, [entry])}
    made.Finish(table(made, 8, fields), file_identifier=b"TFL3")
    return bytes(made.Output())


def test_mean_and_deviation_are_read(tmp_path):
    path = tmp_path / "net.tflite"
    for mean, std in (([127.5], [127.5]), ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])):
        path.write_bytes(tflite(metadata(mean, std)))
        assert normalisation(path) == (mean, std)


def test_what_says_nothing_or_is_damaged_is_passed_over(tmp_path):
    path = tmp_path / "net.tflite"
    whole = tflite(metadata([0.0], [255.0]))
    nothing = (
        tflite(metadata([0.0], [255.0], kind=2)),
        tflite(b"", "TFLITE_METADATA_2"),
        whole[:80],
    )
    for content in (*nothing, tflite(b""), tflite(b"\xff" * 40)):
        path.write_bytes(content)
        assert normalisation(path) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mean", "std", "preset", "range_"),
    [
        ([0.0], [255.0], "unit", (0.0, 1.0)),
        ([127.5] * 3, [127.5] * 3, "inception", (0.5, 0.5)),
        ([10.0], [50.0], '\'{"mean": 10.0, "std": 50.0}\'', (10 / 255, 50 / 255)),
    ],
)
def test_a_range_that_the_file_names_is_no_guess(mean, std, preset, range_, tmp_path, monkeypatch):
    """tf2onnx is stood for, which leaves the metadata out; the file's own are real."""
    made = Maker(["n", 3, 32, 32], 13).conv(3, 8, 3, 2).add("Relu")
    package = types.ModuleType("tf2onnx")
    write = lambda: onnx.save(made.model(), sys.argv[sys.argv.index("--output") + 1])  # noqa: E731
    package.convert = types.SimpleNamespace(main=write)
    monkeypatch.setitem(sys.modules, "tf2onnx", package)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")
    path = tmp_path / "net.tflite"
    path.write_bytes(tflite(metadata(mean, std)))
    result = CliRunner().invoke(cli, ["backbones", str(path)])
    assert "as the file's metadata say" in result.output, result.exception
    assert "a guess" not in result.output
    assert f"--preprocess {preset} --out" in result.output
    for words in ("", *shlex.split(preset)):
        file, parity = export.model_file(choice(str(path), preprocess=words))
        backbone = describe(file)
        assert (backbone.mean[0], backbone.std[0]) == pytest.approx(range_)
        assert ("as its metadata say" in str(parity)) == (not words)
