"""Archives of images: zip and tar files, and the shards of a WebDataset.

An archive is listed by the rules of `folder`, without a top folder that holds everything. A tar
with labels beside its images is a WebDataset (https://github.com/webdataset/webdataset): the files
of a *key*, the path up to the first dot of the name, are adjacent, and one of them is an image. The
label is the text of ``KEY.cls`` (``.class``, ``.label``) or a field of ``KEY.json``, else the
folder; ``classnames.txt`` beside the archives names numbers. The split is a folder in the archive,
or else the archive's folder or name (``train/0.tar``, ``train-0000.tar``).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from headstart.core.errors import InputError, one_line
from headstart.core.records import ImageRef, Listing
from headstart.datasets import archives, columns, storage
from headstart.datasets.archives import ArchiveReader, Member
from headstart.datasets.folder import EXTENSIONS, arrange, by_folder, clutter, kind_of_name
from headstart.datasets.listing import SPLIT_NAMES, make_listing
from headstart.datasets.reader import ContainerFile, Entry
from headstart.datasets.registry import Container

_LABELS = ("cls", "class", "label")
_COMPANIONS = frozenset((*_LABELS, "json", "txt"))
_NAMES = ("classnames.txt", "classes.txt")
_WORD = re.compile(r"[a-z]+", re.IGNORECASE)


class Sample(NamedTuple):
    """The files of one key, by extension in lower case."""

    key: str
    files: dict[str, Member]


class ArchiveSource(Container):
    """Zip and tar files, WebDataset shards among them."""

    name = "archive"
    suffixes = (archives.TAR, archives.ZIP)

    def list_files(self, files: Sequence[str], names: Sequence[str], name: str) -> Listing:
        """List the images of archives; of several, paths begin with the archive's name."""
        ignored: Counter[str] = Counter()
        containers: list[ContainerFile] = []
        entries: dict[str, Entry] = {}
        images: list[ImageRef] = []
        for number, (place, title) in enumerate(zip(files, names, strict=True)):
            try:
                containers.append(ContainerFile(place, storage.state_of(place)))
            except OSError as error:
                raise InputError(
                    f"cannot read {one_line(place)}: {storage.reason(error)}"
                ) from error
            prefix = f"{title}/" if len(files) > 1 else ""
            for ref, member in _images(place, split_of(title), ignored):
                path = prefix + ref.path
                images.append(ImageRef(path, ref.label, ref.split))
                entries[path] = Entry(number, member.start, member.size)
        if not images:
            arrange([], name, ignored)  # raises NoImages
        listing = make_listing(Path(), with_names(images, files[0]), +ignored, name)
        return replace(listing, reader=ArchiveReader(entries, tuple(containers)))


def split_of(name: str) -> str:
    """Return the split that the folder or name of a shard tells; empty if there is none.

    >>> split_of("data/train-00000-of-00004.parquet"), split_of("val/7.tar"), split_of("cats.zip")
    ('train', 'validation', '')
    """
    *folders, file = name.replace("\\", "/").split("/")
    word = _WORD.match(file)
    parts = [*folders[::-1], word.group() if word else ""]
    return next((SPLIT_NAMES[part.lower()] for part in parts if part.lower() in SPLIT_NAMES), "")


def with_names(images: list[ImageRef], place: str) -> list[ImageRef]:
    """Replace numeric labels by the class names in a file beside the archives, if there is one."""
    codes = {image.label for image in images} - {None}
    if not codes or not all(code is not None and code.isdecimal() for code in codes):
        return images
    folder = place.replace("\\", "/").rpartition("/")[0] or "."
    for file in _NAMES:
        try:
            lines = storage.whole_file(f"{folder}/{file}").read().decode("utf-8-sig").splitlines()
        except (OSError, InputError, UnicodeDecodeError):
            continue
        names = dict(enumerate(line.strip() for line in lines))
        if not all(names.get(int(code)) for code in codes if code is not None):
            raise InputError(
                f"{one_line(folder)}/{file} has {len(lines):,} class names, and a label is "
                f"{max(int(code) for code in codes if code is not None):,}; correct or remove it"
            )
        return [
            ImageRef(image.path, names[int(image.label)] if image.label else None, image.split)
            for image in images
        ]
    return images


