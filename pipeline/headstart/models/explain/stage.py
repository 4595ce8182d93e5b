"""Predictions with their explanations: a picture for each answer, a page and a JSON file."""

from __future__ import annotations

import base64
import html
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.core.errors import ImageError
from headstart.core.files import make_folder, replacing, write_text
from headstart.datasets import SourceImage, images, read
from headstart.datasets.images.header import is_ordinary
from headstart.models.explain import drawing
from headstart.models.explain.explainer import Explainer, Explanation
from headstart.models.predict import Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headstart.models.classifier import Classifier
    from headstart.models.serve.neighbours import TrainingImages

PAGE, FACTS = "index.html", "explanations.json"
_LABELS = 3  # of an image with several, the most probable ones
_NEAREST = 5
_SMALL = 192  # pixels of the longer side of a picture on other pages
_UNSAFE = re.compile(r"[^\w.-]+")
_NAME = 60  # characters of a file's name
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}
article{border-top:1px solid #ccc;padding:1rem 0;display:flex;gap:1rem;flex-wrap:wrap}
figure{margin:0}figcaption{max-width:28rem;overflow-wrap:anywhere}img.near{height:96px}
h2{font-size:1rem;width:100%;margin:0;overflow-wrap:anywhere}p.key b{padding:0 .4em;color:#fff}
"""
_METHODS = {
    "class-map": "the head's weights on the values before pooling; their mean and the bias add up "
    "to the evidence for the class exactly",
    "ablation": "what the answer would lose if a place did not count in the pooled features",
    "occlusion": "what the answer loses if a part of the picture is covered",
}


class Tee:
    """Passes images on, and keeps those whose predictions have not come back yet."""

    def __init__(self, stream: Iterable[SourceImage | None]) -> None:
        self._stream = stream
        self.waiting: deque[SourceImage] = deque()

    def __iter__(self) -> Iterator[SourceImage | None]:
        for image in self._stream:
            if image is not None:
                self.waiting.append(image)
            yield image


def explained(
    explainer: Explainer,
    images_: Tee,
    predictions: Iterable[Prediction],
    folder: Path,
    training: TrainingImages | None = None,
) -> Iterator[Prediction]:
    """Yield predictions, and write a picture of each into a folder, with a page at the end.

    ``predictions`` are those of ``images_``, in order. With ``training``, the page shows the
    nearest training images.

    Raises:
        OutputError: the folder cannot be written.
    """
    make_folder(folder)
    entries: list[dict[str, Any]] = []
    try:
        for number, prediction in enumerate(predictions):
            image = images_.waiting.popleft()
            if not prediction.error:
                entries += _explain(explainer, image, prediction, number, folder, training)
            yield prediction
    finally:
        evidence = "mean of the pairs' decisions" if explainer.pairwise else "log-probability"
        facts = {"method": explainer.method, "evidence": evidence, "images": entries}
        write_text(folder / FACTS, json.dumps(facts, indent=1, ensure_ascii=True) + "\n")
        write_text(folder / PAGE, _page(explainer.method, entries, training))


def _explain(
    explainer: Explainer,
    image: SourceImage,
    prediction: Prediction,
    number: int,
    folder: Path,
    training: TrainingImages | None,
) -> list[dict[str, Any]]:
    model = explainer.model
    try:
        data = read(*image)[0]
        crop = model.decode(data)
    except ImageError:  # it changed since it was classified
        return []
    whole, ordinary = _whole(model, data, crop)
    nearest = []
    if training is not None:
        features = model.answer(crop[np.newaxis]).features[0]
        nearest = [
            {
                "path": each.path,
                "label": each.label,
                "distance": max(0.0, each.distance),
                "row": each.row,
            }
            for each in training.nearest(features, _NEAREST)
        ]
    entries = []
    for explanation in explainer.explain(crop, _codes(model.classes, prediction)):
        label = model.classes[explanation.code]
        name = _file_name(number, prediction.path, label)
        with replacing(folder / name) as partial:
            drawn = _overlay(model, whole, ordinary, explanation.heat(), crop)
            pair = np.hstack([whole, np.full((len(whole), 8, 3), 255, np.uint8), drawn])
            partial.write_bytes(images.encode(pair, "PNG"))
        entries.append(_entry(prediction, explanation, label, name, nearest))
    return entries


def pictures(explainer: Explainer, data: bytes, codes: list[int]) -> list[NDArray[np.uint8]]:
    """Return an image file as `drawing.overlay` of what speaks for each class.

    Raises:
        ImageError: it cannot be decoded.
    """
    model = explainer.model
    crop = model.decode(data)
    whole, ordinary = _whole(model, data, crop)
    return [
        images.reduced(_overlay(model, whole, ordinary, each.heat(), crop), _SMALL)
        for each in explainer.explain(crop, codes)
    ]


def _whole(
    model: Classifier, data: bytes, crop: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], bool]:
    """Return the whole upright picture, and whether it is one: other files have the crop alone."""
    if not is_ordinary(data):  # decoded elsewhere
        return crop, False
    return drawing.picture_of(data, model.backbone.preprocess), True


def _overlay(
    model: Classifier,
    whole: NDArray[np.uint8],
    ordinary: bool,
    heat: NDArray[np.float64],
    crop: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    maps = drawing.maps_of(whole, heat, model.backbone.preprocess) if ordinary else []
    everything = 0.0, 0.0, float(crop.shape[1]), float(crop.shape[0])
    return drawing.overlay(whole, maps or [drawing.Map(heat, everything)])


def _codes(classes: tuple[str, ...], prediction: Prediction) -> list[int]:
    """Return the classes to explain: those of the answer, or the best if it has none."""
    code = {name: number for number, name in enumerate(classes)}
    order = sorted(
        (code[label] for label in prediction.labels if label in code),
        key=lambda each: -prediction.probabilities[each],
    )
    return order[:_LABELS] or [int(np.argmax(prediction.probabilities))]


def _file_name(number: int, path: str, label: str) -> str:
    stem, end = _UNSAFE.sub("_", Path(path).stem)[-_NAME:], _UNSAFE.sub("_", label)[:_NAME]
    return f"{number:05d}-{stem}-{end}.png"


def _entry(
    prediction: Prediction,
    explanation: Explanation,
    label: str,
    name: str,
    nearest: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "path": prediction.path,
        "label": label,
        "probability": prediction.probabilities[explanation.code],
        "evidence": explanation.evidence,
        "bias": explanation.bias,
        "exact": explanation.exact,
        "picture": name,
        "nearest": nearest,
    }


def _page(method: str, entries: list[dict[str, Any]], training: TrainingImages | None) -> str:
    articles = "\n".join(_article(entry, training) for entry in entries)
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Where the model looks</title><style>{_STYLE}</style>
<h1>Where the model looks</h1>
<p class="key">Method: {method}, {_METHODS[method]}.
<b style="background:#b35f00">Orange</b> speaks for the class,
<b style="background:#285aff">blue</b> against it; each map has its own scale. The model does not
see what is dark.</p>
{articles}
</html>
"""


def _article(entry: dict[str, Any], training: TrainingImages | None) -> str:
    near = "".join(_neighbour(each, training) for each in entry["nearest"])
    caption = f"{entry['label']}, {entry['probability']:.1%}"
    return (
        f"<article><h2>{html.escape(_shown(entry['path']))}</h2>"
        f'<figure><img src="{html.escape(entry["picture"])}" alt="map for {html.escape(caption)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>{near}</article>"
    )


def _neighbour(each: dict[str, Any], training: TrainingImages | None) -> str:
    picture = None if training is None else training.picture(each["row"])
    source = "" if picture is None else base64.b64encode(picture).decode("ascii")
    image = f'<img class="near" src="data:image/webp;base64,{source}" alt="">' if source else ""
    caption = html.escape(f"{each['label']}, distance {each['distance']:.3f}")
    title = html.escape(_shown(each["path"]))
    return f'<figure title="{title}">{image}<figcaption>{caption}</figcaption></figure>'


def _shown(text: str) -> str:
    """Return a text without lone surrogates, which no page can have."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
