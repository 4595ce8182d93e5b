"""Label Studio: exported JSON files as sources of labels, and tasks with predictions to import.

Format: https://labelstud.io/guide/task_format and https://labelstud.io/guide/predictions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

from headstart.core.errors import InputError, one_line
from headstart.core.records import SUGGESTED, Listing
from headstart.datasets import label_files, text
from headstart.datasets.file_names import is_image_name
from headstart.datasets.label_files import LabelledFile, Task
from headstart.datasets.registry import Options, Source

CONTROL, OBJECT = "choice", "image"  # names of the tags in Label Studio's own template
_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # before the name of a file that was uploaded
_LOCAL = "/data/local-files/?d="


class _Answer(NamedTuple):
    """What a person chose; ``truth`` if it is marked as the ground truth."""

    author: str
    labels: tuple[str, ...]
    truth: bool = False


class LabelStudioSource(Source):
    """A JSON or JSON-MIN export of a project with choices: a list of tasks.

    Submitted annotations count, predictions and skipped tasks do not. Of several people, the
    majority is right, or who annotated the ground truth. Images are files: paths of local storage,
    or the names of uploaded ones, are looked for beside the export.
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
    for number, rows in enumerate(_by_id(tasks)):
        task = rows[0]
        place = f"{one_line(data)}, task {one_line(task.get('id', number))}"
        fields = task.get("data")
        minimal = not isinstance(fields, Mapping)
        fields = task if not isinstance(fields, Mapping) else fields
        image = _image(fields)
        if image is None:
            raise _unknown(data)
        answers = _minimal(rows) if minimal else _annotated(task, place)
        labels = _agreed(answers)
        disputed = bool(answers) and labels is None
        origin = str(fields.get("origin", "") or "")
        yield LabelledFile(place, _paths(image), labels, origin=origin, disputed=disputed)


def _by_id(tasks: Iterable[Mapping[str, Any]]) -> Iterable[list[Mapping[str, Any]]]:
    """Return the rows of each task: JSON-MIN has one for each annotation."""
    rows: dict[object, list[Mapping[str, Any]]] = {}
    for number, task in enumerate(tasks):
        minimal = not isinstance(task.get("data"), Mapping)
        key = task.get("id") if minimal and isinstance(task.get("id"), int | str) else None
        rows.setdefault((number,) if key is None else key, []).append(task)
    return rows.values()


def _image(fields: Mapping[str, Any]) -> str | None:
    """Return the path or the address of a task's image."""
    for key in (OBJECT, "img", "url", *fields):
        value = fields.get(key)
        if isinstance(value, str) and any(map(is_image_name, _paths(value))):
            return value
    return None


def _paths(address: str) -> list[str]:
    """Return what the file of an address may be called."""
    url = urlsplit(address)
    query = parse_qs(url.query).get("d")
    path = query[0] if query else unquote(url.path) if url.scheme or url.query else address
    names = label_files.spellings(path)
    return [*names, *(_UPLOADED.sub("", name) for name in names if "/" not in name)]


def _minimal(rows: Iterable[Mapping[str, Any]]) -> list[_Answer]:
    return [
        _Answer(one_line(row.get("annotator", number)), labels)
        for number, row in enumerate(rows)
        if (labels := _chosen(row.get(CONTROL)))
    ]


def _annotated(task: Mapping[str, Any], place: str) -> list[_Answer]:
    """Return the choices of each annotation that was not skipped."""
    annotations = task.get("annotations", task.get("completions"))
    if annotations is None:
        return []
    if not isinstance(annotations, list):
        raise InputError(f"{place}: annotations is no list; export the project again")
    answers = []
    for number, annotation in enumerate(annotations):
        if not isinstance(annotation, Mapping) or annotation.get("was_cancelled"):
            continue
        author = one_line(annotation.get("completed_by") or f"annotation {number}")
        labels = _result(annotation.get("result"), place)
        answers.append(_Answer(author, labels, bool(annotation.get("ground_truth"))))
    return answers


def _result(results: object, place: str) -> tuple[str, ...]:
    """Return the choices of an annotation: of its only tag with choices, or of that in use here."""
    by_tag: dict[str, tuple[str, ...]] = {}
    for result in results if isinstance(results, list) else ():
        value = result.get("value") if isinstance(result, Mapping) else None
        if isinstance(value, Mapping) and (labels := _chosen(value.get("choices"))):
            tag = str(result.get("from_name", ""))
            by_tag[tag] = (*by_tag.get(tag, ()), *labels)
    if len(by_tag) > 1 and CONTROL not in by_tag:
        raise InputError(
            f"{place} has choices of several tags ({one_line(', '.join(by_tag))}); name the tag of"
            f" the labels {CONTROL}, or list the images in a CSV of path,label"
        )
    return by_tag.get(CONTROL) or next(iter(by_tag.values()), ())


def _agreed(answers: Sequence[_Answer]) -> tuple[str, ...] | None:
    """Return what most people chose, the last answer of each; None if no answer is ahead.

    An annotation without any choice counts, as none of the labels, if all are like it.
    """
    chosen = [answer for answer in answers if answer.truth] or answers
    chosen = [answer for answer in chosen if answer.labels] or chosen
    last = {answer.author: answer.labels for answer in chosen}
    votes = Counter(tuple(sorted(set(labels))) for labels in last.values())
    ranked = votes.most_common(2)
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


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
        | ({"predictions": [_prediction(image, guesser)]} if image.guesses else {})
        for image in images
    ]


def _prediction(image: Task, guesser: str) -> dict[str, Any]:
    choice = {
        "from_name": CONTROL,
        "to_name": OBJECT,
        "type": "choices",
        "value": {"choices": [text.class_name(label) for label, _ in image.guesses]},
    }
    score = min(confidence for _, confidence in image.guesses)
    return {"model_version": guesser, "score": score, "result": [choice]}
