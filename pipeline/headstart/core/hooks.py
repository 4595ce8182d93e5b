"""How a stage reports what it does to its caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Hooks:
    """How a stage reports; the default reports nothing.

    Attributes:
        notice: receives one line at a time.
        progress: receives the numbers of finished images and of all images.
        step: receives the name of the step that begins, its number from 1, and how many there are.
    """

    notice: Callable[[str], None] = field(default=lambda line: None)
    progress: Callable[[int, int], None] = field(default=lambda finished, total: None)
    step: Callable[[str, int, int], None] = field(default=lambda name, number, total: None)
