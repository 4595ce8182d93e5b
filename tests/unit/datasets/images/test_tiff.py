"""Kinds of TIFF: those of the table are read pixel by pixel, all others are refused by name."""

from __future__ import annotations

import io
import itertools
import struct

import numpy as np
import pytest
import tifffile
from headstart.core.errors import ImageError
from headstart.core.records import Preprocess
from headstart.datasets.images import pixels, tiff_directory
from odd_images import CODECS, encoded, packed, picture, tiff
from PIL import Image

W, H = 53, 45
SIZE = W, H
PHOTO = picture(W, H)
GREY = PHOTO[..., 1].copy()
THRICE = np.repeat(GREY[..., None], 3, axis=2)
OPAQUE = np.full((H, W, 1), 255, np.uint8)
LOW = np.random.default_rng(1).integers(0, 256, (H, W, 8), dtype=np.uint16)


def exact(value_range: str = "") -> Preprocess:
    return Preprocess((H, W), (H, W), "nearest", value_range=value_range)


def deepened(values: np.ndarray, bits: int) -> np.ndarray:
    """Samples of 8 bits as those of 16, with other low bytes."""
    if bits == 8:
        return values
    return values.astype(np.uint16) << 8 | LOW[..., : values.shape[2]]


def cmyk_as_rgb(inks: np.ndarray) -> np.ndarray:
    return np.asarray(Image.frombytes("CMYK", SIZE, inks.tobytes()).convert("RGB"))


