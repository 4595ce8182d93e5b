"""Which images belong together, such as those of a patient or a burst, by their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.core.errors import InputError, one_line
from headstart.workflows.locations import StrPath

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class GroupNames:
    """The name of each path's group; paths may be relative to one of the ``roots``."""

    table: Mapping[str, str]
    roots: Sequence[str] = ()

    @classmethod
    def of(cls, groups: StrPath | Mapping[str, str], roots: Sequence[str] = ()) -> GroupNames:
        """Read a CSV of path and group, or take a mapping."""
        from headstart.workflows.heads import read_groups

        return cls(read_groups(groups), roots)

    def group(self, path: str) -> str:
        """Return the group of an image; empty if it has none."""
        return next((self.table[name] for name in self._names(path) if name in self.table), "")

    def partition(self, paths: Sequence[str]) -> NDArray[np.intp]:
        """Return the number of each image's group, ``(n,)``; one without a group is its own.

        Raises:
            InputError: the groups name none of the images.
        """
        from headstart.evaluation.groups import by_name

        named = {path: group for path in paths if (group := self.group(path))}
        if not named:
            raise InputError(
                "the groups name none of the images; write paths as in the output, or relative to"
                f" their folder, for instance {one_line(paths[0])}"
            )
        return by_name(paths, named)

    def _names(self, path: str) -> Iterator[str]:
        yield path
        yield str(Path(path).absolute())
        for root in self.roots:
            if path.startswith(root):
                yield path[len(root) :].lstrip("/\\").replace("\\", "/")
