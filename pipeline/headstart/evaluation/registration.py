"""Registration of miniatures: which part of one image shows the other, and how well it fits.

A copy may be a crop, have a frame, and be mirrored or turned by quarters. So one miniature is a
square window of the other. A coarse search tries windows in all eight positions of the square by
normalised correlation; Gauss-Newton steps then refine offset and both sides of the best window
(Lucas and Kanade, *An iterative image registration technique*, IJCAI 1981; Evangelidis and
Psarakis, *Parametric image alignment using enhanced correlation coefficient*, PAMI 30, 2008).
The two sides are fitted apart although a copy keeps its proportions: different garments that are
pushed over each other need a different stretch each way, which gives them away.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel import available_cores
from headstart.core.parallel.blas import run_parallel

Floats = NDArray[np.float32]
Rows = NDArray[np.intp]
Pairs = NDArray[np.intp]

CHUNK = 128  # pairs at a time: 20 MB
COARSE = 0.85  # correlation of the coarse search below which no refinement helps

_GRID = 8  # points a side of a coarse window
_SCALES = (1.0, 0.93, 0.86, 0.79, 0.72, 0.65)  # sides of coarse windows; the whole image is 1
_OVERHANG = 0.12  # of the side, by which a window may stick out of a centre crop
_STEP = 0.07
_ITERATIONS = (4, 5)  # at every second pixel, at every pixel
_LEAST_OVERLAP = 0.6  # of the window
_NOISE = 4.0  # squared grey levels: detail below this is rounding
_CELLS = 4  # a side; detail is compared cell by cell


class Fit(NamedTuple):
    """How well two miniatures fit after registration, an array over the pairs each.

    Attributes:
        correlation: of the grey images where they overlap.
        detail: the same without what varies slowly, which a shared background explains.
        cells: share of cells with detail in which the detail agrees.
        stretch: absolute logarithm of the ratio of the window's sides, 0 for a copy.
        turned: whether one is turned by a quarter, a half, or three quarters.
        colour: root mean square difference of the colours, in grey levels, apart from brightness.
    """

    correlation: Floats
    detail: Floats
    cells: Floats
    stretch: Floats
    turned: NDArray[np.bool_]
    colour: Floats


def register(miniatures: NDArray[np.uint8], pairs: Pairs) -> Fit:
    """Register pairs of rows, ``(p, 2)``, of square miniatures, ``(n, side, side, 3)``.

    A hopeless pair correlates 0.
    """
    count = len(pairs)
    windows, turns, scores = _search(miniatures, np.concatenate([pairs, pairs[:, ::-1]]))
    swapped = scores[count:] > scores[:count]  # the left image is a window of the right one
    best = np.arange(count) + count * swapped
    whole, part = np.where(swapped[:, None], pairs[:, ::-1], pairs).T
    zeros = np.zeros((5, count), np.float32)
    fit = Fit(zeros[0], zeros[1], zeros[2], zeros[3], turns[best] % 4 > 0, zeros[4])
    likely = np.flatnonzero(scores[best] >= COARSE)

    def refine(rows: Rows) -> None:
        parts = miniatures[part[rows]]
        parts = np.stack([_turned(*each) for each in zip(parts, turns[best[rows]], strict=True)])
        wholes, parts = (
            np.ascontiguousarray(v.transpose(0, 3, 1, 2), np.float32)
            for v in (miniatures[whole[rows]], parts)
        )
        window = windows[best[rows]][:, [0, 0, 1, 2]]
        window = _refine(wholes.mean(axis=1), parts.mean(axis=1), window)
        compared = _compare(wholes, parts, window)
        values = (fit.correlation, fit.detail, fit.cells, fit.colour)
        for column, registered in zip(values, compared, strict=True):
            column[rows] = registered
        fit.stretch[rows] = np.abs(np.log(window[:, 0] / window[:, 1]))

    run_parallel(refine, _chunks(likely), available_cores(), numpy_alone=True)
    return fit


def canonical(miniatures: NDArray[np.uint8], side: int = 8) -> Floats:
    """Return unit vectors, ``(n, side * side)``, that mirroring and quarter turns do not change.

    The grey image is mirrored and transposed until its moments are positive and in order. An image
    without contrast is a vector near 0.
    """
    step = miniatures.shape[1] // side
    shape = (len(miniatures), side, step, side, step * miniatures.shape[3])
    grey = miniatures.reshape(shape).mean(axis=(2, 4), dtype=np.float32)
    grey -= grey.mean(axis=(1, 2), keepdims=True)
    places = np.arange(side, dtype=np.float32) - (side - 1) / 2
    across, down = (grey * places).sum(axis=(1, 2)), (grey * places[:, None]).sum(axis=(1, 2))
    grey[across < 0] = grey[across < 0][:, :, ::-1]
    grey[down < 0] = grey[down < 0][:, ::-1]
    lying = np.abs(across) < np.abs(down)
    grey[lying] = grey[lying].transpose(0, 2, 1)
    vectors: Floats = grey.reshape(len(grey), -1)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), side)
    return vectors


def _turned(image: Any, turn: int) -> Any:  # noqa: ANN401 - an array of any kind
    """Return one of the eight positions of a square: quarter turns, from 4 mirrored first."""
    return np.rot90(image[:, ::-1] if turn >= 4 else image, turn % 4, axes=(0, 1))


@functools.cache
def _windows() -> Floats:
    """Return the windows of the coarse search: side, and the centre's offset across and down."""
    windows = []
    for side in _SCALES:
        reach = (1 - side) / 2 + _OVERHANG
        steps = int(np.ceil(reach / _STEP - 1e-6))
        offsets = np.linspace(-reach, reach, 2 * steps + 1)
        windows += [(side, x, y) for y in offsets for x in offsets]
    return np.array(windows, np.float32)


