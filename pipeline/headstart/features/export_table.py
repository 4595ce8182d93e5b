"""Stage: a feature store becomes a table that other tools read, with a two-dimensional map.

The map's x and y are the first two principal components of the L2-normalised features. The store is
read block by block, so it is never whole in memory.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.core.choices import TABLE_FORMATS
from headstart.core.errors import InputError, missing_extra, one_line
from headstart.core.files import replacing
from headstart.core.label_text import TRUE
from headstart.core.linalg import normalise
from headstart.core.targets import SINGLE_LABEL
from headstart.features import store

KINDS = TABLE_FORMATS
_EXACT = 2048  # features; the covariance of wider rows is approximated
_NOISE = 1e-10  # of the largest variance; directions below it are rounding errors

Axes = tuple[NDArray[np.float64], NDArray[np.float64]]  # mean (d,), components (d, 2)


def export_features(
    path: str | os.PathLike[str],
    to: str,
    out: str | os.PathLike[str] | None = None,
    layer: str = "",
) -> list[Path]:
    """Write a store's embeddings, map, labels and paths; return the files.

    - ``parquet``: columns ``path``, ``label``, ``split``, ``x``, ``y`` and ``embedding``, a list;
    - ``csv``: the same, with columns ``f0``, ``f1`` and so on;
    - ``npy``: the ``(n, d) float32`` embeddings, and the other columns as CSV beside them.

    A multi-label store has ``labels``, separated by ``|``, and for each label a column
    ``true:LABEL``: 1, 0, or empty where that is unknown.

    ``out`` is by default the store's name with the format's ending. An empty ``layer`` means the
    store's only one.

    Raises:
        InputError: ``to`` is none of `KINDS`.
        HeadstartError: pyarrow is not installed and you asked for ``parquet``.
    """
    if to not in KINDS:
        raise InputError(f"no format {one_line(to)}; choose among {', '.join(KINDS)}")
    path = Path(path)
    out = Path(out) if out is not None else path.with_suffix(f".{to}")
    if out.resolve() == path.resolve():
        raise InputError(f"{one_line(out)} is the store itself; give another --out")
    size = store.read_size(path, layer)
    source = _Layer(path, layer, *size, *store.read_classes(path))
    write: Callable[[_Layer, Axes, Path], list[Path]] = {
        "parquet": _parquet,
        "npy": _npy,
        "csv": _csv,
    }[to]
    return write(source, _principal_axes(source), out)


class _Layer(NamedTuple):
    """One layer of a store; ``name`` is empty for its only one."""

    path: Path
    name: str
    rows: int
    dim: int
    classes: tuple[str, ...]
    target: str

    @property
    def texts(self) -> list[str]:
        """The names of the columns of text."""
        return ["path", "label" if self.target == SINGLE_LABEL else "labels", "split"]

    @property
    def flags(self) -> list[str]:
        """The names of the columns of a multi-label store that have a label each."""
        names = self.classes if self.target != SINGLE_LABEL else ()
        return [TRUE + one_line(name) for name in names]

    def blocks(self) -> Iterator[store.Block]:
        return store.read_blocks(self.path, self.name)


def _principal_axes(layer: _Layer, seed: int = 0) -> Axes:
    """Return the mean and the first two principal components of a store's features, from one pass.

    Where the store is wide, a Nyström approximation (Tropp et al., Fixed-rank approximation of a
    positive-semidefinite matrix from streaming data, 2017). Signs are fixed, missing axes are
    zeros.
    """
    dim, width = layer.dim, min(layer.dim, _EXACT)
    probes = np.eye(dim)
    if width < dim:
        probes = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, width)))[0]
    total, product = np.zeros(dim), np.zeros((dim, width))
    for block in layer.blocks():
        unit = normalise(block.features).astype(np.float64)
        total += unit.sum(axis=0)
        product += unit.T @ (unit if width == dim else unit @ probes)
    mean = total / max(1, layer.rows)
    product -= layer.rows * np.outer(mean, mean @ probes)
    if width < dim:
        variances, basis = np.linalg.eigh(probes.T @ product)
        sound = variances > _NOISE * max(variances[-1], _NOISE)
        # This matrix times its transpose approximates the covariance.
        root = product @ (basis[:, sound] / np.sqrt(variances[sound]))
        vectors = root @ np.linalg.eigh(root.T @ root)[1][:, ::-1]
    else:
        vectors = np.linalg.eigh(product)[1][:, ::-1]
    axes = np.zeros((dim, 2))
    kept = vectors[:, :2]
    norms = np.linalg.norm(kept, axis=0)
    axes[:, : kept.shape[1]] = kept / np.where(norms > 0, norms, 1)
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    return mean, axes * np.where(signs == 0, 1, signs)


def _mapped(layer: _Layer, axes: Axes) -> Iterator[tuple[store.Block, NDArray[np.float64]]]:
    mean, components = axes
    for block in layer.blocks():
        yield block, (normalise(block.features) - mean) @ components


def _parquet(layer: _Layer, axes: Axes, out: Path) -> list[Path]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise missing_extra("pyarrow", "parquet") from None
    texts = [(name, pa.string()) for name in layer.texts]
    flags = [(name, pa.int8()) for name in layer.flags]
    embedding = pa.list_(pa.float32(), layer.dim)
    place = [("x", pa.float32()), ("y", pa.float32())]
    schema = pa.schema([*texts, *flags, *place, ("embedding", embedding)])
    with replacing(out) as partial, pq.ParquetWriter(partial, schema) as file:
        for block, xy in _mapped(layer, axes):
            flat = pa.array(block.features.ravel())
            columns = [
                *(list(map(one_line, column)) for column in (block.path, block.label, block.split)),
                *(pa.array(column, mask=column < 0) for column in _states(block).T),
                *xy.T.astype(np.float32),
                pa.FixedSizeListArray.from_arrays(flat, layer.dim),
            ]
            file.write_table(pa.table(columns, schema=schema))
    return [out]


def _npy(layer: _Layer, axes: Axes, out: Path) -> list[Path]:
    table = out.with_suffix(".csv")
    with ExitStack() as stack:
        rows = stack.enter_context(replacing(table))
        partial = stack.enter_context(replacing(out))
        memory = np.lib.format.open_memmap(
            partial, mode="w+", dtype=np.float32, shape=(layer.rows, layer.dim)
        )
        start = 0
        with rows.open("w", encoding="utf-8", newline="") as file:
            writer = _header(file, layer, 0)
            for block, xy in _mapped(layer, axes):
                memory[start : start + len(xy)] = block.features
                start += len(xy)
                _write(writer, block, xy, embeddings=False)
        memory.flush()
    return [out, table]


def _csv(layer: _Layer, axes: Axes, out: Path) -> list[Path]:
    with replacing(out) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = _header(file, layer, layer.dim)
        for block, xy in _mapped(layer, axes):
            _write(writer, block, xy, embeddings=True)
    return [out]


def _header(file: Any, layer: _Layer, dim: int) -> Any:  # noqa: ANN401 - has no public type
    writer = csv.writer(file, lineterminator="\n")
    numbered = (f"f{number}" for number in range(dim))
    writer.writerow([*layer.texts, *layer.flags, "x", "y", *numbered])
    return writer


def _states(block: store.Block) -> NDArray[np.int8]:
    """Return what is known of each label; without columns for one class an image."""
    empty = np.empty((len(block.path), 0), np.int8)
    return empty if block.label_sets is None else block.label_sets


def _write(
    writer: Any,  # noqa: ANN401
    block: store.Block,
    xy: NDArray[np.float64],
    *,
    embeddings: bool,
) -> None:
    states = _states(block).tolist()
    for row, (x, y) in enumerate(xy.tolist()):
        numbers = map(repr, block.features[row].tolist()) if embeddings else ()
        texts = map(one_line, (block.path[row], block.label[row], block.split[row]))
        flags = ("" if state < 0 else state for state in states[row])
        writer.writerow([*texts, *flags, f"{x:.6f}", f"{y:.6f}", *numbers])
