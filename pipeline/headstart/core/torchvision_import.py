"""Imports torch, torchvision and timm, even if torchvision's compiled ops cannot be loaded.

If its ops were built for another torch, torchvision fails with "operator torchvision::nms does not
exist", because it registers a fake (shape-only) kernel for a missing op (pytorch/vision issues 8289
and 9085). Models, transforms and data sets do not need these ops, so such registrations are
skipped. timm imports torchvision, so it is imported here too.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from headstart.core.errors import HeadstartError, missing_extra, one_line

EXTRA = "torch"  # of Headstart; it installs all three
_LOCK = threading.Lock()


def import_torch() -> ModuleType:
    """Import torch and return it.

    Raises:
        HeadstartError: torch is not installed, or cannot be loaded.
    """
    return _import("torch")


def import_torchvision(part: str = "") -> ModuleType:
    """Import torchvision and return it, or a part of it such as ``transforms.v2``.

    Raises:
        HeadstartError: torch or torchvision is not installed, or they do not fit each other.
    """
    with _LOCK:
        if "torchvision" not in sys.modules:  # a failed import may have left submodules
            for name in [name for name in sys.modules if name.startswith("torchvision.")]:
                del sys.modules[name]
        with _without_missing_ops(_import("torch")):
            whole = _import("torchvision")
            return _import(f"torchvision.{part}") if part else whole


def import_timm(part: str = "") -> ModuleType:
    """Import timm (like `import_torchvision`) and return it, or a part of it such as ``optim``."""
    import_torchvision()
    return _import(f"timm.{part}" if part else "timm")


@contextmanager
def _without_missing_ops(torch: ModuleType) -> Iterator[None]:
    """Make ``register_fake`` skip torchvision's ops that the dispatcher does not know."""
    original = torch.library.register_fake

    # The other parameters differ between releases of torch.
    def register_fake(op: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        missing = (
            isinstance(op, str)
            and op.startswith("torchvision::")
            and not torch._C._dispatch_has_kernel(op)  # there is no public way to ask
        )
        return (lambda kernel: kernel) if missing else original(op, *args, **kwargs)

    torch.library.register_fake = register_fake
    try:
        yield
    finally:
        torch.library.register_fake = original


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise _unfit(name, error) from error
        raise missing_extra(name, EXTRA) from error
    except Exception as error:  # packages that do not fit each other raise anything
        raise _unfit(name, error) from error


def _unfit(name: str, error: Exception) -> HeadstartError:
    return HeadstartError(
        f"{name} cannot be imported ({one_line(error)}); install releases that fit each other, "
        "for instance with: pip install --upgrade torch torchvision timm"
    )
