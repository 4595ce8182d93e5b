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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from headstart.core.errors import InputError, count, one_line
from headstart.core.records import ImageRef, LabelSet, Listing
from headstart.core.targets import MULTI_LABEL, SINGLE_LABEL
from headstart.datasets import (
    archives,
    columns,
    hints,
    label_sets,
    metadata,
    splits,
    storage,
    text,
    zip_names,
)
from headstart.datasets.archives import ArchiveReader, Member
from headstart.datasets.file_names import (
    EXTENSIONS,
    METADATA,
    Ignored,
    clutter,
    is_image_name,
    kind_of_name,
    sorted_out,
)
from headstart.datasets.layout import Layout, NoImages, arrange, by_parts, listing_of, no_images
from headstart.datasets.order import natural_order
from headstart.datasets.reader import ContainerFile, Entry
from headstart.datasets.registry import DEFAULTS, Container, Options

_LABELS = ("cls", "class", "label")
_COMPANIONS = frozenset((*_LABELS, "json", "txt"))
_NO_IMAGE, _SECOND_IMAGE = "in samples without an image", "beside the image of a sample"
_NAMES = ("classnames.txt", "classes.txt")


class Sample(NamedTuple):
    """The files of one key, by extension in lower case."""

    key: str
    files: dict[str, Member]


class ArchiveSource(Container):
    """Zip and tar files, WebDataset shards among them."""

    name = "archive"
    suffixes = (archives.TAR, archives.ZIP)
    has_columns = True

    def __init__(self, options: Options = DEFAULTS) -> None:
        self._options = options

    def configured(self, options: Options) -> ArchiveSource:
        """Return a source that reads the labels from the named field or companion."""
        return ArchiveSource(options)

    def list_files(self, files: Sequence[str], names: Sequence[str], name: str) -> Listing:
        """List the images of archives; of several, paths begin with the archive's name."""
        ignored, whole = Ignored(), Layout()
        images: list[ImageRef] = []
        containers: list[ContainerFile] = []
        entries: dict[str, Entry] = {}
        for number, (place, title) in enumerate(zip(files, names, strict=True)):
            try:
                containers.append(ContainerFile(place, storage.state_of(place)))
            except OSError as error:
                raise InputError(
                    f"cannot read {one_line(place)}: {storage.reason(error)}"
                ) from error
            layout, by_path = _read(place, ignored, self._options)
            several = len(files) > 1
            prefix = f"{title}/" if several else ""
            own = any(split for _, split, *_ in layout.kinds)
            split = "" if own else split_of(title, several=several)
            for image in layout.stripped:
                member = by_path[layout.stem + image.path]
                path = prefix + image.path
                images.append(replace(image, path=path, split=image.split or split))
                entries[path] = Entry(number, member.start, member.size)
            whole.problem = whole.problem or layout.problem
            whole.hint = whole.hint or layout.hint
            whole.labels += [name for name in layout.labels if name not in whole.labels]
            whole.remarks += [r for r in layout.remarks if r not in whole.remarks]
        if not images:
            raise NoImages(". ".join((str(no_images(name, ignored)), *whole.remarks)))
        if any(image.labels and image.labels.present for image in images):
            whole.remarks.append("Each image may have several labels: the lists beside the images.")
            images = label_sets.as_sets(images)
        elif self._options.target == MULTI_LABEL:
            images = label_sets.as_sets(images)
        else:  # an empty file says nothing where an image has one class
            images = [replace(image, labels=None) if image.labels else image for image in images]
        whole.images = with_names(images, files[0])
        hints.note_unlabelled(whole, ignored)
        reader = ArchiveReader(entries, tuple(containers))
        return replace(listing_of(whole, ignored, name), reader=reader)


