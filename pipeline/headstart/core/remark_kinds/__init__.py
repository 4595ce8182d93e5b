"""The kinds of remarks: one table of stable codes, which docs/remarks.md explains.

A code never changes its meaning, and that of a remark which is no longer made is not used again.
"""

from __future__ import annotations

from collections.abc import Mapping

from headstart.core.remark_kinds import about_data, about_images, about_training
from headstart.core.remark_kinds.kind import Kind

__all__ = ["KINDS", "Kind"]

_ALL = (*about_data.KINDS, *about_images.KINDS, *about_training.KINDS)
KINDS: Mapping[str, Kind] = {kind.code: kind for kind in sorted(_ALL, key=lambda kind: kind.code)}
