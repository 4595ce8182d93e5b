"""Builders of image sources that tests share: folders, archives, tables."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from headstart import datasets as sources
from headstart.core.errors import InputError
from headstart.core.records import Listing
from headstart.datasets import images, open_source


def photo(seed: int, side: int = 12) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return images.encode(pixels, "PNG")


PHOTOS = {f"{label}/{n}.png": photo(10 * at + n) for at, label in enumerate("ab") for n in range(4)}


def rows(listing: Listing) -> list[tuple[str, str | None, str]]:
    return [(image.path, image.label, image.split) for image in listing.images]


def contents(listing: Listing) -> dict[str, bytes]:
    return {ref.path: sources.read(listing, ref)[0] for ref in listing.images}


def refused(data: object) -> str:
    with pytest.raises(InputError) as caught:
        open_source(str(data))
    message = str(caught.value)
    assert message.isprintable()  # one line
    return message


def tar(path: Path, files: Mapping[str, bytes] | list[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files.items() if isinstance(files, Mapping) else files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def zipped(path: Path, files: Mapping[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def folder(root: Path, files: Mapping[str, bytes] = PHOTOS) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def wds(files: Mapping[str, bytes] = PHOTOS, **extra: bytes) -> dict[str, bytes]:
    """A WebDataset's members: keys in order, each with its image and class."""
    members: dict[str, bytes] = {}
    for number, (name, data) in enumerate(files.items()):
        members[f"{number:04d}.png"] = data
        members[f"{number:04d}.cls"] = name[0].encode()
    return members | extra


FEATURES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}


def arrow(names: bool = True, n: int = 8, label: object = None) -> pa.Table:
    """A table as ``datasets`` writes it."""
    data = [photo(k) for k in range(n)]
    cells = [{"bytes": image, "path": f"in/{k}.png"} for k, image in enumerate(data)]
    labels = [k % 2 for k in range(n)] if label is None else label
    table = pa.table({"image": cells, "label": labels})
    description = json.dumps({"info": {"features": FEATURES}})
    return table.replace_schema_metadata({"huggingface": description}) if names else table


def plant(root: Path, *paths: str) -> Path:
    """Create empty files; listing never opens one."""
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return root
