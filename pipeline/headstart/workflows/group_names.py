"""Which images belong together, such as those of a patient or a burst, by their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.core.choices import GROUP_ANSWERS
from headstart.core.errors import InputError, UsageError, one_line
from headstart.workflows.locations import StrPath

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def check_group_answer(groups: object, answer: str) -> None:
    """Raise a `UsageError` for an unknown way to answer for groups, or one without groups."""
    if answer not in GROUP_ANSWERS:
        raise UsageError(f"the answer of a group is by {' or '.join(GROUP_ANSWERS)}, not {answer}")
    if groups is None and answer != GROUP_ANSWERS[0]:
        raise UsageError(
            f"--group-answer {answer} is for groups of images; name them with --groups"
        )


def about_ungrouped(images: int, total: int) -> list[str]:
    """Return a line about images that are in no group; none if all are in one."""
    if not images:
        return []
    return [f"{images:,} of {total:,} images are in no group; each is its own group"]


def read_groups(groups: StrPath | Mapping[str, str] | None) -> Mapping[str, str]:
    """Return the group of each path, from a table or a mapping; empty for None."""
    from headstart import datasets

    if groups is None or isinstance(groups, Mapping):
        return groups or {}
    return datasets.read_groups(Path(groups))


@dataclass(frozen=True)
class GroupNames:
    """The name of each path's group; paths may be relative to one of the ``roots``."""

    table: Mapping[str, str]
    roots: Sequence[str] = ()

    @classmethod
    def of(cls, groups: StrPath | Mapping[str, str], roots: Sequence[str] = ()) -> GroupNames:
        """Read a CSV of path and group, or take a mapping."""
        return cls(read_groups(groups), roots)

    def group(self, path: str) -> str:
        """Return the group of an image; empty if it has none."""
        return next((self.table[name] for name in self._names(path) if name in self.table), "")

    def named(self, paths: Sequence[str]) -> dict[str, str]:
        """Return the groups of the paths that have any.

        Raises:
            InputError: the groups name none of the images.
        """
        named = {path: group for path in paths if (group := self.group(path))}
        if not named:
            raise InputError(
                "the groups name none of the images; write paths as in the output, or relative to"
                f" their folder, for instance {one_line(paths[0])}"
            )
        return named

    def partition(self, paths: Sequence[str]) -> NDArray[np.intp]:
        """Return the number of each image's group, ``(n,)``; one without a group is its own.

        Raises:
            InputError: the groups name none of the images.
        """
        from headstart.evaluation.groups import by_name

        return by_name(paths, self.named(paths))

    def _names(self, path: str) -> Iterator[str]:
        yield path
        yield str(Path(path).absolute())
        for root in self.roots:
            if path.startswith(root):
                yield path[len(root) :].lstrip("/\\").replace("\\", "/")
