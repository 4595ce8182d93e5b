"""The program that comes with a model prepares images exactly as `headstart predict`."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import factories
import numpy as np
import pytest
from headstart.backbones.inference.decoding import with_rules
from headstart.core.preprocess import Preprocess
from headstart.datasets import images
from headstart.models.bundle.example import example
from headstart.models.predict import Model, predict
from odd_images import (
    bmp,
    deep_png,
    encoded,
    exif_orientation,
    jpeg_with,
    picture,
    png_with,
    tiff,
    zero_tail,
)
from PIL import Image

PHOTO = picture(150, 110)
LARGE = picture(1200, 900, 2)
GREY = PHOTO[..., 1].copy()
ALPHA = np.dstack([PHOTO, (np.indices(GREY.shape)[0] * 2).astype(np.uint8)])
BLACK_BELOW = ALPHA * (ALPHA[..., 3:] > 0)
TWELVE = PHOTO.astype(np.uint16) << 4 | PHOTO >> 4


def saved(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


IMAGE = Image.fromarray(PHOTO)
FILES = {
    **{f"rgb.{kind.lower()}": encoded(PHOTO, kind) for kind in images.FORMATS},
    "progressive.jpg": encoded(PHOTO, "JPEG", progressive=True),
    "large.jpg": encoded(LARGE, "JPEG"),
    **{
        f"orientation-{n}.jpg": jpeg_with(encoded(PHOTO, "JPEG"), 0xE1, exif_orientation(n, 3))
        for n in (3, 5, 6, 8)
    },
    "orientation-as-byte.jpg": jpeg_with(encoded(PHOTO, "JPEG"), 0xE1, exif_orientation(6, 1)),
    "cmyk.jpg": saved(IMAGE.convert("CMYK"), "JPEG"),
    "cmyk.tif": saved(IMAGE.convert("CMYK"), "TIFF"),
    "grey.jpg": encoded(GREY, "JPEG"),
    "grey-alpha.png": saved(Image.fromarray(ALPHA).convert("LA"), "PNG"),
    "palette-key.png": saved(IMAGE.convert("P"), "PNG", transparency=3),
    "palette-alpha.png": saved(Image.fromarray(ALPHA).quantize(64), "PNG"),
    "bilevel.png": saved(IMAGE.convert("1"), "PNG"),
    "bilevel.tif": saved(IMAGE.convert("1"), "TIFF", compression="group4"),
    "rgb16.png": deep_png(PHOTO.astype(np.uint16) * 257),
    "grey16.png": encoded(GREY.astype(np.uint16) * 257, "PNG"),
    "grey16.tif": encoded(GREY.astype(np.uint16) * 257, "TIFF"),
    "twelve.png": deep_png(TWELVE[..., :1]),
    "twelve-sbit.png": deep_png(TWELVE, (b"sBIT", b"\x0c\x0c\x0c")),
    "black-below.webp": encoded(BLACK_BELOW, "WEBP", lossless=True),
    "black-below.png": encoded(BLACK_BELOW, "PNG"),
    "half.png": encoded(np.dstack([PHOTO, np.full_like(GREY, 128)]), "PNG"),
    "clear.png": encoded(np.dstack([PHOTO, np.zeros_like(GREY)]), "PNG"),
    "white16.tif": tiff([(65535 - GREY.astype("<u2") * 257).tobytes()], (150, 110), 16, 0),
    "planar16.tif": tiff(
        [(PHOTO[..., k].astype("<u2") * 257).tobytes() for k in range(3)], (150, 110), 16, 2, 3
    ),
    "short-phys.png": png_with(encoded(PHOTO, "PNG"), b"pHYs", b"\0\0"),
    "masks.bmp": bmp(
        (PHOTO[::-1].astype("<u4") << [0, 8, 16]).sum(2).astype("<u4").tobytes(),
        (150, 110),
        32,
        (0xFF, 0xFF00, 0xFF0000, 0),
        108,
    ),
}
BAD = {
    "empty.jpg": b"",
    "text.jpg": b"404: Not Found",
    "half.jpg": zero_tail(encoded(LARGE, "JPEG"), 0.5),
    "float.tif": encoded(GREY.astype(np.float32), "TIFF"),
}


def run(program: Path, *words: Path | str) -> subprocess.CompletedProcess[str]:
    words = (sys.executable, "-I", program, *words)
    return subprocess.run(words, capture_output=True, text=True)


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("example") / "predict_example.py"
    path.write_text(example(), encoding="utf-8")
    return path


@pytest.mark.process
def test_every_kind_of_file_is_predicted_alike(program, tiny_classifier, tmp_path):
    paths = [tmp_path / name for name in [*FILES, *BAD, "missing.jpg"]]
    for path, data in zip(paths, [*FILES.values(), *BAD.values()], strict=False):
        path.write_bytes(data)
    expected = list(predict(Model(tiny_classifier), [str(path) for path in paths[:-1]]))
    completed = run(program, tiny_classifier, *paths)
    assert completed.returncode == 1
    good = [prediction for prediction in expected if not prediction.error]
    assert len(good) == len(FILES) >= 35
    for line, prediction in zip(completed.stdout.splitlines(), good, strict=True):
        line, _, unlike = line.partition(" unlike ")
        path, label, confidence = line.rsplit(" ", 2)
        assert (path, label) == (prediction.path, prediction.label)
        assert float(confidence) == pytest.approx(max(prediction.probabilities), abs=0.002)
        assert bool(unlike) == bool(prediction.unlike)
    reasons = [f"{p.path}: {p.error}" for p in expected if p.error]
    assert completed.stderr.splitlines() == [*reasons, f"{paths[-1]}: file not found"]


@pytest.mark.process
@pytest.mark.parametrize(
    ("option", "kind"), [("--sets", "adaptive"), ("--sets-by-class", "by-class")]
)
def test_thresholds_and_sets_are_those_of_predict(program, tiny_classifier, tmp_path, option, kind):
    paths = []
    for name in ("rgb.jpeg", "grey.jpg", "large.jpg", "clear.png"):
        paths.append(str(tmp_path / name))
        (tmp_path / name).write_bytes(FILES[name])
    scores = [max(each.probabilities) for each in predict(Model(tiny_classifier), paths)]
    least = float(np.median(scores))
    model = factories.with_facts(
        tiny_classifier,
        tmp_path / "model.onnx",
        operating_points=[{"target": 0.99, "threshold": least, "share": 0.5}],
        prediction_sets={"level": 0.95, "mass": 0.5, "least": [0.3, 0.4, 0.2]},
    )
    expected = predict(Model(model), paths, min_confidence=least, sets=kind)
    completed = run(program, "--at", "99%", option, model, *paths)
    for line, each in zip(completed.stdout.splitlines(), expected, strict=True):
        words = line.partition(" unlike ")[0].split(" ")
        assert words[1] == each.label
        assert tuple(words[4:]) == each.classes
    assert "unknown" in completed.stdout
    missing = run(program, "--at", "97%", model, *paths)
    assert (missing.returncode, "97%" in missing.stderr) == (2, True)
    assert "sets" in run(program, option, tiny_classifier, *paths).stderr


@pytest.mark.process
def test_mistakes_end_with_the_usage(program, tiny_classifier, tiny_backbone, tmp_path):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(FILES["rgb.jpeg"])
    half = tmp_path / "half.onnx"
    half.write_bytes(tiny_classifier.read_bytes()[:2000])
    mistakes = {
        (): "usage",
        (tiny_classifier,): "usage",
        (photo, photo): "not a model",
        (tiny_backbone, photo): "not a model",
        (half, photo): "not a model",
        (tmp_path / "none.onnx", photo): "file not found",
        (tmp_path, photo): "a folder",
    }
    for words, what in mistakes.items():
        completed = run(program, *words)
        *_, usage = completed.stderr.splitlines()
        assert completed.returncode == 2
        assert what in completed.stderr
        assert usage.startswith("usage:")
        assert len(completed.stderr.splitlines()) <= 2
    assert run(program, "--help").stdout.startswith("usage:")


@pytest.mark.process
def test_a_folder_a_pipe_and_names_that_no_terminal_shows(program, tiny_classifier, tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    odd = os.fsencode(tmp_path) + b"/\xff\xc3\xa9.jpg"
    Path(os.fsdecode(odd)).write_bytes(FILES["rgb.jpeg"])
    words = [sys.executable, program, tiny_classifier, tmp_path, tmp_path / "pipe.jpg", odd]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    completed = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert completed.returncode == 1
    folder, pipe = completed.stderr.splitlines()
    assert "a folder" in folder
    assert "not a regular file" in pipe
    assert completed.stdout.count("\n") == 1


@pytest.mark.process
def test_it_ends_quietly_when_nobody_reads_on(program, tiny_classifier, tmp_path):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(FILES["rgb.jpeg"])
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-I", program, tiny_classifier, photo]
    completed = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (completed.returncode, completed.stderr) == (1, "")


HASHES = """
import hashlib, json, runpy, sys
program, documents, *paths = sys.argv[1:]
names = runpy.run_path(program)
names["load_modules"]()
for rules in json.loads(documents):
    decoded = (names["decode"](path, rules).tobytes() for path in paths)
    print(*(hashlib.sha256(pixels).hexdigest() for pixels in decoded))