@functools.cache
def _sampling(side: int) -> Any:  # noqa: ANN401 - a sparse matrix
    """Return the matrix that samples all windows of an image bilinearly, edges repeated."""
    from scipy.sparse import csr_array

    windows, points = _windows(), (np.arange(_GRID) + 0.5) / _GRID - 0.5
    across, down = (
        np.clip((windows[:, :1] * points + windows[:, axis, None] + 0.5) * side - 0.5, 0, side - 1)
        for axis in (1, 2)
    )
    shape = (len(windows), _GRID, _GRID)
    x = np.broadcast_to(across[:, None, :], shape).ravel()
    y = np.broadcast_to(down[:, :, None], shape).ravel()
    left, top = (np.minimum(v.astype(np.intp), side - 2) for v in (x, y))
    x, y, place = x - left, y - top, top * side + left
    weights = np.concatenate([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y])
    columns = np.concatenate([place, place + 1, place + side, place + side + 1])
    rows = np.tile(np.arange(x.size), 4)
    return csr_array((weights.astype(np.float32), (rows, columns)), shape=(x.size, side * side))


def _search(
    miniatures: NDArray[np.uint8], directed: Pairs
) -> tuple[Floats, NDArray[np.intp], Floats]:
    """Return the window of each pair's first image that fits the second best, turn and correlation.

    The second image is turned back by ``turn`` to fit. Pairs with one first image are searched
    together, since its windows take the longest.
    """
    windows = np.empty((len(directed), 3), np.float32)
    turns, scores = np.zeros(len(directed), np.intp), np.zeros(len(directed), np.float32)

    def search(rows: Rows) -> None:
        wholes, of_whole = np.unique(directed[rows, 0], return_inverse=True)
        parts, of_part = np.unique(directed[rows, 1], return_inverse=True)
        views, sought = _views(_grey(miniatures[wholes])), _positions(_grey(miniatures[parts]))
        for number, view in enumerate(views):
            own = np.flatnonzero(of_whole == number)
            fits = sought[of_part[own]].reshape(-1, _GRID**2) @ view.T
            fits = fits.reshape(len(own), -1)
            best = fits.argmax(axis=1)
            windows[rows[own]] = _windows()[best % len(view)]
            turns[rows[own]] = best // len(view)
            scores[rows[own]] = fits[np.arange(len(own)), best]

    order = np.argsort(directed[:, 0], kind="stable")
    run_parallel(search, _chunks(order), available_cores(), numpy_alone=True)
    return windows, turns, scores


