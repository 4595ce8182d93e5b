"""Colour profiles: ignored by default, converted on demand, never in the way."""

from __future__ import annotations

import io

import numpy as np
import pytest
from headstart.core.errors import ImageError
from headstart.core.records import Preprocess
from headstart.datasets.images import colour, pixels
from odd_images import picture
from PIL import Image, ImageCms

PHOTO = picture()
EXACT = Preprocess((64, 96), (64, 96), "nearest")
SRGB = Preprocess((64, 96), (64, 96), "nearest", colour="srgb")


def profile(gamma: float = 1.0, description: str = "linear", space: bytes = b"RGB ") -> bytes:
    """A profile of the primaries of sRGB with another gamma, made from lcms's own."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(data[128:132], "big")
    curve = (
        b"curv" + bytes(4) + (1).to_bytes(4, "big") + int(gamma * 256).to_bytes(2, "big") + b"\0\0"
    )
    text = description.encode("utf-16-be")
    name = b"mluc" + bytes(4) + (1).to_bytes(4, "big") + (12).to_bytes(4, "big") + b"enUS"
    name += len(text).to_bytes(4, "big") + (28).to_bytes(4, "big") + text + bytes(-len(text) % 4)
    places = {}
    for content in (curve, name):
        places[content] = len(data)
        data += content
    for entry in range(132, 132 + 12 * count, 12):
        tag = bytes(data[entry : entry + 4])
        content = curve if tag in (b"rTRC", b"gTRC", b"bTRC") else name if tag == b"desc" else None
        if content:
            data[entry + 4 : entry + 8] = places[content].to_bytes(4, "big")
            data[entry + 8 : entry + 12] = len(content).to_bytes(4, "big")
    data[0:4] = len(data).to_bytes(4, "big")
    data[16:20] = space
    return bytes(data)


def saved(image: Image.Image, kind: str, icc: bytes | None) -> bytes:
    out = io.BytesIO()
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    image.save(out, kind, icc_profile=icc, **options)
    return out.getvalue()


LINEAR = profile()
IMAGE = Image.fromarray(PHOTO)
FROM_LINEAR = np.where(
    PHOTO / 255 <= 0.0031308,
    PHOTO / 255 * 12.92,
    1.055 * (PHOTO / 255) ** (1 / 2.4) - 0.055,
) * 255  # fmt: skip


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_a_profile_is_ignored_and_converted_on_demand(kind):
    data = saved(IMAGE, kind, LINEAR)
    plain = pixels.decode(saved(IMAGE, kind, None), EXACT)
    assert (pixels.decode(data, EXACT) == plain).all()
    converted = pixels.decode(data, SRGB).astype(float)
    assert np.abs(converted - FROM_LINEAR).mean() < (6 if kind == "JPEG" else 2)
    assert np.abs(converted - plain).mean() > 20


def test_a_range_is_applied_once_and_before_the_profile():
    both = Preprocess((64, 96), (64, 96), "nearest", value_range="0:200", colour="srgb")
    ranged = np.rint(np.clip(PHOTO * 255.0 / 200, 0, 255)).astype(np.uint8)
    expected = pixels.decode(saved(Image.fromarray(ranged), "PNG", LINEAR), SRGB)
    for kind in ("PNG", "TIFF"):
        assert (pixels.decode(saved(IMAGE, kind, LINEAR), both) == expected).all()


def test_inks_of_a_tiff_are_converted_by_their_profile(monkeypatch):
    inks, seen = IMAGE.convert("CMYK"), []

    def converted(image: Image.Image, icc: bytes) -> Image.Image:
        seen.append((image.mode, icc))
        return image.convert("RGB")

    monkeypatch.setattr(colour, "_converted", converted)
    rgb = np.asarray(inks.convert("RGB"))
    assert (pixels.decode(saved(inks, "TIFF", None), SRGB) == rgb).all()
    assert seen == []
    assert (pixels.decode(saved(inks, "TIFF", LINEAR), SRGB) == rgb).all()
    assert seen == [("CMYK", LINEAR)]


def test_an_image_without_a_profile_is_left_alone():
    assert (pixels.decode(saved(IMAGE, "PNG", None), SRGB) == PHOTO).all()


def test_transparency_is_kept():
    image = IMAGE.copy()
    image.putalpha(Image.fromarray(np.where(np.indices((64, 96))[0] < 32, 0, 255).astype(np.uint8)))
    converted = pixels.decode(saved(image, "PNG", LINEAR), SRGB)
    assert (converted[:32] == 255).all()
    assert np.abs(converted[32:] - FROM_LINEAR[32:]).mean() < 2


@pytest.mark.parametrize("icc", [b"", b"no profile at all", LINEAR[:200], profile(space=b"CMYK")])
def test_a_profile_that_cannot_be_used_is_ignored(icc):
    assert (pixels.decode(saved(IMAGE, "PNG", icc), SRGB) == PHOTO).all()


def test_a_profile_of_colours_does_not_fit_grey():
    grey = IMAGE.convert("L")
    data = saved(grey, "PNG", LINEAR)
    assert (pixels.decode(data, SRGB)[..., 0] == np.asarray(grey)).all()


def test_xyb_is_refused_unless_its_profile_is_used():
    data = saved(IMAGE, "JPEG", profile(description="XYB_Per"))
    with pytest.raises(ImageError, match="--colour srgb"):
        pixels.decode(data, EXACT)
    assert pixels.decode(data, SRGB).shape == PHOTO.shape


def test_the_rule_is_part_of_the_identity():
    assert "colour" not in EXACT.to_json()
    assert SRGB.to_json()["colour"] == "srgb"
    assert Preprocess.from_json(SRGB.to_json()) == SRGB
    with pytest.raises(ValueError, match="srgb"):
        Preprocess(8, 8, colour="p3")
