"""The parity certificate: proof that this machine makes the same features as the exporter.

An exported backbone carries a few small image files and the features that they had at export.
Embedding them again shows whether the decoder, the runtime, the device or the preprocessing of this
machine changes features. The files cover JPEG with and without subsampled colour, JPEG decoded at
half its size, grey, palette, transparency, 16 bits, CMYK and several sizes.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import BackboneError, ImageError, one_line
from headstart.core.linalg import row_cosine
from headstart.core.parallel import available_cores
from headstart.core.records import Preprocess
from headstart.datasets import demo, images

METADATA = "headstart.certificate"
MIN_COSINE = 0.999  # the limit for parity with the reference pipelines
_LARGEST = 3100  # pixels a side; every file carries the probes, and every start decodes them

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Certificate:
    """Probe files and the features that they should have.

    Attributes:
        probes: encoded image files by name.
        features: ``(n, d) float32``, in the order of ``probes``.
        widths: of the layers whose features lie side by side in a row, each proved by itself;
            empty for one layer.
    """

    probes: dict[str, bytes]
    features: NDArray[np.float32]
    widths: tuple[int, ...] = ()

    def of_layer(self, number: int) -> Certificate:
        """Return the certificate of one layer."""
        return Certificate(self.probes, by_layer(self.features, self.widths)[number])

    def to_json(self) -> str:
        """Return the text that an exported file stores under `METADATA`."""
        probes = {name: base64.b64encode(data).decode() for name, data in self.probes.items()}
        values = self.features.astype("<f4").tobytes()
        return json.dumps(
            {
                "probes": probes,
                "dim": self.features.shape[1],
                "features": base64.b64encode(values).decode(),
            }
            | ({"widths": self.widths} if self.widths else {})
        )

    @staticmethod
    def from_json(text: str) -> Certificate:
        """Rebuild a certificate from `to_json`; damaged text is a `BackboneError`."""
        try:
            document = json.loads(text)
            probes = {str(k): base64.b64decode(v) for k, v in document["probes"].items()}
            values = np.frombuffer(base64.b64decode(document["features"]), "<f4")
            dim, widths = int(document["dim"]), tuple(map(int, document.get("widths", ())))
            if widths and (sum(widths) != dim or min(widths) < 1):
                raise ValueError(f"layers of {widths} features do not add up to {dim}")
            return Certificate(probes, values.reshape(len(probes), dim), widths)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BackboneError(
                f"the backbone's parity certificate is damaged ({one_line(error)}); export it again"
            ) from error


@dataclass(frozen=True)
class Drift:
    """How far this machine's features are from the certificate's.

    ``worst`` is the name of the probe with the smallest cosine.
    """

    min_cosine: float
    mean_cosine: float
    worst: str


def issue(embed: Embed, preprocess: Preprocess, widths: tuple[int, ...] = ()) -> Certificate:
    """Draw the probes and record their features.

    ``embed`` maps ``(n, h, w, 3) uint8`` to ``(n, d) float32``; for ``widths`` see `Certificate`.
    """
    probes = draw_probes(preprocess)
    rows = map(_embedded(embed, preprocess), probes.values())
    return Certificate(dict(probes), np.concatenate(list(rows)), widths)


def check(certificate: Certificate, embed: Embed, preprocess: Preprocess) -> Drift:
    """Embed the probes again and compare.

    Raises:
        BackboneError: a probe cannot be decoded here, or drifts more than `MIN_COSINE` allows.
    """
    try:
        with ThreadPoolExecutor(available_cores()) as pool:
            rows = pool.map(_embedded(embed, preprocess), certificate.probes.values())
            features = np.concatenate(list(rows))
    except ImageError as error:
        raise BackboneError(
            f"a probe of the parity certificate cannot be decoded here ({error}); "
            "install Pillow with all its codecs"
        ) from error
    expected = certificate.features
    if features.shape != expected.shape:
        raise BackboneError(
            f"the network has {features.shape[1]} features, and its certificate has "
            f"{expected.shape[1]}; export the backbone again"
        )
    layers = (by_layer(rows, certificate.widths) for rows in (features, expected))
    # The worst layer of each probe.
    cosine = np.min([row_cosine(*pair) for pair in zip(*layers, strict=True)], axis=0)
    worst = int(cosine.argmin())
    drift = Drift(float(cosine[worst]), float(cosine.mean()), list(certificate.probes)[worst])
    if drift.min_cosine < MIN_COSINE:
        raise BackboneError(
            f"features made here differ from the exporter's: cosine {drift.min_cosine:.5f} on "
            f"probe {one_line(drift.worst)}, allowed {MIN_COSINE}; use the versions in "
            "constraints.txt or export the backbone again"
        )
    return drift


def check_metadata(metadata: Mapping[str, str], embed: Embed, preprocess: Preprocess) -> Drift:
    """Check the certificate that an ONNX file carries in its metadata; see `check`."""
    if METADATA not in metadata:
        raise BackboneError("the backbone carries no parity certificate; export it again")
    return check(Certificate.from_json(metadata[METADATA]), embed, preprocess)


@lru_cache(maxsize=4)
def draw_probes(preprocess: Preprocess) -> Mapping[str, bytes]:
    """Draw the probe files: fixed textures in the sizes, modes and formats that users have.

    ``preprocess`` determines from which size on a JPEG is decoded at half its size.
    """

    def surface(number: int, size: int) -> NDArray[np.uint8]:
        name = demo.CLASSES[number % len(demo.CLASSES)]
        return demo.draw(name, np.random.default_rng(number), size)

    photo, wide, tall = surface(5, 360), surface(0, 300)[:150], surface(9, 280)[:, :120]
    alpha = np.dstack([surface(6, 160), surface(2, 160)[..., 0]])
    deep = surface(7, 160)[..., 0].astype(np.uint16) * 257
    return MappingProxyType(
        {
            "photo.jpg": images.encode(photo, "JPEG"),
            "wide.jpg": images.encode(wide, "JPEG", subsampling=0),
            "tall.webp": images.encode(tall, "WEBP"),
            "grey.jpg": images.encode(surface(8, 260)[..., 1], "JPEG"),
            "cmyk.jpg": images.encode(surface(4, 200), "JPEG", mode="CMYK"),
            "palette.gif": images.encode(surface(3, 130), "GIF", mode="P"),
            "alpha.png": images.encode(alpha, "PNG"),
            "deep.png": images.encode(deep, "PNG"),
            "small.bmp": images.encode(surface(1, 40), "BMP"),
            **_large_probe(surface(3, 32), preprocess),
        }
    )


def _large_probe(pixels: NDArray[np.uint8], preprocess: Preprocess) -> dict[str, bytes]:
    """Enlarge a square until `images.decode` reads it at half its size, if `_LARGEST` allows."""
    resize = preprocess.resize
    side = math.ceil(2 * images.KEPT * (max(resize) if isinstance(resize, tuple) else resize))
    if side > _LARGEST:
        return {}
    positions = np.linspace(0, len(pixels) - 1, side)
    whole = np.minimum(positions.astype(np.intp), len(pixels) - 2)
    part = (positions - whole)[:, None, None]
    rows = pixels[whole] * (1 - part) + pixels[whole + 1] * part
    rows = rows.transpose(1, 0, 2)
    both = rows[whole] * (1 - part) + rows[whole + 1] * part
    large = np.rint(both.transpose(1, 0, 2)).astype(np.uint8)
    return {"large.jpg": images.encode(large, "JPEG", quality=50)}


def by_layer(rows: NDArray[Any], widths: Sequence[int]) -> list[NDArray[Any]]:
    """Split rows of features into those of each layer; without widths there is one."""
    return np.split(rows, np.cumsum(widths)[:-1].astype(int), axis=1)


def _embedded(embed: Embed, preprocess: Preprocess) -> Callable[[bytes], NDArray[np.float32]]:
    # One probe at a time, so that features do not depend on a batch.
    return lambda data: embed(images.decode(data, preprocess)[np.newaxis])
