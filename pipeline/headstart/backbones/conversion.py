"""Networks in the formats of Keras and TensorFlow, converted to ONNX files in the cache.

Keras loads its own files on torch, which exports them; tf2onnx converts the others. Both happen in
a process of its own, where code in a file is refused or does not run. What comes of it is a foreign
ONNX file like any other, and its identity is the hash of the file that it was made from.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from headstart.backbones.keras_import import EXTRA as KERAS
from headstart.core import sandbox
from headstart.core.cache import cached_file
from headstart.core.errors import BackboneError, how_to_install, one_line
from headstart.core.files import replacing, sha256_of
from headstart.core.onnx_format import OPSET

VERSION = 1  # of what this module makes; part of the cache key
_TENSORFLOW = "tensorflow"  # the extra
_KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
_GRAPHS = ("saved_model.pb", "saved_model.pbtxt")  # in a SavedModel's folder
_TFLITE = b"TFL3"  # the identifier of its FlatBuffers, behind four bytes
_SHARED = 8  # bytes that tell what a file is
_LIMITS = sandbox.Kind("network", BackboneError, seconds=1800, memory=64 << 30)


@dataclass(frozen=True)
class Format:
    """A format that can be converted.

    Attributes:
        title: what a file is called in messages.
        extra: the optional dependency of Headstart that converts it.
        packages: what the extra has to bring, the converter first.
        option: of tf2onnx; empty for Keras.
    """

    title: str
    extra: str
    packages: tuple[str, ...]
    option: str = ""

    def command(self, path: Path) -> str:
        """Return the command that converts a file on a machine that has the converter."""
        source, target = str(path), f"{path.stem}.onnx"
        if not self.option:
            code = (
                f"import keras; keras.saving.load_model({source!r}, compile=False)"
                f".export({target!r}, format='onnx')"
            )
            return f"python -c {shlex.quote(code)}"
        words = ["python", "-m", "tf2onnx.convert", f"--{self.option}", source]
        return shlex.join([*words, "--output", target, "--opset", str(OPSET)])


_NETWORK = Format("Keras network", KERAS, ("keras", "torch", "onnxscript"))
_FOLDER = Format("SavedModel", _TENSORFLOW, ("tf2onnx", "tensorflow"), "saved-model")
_LITE = Format("TFLite network", _TENSORFLOW, ("tf2onnx", "tensorflow"), "tflite")


def format_of(path: Path) -> Format | None:
    """Return the format of a file or a folder that can be converted; None for any other."""
    try:
        if path.is_dir():
            return _FOLDER if any((path / name).is_file() for name in _GRAPHS) else None
        if not path.is_file():
            return None
        with path.open("rb") as file:
            first = file.read(_SHARED)
    except (OSError, ValueError):  # no permission, too long a name, a zero byte
        return None
    if is_keras(path):
        return _NETWORK
    return _LITE if path.suffix.lower() == ".tflite" or first[4:] == _TFLITE else None


def is_keras(path: Path) -> bool:
    """Say whether a file is called like one of Keras."""
    return path.suffix.lower() in _KERAS_SUFFIXES


def convert(path: Path, kind: Format) -> tuple[Path, str]:
    """Return the ONNX file of a network in another format, and the SHA-256 of what it came from.

    Raises:
        BackboneError: the converter is not installed, or cannot convert the file.
    """
    missing = [name for name in kind.packages if importlib.util.find_spec(name) is None]
    if missing:
        raise BackboneError(
            f"{one_line(path)} is a {kind.title}, and {missing[0]} is not installed, which "
            f"converts it; {how_to_install(kind.extra)}; or convert it where it is, and give that "
            f"file as onnx:{one_line(path.stem)}.onnx: {one_line(kind.command(path))}"
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


def run_tf2onnx(path: Path, target: Path, option: str) -> None:
    """Convert a file with tf2onnx, in the process that `convert` starts."""
    sys.argv = ["tf2onnx", f"--{option}", str(path), "--output", str(target)]
    sys.argv += ["--opset", str(OPSET)]
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the answer
            from tf2onnx import convert  # type: ignore[import-not-found, unused-ignore]

            convert.main()
    except (Exception, SystemExit) as error:  # TensorFlow and tf2onnx raise anything
        raise BackboneError(
            f"tf2onnx cannot convert {one_line(path)}: {one_line(error)[:240]}; export it to ONNX "
            "with the program that made it"
        ) from error
    if not target.is_file():
        raise BackboneError(f"tf2onnx made no file of {one_line(path)}; it is damaged")


def _hash_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and hashes of a folder's files."""
    if path.is_file():
        return sha256_of(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = [f"{file.relative_to(path).as_posix()} {sha256_of(file)}" for file in files]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()
