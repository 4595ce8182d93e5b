"""The page about a batch of images, compared with a model's training images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.core.drift import Drift
from headstart.core.files import write_text
from headstart.core.remark_kinds import KINDS
from headstart.report.page import environment
from headstart.report.thumbnails_sheet import data_uri

Picture = Callable[[str], NDArray[np.uint8] | None]


def write_page(drift: Drift, path: Path, picture: Picture = lambda path: None) -> None:
    """Write the page; ``picture`` returns the thumbnail of an image by its path, if there is one.

    Raises:
        OutputError: it cannot be written.
    """
    thumbnails = {image.path: picture(image.path) for image in drift.unusual}
    style = (Path(__file__).parent / "assets" / "report.css").read_text(encoding="utf-8")
    text = (
        environment()
        .get_template("drift.html.j2")
        .render(
            drift=drift,
            style=style,
            kinds=KINDS,
            pictures={name: data_uri(p) for name, p in thumbnails.items() if p is not None},
            estimated=any(entry.estimated is not None for entry in drift.classes),
        )
    )
    write_text(path, text)
