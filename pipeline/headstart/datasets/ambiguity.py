"""Trees of folders that can be read in two ways: the reasons to ask, and the command to give."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from headstart.core.errors import one_line
from headstart.datasets import splits
from headstart.datasets.order import natural_order
from headstart.datasets.tree import SEVERAL, Parts, Tree

_SHOWN = 3


def of_splits(tree: Tree, base: Parts, of_top: Mapping[str, str], shown: str) -> str:
    """Return why some folders below ``base`` look like splits, and others do not; else nothing.

    ``of_top`` has the split of those whose name means one.
    """
    tops = tree.below(base)
    mentioned = {top for top in tops if splits.mentioned(top)}
    others = natural_order(tops - of_top.keys())
    if len(set(of_top.values())) > 1:
        return (
            f"{_named(shown, base)} has split folders ({_list(of_top)}) beside others (such as "
            f"{one_line(others[0])}); move the others away, or list the images in a CSV"
            f"{_nested_source(tree, base, others, shown)}"
        )
    for top in natural_order(mentioned):
        siblings = [(*base, other) for other in tops if other != top]
        names = tree.below((*base, top))
        shared = any(names & tree.below(other) for other in siblings)
        if tree.holds_classes((*base, top)) and (top in of_top or shared):
            return (
                f"{_named(shown, base)}: {one_line(top)} looks like a split with the classes "
                f"{_list(names)}, but {_list(tops - {top})} {_do(tops - {top})} not; "
                f"{_give(shown, (*base, top))}, or rename the folders to train, validation and test"
            )
    if of_top and all(map(splits.is_part, others)):
        return (
            f"{_named(shown, base)}: {_list(of_top)} looks like a split, but {_list(others)} "
            f"{_do(others)} not; {_give(shown, (*base, others[0]))}, or rename the folders "
            "to train, validation and test, with the classes in them"
        )
    if len(mentioned) == len(tops) and len(set(map(splits.mentioned, tops))) > 1:
        return (
            f"{_named(shown, base)}: the folders {_list(tops)} look like splits, not classes; name "
            "them train, validation and test with the classes in them, or list the images in a CSV "
            "with path,label,split"
        )
    return ""


def of_nested_splits(tree: Tree, starts: Iterable[Parts], shown: str) -> str:
    """Return why the folders in a split are splits again rather than classes; else nothing."""
    for folder in sorted(starts):
        names = tree.below(folder)
        if len(names) >= SEVERAL and all(map(splits.split_of, names)):
            return (
                f"{_named(shown, folder)} has splits of its own ({_list(names)}) in place of "
                f"classes; {_give(shown, folder)}, or move them to {_named(shown, folder[:-1])}"
            )
    return ""


def of_masks(tree: Tree, base: Parts, shown: str) -> str:
    """Return why some folders below ``base`` are masks of the images beside them; else nothing."""
    for folder in sorted(tree.images):
        *above, name = folder or ("",)
        parent = tuple(above)
        beside = tree.below(parent) - {name}
        if len(parent) > len(base) and splits.is_mask(name) and any(map(splits.is_filler, beside)):
            return (
                f"{_named(shown, parent)}: {one_line(name)} looks like masks of the images in "
                f"{_list(beside)}; move such folders away, or list the images in a CSV with "
                "path,label"
            )
    return ""


def of_class_first(tree: Tree, rules: Collection[Parts], base: Parts, shown: str) -> str:
    """Return why the folders are data sets of their own rather than classes; else nothing.

    ``rules`` has the folders of the splits in the classes.
    """
    depth = len(base)
    for folder in sorted(rules):
        others = [other for other in rules if other[depth] != folder[depth]]
        if tree.holds_classes(folder) and any(tree.repeated((folder, other)) for other in others):
            return _several_sets(tree, base, shown, folder[depth])
    return ""


def of_classes(tree: Tree, base: Parts, shown: str) -> str:
    """Return why folders that are no splits are no classes either; else nothing."""
    tops = natural_order(tree.below(base))
    for top in tops:
        names = tree.below((*base, top))
        unlabelled = [other for other in tops if splits.is_unlabelled(other)]
        if unlabelled and tree.holds_classes((*base, top)):
            return (
                f"{_named(shown, base)}: {one_line(top)} has the folders {_list(names)}, and "
                f"{_list(unlabelled)} looks like images without labels; "
                f"{_give(shown, (*base, top))}, or list the images in a CSV with path,label"
            )
        as_splits = {name for name in names if splits.split_of(name)}
        if len({splits.split_of(name) for name in as_splits}) > 1 or any(
            tree.holds_classes((*base, top, name)) for name in as_splits
        ):
            return _several_sets(tree, base, shown, top)
    folders = [(*base, top) for top in tops]
    if len(tops) >= SEVERAL and all(map(splits.is_part, tops)):
        shared = tree.repeated(folders)
        if shared or not all(folder in tree.images for folder in folders):
            return (
                f"{_named(shown, base)}: the folders {_list(tops)} look like parts of a set, not "
                f"classes; {_give(shown, folders[0])}, or list the images in a CSV with path,label"
            )
    return ""


def _several_sets(tree: Tree, base: Parts, shown: str, top: str) -> str:
    names = _list(tree.below((*base, top)))
    return (
        f"{_named(shown, base)}: {one_line(top)} looks like a data set of its own, with the "
        f"folders {names}; {_give(shown, (*base, top))}, or list the images in a CSV with "
        "path,label,split"
    )


def _nested_source(tree: Tree, base: Parts, others: Iterable[str], shown: str) -> str:
    for other in others:
        names = tree.below((*base, other))
        if names and all(map(splits.split_of, names)):
            return f"; {one_line(other)} has splits of its own: {_give(shown, (*base, other))}"
    return ""


def _do(names: Collection[str]) -> str:
    return "does" if len(names) == 1 else "do"


def _give(shown: str, folder: Parts) -> str:
    """Return what to do to use one folder alone."""
    if not Path(shown).is_dir():
        return f"pack {one_line('/'.join(folder))} alone"
    place = shlex.quote(one_line("/".join((shown.rstrip("/"), *folder))))
    return f"to use it alone: headstart features {place} --out STORE.h5"


def _named(shown: str, base: Parts) -> str:
    return one_line("/".join((shown.rstrip("/") or "/", *base)))


def _list(names: Collection[str]) -> str:
    """Return the first names in natural order."""
    shown = ", ".join(natural_order(names)[:_SHOWN])
    return one_line(shown + (", …" if len(names) > _SHOWN else ""))
