"""A stage's module that can be called like its function of the same name.

``pipeline.embed`` is a module, and ``embed`` is also what the library's users expect to call; this
lets ``from pipeline import embed`` serve both. Assigning a module's class is what Python documents
for modules that behave differently (data model, *Customizing module attribute access*).
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Stage(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the function's own
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **kwargs)


def make_callable(name: str) -> None:
    """Let the imported module ``package.name`` be called as ``package.name.name``."""
    sys.modules[name].__class__ = _Stage
