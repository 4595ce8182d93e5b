"""Alignment of several stores on the images that they share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, one_line
from headstart.core.names import join
from headstart.core.records import SUGGESTED, FeatureSet, flat
from headstart.core.remarks import remark
from headstart.core.results import Remark
from headstart.core.rows import take

Key = tuple[bytes, str | int]


def align(stores: Sequence[FeatureSet]) -> tuple[list[FeatureSet], list[Remark]]:
    """Reduce stores to the images that all of them share, and return warnings about the others.

    Images are matched by their bytes; duplicates within a store also by their paths, as far as
    these agree. With imported features, which have no images, names alone match. Order, paths,
    labels, splits and classes come from the first store, or the first one with images and labels if
    there are imported features; thumbnails from the first store that has them.

    Raises:
        InputError: two stores have the same backbone and preprocessing or disagree about a label or
            a split, or they share no image.
    """
    if len(stores) == 1:
        return list(stores), []
    _check_targets(stores)
    _check_different(stores)
    rows, warnings = _joined(stores) if _have_imported(stores) else (_shared_rows(stores), [])
    if not len(rows[0]):
        raise InputError(
            "the stores have no image in common; use stores of the same images with different"
            " backbones"
        )
    _check_agreement(stores, rows)
    base = leading(stores)
    first, order = stores[base], np.argsort(rows[base], kind="stable")
    rows = [places[order] for places in rows]
    pixels = next(
        (take(s.pixels, r) for s, r in zip(stores, rows, strict=True) if s.pixels is not None), None
    )
    shared = dataclasses.replace(
        first,
        path=[first.path[row] for row in rows[base]],
        label=first.label[rows[base]],
        label_sets=None if first.label_sets is None else first.label_sets[rows[base]],
        split=[first.split[row] for row in rows[base]],
        origin=_origins(stores, rows),
        sha256=first.sha256[rows[base]],
        pixels=pixels,
    )
    aligned = [
        dataclasses.replace(
            shared,
            features=take(store.features, places),
            extraction=store.extraction,
            digest=store.digest,
            model=store.model,
            weights=store.weights,
        )
        for store, places in zip(stores, rows, strict=True)
    ]
    return aligned, [*warnings, *_about_left_out(stores, len(rows[0]))]


def backbone_names(stores: Sequence[FeatureSet]) -> list[str]:
    """Name the stores by their backbones, and repeated names by what differs too.

    Two stores of ``tiny`` that differ in the layer become ``tiny (layer=conv1)`` and
    ``tiny (layer=conv2)``.
    """
    documents = [flat(store.extraction.get("backbone", {})) for store in stores]
    plain = [str(document.get("name", "")) for document in documents]
    names = []
    for name, document in zip(plain, documents, strict=True):
        rivals = [other for also, other in zip(plain, documents, strict=True) if also == name]
        differing = [
            key
            for key, value in document.items()
            if any(other.get(key) != value for other in rivals)
        ]
        details = ", ".join(f"{_last(key)}={_short(document[key])}" for key in differing)
        names.append(f"{name} ({details})" if details else name)
    # Long values are cut, so names may still be equal.
    repeated = {name for name in names if names.count(name) > 1}
    return [
        f"{name} (digest {store.digest[:8]})" if name in repeated else name
        for name, store in zip(names, stores, strict=True)
    ]


def beside_tuned(frozen: FeatureSet, tuned: FeatureSet) -> tuple[list[str], list[FeatureSet]]:
    """Return the names and the aligned stores of a frozen network and of the fine-tuned one.

    It is one store where only the classifier was trained.
    """
    if frozen.digest == tuned.digest:
        return backbone_names([frozen]), [frozen]
    return backbone_names([frozen, tuned]), align([frozen, tuned])[0]


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _short(value: Any) -> str:  # noqa: ANN401 - any JSON value
    text = str(value)
    return text if len(text) <= 24 else f"{text[:8]}…"


def _check_targets(stores: Sequence[FeatureSet]) -> None:
    target = stores[leading(stores)].target
    for number, store in enumerate(stores, start=1):
        unlabelled = store.is_imported and not store.is_labelled.any()
        if store.target != target and not unlabelled:
            raise InputError(
                f"store {leading(stores) + 1} is {target} and store {number} {store.target}; embed"
                " the same data with the same --target for both"
            )


def _have_imported(stores: Sequence[FeatureSet]) -> bool:
    return any(store.is_imported for store in stores)


def leading(stores: Sequence[FeatureSet]) -> int:
    """Return the number of the store that names and labels the shared images."""
    if not _have_imported(stores):
        return 0
    ranks = [(not s.is_labelled.any(), s.is_imported) for s in stores]
    return min(range(len(stores)), key=ranks.__getitem__)


def _joined(stores: Sequence[FeatureSet]) -> tuple[list[NDArray[np.intp]], list[Remark]]:
    """Return each store's rows of the shared images by their names, and a warning how."""
    shared = join([store.path for store in stores])
    if not shared.rule:
        named = " and ".join(one_line(store.path[0]) for store in stores)
        raise InputError(
            "the stores have no names in common, by which imported features are joined with "
            f"others; their first rows are {named}"
        )
    if shared.rule == "path":
        return shared.rows, []
    text = f"The stores are joined by the {shared.rule} of their rows."
    return shared.rows, [remark("HS335", text)]