INKS = np.ascontiguousarray(np.dstack([255 - PHOTO, GREY // 3]))
KINDS = {  # samples of 8 bits, tifffile's words for them, and the right pixels
    "black is zero": (THRICE[..., :1], "minisblack", None, THRICE),
    "white is zero": (255 - THRICE[..., :1], "miniswhite", None, THRICE),
    "grey, alpha": (np.dstack([GREY, OPAQUE]), "minisblack", ["unassalpha"], THRICE),
    "grey, premultiplied": (np.dstack([GREY, OPAQUE]), "minisblack", ["assocalpha"], THRICE),
    "grey, another": (np.dstack([GREY, LOW[..., 0] % 256]), "minisblack", ["unspecified"], THRICE),
    "white, alpha": (np.dstack([255 - GREY, OPAQUE]), "miniswhite", ["unassalpha"], THRICE),
    "RGB": (PHOTO, "rgb", None, PHOTO),
    "RGB as bands": (PHOTO, "minisblack", ["unspecified"] * 2, PHOTO),
    "RGBA": (np.dstack([PHOTO, OPAQUE]), "rgb", ["unassalpha"], PHOTO),
    "RGBA, premultiplied": (np.dstack([PHOTO, OPAQUE]), "rgb", ["assocalpha"], PHOTO),
    "RGB, near infrared": (np.dstack([PHOTO, GREY]), "rgb", ["unspecified"], PHOTO),
    "RGB and five": (np.dstack([PHOTO, PHOTO, PHOTO[..., :2]]), "rgb", ["unspecified"] * 5, PHOTO),
    "CMYK": (INKS, "separated", None, cmyk_as_rgb(INKS)),
    "CMYK, alpha": (np.dstack([INKS, OPAQUE]), "separated", ["unassalpha"], cmyk_as_rgb(INKS)),
}
PACKED = [(None, False), ("deflate", False), ("deflate", True)]  # codec, predictor
LAYOUTS = list(itertools.product("<>", PACKED, [None, (16, 32)], ["contig", "separate"]))
LAYOUTS.append(("<", ("lzma", False), None, "contig"))


def written(samples: np.ndarray, photometric: str, extras, layout) -> bytes:
    order, (codec, predictor), tile, planar = layout
    data: np.ndarray = samples
    if samples.shape[2] == 1:
        data, planar = samples[..., 0], None
    elif planar == "separate":
        data = np.moveaxis(samples, 2, 0)
    out = io.BytesIO()
    tifffile.imwrite(
        out,
        np.ascontiguousarray(data),
        photometric=photometric,
        extrasamples=extras,
        planarconfig=planar,
        byteorder=order,
        compression=codec,
        tile=tile,
        predictor=predictor,
        bigtiff=bool(len(extras or ()) % 2),
        metadata=None,
    )
    return out.getvalue()


@pytest.mark.cases(14)
@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", KINDS)
def test_the_table_in_every_layout(name, bits):
    samples, photometric, extras, right = KINDS[name]
    deep = deepened(samples.astype(np.uint8), bits)
    if bits == 16 and any("alpha" in e or "assoc" in e for e in extras or ()):
        deep[..., -1] = 65535
    for layout in LAYOUTS:
        data = written(deep, photometric, extras, layout)
        assert (pixels.decode(data, exact()) == right).all(), layout


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("codec", CODECS)
class TestByHand:
    @pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 10, 12, 14])
    @pytest.mark.parametrize("photometric", [0, 1])
    def test_grey_of_few_bits(self, bits, photometric, order, codec):
        values = GREY.astype(np.uint16) * 257 >> (16 - bits)
        most = (1 << bits) - 1
        shown = most - values if photometric == 0 else values
        right = shown >> (bits - 8) if bits > 8 else np.rint(shown * (255 / most))
        data = tiff([packed(values, bits)], SIZE, bits, photometric, order=order, codec=codec)
        assert (pixels.decode(data, exact())[..., 0] == right).all()

    @pytest.mark.parametrize("bits", [2, 4, 10, 12])
    def test_rgb_of_few_bits(self, bits, order, codec):
        values = PHOTO.astype(np.uint16) * 257 >> (16 - bits)
        most = (1 << bits) - 1
        right = values >> (bits - 8) if bits > 8 else np.rint(values * (255 / most))
        rows = packed(values.reshape(H, -1), bits)
        data = tiff([rows], SIZE, bits, 2, 3, order, codec)
        assert (pixels.decode(data, exact()) == right).all()
        planes = [packed(values[..., k], bits) for k in range(3)]
        data = tiff(planes, SIZE, bits, 2, 3, order, codec)
        assert (pixels.decode(data, exact()) == right).all()

    @pytest.mark.parametrize("scale", [1, 257])
    @pytest.mark.parametrize("bits", [2, 4, 8])
    def test_a_palette_may_have_entries_of_8_bits(self, bits, scale, order, codec):
        index = GREY >> (8 - bits)
        table = np.random.default_rng(bits).integers(0, 256, (3, 1 << bits))
        table[0, 0] = 255
        entries = (table * scale).ravel().tolist()
        data = tiff([packed(index, bits)], SIZE, bits, 3, 1, order, codec, t320=entries)
        assert (pixels.decode(data, exact()) == table.T[index]).all()

    def test_a_palette_of_16_bits(self, order, codec):
        index = GREY.astype(np.uint16) * 257
        table = np.random.default_rng(3).integers(0, 1 << 16, (3, 1 << 16))
        rows = index.astype(order + "u2").tobytes()
        data = tiff([rows], SIZE, 16, 3, 1, order, codec, t320=table.ravel().tolist())
        assert (pixels.decode(data, exact()) == table.T[index] >> 8).all()

    def test_bits_in_reverse(self, order, codec):
        strip = np.frombuffer(CODECS[codec](GREY.tobytes()), np.uint8)[:, None]
        flipped = np.packbits(np.unpackbits(strip, axis=1)[:, ::-1], axis=1).tobytes()
        data = tiff([flipped], SIZE, 8, 1, 1, order, t266=[2])
        position = data.rindex(struct.pack(order + "HHIH", 259, 3, 1, 1)) + 8
        data = data[:position] + struct.pack(order + "H", codec) + data[position + 2 :]
        assert (pixels.decode(data, exact()) == THRICE).all()

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("prefix", "tb")
    def test_an_orientation_as_byte_or_short(self, orientation, prefix, order, codec):
        def data(orientation: int, rows: np.ndarray) -> bytes:
            size, tag = rows.shape[1::-1], {f"{prefix}274": [orientation]}
            return tiff([rows.tobytes()], size, 8, 2, 3, order, codec, **tag)

        turns = {
            1: lambda a: a,
            2: lambda a: a[:, ::-1],
            3: lambda a: a[::-1, ::-1],
            4: lambda a: a[::-1],
            5: lambda a: a.transpose(1, 0, 2),
            6: lambda a: np.rot90(a, 1),
            7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
            8: lambda a: np.rot90(a, -1),
        }
        stored = np.ascontiguousarray(turns[orientation](PHOTO))
        assert (pixels.decode(data(orientation, stored), exact()) == PHOTO).all()


class TestRange:
    values = np.linspace(-120, 120, W * H).reshape(H, W)

    @pytest.mark.parametrize("codec", [None, "deflate"])
    @pytest.mark.parametrize("order", "<>")
    @pytest.mark.parametrize(
        "dtype", ["i1", "i2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "u2", "u1"]
    )
    def test_one_range_for_samples_of_any_type(self, dtype, order, codec):
        values = np.abs(self.values) if dtype[0] == "u" else self.values
        samples = values.astype(dtype)
        out = io.BytesIO()
        tifffile.imwrite(out, samples, byteorder=order, compression=codec, photometric="minisblack")
        right = np.rint(np.clip((samples.astype(float) - 20) * 255 / 80, 0, 255))
        assert np.abs(pixels.decode(out.getvalue(), exact("20:100"))[..., 0] - right).max() <= 1
        if dtype in ("u1", "u2"):
            return
        with pytest.raises(ImageError, match="--range"):
            pixels.decode(out.getvalue(), exact())
        full = pixels.decode(out.getvalue(), exact("dtype"))
        if dtype[0] == "f":
            assert (full[values <= 0] == 0).all()
            assert (full[values >= 1] == 255).all()
        elif dtype[0] == "i":
            assert (
                abs(int(full[..., 0][np.abs(values).argmin() // W, 0]) - 127) <= 1 or dtype == "i1"
            )

    def test_24_bits(self):
        values = np.arange(W * H).reshape(H, W) * 1000
        for order in "<>":
            rows = values.astype(order + "u4").view(np.uint8).reshape(H, W, 4)
            rows = rows[..., :3] if order == "<" else rows[..., 1:]
            data = tiff([rows.tobytes()], SIZE, 24, 1, order=order)
            right = np.rint(values * 255.0 / 2_000_000).clip(0, 255)
            assert np.abs(pixels.decode(data, exact("0:2000000"))[..., 0] - right).max() <= 1

    @pytest.mark.parametrize("size", [2, 4, 8])
    def test_the_predictor_of_floating_point(self, size):
        samples = np.dstack([self.values] * 3) * [1, 0.5, -1]
        planes = samples.astype(f">f{size}").reshape(H, -1).view(np.uint8)
        planes = planes.reshape(H, -1, size).swapaxes(1, 2).reshape(H, -1)
        before = np.pad(planes, [(0, 0), (3, 0)])[:, :-3]
        rows = (planes - before).astype(np.uint8).tobytes()
        data = tiff([rows], SIZE, 8 * size, 2, 3, codec=8, t317=[3], t339=[3, 3, 3])
        right = np.rint(np.clip((samples + 100) * 255 / 200, 0, 255))
        assert np.abs(pixels.decode(data, exact("-100:100")) - right).max() <= 1

    def test_white_is_zero_stays_so(self):
        out = io.BytesIO()
        tifffile.imwrite(out, GREY.astype(np.uint16), photometric="miniswhite")
        shown = pixels.decode(out.getvalue(), exact("0:255"))
        assert (shown == 255 - THRICE).all()

    def test_what_is_no_number_is_black(self):
        values = np.full((H, W), np.nan, np.float32)
        values[0], values[1], values[2] = np.inf, -np.inf, 0.5
        out = io.BytesIO()
        tifffile.imwrite(out, values, photometric="minisblack")
        shown = pixels.decode(out.getvalue(), exact("0:1"))[..., 0]
        assert [set(shown[k]) for k in (0, 1, 2, 3)] == [{255}, {0}, {128}, {0}]


def of(bits, photometric, samples, codec=1, **tags) -> bytes:
    return tiff([bytes(W * H * samples * 8)], SIZE, bits, photometric, samples, codec=codec, **tags)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (of(16, 1, 13, t338=[0] * 12), "13 bands"),
        (of(16, 1, 4, t338=[0] * 3), "4 bands"),
        (of(8, 8, 3), "L\\*a\\*b"),
        (of(16, 32803, 1), "colour filter array"),
        (of(16, 34892, 1), "linear raw"),
        (of(64, 1, 1, t339=[6]), "complex"),
        (of(8, 2, 2), "2 samples"),
        (of(8, 0, 3), "white-is-zero"),
        (of(8, 7, 3), "photometric 7"),
        (of([5, 6, 5], 2, 3), "5, 6"),
        (of(16, 1, 1, codec=8, t317=[9]), "deflate"),
        (of(8, 2, 3, t259=[50001]), "WebP"),
    ],
)
def test_other_kinds_are_refused_by_name(data, word):
    with pytest.raises(ImageError, match=word):
        pixels.decode(data, exact("0:1000") if "complex" in word else exact())


@pytest.mark.parametrize(
    ("codec", "name"), [(34712, "JPEG 2000"), (34887, "LERC"), (50002, "JPEG XL"), (4711, "4711")]
)
def test_so_are_other_compressions(codec, name):
    data = bytearray(of(8, 2, 3))
    entry = data.rindex(struct.pack("<HHIH", 259, 3, 1, 1))
    data[entry + 8 : entry + 10] = struct.pack("<H", codec)
    with pytest.raises(ImageError, match=name):
        pixels.decode(bytes(data), exact())


@pytest.mark.parametrize("codec", CODECS)
def test_sizes_of_strips_may_be_missing(codec):
    data = bytearray(tiff([GREY.tobytes()], SIZE, 8, 1, codec=codec))
    entry = data.rindex(struct.pack("<HHI", 279, 4, 1))
    data[entry : entry + 2] = struct.pack("<H", 279 + 1)  # another tag
    assert (pixels.decode(bytes(data), exact()) == THRICE).all()


def test_a_jpeg_inside_of_12_bits_is_refused():
    data = bytearray(of(12, 1, 1))
    entry = data.rindex(struct.pack("<HHIH", 259, 3, 1, 1))
    data[entry + 8] = 7
    with pytest.raises(ImageError, match="12 bits"):
        pixels.decode(bytes(data), exact())


def test_a_preview_of_a_camera_raw_is_refused():
    data = of(8, 2, 3, t254=[1], t330=[8])
    with pytest.raises(ImageError, match="camera raw"):
        pixels.decode(data, exact())


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_inside_is_read_by_pillow(subsampling):
    out = io.BytesIO()
    Image.fromarray(PHOTO).save(out, "TIFF", compression="jpeg", quality=95)
    assert np.abs(pixels.decode(out.getvalue(), exact()).astype(int) - PHOTO).mean() < 8


@pytest.mark.parametrize("codec", ["group3", "group4", "tiff_ccitt"])
def test_so_is_a_fax(codec):
    out = io.BytesIO()
    bilevel = Image.fromarray(GREY).convert("1")
    bilevel.save(out, "TIFF", compression=codec)
    assert (pixels.decode(out.getvalue(), exact()) == np.asarray(bilevel.convert("RGB"))).all()


def test_uncompressed_ycbcr_is_read_whether_subsampled_or_not():
    ycbcr = np.asarray(Image.fromarray(PHOTO).convert("YCbCr"))
    whole = tiff([ycbcr.tobytes()], SIZE, 8, 6, 3, t530=[1, 1])
    assert np.abs(pixels.decode(whole, exact()).astype(int) - PHOTO).max() <= 3
    even = ycbcr[:44, :52]
    luma = even[..., 0].reshape(22, 2, 26, 2).swapaxes(1, 2).reshape(22, 26, 4)
    chroma = even.reshape(22, 2, 26, 2, 3).mean(axis=(1, 3))[..., 1:].astype(np.uint8)
    data = tiff([np.dstack([luma, chroma]).tobytes()], (52, 44), 8, 6, 3, t530=[2, 2])
    shown = pixels.decode(data, Preprocess((44, 52), (44, 52), "nearest")).astype(int)
    assert np.abs(shown - PHOTO[:44, :52]).mean() < 8


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_pixels_that_pillow_has_right_are_the_same(mode, compression):
    image = Image.fromarray(PHOTO).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(GREY.astype(np.uint16) * 250)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(GREY))
    out = io.BytesIO()
    image.save(out, "TIFF", compression=compression)
    again = Image.open(io.BytesIO(out.getvalue()))
    if mode == "I;16":
        right = np.repeat((np.asarray(again) >> 8)[..., None], 3, 2)
    elif mode in ("LA", "RGBA"):
        white = Image.new("RGBA", SIZE, (255,) * 4)
        right = np.asarray(Image.alpha_composite(white, again.convert("RGBA")).convert("RGB"))
    else:
        right = np.asarray(again.convert("RGB"))
    assert (pixels.decode(out.getvalue(), exact()) == right).all()


@pytest.mark.parametrize("cut", [99, 700, 2000, 4000])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_a_tiff_that_ends_too_early_is_truncated(cut, compression):
    data = encoded(PHOTO, "TIFF", compression=compression)
    with pytest.raises(ImageError, match=r"truncated|damaged"):
        pixels.decode(data[:cut], exact())
    by_tifffile = written(PHOTO, "rgb", None, (">", PACKED[0], (16, 32), "separate"))
    with pytest.raises(ImageError, match="truncated"):
        pixels.decode(by_tifffile[: -2 * cut], exact())


def test_no_size_and_too_many_values_are_damage():
    with pytest.raises(ImageError, match="without the size"):
        pixels.decode(b"II*\0\x08\0\0\0\0\0" + bytes(4), exact())
    lies = b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 273, 4, 1 << 31, 8) + bytes(4)
    with pytest.raises(ImageError, match="ends before its directory"):
        tiff_directory.read(lies)
