"""Groups of images that folds and splits keep together.

A partition of n images is ``(n,) intp``: the same number for images of one group. Duplicates,
near-duplicates and the user's groups are one partition each; `join` combines them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Partition = NDArray[np.intp]


def by_content(sha256: NDArray[np.uint8]) -> Partition:
    """Group images with the same bytes, from their hashes ``(n, 32)``."""
    _, inverse = np.unique(sha256, axis=0, return_inverse=True)
    numbers: Partition = inverse.reshape(-1)
    return numbers


def by_name(paths: Sequence[str], names: Mapping[str, str]) -> Partition:
    """Group paths by the names of their groups; a path without one is its own group."""
    numbers: dict[str, int] = {}
    codes = np.arange(len(paths), dtype=np.intp) + len(paths)
    for row, path in enumerate(paths):
        if path in names:
            codes[row] = numbers.setdefault(names[path], len(numbers))
    return codes


def join(*partitions: Partition) -> Partition:
    """Return the finest partition whose groups contain those of all partitions.

    Groups are numbered from 0 in the order of their first images.
    """
    joined = _ordered(partitions[0])
    for partition in partitions[1:]:
        joined = _join_two(joined, _ordered(partition))
    return joined


def sizes(partition: Partition) -> Partition:
    """Return the size of each image's group, ``(n,)``."""
    _, inverse, counts = np.unique(partition, return_inverse=True, return_counts=True)
    of_each: Partition = counts[inverse]
    return of_each


def _join_two(a: Partition, b: Partition) -> Partition:
    """Join two partitions: the components of the graph whose edges are the images."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_a, n_b = int(a.max()) + 1, int(b.max()) + 1
    edges = coo_array((np.ones(len(a), bool), (a, b + n_a)), shape=(n_a + n_b, n_a + n_b))
    component = connected_components(edges, directed=False)[1]
    return _ordered(component[a])


def _ordered(partition: NDArray[np.integer]) -> Partition:
    """Number the groups from 0 in the order of their first images."""
    _, first, inverse = np.unique(partition, return_index=True, return_inverse=True)
    numbers: Partition = np.argsort(np.argsort(first))[inverse]
    return numbers
