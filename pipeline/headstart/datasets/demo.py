"""A synthetic texture set, ten kinds of surface, to try every command without a download.

Only the surface tells the class: colours, scale, angle, perspective, light, wear and noise are
random for every image. Each image has its own random generator, seeded by (seed, class, index),
and uses only operations that IEEE 754 rounds correctly (no sine, no exponential, no sum of free
order). So its pixels are the same on every machine.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.core import files
from headstart.core.errors import InputError, one_line
from headstart.datasets import images

Plane = npt.NDArray[np.float32]
"""One value for each pixel: ``(size, size) float32``."""
Real = np.float32 | float

VERSION = 1  # changes whenever a seed gives other pixels
_MARKER = "dataset.json"
_SIZES = (224, 256, 288)  # pixels; real folders hold images of several sizes


def _between(rng: np.random.Generator, low: Real, high: Real) -> np.float32:
    return np.float32(low + (high - low) * rng.random())


def _direction(rng: np.random.Generator) -> tuple[np.float32, np.float32]:
    """Return a random unit vector, without a sine: by a rational parametrisation."""
    t = _between(rng, -1, 1)
    a, b = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    return (a, b) if rng.random() < 0.5 else (-b, a)


def _fraction(t: Plane) -> Plane:
    below: Plane = np.floor(t)
    return t - below


def _wave(t: Plane) -> Plane:
    """Triangle wave of period 1: 0 at the integers, 1 halfway between them."""
    distance: Plane = np.abs(2 * _fraction(t) - 1)
    return 1 - distance


def _step(t: Plane, edge: Real, width: Real) -> Plane:
    """Rise smoothly from 0 to 1 where ``t`` passes ``edge``."""
    s: Plane = np.clip((t - edge) / np.float32(width) + np.float32(0.5), 0, 1)
    return s * s * (3 - 2 * s)


def _stretch(t: Plane) -> Plane:
    low, high = np.float32(t.min()), np.float32(t.max())
    return (t - low) / (high - low)


def _noise(rng: np.random.Generator, size: int, cells: Real) -> Plane:
    """Return smooth noise in −1…1, ``cells`` features a side: a random uniform cubic B-spline."""
    knots = int(cells) + 5
    lattice = rng.random((knots, knots), dtype=np.float32) * 2 - 1
    x = np.arange(size, dtype=np.float32) * np.float32(cells / size) + _between(rng, 0, 1)
    first, t = x.astype(np.intp), _fraction(x)
    u = 1 - t
    weights = (u * u * u, 4 - 3 * t * t * (1 + u), 4 - 3 * u * u * (1 + t), t * t * t)
    plane = lattice
    for _ in range(2):  # along one axis, then along the other
        knot = np.ascontiguousarray(plane.T)
        plane = np.zeros((size, knot.shape[1]), np.float32)
        for k, weight in enumerate(weights):
            plane += knot[first + k] * (weight / 6)[:, None]
    return plane


def _fractal(rng: np.random.Generator, size: int, cells: Real, octaves: int, gain: Real) -> Plane:
    """Return a sum of noise, each octave twice as fine and ``gain`` times as strong."""
    total = np.zeros((size, size), np.float32)
    strength = np.float32(1)
    for _ in range(octaves):
        total += _noise(rng, size, cells) * strength
        cells, strength = cells * 2, strength * gain
    return total


def _cells(
    rng: np.random.Generator, x: Plane, y: Plane, jitter: Real, stagger: bool
) -> tuple[Plane, Plane]:
    """Return distances to the two nearest points of a jittered lattice; staggered: hexagons.

    Source: Worley, "A cellular texture basis function", SIGGRAPH 1996.
    """
    height = np.float32(0.8660254) if stagger else np.float32(1)
    offset_x, offset_y = (rng.random((2, 64 * 64), dtype=np.float32) - np.float32(0.5)) * jitter
    row = np.floor(y / height + np.float32(0.5))
    nearest = np.full(x.shape, 9, np.float32)
    second = nearest.copy()
    for j in (row - 1, row, row + 1):
        dy = y - j * height
        line = j.astype(np.intp)
        dx = x - (line & 1).astype(np.float32) / 2 if stagger else x
        column = np.floor(dx + np.float32(0.5))
        dx = dx - column
        line, first = (line & 63) * 64, column.astype(np.intp)
        for i in (-1, 0, 1):
            point = line + ((first + i) & 63)
            px, py = dx - i - offset_x[point], dy - offset_y[point]
            d = px * px + py * py
            second = np.minimum(second, np.maximum(nearest, d))
            nearest = np.minimum(nearest, d)
    return np.sqrt(nearest), np.sqrt(second)


def _striped(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    f = _between(rng, 3, 22)
    return _step(_wave(x * f), _between(rng, 0.25, 0.75), _between(rng, 0.15, 0.6))


def _checkered(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    f, aspect, soft = _between(rng, 2, 10), _between(rng, 0.6, 1.6), _between(rng, 0.1, 0.5)
    a, b = _step(_wave(x * f), 0.5, soft), _step(_wave(y * f * aspect), 0.5, soft)
    if rng.random() < 0.25:  # gingham
        return np.float32(0.5) * (a + b)
    return a + b - 2 * a * b


def _dotted(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    f = _between(rng, 3, 18)
    near, _ = _cells(rng, x * f, y * f, _between(rng, 0, 0.5), rng.random() < 0.5)
    return _step(near, _between(rng, 0.15, 0.38), _between(rng, 0.06, 0.3))


def _zigzag(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    f = _between(rng, 3, 14)
    turn = _wave(y * f * _between(rng, 0.25, 0.9)) * _between(rng, 0.25, 1.4)
    return _step(_wave(x * f + turn), _between(rng, 0.3, 0.7), _between(rng, 0.15, 0.5))


def _grid(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    f, aspect = _between(rng, 3, 16), _between(rng, 0.5, 2)
    edge, soft = _between(rng, 0.1, 0.45), _between(rng, 0.1, 0.45)
    return np.minimum(_step(_wave(x * f), edge, soft), _step(_wave(y * f * aspect), edge, soft))


def _marbled(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    turbulence = _fractal(rng, len(x), _between(rng, 2, 6), 5, _between(rng, 0.4, 0.65))
    veins = _wave(x * _between(rng, 1, 4) + turbulence * _between(rng, 0.8, 2))
    return _step(veins, _between(rng, 0.1, 0.5), _between(rng, 0.3, 1.2))


def _cloudy(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    field = _stretch(_fractal(rng, len(x), _between(rng, 2, 9), 6, _between(rng, 0.4, 0.7)))
    return _step(field, 0.5, _between(rng, 0.6, 1.1))


def _grainy(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    field = _stretch(_fractal(rng, len(x), _between(rng, 16, 80), 3, _between(rng, 0.3, 1)))
    return _step(field, _between(rng, 0.4, 0.6), _between(rng, 0.2, 0.8))


def _cracked(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    f, rough = _between(rng, 3, 14), _between(rng, 0.05, 0.3)
    x = x * f + rough * _fractal(rng, len(x), f * 2, 4, 0.6)
    y = y * f + rough * _fractal(rng, len(x), f * 2, 4, 0.6)
    near, second = _cells(rng, x, y, _between(rng, 0.5, 1), stagger=False)
    return _step(second - near, _between(rng, 0.04, 0.14), _between(rng, 0.05, 0.15))


def _honeycombed(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    f = _between(rng, 3, 18)
    near, second = _cells(rng, x * f, y * f, _between(rng, 0, 0.4), stagger=True)
    return _step(second - near, _between(rng, 0.1, 0.35), _between(rng, 0.1, 0.3))


_PATTERNS: dict[str, Callable[[np.random.Generator, Plane, Plane], Plane]] = {
    "striped": _striped,
    "checkered": _checkered,
    "dotted": _dotted,
    "zigzag": _zigzag,
    "grid": _grid,
    "marbled": _marbled,
    "cloudy": _cloudy,
    "grainy": _grainy,
    "cracked": _cracked,
    "honeycombed": _honeycombed,
}
CLASSES: tuple[str, ...] = tuple(_PATTERNS)


def _plane(rng: np.random.Generator, size: int) -> tuple[Plane, Plane]:
    """Return the coordinates of a rotated, tilted and slightly uneven surface."""
    side = np.arange(size, dtype=np.float32) / np.float32(size) - np.float32(0.5)
    column, row = side[None, :], side[:, None]
    cos, sin = _direction(rng)
    tilt_x, tilt_y = _direction(rng)
    depth = 1 + _between(rng, 0, 0.6) * (column * tilt_x + row * tilt_y)
    bend = _between(rng, 0, 0.12)
    x = (column * cos + row * sin) / depth + bend * _noise(rng, size, 2.5)
    y = (row * cos - column * sin) / depth + bend * _noise(rng, size, 2.5)
    return x + _between(rng, 5, 6), y + _between(rng, 5, 6)


def _colour(hue: np.float32, saturation: np.float32, lightness: np.float32) -> Plane:
    """Turn hue, saturation and lightness, each 0…1, into ``(3,) float32`` RGB."""
    turn = _fraction(hue + np.array([0, 2 / 3, 1 / 3], np.float32))
    pure: Plane = np.clip(np.abs(turn * 6 - 3) - 1, 0, 1) - np.float32(0.5)
    return lightness + pure * saturation * np.float32(1 - abs(2 * lightness - 1))


def _palette(rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Return two random colours of different lightness."""
    contrast = _between(rng, 0.08, 0.6)
    dark = _between(rng, 0.12, 0.88 - contrast)
    hue = _between(rng, 0, 1)
    if hue < 2 / 3:  # the painter's wheel: on the physical one, half of all hues are greens
        hue = hue / 2 if hue < 1 / 3 else hue * np.float32(1.5) - np.float32(1 / 3)
    a = _colour(hue, _between(rng, 0.05, 0.7), dark)
    b = _colour(hue + _between(rng, -0.2, 0.2), _between(rng, 0.05, 0.7), dark + contrast)
    return (a, b) if rng.random() < 0.5 else (b, a)


