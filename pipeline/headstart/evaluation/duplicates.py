"""Images that occur more than once: the same bytes, or the same photo saved again.

Near-duplicates agree in features and in thumbnails. Features survive recompression, resizing, small
crops and mirroring, but confuse two pairs of jeans on one hanger. Thumbnails compare layout, but
confuse two white shirts on a white wall. Backbones differ in how close any two images are, so
cosines are scaled to a *closeness*: 0 for a typical image and its fifth neighbour, 1 for equal
features. The thresholds were chosen on artificial copies; see docs/decisions (44) for the figures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.core.parallel import available_cores
from headstart.core.parallel.blas import run_parallel
from headstart.core.rows import Features, Pixels
from headstart.evaluation import groups

MIN_CORRELATION = 0.98  # sufficient by itself, unless closeness is below 0
MIN_AGREEMENT = 0.88  # of the weighted sum of both
WEIGHTS = (0.4, 0.6)  # of closeness and correlation
MIN_CLOSENESS = 0.999  # without thumbnails: equal but for rounding
# Closeness is at most 1, so no pair with less correlation than this can count.
LEAST_CORRELATION = (MIN_AGREEMENT - WEIGHTS[0]) / WEIGHTS[1]
MANY = 0.01  # share of a tile's pairs above which one product computes all cosines

BLOCK = 2048  # images; a tile of all pairs of two blocks takes 16 MB a matrix
SAMPLE = 1000  # images whose neighbours define the typical cosine
NEIGHBOUR = 5  # rank of the typical neighbour: few images have so many duplicates
_SIDE = 16  # pixels of the grey image that thumbnails are compared by
_FLAT = 1.0  # grey levels; an image that varies less has no pattern that could correlate


@dataclass(frozen=True)
class Duplicates:
    """Which images are copies of which.

    Attributes:
        group: ``(n,)`` numbers, the same for images that copies connect, directly or through
            others; an image without copies is its own group. Numbered by first image.
        closest: ``(n,)`` the most similar copy of each image, -1 without any.
        exact: ``(n,)`` whether that copy has the same bytes.
        cosine: ``(n,)`` of the two images' features, NaN without a copy.
        correlation: ``(n,)`` of the two thumbnails, mirrored if that fits better; NaN without a
            copy or without thumbnails.
    """

    group: NDArray[np.intp]
    closest: NDArray[np.intp]
    exact: NDArray[np.bool_]
    cosine: NDArray[np.float32]
    correlation: NDArray[np.float32]

    @property
    def rows(self) -> NDArray[np.intp]:
        """Images with copies, ordered by group."""
        repeated = np.flatnonzero(self.closest >= 0)
        return repeated[np.argsort(self.group[repeated], kind="stable")]


def find(
    features: Features,
    sha256: NDArray[np.uint8],
    pixels: Pixels | None,
    near: bool = True,
) -> Duplicates:
    """Find the images that occur more than once.

    All pairs are compared in tiles, so memory does not grow with their number. Thumbnails come
    first: they cost a fifth of 1,280 features, which only the remaining pairs need.

    Args:
        features: ``(n, d)``; a row that is not finite has no near-duplicates.
        sha256: ``(n, 32)`` hashes of the image files' bytes.
        pixels: ``(n, 32, 32, 3)`` thumbnails; without them, near-duplicates need features that are
            equal but for rounding, since different images of one kind may be close.
        near: whether to look for near-duplicates too.
    """
    _, first, content = np.unique(sha256, axis=0, return_index=True, return_inverse=True)
    content = content.reshape(-1)
    order = np.sort(first)  # one image of each content, in the order of the images
    place = np.empty(len(first), np.intp)
    place[np.argsort(first)] = np.arange(len(first))
    best = _Best(len(order))
    if near and len(order) > 1:
        for pairs in _near_pairs(features, pixels, order):
            best.add(*pairs)
    group = best.components()[place[content]]
    closest = order[best.partner][place[content]]
    closest[best.partner[place[content]] < 0] = -1
    cosine, correlation = best.cosine[place[content]], best.correlation[place[content]]

    # A copy with the same bytes goes before any other.
    exact = np.bincount(content, minlength=len(first))[content] > 1
    by_content = np.lexsort((np.arange(len(content)), content))
    previous = np.roll(by_content, 1)
    same = content[previous] == content[by_content]
    closest[by_content[same]] = previous[same]
    starts = by_content[~same]
    closest[starts[exact[starts]]] = by_content[np.flatnonzero(~same)[exact[starts]] + 1]
    cosine[exact] = 1
    correlation[exact] = np.nan if pixels is None else 1
    return Duplicates(groups.join(group), closest, exact, cosine, correlation)


def rule(with_pixels: bool) -> str:
    """Return when two images count as near-duplicates, in words."""
    if not with_pixels:
        return f"closeness of the features at least {MIN_CLOSENESS}"
    a, b = WEIGHTS
    return (
        f"{a} × closeness of the features + {b} × correlation of the thumbnails at least"
        f" {MIN_AGREEMENT}, or correlation at least {MIN_CORRELATION} and closeness at least 0"
    )


class _Best:
    """The most similar partner of each image, and the connected images, updated pair by pair."""

    def __init__(self, n: int) -> None:
        self.partner = np.full(n, -1, np.intp)
        self.cosine = np.full(n, np.nan, np.float32)
        self.correlation = np.full(n, np.nan, np.float32)
        self._links: list[NDArray[np.intp]] = []

    def add(
        self,
        left: NDArray[np.intp],
        right: NDArray[np.intp],
        cosine: NDArray[np.float32],
        correlation: NDArray[np.float32],
    ) -> None:
        image, other = np.r_[left, right], np.r_[right, left]
        cosine, correlation = np.r_[cosine, cosine], np.r_[correlation, correlation]
        # The most similar pair of each image; among equals the first partner.
        order = np.lexsort((other, -cosine, image))
        first = np.unique(image[order], return_index=True)[1]
        chosen = order[first]
        closest = self.cosine[image[chosen]]
        chosen = chosen[~(closest >= cosine[chosen])]
        self.partner[image[chosen]] = other[chosen]
        self.cosine[image[chosen]] = cosine[chosen]
        self.correlation[image[chosen]] = correlation[chosen]
        members, local = np.unique(np.r_[left, right], return_inverse=True)
        part = _components(len(members), local[: len(left)], local[len(left) :])
        # Linking every member to the first of its part connects them all.
        heads = members[np.unique(part, return_index=True)[1]]
        self._links.append(np.stack([heads[part], members]))

    def components(self) -> NDArray[np.intp]:
        links = np.concatenate([np.zeros((2, 0), np.intp), *self._links], axis=1)
        return _components(len(self.partner), links[0], links[1])


class _Pairs(NamedTuple):
    """Near-duplicates: two places each, with their cosine and correlation."""

    left: NDArray[np.intp]
    right: NDArray[np.intp]
    cosine: NDArray[np.float32]
    correlation: NDArray[np.float32]


def _near_pairs(
    features: Features, pixels: Pixels | None, rows: NDArray[np.intp]
) -> Iterator[_Pairs]:
    """Yield pairs of places in ``rows``, tile by tile."""
    patterns = None if pixels is None else _patterns(pixels, rows)
    usual = _usual_cosine(features, rows)
    # If all features are the same, they distinguish no images.
    room = np.float32(max(1.0 - usual, 1e-6))
    if patterns is None and room <= 1e-5:
        return

    def tile(top: int, start: int) -> _Pairs:
        left, right = rows[top : top + BLOCK], rows[start : start + BLOCK]
        if patterns is None:
            cosine = _directions(features[left]) @ _directions(features[right]).T
            near = _closeness(cosine, room) >= MIN_CLOSENESS
            i, j = np.nonzero(np.triu(near, 1) if start == top else near)
            cosine = cosine[i, j]
            correlation = np.full_like(cosine, np.nan)
        else:
            correlation = _correlations(
                patterns[top : top + BLOCK], patterns[start : start + BLOCK]
            )
            near = correlation >= LEAST_CORRELATION
            i, j = np.nonzero(np.triu(near, 1) if start == top else near)
            correlation = correlation[i, j]
            cosine = _cosines(features, left, right, i, j)
            closeness = _closeness(cosine, room)
            kept = (correlation >= MIN_CORRELATION) & (closeness >= -1e-3)
            kept |= WEIGHTS[0] * closeness + WEIGHTS[1] * correlation >= MIN_AGREEMENT
            i, j, cosine, correlation = i[kept], j[kept], cosine[kept], correlation[kept]
        return _Pairs(i + top, j + start, cosine, correlation)

    workers = available_cores()
    tiles = [(i, j) for i in range(0, len(rows), BLOCK) for j in range(i, len(rows), BLOCK)]
    for first in range(0, len(tiles), workers):
        yield from run_parallel(
            lambda corner: tile(*corner), tiles[first : first + workers], workers
        )


def _closeness(cosine: NDArray[np.float32], room: np.float32) -> NDArray[np.float32]:
    closeness: NDArray[np.float32] = np.minimum(1 - (1 - cosine) / room, np.float32(1))
    return closeness


def _cosines(
    features: Features,
    left: NDArray[np.intp],
    right: NDArray[np.intp],
    i: NDArray[np.intp],
    j: NDArray[np.intp],
) -> NDArray[np.float32]:
    if len(i) > MANY * len(left) * len(right):
        every: NDArray[np.float32] = _directions(features[left]) @ _directions(features[right]).T
        return every[i, j]
    cosine = np.empty(len(i), np.float32)
    for start in range(0, len(i), BLOCK):
        pairs = slice(start, start + BLOCK)
        a, b = (_directions(features[r]) for r in (left[i[pairs]], right[j[pairs]]))
        cosine[pairs] = np.einsum("ij,ij->i", a, b)
    return cosine


def _usual_cosine(features: Features, rows: NDArray[np.intp]) -> float:
    """Return the median, over a sample of images, of the cosine to their fifth neighbour."""
    sample = rows[:: -(-len(rows) // SAMPLE)]
    nth = min(NEIGHBOUR, len(rows) - 1)
    left = _directions(features[sample])
    nearest = np.full((len(sample), nth + 1), -1.0, np.float32)
    for start in range(0, len(rows), BLOCK):
        cosine = left @ _directions(features[rows[start : start + BLOCK]]).T
        merged = np.concatenate([nearest, cosine], axis=1)
        nearest = np.partition(merged, merged.shape[1] - nth - 1, axis=1)[:, -nth - 1 :]
    return float(np.median(nearest.min(axis=1)))  # each image is its own first neighbour


def _directions(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows of norm 1; rows of zeros, and those that are not finite, become zeros."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("ij,ij->i", features, features))[:, None]
    usable = np.isfinite(norms) & (norms > 0)
    rows: NDArray[np.float32] = np.divide(
        features, norms, out=np.zeros_like(features), where=usable
    )
    return rows


def _patterns(pixels: Pixels, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return unit vectors, ``(len(rows), 257)``, of the grey images without their mean.

    The part that mirroring negates comes first, then the symmetric part, then 1 for a flat image.
    """
    step, half = pixels.shape[1] // _SIDE, _SIDE // 2
    patterns = np.zeros((len(rows), _SIDE * _SIDE + 1), np.float32)
    for start in range(0, len(rows), BLOCK):
        block = pixels[rows[start : start + BLOCK]].astype(np.float32)
        shape = (len(block), _SIDE, step, _SIDE, step * block.shape[3])
        grey = block.reshape(shape).mean(axis=(2, 4))
        grey -= grey.mean(axis=(1, 2), keepdims=True)
        spread = np.sqrt((grey**2).mean(axis=(1, 2)))
        flat = spread < _FLAT
        grey /= np.maximum(spread, _FLAT)[:, None, None] * _SIDE
        grey[flat] = 0
        here, there = grey[:, :, :half], grey[:, :, : half - 1 : -1]
        parts = [
            (part / np.sqrt(2)).reshape(len(block), -1) for part in (here - there, here + there)
        ]
        patterns[start : start + BLOCK, :-1] = np.hstack(parts)
        patterns[start : start + BLOCK, -1] = flat
    return patterns


def _correlations(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the correlations of all pairs of patterns, mirrored if that fits better."""
    odd = _SIDE * _SIDE // 2
    mirrorable = left[:, :odd] @ right[:, :odd].T
    best: NDArray[np.float32] = left[:, odd:] @ right[:, odd:].T
    best += np.abs(mirrorable, out=mirrorable)
    return best


def _components(n: int, left: NDArray[np.intp], right: NDArray[np.intp]) -> NDArray[np.intp]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(n, n))
    numbers: NDArray[np.intp] = connected_components(graph, directed=False)[1].astype(np.intp)
    return numbers
