"""The page of images to label next, with their pictures and what a model takes them for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.core.files import write_text
from headstart.core.remark_kinds import KINDS
from headstart.core.suggestions import Suggestions
from headstart.report.page import environment
from headstart.report.thumbnails_sheet import data_uri


def write_page(
    suggestions: Suggestions, path: Path, pictures: Sequence[NDArray[np.uint8] | None]
) -> None:
    """Write the page; ``pictures`` are those of the images, None where there is none.

    Raises:
        OutputError: it cannot be written.
    """
    style = (Path(__file__).parent / "assets" / "report.css").read_text(encoding="utf-8")
    text = (
        environment()
        .get_template("suggest.html.j2")
        .render(
            suggestions=suggestions,
            style=style,
            kinds=KINDS,
            pictures=[None if pixels is None else data_uri(pixels) for pixels in pictures],
        )
    )
    write_text(path, text)
