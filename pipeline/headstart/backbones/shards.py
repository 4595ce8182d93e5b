"""Weights in several files: an index, ``model.safetensors.index.json``, names the file of a tensor.

Source: ``save_pretrained`` of transformers, which writes the index and
``model-00001-of-00002.safetensors`` beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from headstart.core.errors import BackboneError, one_line

SUFFIX = ".index.json"
_LARGEST = 2**26  # bytes of an index; one of 100,000 tensors has 10 MB


def is_index(file: str) -> bool:
    """Say whether a file's name is that of an index."""
    return file.endswith(SUFFIX)


def with_index(files: Sequence[str]) -> list[str]:
    """Return names of weights, each with that of its index behind it."""
    return [name for file in files for name in (file, file + SUFFIX)]


def map_of(index: Path) -> dict[str, str]:
    """Return the name of the file that has a tensor, for each tensor of an index.

    Raises:
        BackboneError: the index is broken, or names a file outside of its folder.
    """
    try:
        if index.stat().st_size > _LARGEST:
            raise ValueError("it is larger than 64 MiB")
        files = json.loads(index.read_bytes())["weight_map"]
        names = {name for name in files.values() if isinstance(name, str)}
        kind = index.name.removesuffix(SUFFIX).rpartition(".")[2]
        if not names or len(names) < len(set(files.values())):
            raise ValueError("its weight_map names no files")
        for name in names:
            if {"/", "\\"} & set(name) or not name.endswith(f".{kind}"):
                raise ValueError(f"it names {name!r}, which is no .{kind} file beside it")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackboneError(f"the index {one_line(index)} is broken: {one_line(error)}") from error
    return dict(files)


def files_of(index: Path) -> list[Path]:
    """Return the files that an index names, in the order of their names.

    Raises:
        BackboneError: the index is broken.
    """
    return [index.with_name(name) for name in sorted(set(map_of(index).values()))]


def sha256_of(index: Path, hash_of: Callable[[Path], str]) -> str:
    """Return one SHA-256 of all files that an index names, from that of each.

    Raises:
        BackboneError: the index is broken, or a file is missing.
    """
    lines = []
    for file in files_of(index):
        if not file.is_file():
            raise BackboneError(
                f"{one_line(index)} names {one_line(file.name)}, which is not beside it; get all "
                "files of the weights"
            )
        lines.append(f"{file.name} {hash_of(file)}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()