def _images(place: str, split: str, ignored: Counter[str]) -> Iterator[tuple[ImageRef, Member]]:
    members = archives.members(place, _is_companion)
    webdataset = not place.lower().endswith(archives.ZIP) and _has_companions(members)
    labels: dict[str, str] = {}
    if webdataset:
        samples = list(_samples(members, one_line(place)))
        members = []
        for sample in samples:
            image = _image(sample, one_line(place))
            for extension, member in sample.files.items():
                if member is not image and extension not in _COMPANIONS:
                    ignored[kind_of_name(member.name.rpartition("/")[2])] += 1
            if image is not None:
                members.append(image)
                label = _label(sample, one_line(place))
                if label is not None:
                    labels[image.name] = label
    stem = _common_folder([m.name for m in members])
    by_path = {member.name[len(stem) :]: member for member in members}
    folders = by_folder(by_path, ignored)
    for ref in arrange(folders, place, ignored) if folders else []:
        label = labels.get(stem + ref.path) if labels else ref.label
        yield ImageRef(ref.path, label, ref.split or split), by_path[ref.path]


def _common_folder(names: Sequence[str]) -> str:
    """Return the folder that holds all class folders, with its ``/``; empty if there is none."""
    stem = ""
    parts = [
        name.split("/")
        for name in names
        if kind_of_name(name.rpartition("/")[2]) == "image"
        and not any(map(clutter, name.split("/")))
    ]
    while parts and len({part[0] for part in parts}) == 1 and min(map(len, parts)) > 2:
        if parts[0][0].lower() in SPLIT_NAMES:
            break
        stem += f"{parts[0][0]}/"
        parts = [part[1:] for part in parts]
    return stem


def _has_companions(members: Sequence[Member]) -> bool:
    return any(_is_companion(member.name) for member in members)


def _is_companion(name: str) -> bool:
    """Tell whether a file may hold a label."""
    return _split_name(name)[1] in {*_LABELS, "json"} and not clutter(name.rpartition("/")[2])


def _split_name(name: str) -> tuple[str, str]:
    """Return key and extension, divided at the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    stem, _, extension = file.partition(".")
    return folder + slash + stem, extension.lower()


def _samples(members: Sequence[Member], shown: str) -> Iterator[Sample]:
    finished: set[str] = set()
    current = Sample("", {})
    for member in members:
        key, extension = _split_name(member.name)
        if not extension or clutter(member.name.rpartition("/")[2]):
            continue
        if key != current.key:
            if current.files:
                yield current
                finished.add(current.key)
            if key in finished:
                raise InputError(
                    f"{shown}: the files of the sample {one_line(key)} are not adjacent, or it "
                    "is there twice; write the archive in order of names (tar --sort=name)"
                )
            current = Sample(key, {})
        if extension in current.files:
            raise InputError(f"{shown}: the sample {one_line(key)} has .{extension} twice")
        current.files[extension] = member
    if current.files:
        yield current


def _image(sample: Sample, shown: str) -> Member | None:
    extensions = [extension for extension in sample.files if extension in EXTENSIONS]
    if len(extensions) > 1:
        raise InputError(
            f"{shown}: the sample {one_line(sample.key)} has several images "
            f"(.{', .'.join(extensions)}); keep one for each sample"
        )
    return sample.files[extensions[0]] if extensions else None


def _label(sample: Sample, shown: str) -> str | None:
    for extension in _LABELS:
        if extension in sample.files:
            text = _text(sample.files[extension], shown)
            return text.strip() or None
    if "json" not in sample.files:
        return None
    text = _text(sample.files["json"], shown)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{shown}: {one_line(sample.files['json'].name)} is not JSON; correct it"
        ) from error
    if not isinstance(document, dict):
        return None
    label = document.get(columns.find(document, columns.LABELS) or "")
    if isinstance(label, str | int) and not isinstance(label, bool):
        return str(label).strip() or None
    return None


def _text(member: Member, shown: str) -> str:
    try:
        if member.content is None:
            raise ValueError(f"it has {member.size:,} bytes")
        return member.content.decode("utf-8-sig")
    except ValueError as error:
        raise InputError(
            f"{shown}: {one_line(member.name)} is not a label: {one_line(error)}"
        ) from error
