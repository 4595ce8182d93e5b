"""Predictions as a stream: stdin, patterns, what is held, what is marked."""

import json
import os
import shutil
import subprocess
import sys
import threading
from itertools import islice

import pytest
from headstart.core.errors import InputError
from headstart.datasets import stream
from headstart.models.classifier import UNKNOWN
from headstart.models.predict import Model, predict

HEADSTART = [sys.executable, "-c", "from headstart.cli import main; main()"]


@pytest.fixture(scope="module")
def model(tiny_classifier):
    return Model(tiny_classifier)


def found(tmp_path, *names):
    images = stream([tmp_path / name for name in names])
    return [os.path.relpath(image.path, tmp_path) for image in images]


def test_patterns_and_folders(tmp_path, write_image):
    for name in ("b/10.png", "b/9.png", "a/1.jpg", "a-b/1.png", "[odd].png"):
        write_image(tmp_path / name, 1)
    (tmp_path / "b" / "notes.txt").touch()
    assert sorted(found(tmp_path, "**/*.png")) == ["[odd].png", "a-b/1.png", "b/10.png", "b/9.png"]
    assert found(tmp_path, "b") == ["b/9.png", "b/10.png"]
    assert found(tmp_path, "[odd].png") == ["[odd].png"]  # a file's name before a pattern
    with pytest.raises(InputError, match="no file matches"):
        found(tmp_path, "*.webp")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shot\na.png\n", "no column path"),
        ("path\n", "lists no images"),
        ("path,x\n ,1\n", "line 2: the path is empty"),
        ('path\n"a', "malformed CSV"),
        (b"path\n\xff\n", "not UTF-8"),
    ],
)
def test_bad_lists(tmp_path, text, message):
    (tmp_path / "l.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        found(tmp_path, "l.csv")


def test_a_pattern_has_braces_and_matches_containers(tmp_path, write_image):
    for name in ("a/1.png", "b/1.png", "c/1.png"):
        write_image(tmp_path / name, 1)
    assert found(tmp_path, "{a,b}/*.png") == ["a/1.png", "b/1.png"]
    for name in "ab":
        shutil.make_archive(tmp_path / f"{name}0", "zip", tmp_path / name)
    shards = ["a0.zip/1.png", "b0.zip/1.png"]
    assert sorted(found(tmp_path, "*.zip")) == shards
    (tmp_path / "shards").mkdir()
    for path in tmp_path.glob("*.zip"):
        path.rename(tmp_path / "shards" / path.name)
    assert found(tmp_path, "shards") == [f"shards/{name}" for name in shards]


def test_rows_of_a_list_may_differ_in_other_columns(tmp_path):
    (tmp_path / "l.csv").write_text("path,note\na.png,1,2\nb.png\n")
    assert found(tmp_path, "l.csv") == ["a.png", "b.png"]


def test_lists_as_programs_write_them(tmp_path):
    plain = "note;image\n1;a.png \n;\n2; b.png\n"
    for text in (plain.encode(), plain.encode("utf-16"), b"sep=;\r\n" + plain.encode()):
        (tmp_path / "l.csv").write_bytes(text)
        assert found(tmp_path, "l.csv") == ["a.png", "b.png"]


def test_no_more_is_read_than_is_under_way(model, tmp_path, write_image):
    image = write_image(tmp_path / "a.png", 1)
    taken = []

    class Names(list):
        def __iter__(self):
            for number in range(100_000):
                taken.append(number)
                yield str(image)

    threads = threading.active_count()
    rows = predict(model, Names(), workers=2)
    assert len(list(islice(rows, 3))) == 3
    rows.close()
    assert len(taken) < 200
    assert threading.active_count() == threads


def test_rows_appear_as_they_are_made(tiny_classifier, tmp_path, write_image):
    image = write_image(tmp_path / "a.png", 1)
    words = [*HEADSTART, "predict", tiny_classifier, "-", "--format", "jsonl", "--top-k", "2"]
    words += ["--max-failures", "1"]
    with subprocess.Popen(words, stdin=-1, stdout=-1, stderr=-1) as process:
        for name in (image, tmp_path / "missing.png", image):
            process.stdin.write(os.fsencode(name) + b"\n")
            process.stdin.flush()
            row = json.loads(process.stdout.readline())  # before the next line is written
            assert row["path"] == str(name)
            if "error" in row:
                assert row["error"] == "file not found"
            else:
                assert row["top"][0]["class"] == row["label"]
                assert len(row["top"]) == 2
                assert {"distance", "unlike"} <= row.keys()
        process.stdin.close()
        assert process.stdout.read() == b""
        assert b"1 of 3 images could not be used" in process.stderr.read()
    assert process.returncode == 0


def test_an_improbable_class_is_unknown(model, tmp_path, write_image):
    image = str(write_image(tmp_path / "a.png", 1))
    (plain,) = predict(model, [image])
    (strict,) = predict(model, [image], min_confidence=1.0)
    assert (plain.label in model.classes, strict.label) == (True, UNKNOWN)
    assert strict.probabilities == plain.probabilities
    assert plain.unlike == (plain.distance > model.threshold)


def test_the_command_needs_onnxruntime_numpy_and_pillow(tiny_classifier, tmp_path, write_image):
    write_image(tmp_path / "photos" / "a.png", 1)
    block = "torch torchvision timm onnx sklearn scipy h5py joblib platformdirs jinja2 pandas"
    script = f"""
import sys
sys.modules.update(dict.fromkeys({block.split()!r}))
from headstart.cli import main
main()
"""
    words = [sys.executable, "-c", script, "predict", tiny_classifier, tmp_path / "photos"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
