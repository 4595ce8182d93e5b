"""Samples of any depth to 8 bits: by the range of their type, or by one range for a whole set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import ImageError

UNSIGNED, SIGNED, FLOAT = "unsigned integers", "signed integers", "floating point"
OF_TYPE = "dtype"
_TABLE = 1 << 16  # numbers of two bytes
_FEWEST = 16  # values that a range must span to be meant for integers


def bounds(value_range: str) -> tuple[float, float] | None:
    """Return a range ``LOW:HIGH`` as numbers; None for no range and for `OF_TYPE`."""
    if value_range in ("", OF_TYPE):
        return None
    low, _, high = value_range.partition(":")
    return float(low), float(high)


def applies(value_range: str, bits: int, kind: str = UNSIGNED) -> bool:
    """Tell whether a range ``LOW:HIGH`` is meant for samples of a type.

    It is, if the type holds both ends. So ``0:4095`` leaves images of 8 bits as they are. A range
    of fewer than 16 values, such as ``0:1``, is for floating point.
    """
    ends = bounds(value_range)
    if ends is None:
        return False
    if kind == FLOAT:
        return True
    least, most = _limits(bits, kind)
    return least <= ends[0] and ends[1] <= most and ends[1] - ends[0] >= _FEWEST - 1


def to_bytes(
    samples: NDArray[np.generic], bits: int, kind: str, value_range: str
) -> NDArray[np.uint8]:
    """Return samples as 8 bits, black 0 and white 255.

    Unsigned integers of up to 16 bits keep their 8 high bits, unless a range is meant for them.
    Values outside the range are black or white; those that are not numbers are black.

    Raises:
        ImageError: the samples have no range of their own, and ``value_range`` gives none.
    """
    if applies(value_range, bits, kind):
        low, high = bounds(value_range) or (0.0, 1.0)
    elif kind == UNSIGNED and bits <= 16:
        return _high_bits(samples, bits)
    elif value_range:
        low, high = (0.0, 1.0) if kind == FLOAT else _limits(bits, kind)
    else:
        raise ImageError(
            f"samples of {bits} bits, {kind}, have no range; say which values are black and white "
            "with --range LOW:HIGH"
        )
    return scale(samples, low, high)


def scale(samples: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint8]:
    """Return samples as 8 bits, ``low`` as 0 and ``high`` as 255."""
    kind = samples.dtype
    if kind.kind in "iu" and kind.itemsize <= 2 and samples.size > _TABLE:
        index = np.dtype(f"u{kind.itemsize}")
        table = scale(np.arange(_TABLE).astype(index).view(kind), low, high)
        scaled: NDArray[np.uint8] = table[np.ascontiguousarray(samples).view(index)]
        return scaled
    values: NDArray[np.float64] = samples.astype(np.float64)
    values -= low
    values *= 255
    values /= high - low
    np.nan_to_num(values, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    out: NDArray[np.uint8] = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return out


def _high_bits(samples: NDArray[np.generic], bits: int) -> NDArray[np.uint8]:
    values = samples.astype(np.uint16)
    if bits >= 8:
        return (values >> (bits - 8)).astype(np.uint8)
    most = (1 << bits) - 1
    return ((values * 255 + most // 2) // most).astype(np.uint8)


def _limits(bits: int, kind: str) -> tuple[float, float]:
    if kind == SIGNED:
        return -float(1 << (bits - 1)), float((1 << (bits - 1)) - 1)
    return 0.0, float((1 << bits) - 1)