def split_of(name: str, *, several: bool = False) -> str:
    """Return the split that the folder or name of a shard tells; empty if there is none.

    Of one among ``several`` shards the last word of its name counts as well as the first.

    >>> split_of("data/train-00000-of-00004.parquet"), split_of("val/7.tar"), split_of("cats.zip")
    ('train', 'validation', '')
    """
    *folders, file = name.replace("\\", "/").split("/")
    stem = file.rpartition(".")[0] or file
    words = splits.words_of(stem) or ("",)
    ends = (words[0], words[-1]) if several else (words[0],)
    return next(filter(None, map(splits.split_of, (*folders[::-1], stem, *ends))), "")


def with_names(images: list[ImageRef], place: str) -> list[ImageRef]:
    """Replace numeric labels by the class names in a file beside the archives, if there is one."""
    codes = {name for image in images for name in image.names}
    if not codes or not all(map(str.isdecimal, codes)):
        return images
    folder = place.replace("\\", "/").rpartition("/")[0] or "."
    for file in _NAMES:
        try:
            lines = storage.whole_file(f"{folder}/{file}").read().decode("utf-8-sig").splitlines()
        except (OSError, InputError, UnicodeDecodeError):
            continue
        names = dict(enumerate(line.strip() for line in lines))
        if not all(names.get(int(code)) for code in codes):
            raise InputError(
                f"{one_line(folder)}/{file} has {len(lines):,} class names, and a label is "
                f"{max(int(code) for code in codes):,}; correct or remove it"
            )
        return [_renamed(image, names) for image in images]
    return images


def _renamed(image: ImageRef, names: Mapping[int, str]) -> ImageRef:
    own = tuple(names[int(code)] for code in image.names)
    if image.labels is not None:
        return replace(image, labels=LabelSet(own))
    return replace(image, label=own[0] if own else None)


def _read(place: str, ignored: Ignored, options: Options) -> tuple[Layout, dict[str, Member]]:
    """Return the layout of an archive's images, and the members by path; count the others."""
    shown = one_line(place)
    members, names = archives.members(place, partial(_is_kept, options=options))
    remarks: list[str] = []
    webdataset = not place.lower().endswith(archives.ZIP) and any(
        _is_companion(member.name, options) for member in members
    )
    labels: dict[str, LabelSet | str | None] = {}
    fields: set[str] = set()
    if webdataset:
        if options.path_column:
            raise InputError(f"{shown}: a WebDataset has no paths; leave out --path-column")
        everything = members
        members = list(_sample_images(everything, shown, ignored, labels, fields, options))
        remarks += _about_samples(everything, ignored)
    by_path = {member.name: member for member in members}
    own = Ignored()  # of this archive alone
    images = sorted_out(by_path, own)
    layout = arrange(by_parts(images), place, own) if images else Layout()

    def content(name: str) -> bytes:
        return by_path[name].content or b""

    if not webdataset and images:
        metadata.describe(layout, own, place, content, options, missing=False)
    named = one_line(options.label_column) if webdataset else ""
    if named or any(labels.values()):
        layout.images = [
            label_sets.image(i.path, labels.get(i.path), i.split) for i in layout.images
        ]
        layout.remarks, layout.problem = [], ""
    if named and not any(labels.values()):
        layout.hint = f"no sample has a label {named}; name another one with --label-column"
    elif fields:
        layout.hint = hints.of_columns(natural_order(fields))[0]
    if not storage.is_url(place):
        layout.remarks += own.remarks(partial(archives.start, place, by_path), layout.stem)
    if names is not None and names.undeclared:
        _check_encoding(layout, names, shown)
    layout.remarks += remarks
    ignored.update(own)
    return layout, by_path


def _check_encoding(layout: Layout, names: zip_names.Names, shown: str) -> None:
    """Say that the encoding of names is uncertain: a problem if labels come from such names."""
    labels = {
        image.label
        for image in layout.images
        if image.path in names.unsure and image.label and not image.label.isascii()
        if image.label in map(text.class_name, image.path.split("/"))
    }
    if labels:
        layout.problem = layout.problem or zip_names.problem(labels, shown)
    else:
        layout.remarks.append(zip_names.remark(names.undeclared, shown))


