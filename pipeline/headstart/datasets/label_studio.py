"""Label Studio: exported JSON files as sources of labels, and tasks with predictions to import.

Format: https://labelstud.io/guide/task_format and https://labelstud.io/guide/predictions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from headstart.core.errors import InputError, one_line
from headstart.core.records import SUGGESTED, Listing
from headstart.datasets import label_files, text
from headstart.datasets.label_files import LabelledFile, Task
from headstart.datasets.registry import Options, Source

CONTROL, OBJECT = "choice", "image"  # names of the tags in Label Studio's own template
_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # before the name of a file that was uploaded
_LOCAL = "/data/local-files/?d="


class LabelStudioSource(Source):
    """A JSON or JSON-MIN export of a project with choices: a list of tasks.

    Submitted annotations count, predictions and skipped tasks do not. Images are files: paths of
    local storage, or the names of uploaded ones, are looked for beside the export.
    """

    name = "Label Studio file"

    def matches(self, data: str) -> bool:
        """Tell whether this is a JSON file with a list."""
        return label_files.begins_as(data, ".json").lstrip("\ufeff \t\r\n").startswith("[")

    def list(self, data: str, options: Options) -> Listing:
        """List the images of the tasks."""
        tasks = label_files.document(data)
        if not isinstance(tasks, list) or not all(isinstance(task, Mapping) for task in tasks):
            raise _unknown(data)
        folders = ("", "images", "upload", "media", "media/upload")
        return label_files.listing(data, _entries(tasks, data), options, folders)


def _unknown(data: str) -> InputError:
    return InputError(
        f"{one_line(data)} is no export of Label Studio: it needs a list of tasks with an image;"
        " export the project as JSON, or list the images in a CSV of path,label"
    )


def _entries(tasks: Iterable[Mapping[str, Any]], data: str) -> Iterator[LabelledFile]:
    for number, task in enumerate(tasks):
        place = f"{one_line(data)}, task {one_line(task.get('id', number))}"
        fields = task.get("data")
        minimal = not isinstance(fields, Mapping)  # JSON-MIN has them in the task itself
        fields = task if not isinstance(fields, Mapping) else fields
        image = _image(fields, task)
        if image is None:
            raise _unknown(data)
        labels = _chosen(task.get(CONTROL)) if minimal else _annotated(task, place)
        origin = fields.get("origin", "")
        yield LabelledFile(place, _paths(image), labels, origin=str(origin or ""))


def _image(fields: Mapping[str, Any], task: Mapping[str, Any]) -> str | None:
    """Return the path or the address of a task's image."""
    for key in (OBJECT, "img", "url", *fields):
        value = fields.get(key)
        if isinstance(value, str) and re.search(r"\.\w{3,4}$", value.split("#")[0]):
            return value
    return None


def _paths(address: str) -> list[str]:
    """Return what the file of an address may be called."""
    url = urlsplit(address)
    query = parse_qs(url.query).get("d")
    path = query[0] if query else unquote(url.path) if url.scheme or url.query else address
    names = label_files.spellings(path)
    return [*names, *(_UPLOADED.sub("", name) for name in names if "/" not in name)]


def _annotated(task: Mapping[str, Any], place: str) -> tuple[str, ...] | None:
    """Return the choices of the last annotation that was not skipped; None without one."""
    annotations = task.get("annotations", task.get("completions"))
    if annotations is None:
        return None
    if not isinstance(annotations, list):
        raise InputError(f"{place}: annotations is no list; export the project again")
    kept = [a for a in annotations if isinstance(a, Mapping) and not a.get("was_cancelled")]
    for annotation in reversed(kept):
        results = annotation.get("result")
        for result in results if isinstance(results, list) else ():
            value = result.get("value") if isinstance(result, Mapping) else None
            if isinstance(value, Mapping) and (labels := _chosen(value.get("choices"))):
                return labels
    return None


def _chosen(value: object) -> tuple[str, ...] | None:
    """Return choices: a text, a list, or the object that JSON-MIN has for several."""
    if isinstance(value, Mapping):
        value = value.get("choices")
    if isinstance(value, str):
        return (value,) if value.strip() else None
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return tuple(value)
    return None


def tasks(images: Iterable[Task], guesser: str) -> list[dict[str, Any]]:
    """Return tasks for Label Studio's import, with guesses as predictions.

    The images are those of its local storage, relative to LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT;
    the project's tags are ``<Choices name="choice" toName="image">`` and ``<Image name="image">``.
    """
    return [
        {"data": {"image": _LOCAL + quote(image.path), "origin": SUGGESTED}}
        | ({"predictions": [_prediction(image, guesser)]} if image.label else {})
        for image in images
    ]


def _prediction(image: Task, guesser: str) -> dict[str, Any]:
    choice = {
        "from_name": CONTROL,
        "to_name": OBJECT,
        "type": "choices",
        "value": {"choices": [text.class_name(image.label)]},
    }
    return {"model_version": guesser, "score": image.confidence, "result": [choice]}
