"""What all sources share: the order of images, the classes, the one-line summary."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from headstart.core import targets
from headstart.core.errors import InputError, count, one_line
from headstart.core.label_text import SEPARATOR
from headstart.core.records import SPLITS, ImageRef, LabelSet, Listing
from headstart.core.targets import MULTI_LABEL
from headstart.datasets import text
from headstart.datasets.image_table import has_sets, kinds_of, tally, unlabelled_images
from headstart.datasets.label_sets import about_combined
from headstart.datasets.order import in_order, natural_order

_REASONS_SHOWN = 5
_MISSING = frozenset(("nan", "NaN", "NAN", "None", "null", "NULL", "<NA>", "N/A", "#N/A"))
_PLURAL = ("file", "link", "cycle")  # nouns that reasons to ignore a file end in


def make_listing(
    root: Path,
    images: Iterable[ImageRef],
    ignored: Mapping[str, int],
    name: str,
    *,
    remarks: Iterable[str] = (),
    problem: str = "",
    hint: str = "",
    labels: Sequence[str] = (),
) -> Listing:
    """Sort images by split and natural path, and collect their classes.

    Every source ends here, and so does its text: names that no store can hold are an `InputError`,
    and labels get one form. ``labels`` are those of a multi-label table with a column for each, in
    order; for the other arguments see `Listing`.
    """
    shown = one_line(name)
    ordered = in_order(_clean(image, shown) for image in images)
    counts = {reason: number for reason, number in sorted(ignored.items()) if number}
    if has_sets(ordered):
        return _multi_label(root, ordered, counts, name, remarks, problem, labels)
    classes = tuple(natural_order({label for label, _ in tally(ordered) if label is not None}))
    remarks = (*remarks, *_similar(classes), *_missing(classes), *about_combined(classes))
    hint = "" if classes else hint
    return Listing(root, ordered, classes, counts, name, None, remarks, problem, hint)


def _multi_label(
    root: Path,
    images: Sequence[ImageRef],
    ignored: dict[str, int],
    name: str,
    remarks: Iterable[str],
    problem: str,
    labels: Sequence[str],
) -> Listing:
    if any(label is not None for label, _ in tally(images)):
        single = next(image for image in images if image.label is not None)
        raise InputError(
            f"{one_line(name)}: some images have a list of labels, and others, such as "
            f"{one_line(single.path)}, one class; add --target multi-label or --target "
            "single-label"
        )
    used = {label for _, _, sets, _ in kinds_of(images) if sets for label in sets.present}
    # The columns of a table say which labels there are, whether an image has them or not.
    classes = tuple(dict.fromkeys([*map(text.class_name, labels), *natural_order(used)]))
    if not classes:
        raise InputError(
            f"no image in {one_line(name)} has any label; add labels, or add --no-labels to embed "
            "the images without them"
        )
    for label in classes:
        if SEPARATOR in label and set(label.split(SEPARATOR)) <= set(classes):
            raise InputError(
                f"{one_line(name)}: the label '{one_line(label)}' consists of other labels, with a "
                f"{SEPARATOR} between them as Headstart writes it; separate the labels of all "
                "images in the same way, or rename it"
            )
    about = (*_similar(classes), *_missing(classes), *about_combined(classes, MULTI_LABEL))
    remarks = (*remarks, *about)
    return Listing(root, images, classes, ignored, name, None, remarks, problem, target=MULTI_LABEL)


def _clean(image: ImageRef, shown: str) -> ImageRef:
    text.checked_file_name(image.path, shown)
    for label in image.labels.present if image.labels else ():
        text.checked(label, f"{shown}: {one_line(image.path)}", "the label")
    if image.label is None or image.label.isascii():
        if image.label is not None and "\0" in image.label:
            text.checked(image.label, f"{shown}: {one_line(image.path)}", "the label")
        return image
    text.checked_file_name(image.label, f"{shown}: {one_line(image.path)}")
    return replace(image, label=text.class_name(image.label))


def _similar(classes: Sequence[str]) -> Iterator[str]:
    """Say which classes have names that only differ in what readers overlook."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(text.lookalike(name), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            quoted = " and ".join(f"'{one_line(name)}'" for name in names)
            yield (
                f"The classes {quoted} differ only in "
                f"case or blanks, and count as {len(names)} classes; if they are one, rename them."
            )


