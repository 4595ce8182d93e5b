"""t-SNE of a thousand rows or more: the repulsion of all pairs is interpolated on a grid.

Van der Maaten and Hinton, *Visualizing Data using t-SNE*, JMLR 2008; the interpolation: Linderman,
Rachh, Hoskins, Steinerberger and Kluger, *Fast interpolation-based t-SNE*, Nature Methods 2019; the
learning rate: Belkina et al., *Automated optimized parameters for t-SNE*, Nature Communications
2019. On 3,800 rows an iteration takes 11 ms of one core, and Barnes-Hut 29.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]

PERPLEXITY = 25.0
NEIGHBOURS = 60  # of a row that attract it, at most
ITERATIONS = 150
EXAGGERATED = 40  # first iterations, of stronger attraction
EXAGGERATION = 12.0
RATE = 1 / 6  # length of steps, times the number of rows
MOMENTUM = 0.5, 0.8  # while exaggerated, and then
GAIN = 0.2, 0.8, 0.01  # what a gain grows by, shrinks to, and its least value: Jacobs 1988
CELLS = 0.75  # a side for a unit of the map, three nodes each: forces err by about 6 %
LEAST_CELLS, MOST_CELLS = 16, 200
SEARCHES = 40  # bisections for a row's bandwidth


def embed(rows: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places ``(n, 2)`` for rows ``(n, d)``, from a small start ``(n, 2)``.

    The same rows give the same places. Run it with one BLAS thread. With few rows, far apart on the
    map, the sum of all q is too small to be interpolated.
    """
    attraction = _Attraction(_affinities(rows))
    places = start.astype(np.float32)
    velocity, gains = np.zeros_like(places), np.ones_like(places)
    rate = np.float32(RATE * len(rows))
    more, less, least = map(np.float32, GAIN)
    for iteration in range(ITERATIONS):
        early = iteration < EXAGGERATED
        pull = attraction(places) * np.float32(EXAGGERATION if early else 1.0)
        gradient = 4 * (pull - _repulsion(places))
        turns = velocity * gradient < 0
        gains = np.maximum(np.where(turns, gains + more, gains * less), least)
        velocity = np.float32(MOMENTUM[not early]) * velocity - rate * gains * gradient
        places = places + velocity
    return places.astype(np.float64)


class _Attraction:
    """The pull of neighbours: ``sum over j of p_ij q_ij (y_i - y_j)``, q before normalisation."""

    def __init__(self, affinities: Any) -> None:  # noqa: ANN401 - a symmetric scipy.sparse array
        from scipy.sparse import csr_array, triu

        self._half = csr_array(triu(affinities, 1), dtype=np.float32)
        self._counts = np.diff(self._half.indptr)

    def __call__(self, places: Points) -> Points:
        half = self._half
        apart = np.repeat(places, self._counts, axis=0) - places.take(half.indices, axis=0)
        near = half.data / (1 + np.einsum("ij,ij->i", apart, apart))
        weights = type(half)((near, half.indices, half.indptr), shape=half.shape)
        ones = _with_ones(places)
        sums = weights @ ones + weights.T @ ones
        return np.asarray(places * sums[:, :1] - sums[:, 1:])


def _with_ones(places: Points) -> Points:
    return np.column_stack([np.ones(len(places), np.float32), places])


def _affinities(rows: NDArray[np.float64]) -> Any:  # noqa: ANN401 - a scipy.sparse array
    """Return the symmetric affinities of neighbours, which sum to 1."""
    from scipy.sparse import csr_array
    from sklearn.neighbors import NearestNeighbors

    n = len(rows)
    count = min(NEIGHBOURS, n - 1)
    distances, neighbours = NearestNeighbors(n_neighbors=count).fit(rows).kneighbors()
    shares = _shares(distances**2, min(PERPLEXITY, (n - 1) / 3))
    ends = np.arange(0, n * count + 1, count)
    one_way = csr_array((shares.ravel(), neighbours.ravel(), ends), shape=(n, n))
    both = one_way + one_way.T
    return both / both.sum()


def _shares(squares: NDArray[np.float64], perplexity: float) -> NDArray[np.float64]:
    """Return Gaussian shares of squared distances ``(n, m)``, each row of this perplexity."""
    squares = squares - squares[:, :1]  # the nearest counts 1 before scaling
    scale = np.maximum(squares.mean(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    low, high = np.full_like(scale, -20.0), np.full_like(scale, 20.0)  # logarithms
    for _ in range(SEARCHES):
        middle = (low + high) / 2
        weights = np.exp(-squares / scale * np.exp(middle))
        totals = weights.sum(axis=1, keepdims=True)
        mean = (weights * squares).sum(axis=1, keepdims=True) / totals
        wide = np.log(totals) + mean / scale * np.exp(middle) > np.log(perplexity)
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    return np.asarray(weights / totals)


def _repulsion(places: Points) -> Points:
    """Return ``sum over j of q_ij^2 (y_i - y_j)``, over the sum of all q, by fast convolution."""
    from scipy import fft

    spread, nodes, step = _spread(places)
    charges = (spread.T @ _with_ones(places)).T.reshape(3, nodes, nodes)
    size = fft.next_fast_len(2 * nodes - 1, real=True)
    offsets = np.arange(size)
    squares = (np.minimum(offsets, size - offsets) * step) ** 2
    near = (1 / (1 + squares[:, None] + squares)).astype(np.float32)
    kernels = fft.rfft2(np.stack([near, near * near])).real
    turned = fft.rfft2(charges, s=(size, size))
    turned = np.concatenate([turned[:1] * kernels[0], turned * kernels[1]])
    fields = fft.irfft2(turned, s=(size, size))[:, :nodes, :nodes]
    values = spread @ np.ascontiguousarray(fields.transpose(1, 2, 0)).reshape(-1, 4)
    total = float(values[:, 0].sum(dtype=np.float64)) - len(places)  # a point is no neighbour
    return np.asarray((places * values[:, 1:2] - values[:, 2:]) / np.float32(max(total, 1.0)))


def _spread(places: Points) -> tuple[Any, int, float]:
    """Return weights of nodes for each point, ``(n, nodes^2)``, nodes a side and their distance.

    The nodes of a cell are those of quadratic Lagrange interpolation, a third of a cell apart.
    """
    from scipy.sparse import csr_array

    lowest = places.min(axis=0)
    extent = max(float((places.max(axis=0) - lowest).max()), 1e-9)
    cells = int(np.clip(np.ceil(extent * CELLS), LEAST_CELLS, MOST_CELLS))
    nodes, step = 3 * cells, extent / (3 * cells)
    within = (places - lowest) / np.float32(step)
    cell = np.minimum((within / 3).astype(np.int32), cells - 1)
    x = within - (3 * cell + 1.5).astype(np.float32)  # in steps from the middle node
    each = np.stack([x * (x - 1) / 2, 1 - x * x, x * (x + 1) / 2], axis=2)
    weights = each[:, 0, :, None] * each[:, 1, None, :]
    first, three = 3 * (cell[:, :1] * nodes + cell[:, 1:]), np.arange(3, dtype=np.int32)
    columns = first + (three[:, None] * nodes + three).reshape(1, 9)
    ends = np.arange(0, columns.size + 1, 9, dtype=np.int32)
    spread = csr_array((weights.ravel(), columns.ravel(), ends), shape=(len(places), nodes**2))
    return spread, nodes, step