def _chunks(rows: Rows) -> list[Rows]:
    return [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]


def _grey(miniatures: NDArray[np.uint8]) -> Floats:
    grey: Floats = miniatures.mean(axis=3, dtype=np.float32)
    return grey


def _views(images: Floats) -> Floats:
    """Return what all windows of grey images show, ``(n, windows, points)``."""
    count, side = images.shape[:2]
    views = (_sampling(side) @ _blurred(images).reshape(count, -1).T).T
    return _unit(views.reshape(count, len(_windows()), _GRID**2))


def _positions(images: Floats) -> Floats:
    """Return the eight positions of grey images, sampled whole, ``(n, 8, points)``."""
    count, side = images.shape[:2]
    whole = int(np.flatnonzero((_windows() == (1, 0, 0)).all(axis=1))[0]) * _GRID**2
    blurred = _blurred(images).transpose(1, 2, 0)
    positions = np.stack([_turned(blurred, turn) for turn in range(8)])
    positions = positions.transpose(1, 2, 3, 0).reshape(side * side, -1)
    sought = _sampling(side)[whole : whole + _GRID**2] @ positions
    return _unit(sought.T.reshape(count, 8, _GRID**2))


def _unit(vectors: Floats) -> Floats:
    """Return vectors without their mean, of norm 1; those that hardly vary stay shorter."""
    vectors = vectors - vectors.mean(axis=-1, keepdims=True)
    norms = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))[..., None]
    vectors /= np.maximum(norms, np.float32(vectors.shape[-1] ** 0.5))
    return vectors


def _blurred(images: Floats) -> Floats:
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    across = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    blurred: Floats = (across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]) / 16
    return blurred


