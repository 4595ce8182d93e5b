"""Images that occur more than once: the same bytes, or the same photo saved again.

An image's nearest neighbours by features are candidates: they survive recompression, crops, frames
and mirroring. Quarter turns do not, so images whose miniatures are equal but for a turn are
candidates too. A candidate is a near-duplicate if its miniature, registered to the other one, shows
the same detail with the same proportions. Different objects on one background, such as frames of a
burst or products on one table, correlate as well, but not in detail; they are no duplicates but may
be of one session. Backbones differ in how close any two images are, so cosines are scaled to a
*closeness*: 0 for a typical image and its fifth neighbour, 1 for equal features. Figures:
docs/decisions (170).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.core.rows import Features, Pixels
from headstart.evaluation import groups, neighbours, registration

NEIGHBOURS = 3  # candidates of an image
LEAST_CLOSENESS = 0.25  # of a candidate
MIN_CLOSENESS = 0.999  # without a pattern in the pixels: equal but for rounding

# Detail that agrees, the share of cells where it does, and the greatest stretch of a copy. A logo
# over the copy spoils detail, and a miniature that shows little of it cannot be stretched exactly.
COPY = ((0.8, 0.85, 0.022), (0.7, 0.9, 0.012), (0.93, 0.8, 0.04))
TURNED = 0.98  # correlation of miniatures that are equal but for a quarter turn
TURNED_DETAIL = 0.9
TURNED_PATTERN = 0.96  # of candidates
SESSION_CORRELATION = 0.94
SESSION_DETAIL = 0.7
OTHER_COLOURS = 16.0  # grey levels

BLOCK = 2048  # images that are read at a time
SAMPLE = 1000  # images whose neighbours define the typical cosine
NEIGHBOUR = 5  # rank of the typical neighbour: few images have so many duplicates


@dataclass(frozen=True)
class Duplicates:
    """Which images are copies of which.

    Attributes:
        group: ``(n,)`` numbers, the same for images that copies connect, directly or through
            others; an image without copies is its own group. Numbered by first image.
        closest: ``(n,)`` the most similar copy of each image, -1 without any.
        exact: ``(n,)`` whether that copy has the same bytes.
        cosine: ``(n,)`` of the two images' features, NaN without a copy.
        correlation: ``(n,)`` of the two miniatures after registration; NaN without a copy or
            without miniatures.
        recoloured: ``(n,)`` whether that copy has other colours, so its label may differ rightly.
        session: ``(n,)`` numbers, the same for images that may be of one session: different
            photos on one background.
    """

    group: NDArray[np.intp]
    closest: NDArray[np.intp]
    exact: NDArray[np.bool_]
    cosine: NDArray[np.float32]
    correlation: NDArray[np.float32]
    recoloured: NDArray[np.bool_]
    session: NDArray[np.intp]

    @property
    def rows(self) -> NDArray[np.intp]:
        """Images with copies, ordered by group."""
        repeated = np.flatnonzero(self.closest >= 0)
        return repeated[np.argsort(self.group[repeated], kind="stable")]

    @property
    def session_rows(self) -> NDArray[np.intp]:
        """Images that may be of one session with another, ordered by session."""
        shared = np.flatnonzero(groups.sizes(self.session) > groups.sizes(self.group))
        return shared[np.argsort(self.session[shared], kind="stable")]


def find(
    features: Features,
    sha256: NDArray[np.uint8],
    pixels: Pixels | None,
    near: bool = True,
) -> Duplicates:
    """Find the images that occur more than once.

    Args:
        features: ``(n, d)``; a row that is not finite has no near-duplicates.
        sha256: ``(n, 32)`` hashes of the image files' bytes.
        pixels: ``(n, 32, 32, 3)`` miniatures; without them, near-duplicates need features that are
            equal but for rounding, since different images of one kind may be close.
        near: whether to look for near-duplicates too.
    """
    _, first, content = np.unique(sha256, axis=0, return_index=True, return_inverse=True)
    content = content.reshape(-1)
    order = np.sort(first)  # one image of each content, in the order of the images
    place = np.empty(len(first), np.intp)
    place[np.argsort(first)] = np.arange(len(first))
    best = _Best(len(order))
    session = np.arange(len(order))
    if near and len(order) > 1:
        session = _add_near(best, _Images.of(features, pixels, order))
    of_content = place[content]
    closest = order[best.partner][of_content]
    closest[best.partner[of_content] < 0] = -1
    cosine, correlation = best.cosine[of_content], best.correlation[of_content]
    recoloured = best.recoloured[of_content]

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
    recoloured[exact] = False
    group, session = (groups.join(v[of_content]) for v in (best.components(), session))
    return Duplicates(group, closest, exact, cosine, correlation, recoloured, session)


def rule(with_pixels: bool) -> str:
    """Return when two images count as near-duplicates, in words."""
    if not with_pixels:
        return f"closeness of the features at least {MIN_CLOSENESS}"
    detail, cells, stretch = COPY[0]
    return (
        f"among the {NEIGHBOURS} nearest neighbours by features, or equal but for a quarter turn;"
        f" after registration of the miniatures, detail correlates by at least {detail}, in at"
        f" least {cells:.0%} of the cells, and proportions differ by at most {stretch:.1%}"
    )


class _Near(NamedTuple):
    """Near-duplicates: two places each, with their cosine and correlation."""

    left: NDArray[np.intp]
    right: NDArray[np.intp]
    cosine: NDArray[np.float32]
    correlation: NDArray[np.float32]
    recoloured: NDArray[np.bool_]


class _Best:
    """The most similar partner of each image, and the connected images, updated pair by pair."""

    def __init__(self, n: int) -> None:
        self.partner = np.full(n, -1, np.intp)
        self.cosine = np.full(n, np.nan, np.float32)
        self.correlation = np.full(n, np.nan, np.float32)
        self.recoloured = np.zeros(n, bool)
        self._links: list[NDArray[np.intp]] = []

    def add(self, pairs: _Near) -> None:
        left, right = pairs.left, pairs.right
        image, other = np.r_[left, right], np.r_[right, left]
        cosine, correlation = (np.r_[v, v] for v in (pairs.cosine, pairs.correlation))
        recoloured = np.r_[pairs.recoloured, pairs.recoloured]
        # The most similar pair of each image; among equals the first partner.
        order = np.lexsort((other, -cosine, image))
        first = np.unique(image[order], return_index=True)[1]
        chosen = order[first]
        closest = self.cosine[image[chosen]]
        chosen = chosen[~(closest >= cosine[chosen])]
        place = image[chosen]
        self.partner[place], self.cosine[place] = other[chosen], cosine[chosen]
        self.correlation[place], self.recoloured[place] = correlation[chosen], recoloured[chosen]
        self._links.append(np.stack([left, right]))

    def components(self) -> NDArray[np.intp]:
        links = np.concatenate([np.zeros((2, 0), np.intp), *self._links], axis=1)
        return _components(len(self.partner), links[0], links[1])


@dataclass(frozen=True)
class _Images:
    """What images are compared by: unit feature vectors, miniatures, and the typical distance."""

    features: NDArray[np.float32]
    miniatures: NDArray[np.uint8] | None
    room: np.float32

    @classmethod
    def of(cls, features: Features, pixels: Pixels | None, rows: NDArray[np.intp]) -> _Images:
        unit = _directions(features[rows])
        # If all features are the same, they distinguish no images.
        room = np.float32(max(1.0 - _usual_cosine(unit), 1e-6))
        return cls(unit, None if pixels is None else pixels[rows], room)

    def candidates(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return pairs of ``rows`` that may be copies, ``(m, 2)``."""
        pairs = neighbours.nearest(neighbours.compressed(self.features[rows]), NEIGHBOURS)
        pairs = pairs[self.closeness(rows[pairs]) >= LEAST_CLOSENESS]
        if self.miniatures is not None:
            patterns = registration.canonical(self.miniatures[rows])
            turned = neighbours.nearest(patterns, NEIGHBOURS, TURNED_PATTERN)
            pairs = np.unique(np.concatenate([pairs, turned]), axis=0)
        return rows[pairs]

    def cosine(self, pairs: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the cosine of each pair, ``(m,)``."""
        cosine = np.empty(len(pairs), np.float32)
        for start in range(0, len(pairs), BLOCK):
            left, right = pairs[start : start + BLOCK].T
            cosine[start : start + BLOCK] = np.einsum(
                "ij,ij->i", self.features[left], self.features[right]
            )
        return cosine

    def closeness(self, pairs: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the closeness of each pair, at most 1: its cosine on the scale of the set."""
        close: NDArray[np.float32] = 1 - (1 - self.cosine(pairs)) / self.room
        return np.minimum(close, np.float32(1))

    @cached_property
    def flat(self) -> NDArray[np.bool_]:
        """Whether each miniature has no pattern that could correlate, ``(n,)``."""
        assert self.miniatures is not None
        patterns = registration.canonical(self.miniatures)
        return np.asarray(np.linalg.norm(patterns, axis=1) < 0.999)

    def compare(self, pairs: NDArray[np.intp]) -> tuple[_Near, NDArray[np.intp]]:
        """Return the near-duplicates among pairs of places, and the pairs of one session."""
        left, right = pairs.T
        cosine, close = self.cosine(pairs), self.closeness(pairs)
        if self.miniatures is None:
            near = (close >= MIN_CLOSENESS) & (self.room > 1e-5)
            nothing = np.full(int(near.sum()), np.nan, np.float32), np.zeros(int(near.sum()), bool)
            return _Near(left[near], right[near], cosine[near], *nothing), pairs[:0]
        fit = registration.register(self.miniatures, pairs)
        same = np.zeros(len(pairs), bool)
        for detail, cells, stretch in COPY:
            same |= (fit.detail >= detail) & (fit.cells >= cells) & (fit.stretch <= stretch)
        same &= close >= LEAST_CLOSENESS
        # Features of a turned image may be far away, so its miniature has to fit closely.
        turned = fit.turned & (fit.correlation >= TURNED) & (fit.detail >= TURNED_DETAIL)
        flat = self.flat[left] & self.flat[right] & (close >= MIN_CLOSENESS)
        near = same | turned | flat
        alike = (fit.correlation >= SESSION_CORRELATION) & (fit.detail >= SESSION_DETAIL)
        session = alike & ~near & ~fit.turned & (close >= LEAST_CLOSENESS)
        recoloured = fit.colour > OTHER_COLOURS
        return _Near(*(v[near] for v in (left, right, cosine, fit.correlation, recoloured))), pairs[
            session
        ]


def _add_near(best: _Best, images: _Images) -> NDArray[np.intp]:
    """Add the near-duplicates among all images, and return the partition by session.

    Many copies of one image are each other's nearest neighbours and may hide that their groups
    belong together, so the first images of the groups are compared again until nothing is added.
    """
    n = len(images.features)
    rows = np.arange(n)
    sessions = []
    while len(rows) > 1:
        pairs = images.candidates(rows)
        near, session = images.compare(pairs)
        before = best.components()
        best.add(near)
        sessions.append(session)
        after = best.components()
        if len(np.unique(after)) == len(np.unique(before)):
            break
        first, sizes = np.unique(after, return_index=True, return_counts=True)[1:]
        rows = np.sort(first[sizes > 1])
    # Copies of one image count as one image of its session.
    group = best.components()
    left, right = group[np.concatenate([np.empty((0, 2), np.intp), *sessions])].T
    session = _components(n, left, right)
    session[~np.isin(np.arange(n), np.r_[left[left != right], right[left != right]])] = -1
    alone = session[group] < 0
    return np.where(alone, n + group, session[group])


def _usual_cosine(features: NDArray[np.float32]) -> float:
    """Return the median, over a sample of unit vectors, of the cosine to the fifth neighbour."""
    sample = features[:: -(-len(features) // SAMPLE)]
    nth = min(NEIGHBOUR, len(features) - 1)
    nearest = np.full((len(sample), nth + 1), -1.0, np.float32)
    for start in range(0, len(features), BLOCK):
        cosine = sample @ features[start : start + BLOCK].T
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


def _components(n: int, left: NDArray[np.intp], right: NDArray[np.intp]) -> NDArray[np.intp]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(n, n))
    numbers: NDArray[np.intp] = connected_components(graph, directed=False)[1].astype(np.intp)
    return numbers