def _light(rng: np.random.Generator, height: Plane) -> Plane:
    size = len(height)
    lx, ly = _direction(rng)
    side = np.arange(size, dtype=np.float32) / np.float32(size) - np.float32(0.5)
    gx, gy = np.zeros_like(height), np.zeros_like(height)
    gx[:, 1:] = height[:, 1:] - height[:, :-1]
    gy[1:] = height[1:] - height[:-1]
    relief = np.clip((gx * lx + gy * ly) * _between(rng, -1, 1), -0.3, 0.3)
    ramp = (side[None, :] * lx + side[:, None] * ly) * _between(rng, 0, 0.7)
    return 1 + relief + ramp


def draw(name: str, rng: np.random.Generator, size: int = 256) -> npt.NDArray[np.uint8]:
    """Draw an image of one of `CLASSES`, ``(size, size, 3) uint8`` RGB; ``rng`` decides it."""
    if name not in _PATTERNS:
        raise InputError(f"no texture {one_line(name)}; choose one of: {', '.join(CLASSES)}")
    x, y = _plane(rng, size)
    pattern = _PATTERNS[name](rng, x, y)
    wear = _step(_fractal(rng, size, 3, 3, 0.5), _between(rng, 0.1, 1.2), 0.8)
    surface = _fractal(rng, size, _between(rng, 10, 60), 3, 0.7)
    pattern = pattern * (1 - wear) + wear * np.float32(0.5)
    relief = pattern + surface * _between(rng, 0, 0.3)
    light = _light(rng, relief) + surface * _between(rng, 0, 0.1)
    a, b = (colour[:, None, None] for colour in _palette(rng))  # channels first: faster
    grain = rng.random((3, size, size), dtype=np.float32) - np.float32(0.5)
    picture = (a + (b - a) * pattern) * light + grain * _between(rng, 0.02, 0.15)
    values = (np.clip(picture, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(values, 0, 2))


def write(out: Path, seed: int = 0, per_class: int = 80) -> int:
    """Write the set as ``out/train/CLASS/0000.jpg``…, and return the number of images written.

    The last quarter of each class is in ``test``. A larger set begins with the same images. The
    folder appears when it is complete; if it holds the same set already, nothing is written.

    Raises:
        InputError: an argument is out of range, or ``out`` has other content.
        OutputError: the files cannot be written.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}; choose 0 or more")
    if per_class < 4:
        raise InputError(f"per_class is {per_class}; choose 4 or more, so that both splits fill")
    if is_written(out, seed, per_class):
        return 0
    out = out.resolve()
    try:
        if out.exists() and not (out.is_dir() and next(out.iterdir(), None) is None):
            raise InputError(f"{one_line(out)} has other content; choose another folder")
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{out.name}.", suffix=files.PARTIAL, dir=out.parent
        ) as scratch:
            whole = Path(scratch) / out.name
            _write_images(whole, seed, per_class)
            marker = json.dumps(_marker(seed, per_class), indent=2)
            (whole / _MARKER).write_text(marker + "\n", encoding="utf-8")
            whole.rename(out)
    except OSError as error:
        raise files.cannot_write(out, error) from error
    return per_class * len(CLASSES)


def is_written(out: Path, seed: int, per_class: int) -> bool:
    """Tell whether ``out`` holds the set that `write` would write."""
    try:
        document = json.loads((out / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(document == _marker(seed, per_class))


def _marker(seed: int, per_class: int) -> dict[str, Any]:
    name = "headstart textures"
    return {"name": name, "seed": seed, "per_class": per_class, "version": VERSION}


def _write_images(root: Path, seed: int, per_class: int) -> None:
    training = per_class - per_class // 4
    for code, name in enumerate(CLASSES):
        parts = {"train": range(training), "test": range(training, per_class)}
        for split, indices in parts.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in indices:
                rng = np.random.Generator(np.random.PCG64((seed, code, index)))
                pixels = draw(name, rng, _SIZES[index % len(_SIZES)])
                images.save_jpeg(folder / f"{index:04d}.jpg", pixels)
