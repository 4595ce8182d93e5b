"""Stage: a frozen network as a scikit-learn transformer, paths in, features out.

Importing this module loads scikit-learn, because its class is one of scikit-learn's.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import NotFittedError

from headstart import backbones
from headstart.backbones import export
from headstart.backbones.inference import precision_choice
from headstart.backbones.inference.description import describe
from headstart.backbones.inference.extract import features_of, images_of
from headstart.backbones.inference.lazy import LazyRunner
from headstart.backbones.inference.runner import Runner
from headstart.core.choices import PERCENTILE
from headstart.core.errors import InputError, one_line
from headstart.core.parallel import available_cores
from headstart.core.records import Choice, ImageRef, Listing
from headstart.features.embed.set_range import decoded_by, measured_range

ON_ERROR = ("raise", "nan")
_MEASURED = ("int8", "auto")  # precisions that are chosen by measuring images
_EARLIER_POLICY = 3  # of embedders that were fitted before they knew it


class ImageEmbedder(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """Image files to the features that ``headstart features`` gives them.

    With ``precision="fp32"`` or ``"fp16"`` nothing is learnt from the images, so cross-validation
    leaks nothing through it, and you need not fit it. ``"int8"`` is calibrated, and ``"auto"``
    chosen, on the images you give to `fit`; their labels, if given, measure the loss of accuracy.

    In a `sklearn.pipeline.Pipeline` with ``memory`` every set of paths is embedded once. The paths
    are the key, so a file that changes under its name is not noticed.

    Args:
        backbone: a name from ``headstart backbones``, or an exported ONNX file.
        device: one of `headstart.core.choices.DEVICES`.
        precision: one of `headstart.core.choices.PRECISIONS`.
        workers: threads; None means one per core.
        layer: a layer by name, ``A+B`` for two side by side; empty means the network's default.
        pool: one of `headstart.core.choices.POOLS`; empty means the layer's default.
        quality: ``best`` adds a wider view of each image, see `headstart.extract_features`.
        image_fit: how images are fitted, one of `core.choices.FITS`; empty means the network's own.
        size: pixels of a side of the network's input, or (height, width); None means its own.
        views: one of `core.preprocess.VIEWS`, whose features are averaged; empty means one.
        weights: a weights file, ``random`` or ``random:SEED``; empty means the published weights.
        batch_size: images in one inference; None means what suits the device.
        value_range: values that are black and white in all images, ``LOW:HIGH`` or ``dtype``;
            ``percentile`` measures them on the images you give to `fit`.
        colour: ``srgb`` converts images by their colour profiles; empty ignores these.
        on_error: ``raise`` refuses an image that cannot be used; ``nan`` gives it a row of NaN.

    Attributes:
        value_range_: the range that was fitted, such as ``0:4095``.
        layer_: the layer that was fitted; empty means what the network's own classifier reads.
        policy_: the version of the decoding rules that was fitted, see `core.records.Preprocess`.
        precision_: the precision that was fitted, such as ``int8+0123456789abcdef``.
        n_features_out_: features per image.
    """

    def __init__(
        self,
        backbone: str | os.PathLike[str] = "efficientnet-lite0",
        device: str = "cpu",
        precision: str = "fp32",
        workers: int | None = None,
        *,
        layer: str = "",
        pool: str = "",
        quality: str = "",
        image_fit: str = "",
        size: int | tuple[int, int] | None = None,
        views: str = "",
        weights: str | os.PathLike[str] = "",
        batch_size: int | None = None,
        value_range: str = "",
        colour: str = "",
        on_error: str = "raise",
    ) -> None:
        self.backbone = backbone
        self.device = device
        self.precision = precision
        self.workers = workers
        self.layer = layer
        self.pool = pool
        self.quality = quality
        self.image_fit = image_fit
        self.size = size
        self.views = views
        self.weights = weights
        self.batch_size = batch_size
        self.value_range = value_range
        self.colour = colour
        self.on_error = on_error

    def fit(self, X: Sequence[str | os.PathLike[str]], y: Any = None) -> ImageEmbedder:  # noqa: ANN401
        """Find the network's file; images are opened for precisions ``int8`` and ``auto`` only.

        Raises:
            InputError: ``X`` is not a sequence of paths, or has no image to calibrate on.
            BackboneError: the network cannot be found, or int8 drifts too far from fp32.
        """
        listing = _listing(X, y)
        self._check_on_error()
        self.layer_, self.policy_ = self.layer, 0
        self.value_range_ = self.value_range
        if self.value_range == PERCENTILE:
            self.value_range_ = measured_range(listing)
        self.precision_ = self.precision
        if self.precision in _MEASURED:
            self.precision_ = self._measured(listing)
        self.layer_ = self._choice().layer
        self.policy_ = describe(self._model()).preprocess.policy
        self.n_features_out_ = self._n_features_out
        return self

    def transform(self, X: Sequence[str | os.PathLike[str]]) -> NDArray[np.float32]:
        """Return the ``(n, d) float32`` features of n image files.

        Raises:
            InputError: ``X`` is not a sequence of paths, or an image cannot be used.
            NotFittedError: the precision is ``int8`` or ``auto``, and `fit` was not called.
            RunnerError: inference failed.
        """
        listing = _listing(X)
        self._check_on_error()
        runner, images = self._runner(), images_of(listing, listing.images)
        embedded = features_of(images, [runner], self.workers or available_cores())
        if embedded.failures and self.on_error == "raise":
            row, reason = min(embedded.failures.items())
            raise InputError(
                f"{one_line(listing.images[row].path)}: {reason}; leave it out, or set "
                "on_error='nan'"
            )
        features = np.full((len(images), runner.backbone.dim), np.nan, np.float32)
        features[embedded.rows] = embedded.features[0]
        return features

    def __sklearn_is_fitted__(self) -> bool:
        return not self._is_measured or hasattr(self, "precision_")

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401 - scikit-learn's Tags
        tags = super().__sklearn_tags__()
        tags.requires_fit = self._is_measured
        tags.input_tags.one_d_array, tags.input_tags.two_d_array = True, False
        tags.input_tags.string = True
        return tags

    @property
    def _is_measured(self) -> bool:
        return self.precision in _MEASURED or self.value_range == PERCENTILE

    @property
    def _n_features_out(self) -> int:
        return describe(self._model()).dim

    def _check_on_error(self) -> None:
        if self.on_error not in ON_ERROR:
            raise InputError(
                f"no on_error {one_line(self.on_error)!r}; use one of: {', '.join(ON_ERROR)}"
            )

    def _choice(self) -> Choice:
        size = getattr(self, "size", None)  # absent, like others, in pickles of earlier versions
        choice = Choice(
            os.fspath(self.backbone),
            os.fspath(self.weights),
            self.layer,
            self.pool,
            quality=getattr(self, "quality", ""),
            fit=getattr(self, "image_fit", ""),
            size=(size, size) if isinstance(size, int) else size,
            views=getattr(self, "views", ""),
        )
        measured = self.value_range == PERCENTILE
        value_range = self.value_range_ if measured else self.value_range
        # One that was fitted and pickled by an earlier version may lack `policy_` and `layer_`.
        fitted = hasattr(self, "n_features_out_")
        policy = getattr(self, "policy_", _EARLIER_POLICY if fitted else 0)
        choice = dataclasses.replace(decoded_by(choice, value_range, self.colour), policy=policy)
        earlier = fitted and not hasattr(self, "layer_")
        return choice if earlier else backbones.settled(choice)

    def _measured(self, listing: Listing) -> str:
        if not listing.images:
            raise InputError(
                f"precision {self.precision!r} is measured on images: give fit() a sample of "
                "yours, or use fp32 or fp16"
            )
        model, _ = export.model_file(self._choice())
        budget = precision_choice.Budget()
        path, _ = precision_choice.fitting(
            model, self.precision, listing, budget, workers=self.workers
        )
        return describe(path).precision

    def _model(self) -> Path:
        if not self.__sklearn_is_fitted__():
            setting = f"precision {self.precision!r}"
            if self.precision not in _MEASURED:
                setting = f"value_range {self.value_range!r}"
            raise NotFittedError(
                f"{setting} is measured on images: call fit() with a sample of yours first"
            )
        precision = self.precision_ if self.precision in _MEASURED else self.precision
        return export.model_file(self._choice(), precision)[0]

    def _runner(self) -> Runner:
        model = self._model()
        return _opened(model, model.stat().st_mtime_ns, self.device, self.batch_size)


@lru_cache(maxsize=2)
def _opened(model: Path, _modified: int, device: str, batch: int | None) -> Runner:
    network = LazyRunner(model, device, batch)
    _ = network.drift  # raises on a machine that computes other features
    return network.runner


def _listing(paths: Any, labels: Any = None) -> Listing:  # noqa: ANN401 - as scikit-learn passes it
    if isinstance(paths, str | bytes) or not hasattr(paths, "__len__"):
        raise InputError("an ImageEmbedder takes a list of image paths")
    names = np.asarray(paths, dtype=object)
    if names.ndim == 2 and names.shape[1] == 1:
        names = names[:, 0]  # one column of a data frame
    if names.ndim != 1 or not all(isinstance(name, str | os.PathLike) for name in names):
        raise InputError("an ImageEmbedder takes a list of image paths, one a row")
    texts = [None] * len(names) if labels is None else [str(label) for label in labels]
    images = tuple(
        ImageRef(os.fspath(name), text, "") for name, text in zip(names, texts, strict=True)
    )
    classes = tuple(sorted({text for text in texts if text is not None}))
    return Listing(Path(), images, classes, {}, "")
