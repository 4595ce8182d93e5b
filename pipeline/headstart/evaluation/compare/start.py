"""What a comparison begins with, while the libraries of the heads are loaded: images and copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from headstart.core.parallel import limited
from headstart.core.parallel.blas import load, one_numpy_thread, one_thread_each
from headstart.core.records import FeatureSet
from headstart.core.results import Remark
from headstart.evaluation.compare.alignment import align, backbone_names
from headstart.evaluation.compare.config import CompareConfig
from headstart.evaluation.compare.insights import find_duplicates
from headstart.evaluation.duplicates import Duplicates


@dataclass(frozen=True)
class Start:
    """The images that all stores have, ``named`` by backbone, and the duplicates among them."""

    named: dict[str, FeatureSet]
    about_alignment: list[Remark]
    duplicates: Duplicates

    @property
    def data(self) -> FeatureSet:
        """The images with the features of the first store."""
        return next(iter(self.named.values()))


@contextmanager
def starting(
    stores: Sequence[FeatureSet],
    config: CompareConfig,
    step: Callable[[str], None],
    notice: Callable[[dict[str, FeatureSet]], None] = lambda named: None,
) -> Iterator[Start]:
    """Align the stores and find duplicates; inside, libraries have one thread each.

    ``notice`` gets the aligned stores before the duplicates are sought.
    """
    with limited(config.workers), one_numpy_thread():
        load()
        aligned, about = align(stores)
        named = dict(zip(backbone_names(stores), aligned, strict=True))
        notice(named)
        step("duplicates")
        duplicates = find_duplicates(aligned[0], config.near_duplicates)
        with one_thread_each():
            yield Start(named, about, duplicates)
