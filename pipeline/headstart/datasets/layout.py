"""What a tree of folders says about the classes and splits of the images in it.

A folder is a tree, and so are an archive and a bucket: all are read by `arrange`. Folders that hold
everything else are passed through. The folders below them are splits if their names mean splits
(`splits`), else classes; classes may hold the splits instead (``cat/train/1.jpg``). Where folders
can be read in two ways, the layout has a ``problem`` (`ambiguity`), an error before any work.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from headstart.core.errors import InputError, count, one_line
from headstart.core.records import ImageRef, Listing
from headstart.datasets import ambiguity, splits, text
from headstart.datasets.file_names import Ignored
from headstart.datasets.image_table import Kind, kind_of
from headstart.datasets.listing import describe_ignored, make_listing
from headstart.datasets.order import natural_order
from headstart.datasets.tree import SEVERAL, Parts, Tree

_NOWHERE = Path()
_SHOWN = 3  # names in a remark
_Kind = tuple[str | None, str]  # label and split
_Rules = dict[Parts, _Kind]  # by folder; without a label, the folders in it are classes


class NoImages(InputError):
    """A source has no images."""


@dataclass
class Layout:
    """How a tree was understood.

    Attributes:
        base: the folder of the splits or classes.
        images: paths are relative to the root.
        stem: the part of ``base`` that holds all images, with a ``/``; perhaps empty.
        remarks: what the user should know, a sentence each.
        problem: why the tree cannot be understood, and what to do; empty if it can.
        hint: see `Listing`.
        labels: those of a table with a column for each, see `make_listing`.
    """

    base: Parts = ()
    images: Collection[ImageRef] = ()
    stem: str = ""
    remarks: list[str] = field(default_factory=list)
    problem: str = ""
    hint: str = ""
    labels: list[str] = field(default_factory=list)

    @property
    def stripped(self) -> Iterator[ImageRef]:
        """The images, with paths relative to ``stem``."""
        start = len(self.stem)
        for image in self.images:
            yield replace(image, path=image.path[start:]) if start else image

    @property
    def kinds(self) -> set[Kind]:
        """The label, split, labels and origin of the images."""
        if isinstance(self.images, _Images):
            return {(*kind, None, "") for kind in self.images.kinds.values()}
        return {kind_of(image) for image in self.images}


@dataclass(frozen=True)
class _Images(Collection[ImageRef]):
    """The images in folders, made when they are read; label and split are those of the folder."""

    folders: Sequence[tuple[Parts, Collection[str]]]
    kinds: Mapping[Parts, _Kind]

    def __len__(self) -> int:
        return sum(len(names) for _, names in self.folders)

    def __iter__(self) -> Iterator[ImageRef]:
        for parts, names in self.folders:
            folder = "".join(f"{part}/" for part in parts)
            for name in names:
                yield ImageRef(folder + name, *self.kinds[parts])

    def __contains__(self, image: object) -> bool:
        return any(image == other for other in self)


def arrange(
    folders: Sequence[tuple[Parts, Collection[str]]], shown: str, ignored: Mapping[str, int]
) -> Layout:
    """Return the images in ``folders``, paths below the root, with the labels and splits they tell.

    Messages name the root as ``shown``, and the ``ignored`` files if there are no images.

    Raises:
        NoImages: there are none.
    """
    if not folders:
        raise no_images(shown, ignored)
    tree = Tree(folders)
    base = _inner(tree)
    layout = Layout(base)
    depth = next(n for n in range(len(base), -1, -1) if all(p[:n] == base[:n] for p in tree.images))
    layout.stem = "".join(f"{name}/" for name in base[:depth])
    rules = _rules(tree, base, shown, layout)
    kinds = {parts: _kind(parts, rules) for parts in tree.images}
    _drop_foreign_classes(kinds, tree, layout)
    if depth < len(base) and not layout.problem:
        folder = one_line("/".join(base[depth:]))
        layout.remarks.append(f"Classes and splits are the folders in {folder}.")
    layout.images = _Images(folders, kinds)
    return layout


def no_images(shown: str, ignored: Mapping[str, int]) -> NoImages:
    """Return the error for a source without images."""
    reasons = f"; ignored: {describe_ignored(ignored)}" if ignored else ""
    return NoImages(
        f"no images in {one_line(shown)}; expected class/image.jpg, or the same below train/, "
        f"validation/ and test/{one_line(reasons)}"
    )


def _inner(tree: Tree) -> Parts:
    """Return the folder of the splits or classes, below folders that hold it alone."""
    folder: Parts = ()
    while len(names := tree.below(folder)) == 1:
        (name,) = names
        inner = (*folder, name)
        names = tree.below(inner)
        if inner in tree.images:
            if not splits.is_filler(name):
                return folder
        elif split := splits.split_of(name):
            means = {splits.split_of(inside) for inside in names}
            if "" in means or not (len(means) > 1 or split in means):
                return folder
        folder = inner
    return folder


def _rules(tree: Tree, base: Parts, shown: str, layout: Layout) -> _Rules:
    """Return what the folders below ``base`` mean, and note what is doubtful in the layout."""
    tops = tree.below(base)
    rest = {name for name in tops if not splits.is_unlabelled(name)}
    of_top = splits.of_siblings(rest)
    if len(of_top) == len(rest):
        starts = _starts(tree, base, of_top)
        layout.problem = ambiguity.of_nested_splits(tree, starts, shown) or ambiguity.of_masks(
            tree, base, shown
        )
        return {folder: (None, split) for folder, split in starts.items()}
    of_top = splits.of_siblings(tops)
    layout.problem = ambiguity.of_splits(tree, base, of_top, shown)
    class_first = _class_first(tree, base)
    if class_first:
        layout.problem = layout.problem or ambiguity.of_class_first(tree, class_first, base, shown)
        layout.remarks.append("The folders of the splits are in those of the classes.")
        return class_first
    layout.problem = (
        layout.problem
        or ambiguity.of_classes(tree, base, shown)
        or ambiguity.of_masks(tree, base, shown)
    )
    if not layout.problem:
        layout.remarks += _about_classes(tree, base)
    return {base: (None, "")}


def _about_classes(tree: Tree, base: Parts) -> Iterator[str]:
    """Yield what is doubtful about the folders below ``base`` as classes, a sentence each."""
    folders = [(*base, top) for top in natural_order(tree.below(base))]
    inner = natural_order({name for folder in folders for name in tree.below(folder)})
    if pattern := tree.repeated(folders):
        yield (
            f"Every class folder has the same folders in it ({one_line(', '.join(pattern))}); if "
            "those are the classes, move their images together or list them in a CSV."
        )
    elif len(inner) >= SEVERAL and tree.images.keys().isdisjoint(folders):
        names = one_line(", ".join(inner[:_SHOWN])) + (", …" if len(inner) > _SHOWN else "")
        yield (
            f"The classes are the outer folders; if those in them are ({names}), name one of the "
            "outer folders or list the images in a CSV."
        )
    for folder in folders:
        if splits.is_unlabelled(folder[-1]) or splits.split_of(folder[-1]):
            yield (
                f"The folder {one_line(folder[-1])} counts as a class, because it is beside "
                "others; if it is none, move it away."
            )


def _starts(tree: Tree, base: Parts, of_top: Mapping[str, str]) -> dict[Parts, str]:
    """Return the split of each folder that holds classes, perhaps within those of the splits."""
    starts: dict[Parts, str] = {}
    below = {top: tree.below((*base, top)) for top in of_top}
    for top, split in of_top.items():
        classes = {
            label
            for other, labels in below.items()
            if other != top and len(labels) >= SEVERAL
            for label in labels
        }
        folder = (*base, top)
        while folder not in tree.images and len(names := tree.below(folder)) == 1:
            (name,) = names
            inner = (*folder, name)
            again = splits.words_of(name) == splits.words_of(top) or splits.split_of(name) == split
            if name in classes or not (
                again or splits.is_filler(name) or tree.holds_classes(inner)
            ):
                break
            folder = inner
        starts[folder] = split
    return starts


def _class_first(tree: Tree, base: Parts) -> _Rules:
    """Return the rules of classes that hold the splits; empty if they do not."""
    rules: _Rules = {}
    for top in tree.below(base):
        folder = (*base, top)
        names = tree.below(folder)
        if folder in tree.images or not names or not all(map(splits.split_of, names)):
            return {}
        for name in names:
            rules[(*folder, name)] = text.class_name(top), splits.split_of(name)
    return rules


def _kind(parts: Parts, rules: _Rules) -> _Kind:
    """Return label and split of a folder: those of the nearest rule for it or above it."""
    for depth in range(len(parts), -1, -1):
        if parts[:depth] in rules:
            label, split = rules[parts[:depth]]
            if label is None and len(parts) > depth:
                label = text.class_name(parts[depth])
            return label, split
    return None, ""


def _drop_foreign_classes(kinds: _Rules, tree: Tree, layout: Layout) -> None:
    """Take the labels from a split whose classes are all unknown in training.

    A flat folder of test images is often one level further down: ``test/images/1.jpg``.
    """
    by_split: dict[str, set[str]] = {}
    for label, split in kinds.values():
        if label is not None:
            by_split.setdefault(split, set()).add(text.lookalike(label))
    train = by_split.get("train", set())
    for split, labels in by_split.items():
        if split in ("train", "") or len(train) < SEVERAL or labels & train:
            continue
        parts = [parts for parts, (label, own) in kinds.items() if label and own == split]
        number = sum(len(tree.images[folder]) for folder in parts)
        paths = sorted("/".join(folder).removeprefix(layout.stem) for folder in parts)
        folders = ", ".join(paths[:3])
        layout.remarks.append(
            f"No class of the split {split} is among those of the split train, so its "
            f"{count(number, 'image')} in {one_line(folders)} "
            f"{'counts' if number == 1 else 'count'} as unlabelled."
        )
        for folder in parts:
            kinds[folder] = None, split


def by_parts(paths: Iterable[str]) -> list[tuple[Parts, list[str]]]:
    """Group paths of images, with ``/``, by folder."""
    folders: dict[str, list[str]] = {}
    for path in paths:
        folder, _, file = path.rpartition("/")
        folders.setdefault(folder, []).append(file)
    return [(tuple(name.split("/")) if name else (), files) for name, files in folders.items()]


def listing_of(layout: Layout, ignored: Ignored, name: str, root: Path = _NOWHERE) -> Listing:
    """Return the listing of a tree, called ``name``; its images are below ``root``."""
    return make_listing(
        root,
        layout.stripped,
        ignored.counts(),
        name,
        remarks=layout.remarks,
        problem=layout.problem,
        hint=layout.hint,
        labels=layout.labels,
    )
