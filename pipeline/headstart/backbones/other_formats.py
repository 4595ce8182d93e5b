"""What a file is that holds no network that can be read, by its first bytes, and what to do.

Nothing is unpickled and no code runs: a pickle's instructions are only read for the names in them.
"""

from __future__ import annotations

import pickletools
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path

from headstart.core.errors import BackboneError, one_line

WEIGHTS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
_FIRST = 512  # bytes that tell what a file is
_PICKLE = 1 << 24  # bytes of a pickle that are read
_SHOWN = 4
_ZIP, _HDF5, _TORCH = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
_LFS = b"version https://git-lfs.github.com/spec/"
_PAGES = (b"<!doctype html", b"<html")
_GGUF, _ORT = b"GGUF", b"ORTM"
_PLAIN = ("torch", "collections", "numpy", "_codecs", "builtins", "__builtin__")
_ELSEWHERE = "; take the ONNX file that it was made from, or export the network to ONNX"
_SUFFIXES = {  # what a file is called, and how to go on
    ".mlmodel": ("is a network of Core ML", _ELSEWHERE),
    ".caffemodel": ("is a network of Caffe", _ELSEWHERE),
    ".prototxt": ("is a network of Caffe", _ELSEWHERE),
    ".engine": ("is a network of TensorRT, built for one GPU", _ELSEWHERE),
    ".plan": ("is a network of TensorRT, built for one GPU", _ELSEWHERE),
    ".trt": ("is a network of TensorRT, built for one GPU", _ELSEWHERE),
    ".rknn": ("is a network for chips of Rockchip", _ELSEWHERE),
    ".ncnn": ("is a network of ncnn", _ELSEWHERE),
    ".pdmodel": (
        "is a network of Paddle",
        "; convert it: paddle2onnx --model_dir {folder} --model_filename {name} "
        "--params_filename {stem}.pdiparams --save_file {stem}.onnx",
    ),
    ".pdiparams": (
        "has weights of Paddle",
        "; convert the network beside it: paddle2onnx --model_dir {folder} --model_filename "
        "{stem}.pdmodel --params_filename {name} --save_file {stem}.onnx",
    ),
}


def refuse(path: Path) -> None:
    """Refuse a file that is known to be something else than a network that can be read.

    Raises:
        BackboneError: says what the file is and what to do.
    """
    reason = describe(path)
    if reason:
        raise BackboneError(f"{one_line(path)} {reason}")


def describe(path: Path) -> str:
    """Return what a file is and what to do, as the end of a sentence; empty if it is not known."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            first = file.read(_FIRST)
    except (OSError, ValueError):  # no permission, too long a name, a zero byte
        return ""
    if first.startswith(_LFS):
        return "is a pointer that Git LFS left in place of the file; fetch that with: git lfs pull"
    if first.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGES):
        return "is a web page; download the file itself, by the page's link for raw files"
    if first.startswith(_ZIP):
        return _archive(path)
    if first.startswith(_TORCH, 2):
        return _pickled(path, _instructions_in(path))
    if first[8:9] == b"{" and int.from_bytes(first[:8], "little") < path.stat().st_size:
        return weights(path)
    if first.startswith(_GGUF):
        return f"has weights for ggml (GGUF){_ELSEWHERE}"
    if first[4:8] == _ORT:
        return f"is in the format of onnxruntime's own builds (ORT){_ELSEWHERE}"
    title, advice = _SUFFIXES.get(path.suffix.lower(), ("", ""))
    folder, name, stem = (shlex.quote(text) for text in (str(path.parent), path.name, path.stem))
    return title + advice.format(folder=folder, name=name, stem=stem)


def is_hdf5(path: Path) -> bool:
    """Say whether a file begins as one of HDF5, in which Keras keeps networks."""
    try:
        with path.open("rb") as file:
            return file.read(len(_HDF5)) == _HDF5
    except (OSError, ValueError):
        return False


def weights(path: Path) -> str:
    """Return what to do with a file of weights, as the end of a sentence."""
    return (
        "has weights without their network; name that too: --backbone timm:NAME --weights "
        f"{one_line(shlex.quote(str(path)))}; or export the network to ONNX where its code is"
    )


def _archive(path: Path) -> str:
    """Describe an archive: a file of torch, or one with networks in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(name.endswith("/constants.pkl") for name in names):
                return _scripted(path)
            pickle = next((name for name in names if name.endswith("/data.pkl")), "")
            if pickle:
                with archive.open(pickle) as packed:
                    return _pickled(path, packed.read(_PICKLE))
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile):  # damaged or encrypted
        return ""
    inside = [name for name in names if name.lower().endswith((".onnx", ".tflite", ".keras"))]
    if not inside:
        return ""
    shown = ", ".join(map(one_line, inside[:_SHOWN])) + (", …" if len(inside) > _SHOWN else "")
    file, folder = one_line(shlex.quote(str(path))), one_line(shlex.quote(f"{path.stem}-files"))
    return f"is an archive of {shown}; unpack it: python -m zipfile -e {file} {folder}"


def _scripted(path: Path) -> str:
    code = (
        f"import torch; torch.onnx.export(torch.jit.load({str(path)!r}).eval(), "
        f"(torch.zeros(1, 3, 224, 224),), {path.stem + '.onnx'!r}, dynamo=False)"
    )
    return (
        "is a TorchScript network, which holds code; convert it, with the size of its images: "
        f"python -c {one_line(shlex.quote(code))}"
    )


def _pickled(path: Path, instructions: bytes) -> str:
    """Describe a file of torch by the names in its pickle."""
    modules = list(_modules(instructions))
    owners = [module for module in modules if module.split(".")[0] not in _PLAIN]
    owners += [module for module in modules if module.startswith("torch.nn.modules")]
    if not owners:
        return weights(path)
    if owners[0].startswith("ultralytics"):
        how = f"yolo export model={one_line(shlex.quote(str(path)))} format=onnx"
    else:
        how = "torch.onnx.export(network, (image,), 'network.onnx')"
    return (
        f"is a network pickled with code of {one_line(owners[0])}, which is not run; export it "
        f"where that is: {how}"
    )


def _instructions_in(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_PICKLE)


def _modules(instructions: bytes) -> Iterator[str]:
    """Yield the modules that pickles name, in order; torch's former files hold several."""
    start, text = 0, ["", ""]
    while start < len(instructions):
        try:
            for code, value, place in pickletools.genops(instructions[start:]):
                if code.name == "GLOBAL":
                    yield str(value).split(" ")[0]
                elif code.name == "STACK_GLOBAL":
                    yield text[0]
                elif isinstance(value, str):
                    text = [text[1], value]
                if code.name == "STOP":
                    start += (place or 0) + 1
        except Exception:  # pickletools raises nearly anything behind the last pickle
            return
