"""The range of values of a whole set of images, measured on a sample of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart import datasets
from headstart.backbones.inference.precision_choice import sample
from headstart.core.choices import COLOURS, PERCENTILE
from headstart.core.errors import ImageError, InputError, one_line
from headstart.core.preprocess import canonical_range
from headstart.core.records import Choice, Listing
from headstart.datasets.images import set_values
from headstart.features.embed.config import EmbedConfig
from headstart.features.store import stored_extraction

IMAGES = 200
SHARE = 0.5  # per cent of the values that may lie below, and above


def with_measured_range(
    listing: Listing, out: Path, config: EmbedConfig, notice: Callable[[str], None]
) -> EmbedConfig:
    """Return the settings with numbers in place of `PERCENTILE`; a store that exists keeps its own.

    Raises:
        InputError: no image of the sample can be read, or all its values are the same.
    """
    choice = config.backbone
    if isinstance(choice, str) or choice.value_range != PERCENTILE:
        return config
    stored = (stored_extraction(out) or {}).get("backbone", {}).get("preprocess", {})
    value_range = stored.get("value_range") or measured_range(listing)
    notice(f"--range {value_range}: {100 - 2 * SHARE:g} % of the values of the set")
    return dataclasses.replace(
        config, backbone=dataclasses.replace(choice, value_range=value_range)
    )


def measured_range(listing: Listing) -> str:
    """Return ``LOW:HIGH`` between which 99 % of the values lie, of images that are not for testing.

    If there are images of more than 8 bits, only they count.

    Raises:
        InputError: no image can be read, or all values are the same.
    """
    deep: list[NDArray[np.float64]] = []
    shallow: list[NDArray[np.float64]] = []
    training = [ref for ref in listing.images if ref.split != "test"] or list(listing.images)
    chosen = sample(dataclasses.replace(listing, images=training))[:IMAGES]
    for ref in chosen:
        try:
            is_deep, values = set_values(datasets.read(listing, ref)[0])
        except ImageError:
            continue  # the run reports which images fail, and why
        (deep if is_deep else shallow).append(values)
    if not deep and not shallow:
        raise InputError("none of the images that the range would be measured on can be read")
    pooled = np.concatenate(deep or shallow)
    low, high = (float(end) for end in np.percentile(pooled, [SHARE, 100 - SHARE]))
    if np.array_equal(pooled, np.rint(pooled)):
        low, high = float(np.floor(low)), float(np.ceil(high))
    if not low < high:
        raise InputError("all values of the images are the same, so they have no range")
    return canonical_range(f"{low:.6g}:{high:.6g}")


def decoded_by(choice: Choice, value_range: str, colour: str) -> Choice:
    """Return a choice with rules for decoding, in their one spelling.

    Raises:
        InputError: a rule is none of those that exist.
    """
    if colour and colour not in COLOURS:
        raise InputError(f"no colours {one_line(colour)!r}; use one of: {', '.join(COLOURS)}")
    try:
        if value_range != PERCENTILE:
            value_range = canonical_range(value_range)
    except ValueError:
        raise InputError(
            f"--range {one_line(value_range)} is none of LOW:HIGH (two numbers, the lower first), "
            f"dtype and {PERCENTILE}"
        ) from None
    return dataclasses.replace(choice, value_range=value_range, colour=colour)
