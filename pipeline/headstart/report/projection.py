"""A two-dimensional map of the features: PCA, then t-SNE or UMAP, seeded."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from headstart.core.choices import MAPS
from headstart.core.errors import missing_extra
from headstart.core.parallel.blas import one_thread_each
from headstart.report import tsne

COMPONENTS = 50  # kept by PCA for t-SNE or UMAP
PERPLEXITY = 30.0
MANY = 1000  # rows; fewer are mapped by scikit-learn
ITERATIONS = 300, 100  # of which so many exaggerated: attraction is stronger at first
ANGLE = 0.8  # of the Barnes-Hut approximation
UMAP_NEIGHBOURS = 15
LEAST = 8  # images for t-SNE or UMAP; fewer are shown by their principal axes
EXTENT = 1e-9  # below this, all rows are equal


def check(method: str) -> None:
    """Make sure that the library for a map is installed, before any work is done.

    Raises:
        HeadstartError: umap-learn is not installed and ``umap`` was asked for.
    """
    if method == "umap" and find_spec("umap") is None:
        raise missing_extra("umap-learn", "umap")


def project(
    features: NDArray[np.float32], seed: int = 0, method: str = MAPS[0]
) -> NDArray[np.float64]:
    """Return a point for each row of ``(n, d)``; similar rows lie close together.

    Rows are scaled to norm 1 and reduced by PCA, which is all of ``pca``. t-SNE (of few rows
    scikit-learn's, by the Barnes-Hut approximation of van der Maaten 2014; of many, see `tsne`) and
    umap-learn's UMAP (McInnes, Healy and Melville 2018) start from the first two components and
    run on one thread, so the same rows give the same points. Large distances mean little.

    Returns:
        ``(n, 2)``, centred, the larger extent from -1 to 1.
    """
    n = len(features)
    if n < 2:
        return np.zeros((n, 2))
    rows = np.nan_to_num(features.astype(np.float64))
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    rows -= rows.mean(axis=0)
    if float(np.abs(rows).max(initial=0.0)) < EXTENT:
        return np.zeros((n, 2))
    with one_thread_each():
        reduced = _principal(rows, seed)
        if n >= LEAST and method != "pca":
            reduced = (_umap if method == "umap" else _neighbours)(reduced, seed)
    points = reduced[:, :2] - (reduced[:, :2].max(axis=0) + reduced[:, :2].min(axis=0)) / 2
    return np.asarray(points / max(float(np.abs(points).max()), 1e-12))


def _principal(rows: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return the scores on the first principal axes, at least two."""
    from sklearn.decomposition import PCA

    count = min(COMPONENTS, *rows.shape)
    pca = PCA(count, svd_solver="auto", random_state=seed)
    scores = pca.fit_transform(rows.astype(np.float32))
    return np.pad(scores, ((0, 0), (0, max(0, 2 - count)))).astype(np.float64)


def _neighbours(reduced: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    n = len(reduced)
    start = reduced[:, :2] / max(float(reduced[:, 0].std()), 1e-12) * 1e-4
    if n >= MANY:
        return tsne.embed(reduced, start)
    from sklearn.manifold import TSNE

    iterations, exaggerated = ITERATIONS

    class Tsne(TSNE):  # type: ignore[misc]
        _EXPLORATION_MAX_ITER = exaggerated  # no parameter sets it

    return np.asarray(
        Tsne(
            perplexity=min(PERPLEXITY, (n - 1) / 3),
            init=start,
            max_iter=iterations,
            angle=ANGLE,
            random_state=seed,
        ).fit_transform(reduced.astype(np.float32)),
        np.float64,
    )


def _umap(reduced: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    check("umap")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from compilers, and about threads that a seed rules out
        import umap

        scale = max(float(reduced[:, 0].std()), 1e-12)
        mapper = umap.UMAP(
            n_neighbors=min(UMAP_NEIGHBOURS, len(reduced) - 1),
            init=10 * reduced[:, :2] / scale,
            random_state=seed,
            n_jobs=1,
        )
        return np.asarray(mapper.fit_transform(reduced.astype(np.float32)), np.float64)