"""


RULES = (
    {},
    {"policy": 3},
    {"value_range": "0:4095", "colour": "srgb"},
    {"fit": "whole"},
    {"fit": "pad", "fill": (1, 2, 3)},
    {"views": "crop+whole"},
    {"views": "crop+flip+pad+whole", "fill": (1, 2, 3)},
)


@pytest.mark.process
def test_the_pixels_are_the_same_by_the_rules_of_the_model(program, tmp_path):
    paths = [tmp_path / name for name in FILES]
    for path, data in zip(paths, FILES.values(), strict=True):
        path.write_bytes(data)
    models = [Preprocess(96, 80, **rules) for rules in RULES]
    documents = json.dumps([preprocess.to_json() for preprocess in models])
    words = [sys.executable, "-I", "-c", HASHES, program, documents, *paths]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    for preprocess, line in zip(models, done.stdout.splitlines(), strict=True):
        ours = (images.decode(data, preprocess) for data in FILES.values())
        assert line.split() == [hashlib.sha256(pixels).hexdigest() for pixels in ours], preprocess


@pytest.mark.process
def test_it_reads_the_rules_from_the_model(program, tiny_backbone, tmp_path):
    ranged = with_rules(tiny_backbone, "0:4095", "srgb")
    model = factories.write_tiny_classifier(tmp_path / "model.onnx", ranged)
    assert Model(model).backbone.preprocess.value_range == "0:4095"
    path = tmp_path / "twelve.png"
    path.write_bytes(FILES["twelve.png"])
    (here,) = predict(Model(model), [str(path)])
    completed = run(program, model, path)
    confidence = completed.stdout.partition(" unlike")[0].split()[-1]
    assert float(confidence) == pytest.approx(max(here.probabilities), abs=0.002)


def test_the_documents_show_its_first_part():
    text = (Path(__file__).parents[4] / "docs" / "models.md").read_text(encoding="utf-8")
    block = text.partition('```python\n"""Classify')[2].partition("```")[0]
    assert block
    assert f'"""Classify{block}'.rstrip() in example()


def test_the_record_in_it_is_ours():
    assert "class Preprocess:" in example()
    assert Preprocess(8, 8).to_json().keys() == {"resize", "crop", "interpolation", "policy"}
