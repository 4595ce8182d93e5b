"""Networks in the formats of Keras and TensorFlow, converted to ONNX files in the cache.

Keras loads its own files on torch, which exports them; tf2onnx converts the others. Both happen in
a process of its own, where code in a file is refused or does not run. What comes of it is a foreign
ONNX file like any other, and its identity is the hash of the file that it was made from. Formats
that do not say enough are refused with the command that converts them.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import itertools
import json
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from headstart.backbones import tflite_metadata
from headstart.backbones.keras_import import EXTRA as KERAS
from headstart.backbones.onnx_import import load
from headstart.backbones.onnx_import.metadata import RANGE
from headstart.backbones.other_formats import is_hdf5
from headstart.core import sandbox
from headstart.core.cache import cached_file
from headstart.core.errors import BackboneError, how_to_install, one_line
from headstart.core.files import replacing, sha256_of
from headstart.core.onnx_format import OPSET, ModelProto

VERSION = 2  # of what this module makes; part of the cache key
_TENSORFLOW = "tensorflow"  # the extra
_KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
_GRAPHS = ("saved_model.pb", "saved_model.pbtxt")  # in a SavedModel's folder
_TFLITE = b"TFL3"  # the identifier of its FlatBuffers, behind four bytes
_FIRST = 8  # bytes that tell what a file is
_BROWSERS = (b'"modelTopology"', b'"weightsManifest"')  # keys of TensorFlow.js' model.json
_LAYERS = (b"layers-model", b"keras_version")  # where it has layers of Keras
_TOP = 1 << 16  # bytes of a model.json in which one of these is
_SPARSE = re.compile(r"cannot reshape array of size \d+ into shape")  # tf2onnx on DENSIFY
_LIMITS = sandbox.Kind("network", BackboneError, seconds=1800, memory=64 << 30)


def _tf2onnx(option: str, *names: str) -> tuple[str, ...]:
    """Return the command by which tf2onnx converts a file; ``names`` are what else it asks for."""
    words = ("python", "-m", "tf2onnx.convert", f"--{option}", "{source}", *names)
    return (*words, "--output", "{target}", "--opset", str(OPSET))


_KERAS_CODE = (
    "import keras; keras.saving.load_model({source!r}, compile=False)"
    ".export({target!r}, format='onnx')"
)


@dataclass(frozen=True)
class Format:
    """A format that can be converted.

    Attributes:
        title: what a file is called in messages.
        words: the command that converts a file elsewhere, with ``{source}`` and ``{target}``.
        extra: the optional dependency of Headstart that converts it.
        packages: what the extra has to bring, the converter first.
        option: of tf2onnx; empty for Keras.
        refusal: why Headstart does not convert it by itself; empty if it does.
        becomes: the suffix of the file that the command makes.
        where: what has to be installed for the command.
    """

    title: str
    words: tuple[str, ...]
    extra: str = _TENSORFLOW
    packages: tuple[str, ...] = ("tf2onnx", "tensorflow")
    option: str = ""
    refusal: str = ""
    becomes: str = ".onnx"
    where: str = "TensorFlow"

    def command(self, path: Path) -> str:
        """Return the command that converts a file on a machine that has the converter."""
        source, target = str(path), path.stem + self.becomes
        return shlex.join(word.format(source=source, target=target) for word in self.words)


_NETWORK = Format(
    "Keras network", ("python", "-c", _KERAS_CODE), KERAS, ("keras", "torch", "onnxscript")
)
_FOLDER = Format("SavedModel", _tf2onnx("saved-model"), option="saved-model")
_LITE = Format("TFLite network", _tf2onnx("tflite"), option="tflite")
_FROZEN = Format(
    "frozen TensorFlow graph",
    _tf2onnx("graphdef", "--inputs", "INPUT:0", "--outputs", "OUTPUT:0"),
    refusal="which does not say what its inputs and outputs are",
)
_BROWSER = Format(
    "TensorFlow.js graph", _tf2onnx("tfjs"), refusal="whose weights are in other files"
)
_BROWSER_LAYERS = Format(
    "TensorFlow.js network of Keras' layers",
    (
        *("tensorflowjs_converter", "--input_format", "tfjs_layers_model"),
        *("--output_format", "keras", "{source}", "{target}"),
    ),
    refusal="whose weights are in other files",
    becomes=".h5",
    # Its packages ask for each other's other releases: a later ydf needs a later protobuf.
    where='tensorflowjs (in an environment of its own: pip install tensorflowjs "ydf<0.12")',
)


def format_of(path: Path) -> Format | None:
    """Return the format of a file or a folder that can be converted; None for any other."""
    try:
        if path.is_dir():
            return _FOLDER if any((path / name).is_file() for name in _GRAPHS) else None
        if not path.is_file():
            return None
        suffix = path.suffix.lower()
        with path.open("rb") as file:
            first = file.read(_TOP if suffix == ".json" else _FIRST)
    except (OSError, ValueError):  # no permission, too long a name, a zero byte
        return None
    if is_keras(path):
        return _NETWORK
    if suffix == ".json":
        if not any(key in first for key in _BROWSERS):
            return None
        return _BROWSER_LAYERS if any(key in first for key in _LAYERS) else _BROWSER
    if suffix == ".pb":
        return _FROZEN
    return _LITE if suffix == ".tflite" or first[4:] == _TFLITE else None


def root(path: Path) -> Path:
    """Return the folder of a SavedModel, if ``path`` is the file with its graph."""
    return path.parent if path.name in _GRAPHS and path.is_file() else path


def is_keras(path: Path) -> bool:
    """Say whether a file is called like one of Keras, or begins as one in HDF5."""
    return path.suffix.lower() in _KERAS_SUFFIXES or is_hdf5(path)


def convert(path: Path, kind: Format) -> tuple[Path, str]:
    """Return the ONNX file of a network in another format, and the SHA-256 of what it came from.

    Raises:
        BackboneError: the converter is not installed or cannot convert the file, or the format
            does not say enough.
    """
    if kind.refusal:
        raise BackboneError(
            f"{one_line(path)} is a {kind.title}, {kind.refusal}; convert it where "
            f"{kind.where} is installed, {_elsewhere(path, kind)}"
        )
    missing = [name for name in kind.packages if importlib.util.find_spec(name) is None]
    if missing:
        raise BackboneError(
            f"{one_line(path)} is a {kind.title}, and {missing[0]} is not installed, which "
            f"converts it; {how_to_install(kind.extra)}; or convert it where it is, "
            f"{_elsewhere(path, kind)}"
        )
    sha256 = _hash_of(path)
    from importlib.metadata import version  # loads a parser of e-mail

    converter = version(kind.packages[0])
    key = hashlib.sha256(f"{sha256} {converter} {OPSET} {VERSION}".encode()).hexdigest()
    target = cached_file("converted", f"{key[:32]}.onnx")
    if not target.is_file():
        module = "conversion:run_tf2onnx" if kind.option else "keras_file:convert"
        with replacing(target) as partial, TemporaryDirectory(dir=target.parent) as folder:
            converted = Path(folder) / "network.onnx"
            function = f"headstart.backbones.{module}"
            sandbox.call(function, path, converted, kind=_LIMITS, options=kind.option)
            converted.replace(partial)
    return target, sha256


def _elsewhere(path: Path, kind: Format) -> str:
    """Return the end of a message: how to convert a file on another machine, and what then."""
    file = ("onnx:" if kind.becomes == ".onnx" else "") + path.stem + kind.becomes
    return f"and give that file as {one_line(file)}: {one_line(kind.command(path))}"


def run_tf2onnx(path: Path, target: Path, option: str) -> None:
    """Convert a file with tf2onnx, in the process that `convert` starts."""
    sys.argv = ["tf2onnx", f"--{option}", str(path), "--output", str(target)]
    sys.argv += ["--opset", str(OPSET)]
    if option == _FOLDER.option:
        _pass_over_training()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the answer
            from tf2onnx import convert  # type: ignore[import-not-found, unused-ignore]

            convert.main()
    except (Exception, SystemExit) as error:  # TensorFlow and tf2onnx raise anything
        if option == _LITE.option and _SPARSE.match(str(error)):
            raise BackboneError(
                f"{one_line(path)} holds weights as sparse matrices, which tf2onnx cannot read; "
                "take the network's file with dense weights, which most have beside it"
            ) from error
        raise BackboneError(
            f"tf2onnx cannot convert {one_line(path)}: {one_line(error)[:240]}; export it to ONNX "
            "with the program that made it"
        ) from error
    if not target.is_file():
        raise BackboneError(f"tf2onnx made no file of {one_line(path)}; it is damaged")
    if option == _LITE.option:
        _complete(target, tflite_metadata.normalisation(path))


def _pass_over_training() -> None:
    """Let TensorFlow load a folder saved with an optimizer that it no longer has."""
    with contextlib.suppress(ImportError):
        import tensorflow as tf  # type: ignore[import-not-found, import-untyped, unused-ignore]

        def add_slot(_: object, var: Any, slot_name: str) -> Any:  # noqa: ANN401
            return tf.Variable(tf.zeros_like(var), trainable=False, name=slot_name)

        tf.__internal__.tracking.AutoTrackable.add_slot = add_slot


def _complete(path: Path, normalisation: tuple[list[float], list[float]] | None) -> None:
    """Write what tf2onnx leaves out of a TFLite file: the range of values, and short names."""
    import onnx

    model = onnx.load(path)
    if normalisation:
        written = map(json.dumps, normalisation)
        onnx.helper.set_model_props(model, dict(zip(RANGE, written, strict=True)))
    _shorten_names(model)
    onnx.save(model, path)


def _shorten_names(model: ModelProto) -> None:
    """Give tensors named after all layers that TFLite fused, ``a;b;c``, the name of the first."""
    graph = model.graph
    if any(load.subgraphs(node) for node in graph.node):
        return  # which see the names outside
    values = [*graph.initializer, *graph.input, *graph.output, *graph.value_info]
    names = [name for node in graph.node for name in (*node.input, *node.output)]
    names += [value.name for value in values]
    taken, after = set(names), {}
    for name in dict.fromkeys(names):
        first, fused, _ = name.partition(";")
        if fused:
            choices = itertools.chain([first], (f"{first}_{n}" for n in itertools.count(2)))
            after[name] = next(short for short in choices if short not in taken)
            taken.add(after[name])
    for node in graph.node:
        node.input[:] = [after.get(name, name) for name in node.input]
        node.output[:] = [after.get(name, name) for name in node.output]
    for value in values:
        value.name = after.get(value.name, value.name)


def _hash_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and hashes of a folder's files."""
    if path.is_file():
        return sha256_of(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = [f"{file.relative_to(path).as_posix()} {sha256_of(file)}" for file in files]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()
