"""A fine-tuned network, as it enters a comparison with heads on the frozen one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.choices import TUNED

NAME, TITLE = TUNED, "fine-tuned network"


@dataclass(frozen=True)
class TunedNetwork:
    """The linear classifier that was trained with a network, and how.

    Attributes:
        weight: ``(k, d)``, on the network's features at norm 1; ``bias`` is ``(k,)``.
        classes: the names of its k classes or labels.
        facts: how it was trained (JSON).
        seconds: how long that took.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    classes: tuple[str, ...]
    facts: dict[str, Any]
    seconds: float

    def rows_of(self, classes: tuple[str, ...]) -> list[int]:
        """Return the rows of ``weight`` for these classes."""
        number = {name: row for row, name in enumerate(self.classes)}
        return [number[name] for name in classes]
