"""What a listing was understood to be, in lines for a terminal of 80 columns, and a check of it."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator

from headstart.core import targets
from headstart.core.errors import InputError, count, one_line
from headstart.core.records import SPLITS, Listing
from headstart.core.targets import SINGLE_LABEL
from headstart.datasets.file_names import NOT_IMAGE
from headstart.datasets.image_table import kinds_of
from headstart.datasets.listing import reason_of
from headstart.datasets.order import natural_order

_WIDTH = 80
_CLASSES = 12  # that are listed; of more, the rest are summed up
_NAME = 32  # columns of the longest name of a class
_EXAMPLES = 5
_UNLABELLED = "(no label)"
_NONE = "\0"  # stands for an image that has none of the labels


def summary(listing: Listing) -> list[str]:
    """Return a readable block: classes with counts by split, what was ignored, remarks.

    Lines fit `_WIDTH` columns, except for paths that are longer.
    """
    total = count(len(listing.images), "image")
    several = listing.target != SINGLE_LABEL
    kinds = f" with {count(len(listing.classes), 'label')}" if several else ""
    classes = kinds or (f" in {count(len(listing.classes), 'class')}" if listing.classes else "")
    name = f"{one_line(listing.name)}:"
    short = len(f"{name} {total}{classes}") <= _WIDTH
    lines = [f"{name} {total}{classes}"] if short else [name, f"  {total}{classes}"]
    lines += _table(listing)
    if listing.ignored:
        reasons = sorted(listing.ignored.items(), key=lambda item: (-item[1], item[0]))
        text = ", ".join(_plain(*reason) for reason in reasons)
        lines += _wrapped(f"ignored: {text}", "  ")
    for remark in (*listing.remarks, *_about_test(listing)):
        lines += _wrapped(one_line(remark), "  ", "note: ")
    return lines


def check_labels(listing: Listing) -> None:
    """Raise an `InputError` if nothing could be trained on a listing, though labels seem meant.

    That is if only one class is there, if all images with labels have the same, or if no label is
    read where there are signs of labels.
    """
    name = one_line(listing.name)
    sets = [sets for _, _, sets, _ in kinds_of(listing.images) if sets is not None]
    if sets and len({(frozenset(each.present), frozenset(each.unknown)) for each in sets}) == 1:
        raise InputError(
            f"all images with labels in {name} have the same, but training needs images with and "
            "without a label; name the source that holds all images, or add --no-labels to embed "
            "them without labels"
        )
    if len(listing.classes) == 1 and listing.target == SINGLE_LABEL:
        raise InputError(
            f"all labels in {name} are {one_line(listing.classes[0])}, but training needs two "
            "classes or more; name the source that holds all classes, or add --no-labels to embed "
            "the images without labels"
        )
    if not listing.classes and listing.hint:
        raise InputError(
            f"no image in {name} has a label: {listing.hint}; or add --no-labels to embed the "
            "images without labels"
        )


def _wrapped(text: str, indent: str, mark: str = "") -> list[str]:
    return textwrap.wrap(
        mark + text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + " " * 2,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _table(listing: Listing) -> Iterator[str]:
    """Yield a table of classes and splits; nothing for images without both."""
    counts: Counter[tuple[str | None, str]] = Counter()
    for (label, split, sets, _), number in kinds_of(listing.images).items():
        for name in (label,) if sets is None else sets.present or (_NONE,):
            counts[name, split] += number
    present = {split for _, split in counts}
    splits = [split for split in SPLITS if split in present]
    if not listing.classes and splits == [""]:
        return
    labels: list[str | None] = [*listing.classes[:_CLASSES]]
    rest = listing.classes[_CLASSES:]
    rows = [(_short(label or ""), [counts[label, s] for s in splits]) for label in labels]
    if rest:
        sums = [sum(counts[label, split] for label in rest) for split in splits]
        noun = targets.by_name(listing.target).noun
        rows.append((f"({count(len(rest), f'more {noun}')})", sums))
    for key, title in ((_NONE, "(none of them)"), (None, _UNLABELLED)):
        if any(counts[key, split] for split in splits):
            rows.append((title, [counts[key, split] for split in splits]))
    heads = ["images"] if splits == [""] else [split or "no split" for split in splits]
    width = max(len(name) for name, _ in rows)
    yield "  " + " " * width + "".join(f"  {head:>10}" for head in heads)
    for name, numbers in rows:
        yield f"  {name:<{width}}" + "".join(f"  {number or '-':>10}" for number in numbers)


def _short(name: str) -> str:
    text = one_line(name)
    return text if len(text) <= _NAME else f"{text[: _NAME - 1]}…"


def _plain(reason: str, number: int) -> str:
    """Return a number of ignored files with the reason.

    >>> _plain("not an image: .txt", 2), _plain("system file", 1)
    ('2 files .txt', '1 system file')
    """
    kind, _, extension = reason.partition(": ")
    if kind != NOT_IMAGE:
        return reason_of(reason, number)
    return count(number, "file") + (f" {extension}" if extension else " without an extension")


def _about_test(listing: Listing) -> Iterator[str]:
    """Yield what becomes of a test split without labels, or with classes unknown in training."""
    kinds = kinds_of(listing.images)
    labels = {split: set[str]() for _, split, *_ in kinds}
    for label, split, sets, _ in kinds:
        labels[split].update(sets.present if sets else [label] if label is not None else [])
    test = sum(number for (_, split, *_), number in kinds.items() if split == "test")
    train, tested = labels.get("train", set()), labels.get("test", set())
    is_labelled = any(sets or label for label, split, sets, _ in kinds if split == "test")
    if test and listing.classes and not is_labelled:
        yield (
            f"{count(test, 'image')} of the split test "
            f"{'has' if test == 1 else 'have'} no label, so train-heads will test on the "
            "others: it holds out 20 % of them, or scores few images out of fold."
        )
    if train and (unseen := natural_order(tested - train)):
        names = ", ".join(unseen[:_EXAMPLES]) + (", …" if len(unseen) > _EXAMPLES else "")
        noun = targets.by_name(listing.target).noun
        yield (
            f"{count(len(unseen), noun)} of the split test "
            f"{'has' if len(unseen) == 1 else 'have'} no image in the split train: {names}."
        )