def _missing(classes: Sequence[str]) -> Iterator[str]:
    """Say which classes are what programs write for a missing value."""
    if names := [name for name in classes if name in _MISSING]:
        quoted = ", ".join(f"'{name}'" for name in names)
        yield (
            f"{quoted} {'counts as a class' if len(names) == 1 else 'count as classes'}, but looks "
            "like a missing label; if it is one, leave it empty."
        )


def unique(
    rows: Iterable[tuple[str, ImageRef]], ignored: Counter[str], *, merged: bool = False
) -> dict[str, ImageRef]:
    """Return images by path, without repeated rows, which are counted in ``ignored``.

    Each row is its place (for messages) and its image. Two rows that contradict each other are an
    `InputError`. If rows are ``merged``, an image has the labels of all its rows.
    """
    seen: dict[str, tuple[str, ImageRef]] = {}
    for place, image in rows:
        earlier, first = seen.setdefault(image.path, (place, image))
        if merged and first.labels and image.labels and _same_but_labels(first, image):
            labels = dict.fromkeys((*first.labels.present, *image.labels.present))
            both = replace(first, labels=LabelSet(tuple(labels)))
            seen[image.path] = (earlier, both)
            continue
        if first != image:
            several = first.label and image.label and first.split == image.split
            remedy = ", or add --target multi-label if it has both labels" if several else ""
            raise InputError(
                f"{place}: {one_line(image.path)} is listed twice, with another label, split or "
                f"origin than in {earlier}; keep one{remedy}"
            )
        ignored["listed twice"] += earlier != place
    return {path: image for path, (_, image) in seen.items()}


def _same_but_labels(first: ImageRef, other: ImageRef) -> bool:
    return replace(first, labels=None) == replace(other, labels=None)


def distinct(
    read: Callable[[], Iterable[tuple[str, ImageRef]]], ignored: Counter[str]
) -> Iterator[ImageRef]:
    """Yield the images of rows, and at the end look for repeated ones, see `unique`.

    A listing has one of those that are repeated. Only hashes of the paths are kept, 8 bytes each;
    if some are equal, the rows are read again.
    """
    hashes = array("q")
    for _, image in read():
        hashes.append(hash(image.path))
        yield image
    ordered = np.frombuffer(hashes, np.int64)
    ordered.sort()
    repeated = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if repeated:
        unique((row for row in read() if hash(row[1].path) in repeated), ignored)


def describe(listing: Listing) -> str:
    """Summarise a listing in one line."""
    line = count(len(listing.images), "image")
    noun = targets.by_name(listing.target).noun
    line += f", {count(len(listing.classes), noun)}" if listing.classes else ""
    by_split: Counter[str] = Counter()
    for (_, split), number in tally(listing.images).items():
        by_split[split] += number
    unlabelled = unlabelled_images(listing.images)
    if set(by_split) - {""}:
        sizes = [
            f"{split or 'no split'} {by_split[split]:,}" for split in SPLITS if split in by_split
        ]
        line += f" ({', '.join(sizes)})"
    if unlabelled:
        line += f", {unlabelled:,} unlabelled"
    if listing.ignored:
        line += f"; ignored: {describe_ignored(listing.ignored)}"
    return one_line(line)


def describe_ignored(ignored: Mapping[str, int]) -> str:
    """Summarise the ignored files, most frequent reason first."""
    ranked = sorted(ignored.items(), key=lambda item: (-item[1], item[0]))
    shown = [reason_of(key, number) for key, number in ranked[:_REASONS_SHOWN]]
    if rest := sum(number for _, number in ranked[_REASONS_SHOWN:]):
        shown.append(f"{rest:,} for other reasons")
    return ", ".join(shown)


def reason_of(key: str, number: int) -> str:
    """Return a number of ignored files with the reason, in the plural if need be."""
    reason, _, detail = key.partition(": ")
    plural = "s" if number != 1 and reason.endswith(_PLURAL) else ""
    return f"{number:,} {reason}{plural}" + (f" ({detail})" if detail else "")


def location(listing: Listing, ref: ImageRef) -> Path:
    """Return the path of an image's file."""
    return listing.root / ref.path