def _view(images: Floats, windows: Floats, step: int = 1) -> tuple[Floats, Floats, Floats]:
    """Sample windows of ``(p, c, side, side)`` images at every ``step``-th pixel, bilinearly.

    Returns the samples, ``(p, c, m)``, the share of each that lies inside the image, ``(p, 1, m)``,
    and the points of the window, ``(2, m)``, from -1/2 to 1/2. Windows are upright, so samples are
    a product with the weights down and one with those across.
    """
    side = images.shape[2]
    axis = ((np.arange(side) + 0.5) / side - 0.5)[step // 2 :: step].astype(np.float32)
    points: Floats = np.stack([v.ravel() for v in np.meshgrid(axis, axis)])
    across, down = (windows[:, i, None] * axis + windows[:, 2 + i, None] + 0.5 for i in (0, 1))
    within = [((v > 0) & (v < 1)).astype(np.float32) for v in (across, down)]
    inside = within[1][:, :, None] * within[0][:, None]
    places = np.arange(side, dtype=np.float32)
    across, down = (
        np.maximum(1 - np.abs(np.clip(v * side - 0.5, 0, side - 1)[..., None] - places), 0)
        for v in (across, down)
    )
    views = down[:, None] @ images @ across[:, None].transpose(0, 1, 3, 2)
    return views.reshape(*views.shape[:2], -1), inside.reshape(len(inside), 1, -1), points


def _refine(whole: Floats, part: Floats, windows: Floats) -> Floats:
    """Return windows (two sides, two offsets) that correlate best, by Gauss-Newton steps."""
    side = whole.shape[1]
    down, across = np.gradient(whole, axis=(1, 2))
    stack = np.stack([whole, across * side, down * side], axis=1)
    best, best_score = windows.copy(), np.full(len(windows), -2, np.float32)
    for iteration in range(sum(_ITERATIONS)):
        step = 2 if iteration < _ITERATIONS[0] else 1
        if iteration == _ITERATIONS[0]:
            best_score[:] = -2  # of another grid
        sampled, inside, points = _view(stack, windows, step)
        goal = part[:, step // 2 :: step, step // 2 :: step].reshape(len(part), 1, -1)
        slopes = np.concatenate([sampled[:, 1:] * points, sampled], axis=1)
        view, goal = _centred(slopes[:, 2:3], inside), _centred(goal, inside)
        power, common = _products(view, view), _products(view, goal)
        score = (common / np.sqrt(power * _products(goal, goal) + 1e-3))[:, 0]
        better = (score > best_score) & (inside.mean(axis=(1, 2)) >= _LEAST_OVERLAP)
        best[better], best_score[better] = windows[better], score[better]
        gain = np.clip(common / (power + 1e-3), 0.2, 5)[..., None]
        slopes = _centred(slopes[:, [0, 1, 3, 4]], inside) * gain
        square = slopes @ slopes.transpose(0, 2, 1)
        damping = 1e-3 * np.trace(square, axis1=1, axis2=2) + 1e-3
        square += damping[:, None, None] * np.eye(4, dtype=np.float32)
        move = np.linalg.solve(square, slopes @ (goal - gain * view).transpose(0, 2, 1))[..., 0]
        windows = windows + np.clip(move, -0.05, 0.05).astype(np.float32)
        windows[:, :2] = np.clip(windows[:, :2], 0.4, 1.3)
    return best


def _products(left: Floats, right: Floats) -> Floats:
    """Return the inner products over the points, ``(p, c)``."""
    products: Floats = np.einsum("pcm,pcm->pc", left, right)
    return products


def _centred(values: Floats, weight: Floats) -> Floats:
    """Return values, ``(p, c, m)``, without their weighted mean, and 0 without weight."""
    mean = (values @ weight.transpose(0, 2, 1)) / np.maximum(weight.sum(axis=2, keepdims=True), 1)
    centred: Floats = (values - mean) * weight
    return centred


def _compare(whole: Floats, part: Floats, windows: Floats) -> tuple[Floats, ...]:
    """Return correlation, detail, cells and colour of registered pairs; see `Fit`.

    Both are ``(p, 3, side, side)``.
    """
    count, side = len(whole), whole.shape[2]
    colours, inside, _ = _view(whole, windows)
    shape = (count, side, side)
    weight = inside.reshape(shape)
    others = part.reshape(count, 3, -1)
    view, goal = (
        _centred(v.mean(axis=1, keepdims=True), inside).reshape(shape) for v in (colours, others)
    )
    power, common = (view**2).sum(axis=(1, 2)), (view * goal).sum(axis=(1, 2))
    correlation = common / np.sqrt(power * (goal**2).sum(axis=(1, 2)) + 1e-3)
    fine, other = _detail(view, weight), _detail(goal, weight)
    squares, other_squares, products = (_cells(v) for v in (fine**2, other**2, fine * other))
    area = _cells(np.ones(shape, np.float32))
    agreement = products / np.sqrt(squares * other_squares + (area * _NOISE) ** 2)
    patterned = (squares + other_squares > 8 * _NOISE * area) & (_cells(weight) > area / 2)
    cells = (patterned & (agreement > 0.7)).sum(axis=(1, 2)) / np.maximum(
        patterned.sum(axis=(1, 2)), 1
    )
    total = np.sqrt(squares.sum(axis=(1, 2)) * other_squares.sum(axis=(1, 2)))
    detail = products.sum(axis=(1, 2)) / (total + _NOISE)
    gain = np.clip(common / (power + 1e-3), 0.5, 2)[:, None, None]
    tints = _tint(colours) * gain - _tint(others)
    colour = np.sqrt((tints**2 * inside).sum(axis=(1, 2)) / np.maximum(inside.sum(axis=(1, 2)), 1))
    return correlation, detail, cells.astype(np.float32), colour


def _tint(colours: Floats) -> Floats:
    """Return red and blue above green."""
    return colours[:, [0, 2]] - colours[:, 1:2]


def _detail(images: Floats, weight: Floats) -> Floats:
    """Return images without their mean over 5 by 5 pixels."""
    from scipy.ndimage import uniform_filter

    smooth, area = (uniform_filter(v, (0, 5, 5)) for v in (images, weight))
    detail: Floats = (images - smooth / np.maximum(area, 0.04)) * weight
    return detail


def _cells(images: Floats) -> Floats:
    side = images.shape[1] // _CELLS
    cells: Floats = images.reshape(len(images), _CELLS, side, _CELLS, side).sum(axis=(2, 4))
    return cells