def _check_different(stores: Sequence[FeatureSet]) -> None:
    for (i, a), (j, b) in combinations(enumerate(stores, start=1), 2):
        if a.digest == b.digest:
            raise InputError(
                f"stores {i} and {j} have the same backbone and preprocessing"
                f" ({one_line(backbone_names([a])[0])}), so there is nothing to compare; use each"
                " backbone once"
            )


def _shared_rows(stores: Sequence[FeatureSet]) -> list[NDArray[np.intp]]:
    """Return each store's rows of the shared images, in the order of the first store."""
    named = [
        {(sha.tobytes(), path): row for row, (sha, path) in enumerate(_identities(store))}
        for store in stores
    ]
    same = set(named[0]).intersection(*named[1:])
    keyed: list[dict[Key, int]] = []
    for store, rows in zip(stores, named, strict=True):
        keys: dict[Key, int] = {key: rows[key] for key in same}
        # If paths differ between stores, match the duplicates of an image in order.
        rest = sorted(row for key, row in rows.items() if key not in same)
        counts: dict[bytes, int] = {}
        for row in sorted(rest, key=lambda row: store.path[row]):
            content = store.sha256[row].tobytes()
            number = counts[content] = counts.get(content, -1) + 1
            keys[content, number] = row
        keyed.append(keys)
    shared = set(keyed[0]).intersection(*keyed[1:])
    order = sorted(shared, key=keyed[0].__getitem__)
    return [np.array([keys[key] for key in order], np.intp) for keys in keyed]


def _identities(store: FeatureSet) -> zip[tuple[NDArray[np.uint8], str]]:
    return zip(store.sha256, store.path, strict=True)


def _check_agreement(stores: Sequence[FeatureSet], rows: Sequence[NDArray[np.intp]]) -> None:
    facts = [
        [(_label(store, row), store.split[row]) for row in shared]
        for store, shared in zip(stores, rows, strict=True)
    ]
    if _have_imported(stores):
        facts = _completed(stores, facts)
    for number, other in enumerate(facts[1:], start=2):
        differ = [i for i, (a, b) in enumerate(zip(facts[0], other, strict=True)) if a != b]
        if differ:
            (label, split), (other_label, other_split) = facts[0][differ[0]], other[differ[0]]
            what = "label" if label != other_label else "split"
            here, there = (label, other_label) if what == "label" else (split, other_split)
            raise InputError(
                f"stores 1 and {number} disagree about the {what} of {len(differ):,}"
                f" image{'' if len(differ) == 1 else 's'}, for instance"
                f" {one_line(stores[0].path[rows[0][differ[0]]])}:"
                f" {one_line(here) or 'empty'} and {one_line(there) or 'empty'}; run headstart"
                " features again for both stores, on the same data"
            )


def _completed(
    stores: Sequence[FeatureSet], facts: list[list[tuple[str, str]]]
) -> list[list[tuple[str, str]]]:
    """Let imported features without any labels, or any splits, have those of the leading store."""
    base, completed = facts[leading(stores)], []
    for store, own in zip(stores, facts, strict=True):
        labels = own if store.is_labelled.any() or not store.is_imported else base
        splits = own if any(store.split) or not store.is_imported else base
        completed.append([(a, b) for (a, _), (_, b) in zip(labels, splits, strict=True)])
    return completed


def _origins(stores: Sequence[FeatureSet], rows: Sequence[NDArray[np.intp]]) -> list[str]:
    """Return the origin of each shared image: `SUGGESTED` if a store says so."""
    chosen = [store.is_suggested[shared] for store, shared in zip(stores, rows, strict=True)]
    if not np.any(chosen):
        return []
    return [SUGGESTED if any_store else "" for any_store in np.any(chosen, axis=0)]


def _label(store: FeatureSet, row: int) -> str:
    if store.label_sets is None:
        return store.label_text(row)
    unknown = [store.classes[code] for code in np.flatnonzero(store.label_sets[row] < 0).tolist()]
    return store.label_text(row) + "".join(f" ?{name}" for name in sorted(unknown))


def _about_left_out(stores: Sequence[FeatureSet], shared: int) -> list[Remark]:
    left = [len(store.path) - shared for store in stores]
    if not any(left):
        return []
    counts = ", ".join(
        f"{number:,} of {one_line(name)}"
        for number, name in zip(left, backbone_names(stores), strict=True)
    )
    text = f"Compared on the {shared:,} images that all stores share; left out: {counts}."
    return [remark("HS334", text)]
