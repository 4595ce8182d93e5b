"""The images that the page shows: which ones, their thumbnails and their position on the map."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from headstart.core.choices import MAPS
from headstart.core.records import FeatureSet
from headstart.datasets import images
from headstart.datasets.images.thumbnails import thumbnail, webp
from headstart.report import formatting, projection
from headstart.report.tables import Answer

SHOWN = 5_000  # images on the page
LARGE = 300  # images with a thumbnail of the file itself
SIDE = 192  # longer side of such a thumbnail, in pixels
COLUMNS = 64  # tiles in a row of the sheet
SPLITS = ("train", "validation", "test", "")


@dataclass(frozen=True)
class Album:
    """The page's data on single images.

    ``document`` is for its script, see `make`. ``thumbnails`` are data URIs by path, of the images
    in lists, and ``number`` is the place of each path in the document. The page shows ``n_shown``
    of ``n_images``, on a map if ``mapped``.
    """

    document: dict[str, Any]
    thumbnails: dict[str, str]
    number: dict[str, int]
    n_shown: int
    n_images: int
    mapped: bool


def make(
    data: FeatureSet | None,
    answers: Sequence[Answer],
    listed: Sequence[str],
    classes: Sequence[str],
    map_method: str = MAPS[0],
    places: NDArray[np.float64] | None = None,
    pictures: Mapping[str, NDArray[np.uint8]] | None = None,
) -> Album:
    """Choose the images: first errors and ``listed`` paths, most interesting first, then a sample.

    The document has, for each image, ``path``, ``label`` (code, -1 unknown), ``split`` (index into
    `SPLITS`), ``prediction`` (code of the best head's, -1 for images not tested), its
    ``probability`` and the codes of the ``others``, a list for each other head; and, with the best
    head's features, ``x``, ``y`` and a tile of the ``sheet`` in the same order. ``places`` are
    those of `draw_map`, if it was called before. ``pictures`` stand for thumbnails of the store.
    """
    code = {name: number for number, name in enumerate(classes)}
    tested = {answer.path: answer for answer in answers}
    wrong = sorted((a for a in answers if a.true != a.predicted), key=lambda a: -a.probability)
    first = [*(answer.path for answer in wrong), *listed]
    rows = {path: row for row, path in enumerate(data.path)} if data else dict.fromkeys(tested, -1)
    paths = _sample(first, list(rows))
    chosen = np.array([rows[path] for path in paths], np.intp)
    document: dict[str, Any] = {
        "path": [formatting.printable(path) for path in paths],
        "label": [_label(path, rows[path], data, tested, code) for path in paths],
        "split": [_split(path, rows[path], data, tested) for path in paths],
        "prediction": [code.get(tested[p].predicted, -1) if p in tested else -1 for p in paths],
        "probability": [round(tested[p].probability, 3) if p in tested else None for p in paths],
    }
    n_others = max((len(answer.others) for answer in answers), default=0)
    document["others"] = [
        [code.get(tested[p].others[i], -1) if p in tested else -1 for p in paths]
        for i in range(n_others)
    ]
    number = {path: i for i, path in enumerate(paths)}
    thumbnails: dict[str, str] = {}
    if data is not None and len(chosen):
        places = draw_map(data, map_method) if places is None else places
        points = _project(data, chosen, map_method) if places is None else places[chosen]
        document["x"], document["y"] = np.round(points, 4).T.tolist()
        if data.pixels is not None:
            document["sheet"] = _sheet(data.pixels[chosen])
            document["columns"], document["side"] = COLUMNS, images.MINIATURE
        sharp = list(dict.fromkeys(path for path in (*listed, *first) if path in rows))
        thumbnails = dict(_thumbnails(data, {path: rows[path] for path in sharp[:LARGE]}))
    elif pictures:
        thumbnails = {path: data_uri(pixels) for path, pixels in pictures.items()}
    if thumbnails:
        document["large"] = {str(number[p]): uri for p, uri in thumbnails.items() if p in number}
    return Album(document, thumbnails, number, len(paths), len(rows), data is not None)


def draw_map(data: FeatureSet, method: str = MAPS[0]) -> NDArray[np.float64] | None:
    """Return the place of every image on the map, ``(n, 2)``; None if the page leaves some out."""
    everything = np.arange(len(data.path))
    return _project(data, everything, method) if len(everything) <= SHOWN else None


def _project(data: FeatureSet, rows: NDArray[np.intp], method: str) -> NDArray[np.float64]:
    return projection.project(data.features[rows], method=method)


def script_json(document: Mapping[str, Any]) -> Markup:
    """Return JSON that is safe inside a script element: no ``<``, ``>``, ``&`` or odd line end."""
    text = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def _sample(first: Iterable[str], everything: list[str]) -> list[str]:
    """Return at most `SHOWN` paths: the first ones, then a fixed random sample of the others."""
    existing = set(everything)
    chosen = dict.fromkeys([path for path in dict.fromkeys(first) if path in existing][:SHOWN])
    others = [path for path in everything if path not in chosen]
    count = min(SHOWN - len(chosen), len(others))
    drawn = np.random.default_rng(0).choice(len(others), count, replace=False) if count else ()
    return [*chosen, *(others[number] for number in sorted(drawn))]


def _label(
    path: str, row: int, data: FeatureSet | None, tested: Mapping[str, Answer], code: dict[str, int]
) -> int:
    if data is None:
        return code.get(tested[path].true, -1)
    label = int(data.label[row])
    return code.get(data.classes[label], -1) if label >= 0 else -1


def _split(path: str, row: int, data: FeatureSet | None, tested: Mapping[str, Answer]) -> int:
    if path in tested:
        return SPLITS.index("test")
    split = data.split[row] if data is not None and data.label[row] >= 0 else "test"
    return SPLITS.index({"": "train", "test": ""}.get(split, split))


def _sheet(pixels: NDArray[np.uint8]) -> str:
    """Lay ``(n, s, s, 3)`` miniatures out in rows of `COLUMNS`, as one data URI."""
    n, side = pixels.shape[:2]
    rows = -(-n // COLUMNS)
    grid = np.zeros((rows * COLUMNS, side, side, 3), np.uint8)
    grid[:n] = pixels
    grid = grid.reshape(rows, COLUMNS, side, side, 3).swapaxes(1, 2)
    return data_uri(grid.reshape(rows * side, COLUMNS * side, 3))


def _thumbnails(data: FeatureSet, rows: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yield thumbnails: of the file if it is unchanged since it was embedded, else of the store."""
    for path, row in rows.items():
        pixels = thumbnail(data, row, SIDE)
        if pixels is not None:
            yield path, data_uri(pixels)


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return an image, ``(h, w, 3)``, as the address of a WebP file inside a page."""
    return f"data:image/webp;base64,{base64.b64encode(webp(pixels)).decode('ascii')}"
