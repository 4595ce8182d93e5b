"""A fine-tuning job: images, frozen features, backbone, division and settings, together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart import datasets
from headstart.core import targets
from headstart.core.records import Choice, FeatureSet, digest_of
from headstart.datasets import DEFAULTS, Options
from headstart.features.store.columns import stored_name
from headstart.finetune.config import FROZEN_NORM_BELOW, FinetuneConfig
from headstart.finetune.division import Division, divide
from headstart.finetune.photos import Photo

if TYPE_CHECKING:
    from headstart.finetune.frozen import Frozen
    from headstart.finetune.model import Start
    from headstart.finetune.objective import Objective


@dataclass(frozen=True)
class FinetuneJob:
    """Everything that decides a training.

    ``frozen`` holds the features of the source ``data``, read as ``reading`` says, by the backbone
    ``choice``, which is chosen by its name; ``config`` is settled.
    """

    data: str
    frozen: FeatureSet
    choice: Choice
    division: Division
    config: FinetuneConfig
    reading: Options = DEFAULTS

    @classmethod
    def create(
        cls,
        data: str,
        frozen: FeatureSet,
        choice: Choice,
        config: FinetuneConfig,
        reading: Options = DEFAULTS,
        named_groups: Mapping[str, str] | None = None,
    ) -> FinetuneJob:
        """Divide the images and settle the configuration."""
        division = divide(frozen, config.seed, named_groups)
        return cls(data, frozen, choice, division, config.settled(len(division.train)), reading)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of ``train``, ``validation`` and ``test`` images."""
        division = self.division
        return {
            "train": len(division.train),
            "validation": len(division.validation),
            "test": len(division.test),
        }

    @property
    def frozen_norms(self) -> bool:
        """Whether there are too few images to update the statistics of batch normalisation."""
        return len(self.division.train) < FROZEN_NORM_BELOW

    def photos(self, *parts: tuple[NDArray[np.intp], int]) -> list[list[Photo]]:
        """Return the images of each ``(rows, views)``."""
        listing = datasets.open_source(self.data, replace(self.reading, labels=False))
        refs = {stored_name(ref.path): ref for ref in listing.images}
        path, sha256 = self.frozen.path, self.frozen.sha256
        return [
            [Photo(listing, refs[path[row]], sha256[row].tobytes(), views) for row in rows]
            for rows, views in parts
        ]

    def frozen_classifier(self) -> Frozen:
        """Return what a classifier on the frozen features of the training images is worth."""
        frozen: Frozen = self._part.frozen(self)
        return frozen

    @property
    def _part(self) -> Any:  # noqa: ANN401 - a module
        return targets.by_name(self.frozen.target).part("finetuning")

    def targets(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Return the targets of some rows, as the loss of this target type takes them."""
        own: NDArray[Any] = self._part.targets(self, rows)
        return own

    def start(self) -> Start:
        """Train the classifier that training starts from, on the frozen features."""
        own: Start = self._part.start(self)
        return own

    def objective(self) -> Objective:
        """Return what training minimises, and how epochs are judged."""
        own: Objective = self._part.objective(self)
        return own

    def identity(self, boundary: str) -> str:
        """Return a digest of all that decides the weights, which a checkpoint has to match."""
        frozen, division = self.frozen, self.division
        groups = {} if division.group is None else {"groups": division.group.tolist()}
        return digest_of(
            groups
            | {
                "config": dataclasses.asdict(self.config) | {"workers": None},
                "data": frozen.sha256[division.train].tobytes().hex(),
                "labels": self._part.marks(frozen, division.train),
                "validation": frozen.sha256[division.validation].tobytes().hex(),
                "backbone": frozen.digest,
                "boundary": boundary,
            }
        )
