"""What is no image that is read is named by its content."""

from __future__ import annotations

import io

import pytest
from headstart.core.errors import ImageError
from headstart.core.records import Preprocess
from headstart.datasets.images import content, decode
from odd_images import encoded, picture

START = "not a JPEG, PNG, WebP, AVIF, BMP, TIFF or GIF image"
NAMED = {
    "JPEG 2000": encoded(picture(), "JPEG2000"),
    "an icon": encoded(picture(), "ICO"),
    "PDF": encoded(picture(), "PDF"),
    "PostScript": encoded(picture(), "EPS"),
    "PPM": encoded(picture(), "PPM"),
    "Photoshop": b"8BPS\0\1" + bytes(40),
    "HTML": b"\xef\xbb\xbf  <!DOCTYPE html>",
    "a zip archive": b"PK\3\4" + bytes(40),
    "a RAR archive": b"Rar!\x1a\x07\1\0" + bytes(40),
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n",
    "a git-annex pointer": b"/annex/objects/SHA256E-s31390--f50d.jpg\n",
    "text": b"404: Not Found",
    "JSON": b'{"error": "not found"}',
    "only zeros": bytes(5000),
    "DICOM": bytes(128) + b"DICM" + bytes(60),
    "a camera raw": b"FUJIFILMCCD-RAW 0201FF383501" + bytes(60),
    "base64": b"/9j/4AAQSkZJRgABAQAAAQABAAD",
    "video": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
    "an array": b"\x93NUMPY\1\0v\0{'descr'",
    "text ": "über allen Gipfeln ist Ruh, in allen Wipfeln ".encode() * 9,
}


@pytest.mark.parametrize("name", NAMED)
def test_it_is_named(name):
    name_in_message = {"an array": "NumPy", "text ": "text"}.get(name, name)
    with pytest.raises(ImageError, match=f"^{START}, but .*{name_in_message}"):
        decode(NAMED[name], Preprocess(8, 8))


def test_what_is_unknown_is_not_guessed():
    assert content.unknown(bytes(range(128, 200)) * 9) == START
    assert content.unknown(b"\x89\1\2\3hello") == START


def test_avif_is_told_by_any_of_its_brands():
    assert content.is_avif(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf" + bytes(100))
    assert not content.is_heif(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf" + bytes(100))
    assert content.is_heif(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert content.brands(io.BytesIO().getvalue()) == []
