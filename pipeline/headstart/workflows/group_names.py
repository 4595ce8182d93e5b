"""Which images belong together, such as those of a patient or a burst, by their paths."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from headstart.core.choices import GROUP_ANSWERS
from headstart.core.errors import InputError, UsageError, one_line
from headstart.workflows.locations import StrPath

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headstart.core.costs import Costs
    from headstart.models.classifier import Classifier
    from headstart.models.predict import Prediction

Groups: TypeAlias = StrPath | Mapping[str, str] | None
_GROUP = "{group}"


def _compiled(pattern: str) -> re.Pattern[str]:
    """Return the expression for the end of a path; ``*`` stands for anything but ``/``."""
    if pattern.count(_GROUP) > 1:
        raise UsageError(f"--groups {one_line(pattern)}: write {_GROUP} once")
    parts = re.split(r"(\{group\}|\*)", pattern)
    meaning = {_GROUP: "(?P<group>[^/]+)", "*": "[^/]*"}
    text = "".join(meaning.get(part, re.escape(part)) for part in parts)
    return re.compile(f"(?:^|/){text}$")


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


def groups_of(groups: Groups, paths: Sequence[str]) -> Mapping[str, str]:
    """Return the groups of the images at these paths, as `GroupNames.of` reads them."""
    names = GroupNames.of(groups)
    return names.table if names.pattern is None else names.named(paths)


@dataclass(frozen=True)
class GroupNames:
    """The name of each path's group; paths may be relative to one of the ``roots``.

    A ``pattern``, in place of the table, has the name in its group ``group``.
    """

    table: Mapping[str, str]
    roots: Sequence[str] = ()
    pattern: re.Pattern[str] | None = None

    @classmethod
    def of(cls, groups: Groups, roots: Sequence[str] = ()) -> GroupNames:
        """Read a CSV of path and group or a pattern such as ``{group}/*``, or take a mapping.

        Raises:
            InputError: the table cannot be read.
            UsageError: the pattern names the group more than once.
        """
        from headstart import datasets

        if groups is None or isinstance(groups, Mapping):
            return cls(groups or {}, roots)
        if _GROUP in os.fspath(groups):
            return cls({}, roots, _compiled(os.fspath(groups)))
        return cls(datasets.read_groups(Path(groups)), roots)

    def group(self, path: str) -> str:
        """Return the group of an image; empty if it has none."""
        if self.pattern is not None:
            name = next(filter(None, self._relative(path)), path).replace("\\", "/")
            match = self.pattern.search(name)
            return match["group"] if match else ""
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
                f" their folder, for instance {one_line(paths[0])}; a pattern must fit the end of a"
                " path"
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
        yield from self._relative(path)

    def _relative(self, path: str) -> Iterator[str]:
        for root in self.roots:
            if path.startswith(root):
                yield path[len(root) :].lstrip("/\\").replace("\\", "/")


def predict_groups(
    model: Classifier,
    predictions: Iterator[Prediction],
    names: GroupNames,
    answer: str,
    min_confidence: float,
    costs: Costs | None,
    sets: str,
) -> Iterator[Prediction]:
    """Return one prediction for each group.

    Raises:
        InputError: the groups name none of the images.
    """
    from headstart.models import groups as grouped

    rows = grouped.predict_groups(
        model, predictions, names.group, answer, min_confidence, costs, sets
    )
    waiting = []
    for row in rows:
        waiting.append(row)
        if row.group:  # or nobody could tell these rows from those of single images
            break
    else:
        if waiting:
            names.named([row.path for row in waiting])
    return itertools.chain(waiting, rows)
