"""Import Keras on its torch backend, or say what is wrong with it."""

from __future__ import annotations

import importlib
import os
import warnings
from typing import Any

from headstart.core.errors import HeadstartError, how_to_install, missing_extra, one_line

EXTRA = "keras"


def import_keras() -> Any:  # noqa: ANN401 - the package
    """Import Keras on its torch backend, whatever the environment says.

    Raises:
        HeadstartError: Keras is not installed, or this process has loaded it on another backend.
    """
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = "torch"  # read once, when Keras is imported
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            keras = importlib.import_module("keras")
    except ModuleNotFoundError as error:
        raise missing_extra(one_line(error.name or "keras"), EXTRA) from None
    except Exception as error:  # mismatched packages fail in any way
        raise HeadstartError(
            f"keras cannot be imported ({one_line(error)}); if it does not fit "
            f"the other packages, {how_to_install(EXTRA)}"
        ) from error
    finally:
        if before is None:
            del os.environ["KERAS_BACKEND"]
        else:
            os.environ["KERAS_BACKEND"] = before
    backend = keras.backend.backend()
    if backend != "torch":
        raise HeadstartError(
            f"Keras runs on {one_line(backend)} in this process; set KERAS_BACKEND=torch before "
            "it is imported, or run Headstart in a process of its own"
        )
    return keras