def _sample_images(
    members: Sequence[Member],
    shown: str,
    ignored: Ignored,
    labels: dict[str, LabelSet | str | None],
    fields: set[str],
    options: Options,
) -> Iterator[Member]:
    """Yield the images of a WebDataset's samples, and put their labels into ``labels``.

    ``fields`` collects the fields of JSON files without a label.
    """
    for sample in _samples(members, shown):
        image = _image(sample, shown)
        for extension, member in sample.files.items():
            if member is image or (image and extension in _COMPANIONS):
                continue
            kind = kind_of_name(member.name.rpartition("/")[2])
            if image is None:
                kind = _NO_IMAGE
            ignored[_SECOND_IMAGE if kind == "image" else kind] += 1
        if image is not None:
            labels[image.name] = _label(sample, shown, options, fields)
            yield image


def _about_samples(members: Sequence[Member], ignored: Ignored) -> Iterator[str]:
    """Say why samples have no image, if there are images with further dots in their names."""
    dotted = [
        member.name
        for member in members
        if "." in _split_name(member.name)[1] and is_image_name(member.name)
    ]
    if ignored[_NO_IMAGE] and dotted:
        yield (
            f"{count(ignored[_NO_IMAGE], 'file')} of samples without an image "
            f"{'was' if ignored[_NO_IMAGE] == 1 else 'were'} ignored: the key of a sample ends at "
            "the first dot of the name, and its image is KEY.jpg, not as in "
            f"{one_line(dotted[0])}; rename the files."
        )


def _is_kept(name: str, options: Options) -> bool:
    return _is_companion(name, options) or name.rpartition("/")[2] in METADATA


def _is_companion(name: str, options: Options) -> bool:
    """Tell whether a file may hold a label."""
    extensions = {*_LABELS, "json", options.label_column.lower().lstrip(".")} - {""}
    return _split_name(name)[1] in extensions and not clutter(name.rpartition("/")[2])


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


def _label(sample: Sample, shown: str, options: Options, fields: set[str]) -> LabelSet | str | None:
    """Return the label of a sample, or its labels if they are a list or several lines.

    If it has none, the fields of its JSON are added to ``fields``.
    """
    named = options.label_column
    for extension in (named.lower().lstrip("."),) if named else _LABELS:
        if extension in sample.files and extension != "json":
            place = f"{shown}: {one_line(sample.files[extension].name)}"
            content = _text(sample.files[extension], place)
            lines = [line.strip() for line in re.split(r"[\r\n]", content) if line.strip()]
            if len(lines) != 1:
                return _set(lines, place, options)
            return columns.label(content, (), place)
    if "json" not in sample.files:
        return None
    place = f"{shown}: {one_line(sample.files['json'].name)}"
    content = _text(sample.files["json"], place)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place} is not JSON; correct it") from error
    if not isinstance(document, dict):
        return None
    field = columns.find(document, (named,) if named else columns.LABELS)
    if field is None:
        fields.update(document)
    label = document.get(field or "")
    if isinstance(label, list) or label == "":
        return _set(list(label), place, options)
    return columns.label(label, (), place) if isinstance(label, str | int) else None


def _set(values: Sequence[Any], place: str, options: Options) -> LabelSet:
    if len(values) > 1 and options.target == SINGLE_LABEL:
        raise InputError(f"{place} has several labels; leave out --target single-label")
    names = [columns.label(value, (), place) for value in values]
    return LabelSet(tuple(dict.fromkeys(name for name in names if name is not None)))


def _text(member: Member, place: str) -> str:
    if member.content is None:
        raise InputError(f"{place} is not a label: it has {member.size:,} bytes")
    return text.decoded(member.content, f"{place} is not a label", "its text")
