"""Class folders of images that may have several labels: copies of a file are one image."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from headstart.core.errors import ImageError, count
from headstart.core.records import ImageRef, LabelSet, Listing
from headstart.core.targets import MULTI_LABEL
from headstart.datasets.images import read_file
from headstart.datasets.label_sets import about_combined, as_sets
from headstart.datasets.listing import location
from headstart.datasets.order import natural_order

COPIES = "copy of an image in another class"


def with_label_sets(listing: Listing) -> Listing:
    """Return a single-label listing as a multi-label one; a separator divides names that recur.

    Files of the same bytes in several classes become one image, the first of them, that has all
    their labels. Images in archives and tables are not compared.
    """
    groups: dict[object, list[ImageRef]] = {}
    listing = replace(listing, images=tuple(as_sets(listing.images)))
    for ref, key in _with_contents(listing):
        groups.setdefault(key, []).append(ref)
    images = []
    for group in groups.values():
        names = tuple(dict.fromkeys(name for ref in group for name in ref.names))
        labels = LabelSet(names) if names else None
        kept = group[:1] if len(names) > 1 else group
        images += [replace(ref, labels=labels) for ref in kept]
    about = [each for each in listing.remarks if each not in about_combined(listing.classes)]
    merged = len(listing.images) - len(images)
    remark = (
        f"{count(merged, 'file')} with the bytes of an image in another class folder added "
        "a label to it (--target multi-label)."
    )
    return replace(
        listing,
        images=tuple(images),
        classes=tuple(natural_order({name for ref in images for name in ref.names})),
        ignored=dict(Counter(listing.ignored) + Counter({COPIES: merged})),
        remarks=(*about, *([remark] if merged else [])),
        target=MULTI_LABEL,
    )


def _with_contents(listing: Listing) -> Iterator[tuple[ImageRef, object]]:
    """Yield each image with a key that is equal for copies in other classes of the same split."""
    if listing.reader is not None:
        yield from ((ref, ref.path) for ref in listing.images)
        return
    sizes: Counter[int] = Counter()
    by_path: dict[str, int] = {}
    for ref in listing.images:
        with suppress(OSError):
            by_path[ref.path] = location(listing, ref).stat().st_size
            sizes[by_path[ref.path]] += 1
    for ref in listing.images:
        key: object = ref.path
        if sizes[by_path.get(ref.path, -1)] > 1:
            with suppress(ImageError):
                data, _ = read_file(location(listing, ref))
                key = hashlib.sha256(data).digest(), ref.split
        yield ref, key
