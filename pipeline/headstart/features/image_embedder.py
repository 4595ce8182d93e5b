"""Stage: a frozen network as a scikit-learn transformer, paths in, features out.

The one module that loads scikit-learn when it is imported, since its class is one of
scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from headstart.backbones import export
from headstart.backbones.inference import parity
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import ImageError, InputError, one_line
from headstart.core.parallel import available_cores, run_threads
from headstart.datasets import images

_CHUNK = 8


class ImageEmbedder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Image files to the features that ``headstart features`` gives them.

    Nothing is learnt from the images, so cross-validation leaks nothing through it. In a
    `sklearn.pipeline.Pipeline` with ``memory`` every set of paths is embedded once; the paths are
    the key, so a file that changes under its name is not noticed.

    Args:
        backbone: a name from ``headstart backbones``, or an exported ONNX file.
        device: one of `headstart.backbones.inference.runner.DEVICES`.
        precision: one of `headstart.core.records.PRECISIONS`.
        workers: threads; None means one per core.

    Attributes:
        n_features_out_: features per image.
    """

    def __init__(
        self,
        backbone: str = "efficientnet-lite0",
        device: str = "cpu",
        precision: str = "fp32",
        workers: int | None = None,
    ) -> None:
        self.backbone = backbone
        self.device = device
        self.precision = precision
        self.workers = workers

    def fit(self, X: Sequence[str | Path], y: object = None) -> ImageEmbedder:
        """Open the network; no image is.

        Raises:
            InputError: ``X`` is no sequence of paths.
            BackboneError: the network is not at hand.
        """
        _paths(X)
        self.n_features_out_ = self._runner().backbone.dim
        return self

    def transform(self, X: Sequence[str | Path]) -> NDArray[np.float32]:
        """Return the ``(n, d) float32`` features of n image files.

        Raises:
            InputError: ``X`` is no sequence of paths, or an image cannot be used.
            RunnerError: inference failed.
        """
        paths, runner = _paths(X), self._runner()
        features = np.empty((len(paths), runner.backbone.dim), np.float32)

        def work(start: int) -> tuple[int, NDArray[np.float32]]:
            crops = [_crop(path, runner) for path in paths[start : start + _CHUNK]]
            return start, runner.embed(np.stack(crops))

        starts = range(0, len(paths), _CHUNK)
        for start, rows in run_threads(work, starts, self.workers or available_cores()):
            features[start : start + len(rows)] = rows
        return features

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Return ``feature0``, ``feature1`` and so on."""
        dim = self._runner().backbone.dim
        return np.array([f"feature{number}" for number in range(dim)], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401 - scikit-learn's Tags
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.one_d_array, tags.input_tags.two_d_array = True, False
        tags.input_tags.string = True
        return tags

    def _runner(self) -> Runner:
        model, _ = export.model_file(self.backbone, self.precision)
        return _opened(model, model.stat().st_mtime_ns, self.device)


@lru_cache(maxsize=2)
def _opened(model: Path, _modified: int, device: str) -> Runner:
    runner = Runner(model, device, batch=None)
    parity.check_metadata(runner.metadata, runner.embed, runner.backbone.preprocess)
    return runner


def _paths(given: Any) -> list[Path]:  # noqa: ANN401 - whatever scikit-learn hands on
    if isinstance(given, str | bytes) or not hasattr(given, "__len__"):
        raise InputError("an ImageEmbedder takes a list of image paths")
    names = np.asarray(given, dtype=object)
    if names.ndim == 2 and names.shape[1] == 1:
        names = names[:, 0]  # one column of a data frame
    if names.ndim != 1 or not all(isinstance(name, str | Path) for name in names):
        raise InputError("an ImageEmbedder takes a list of image paths, one a row")
    return [Path(name) for name in names]


def _crop(path: Path, runner: Runner) -> NDArray[np.uint8]:
    try:
        return images.decode(images.read_file(path)[0], runner.backbone.preprocess)
    except ImageError as error:
        raise InputError(f"{one_line(path)}: {error}; leave it out") from error
