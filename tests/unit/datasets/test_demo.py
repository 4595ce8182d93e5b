"""The texture set: the same pixels everywhere, the right files, and all of them or none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from headstart.core.errors import InputError, OutputError
from headstart.datasets import demo
from headstart.datasets.demo import CLASSES, draw, is_written, write
from PIL import Image


def generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(key))


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """Five images a class: four to train, one to test."""
    out = tmp_path_factory.mktemp("data") / "textures"
    assert write(out, seed=3, per_class=5) == 50
    return out


def test_pixels_are_the_same_on_every_machine():
    """Also the guard of `VERSION`: where this digest has to change, the version has to as well."""
    digest = hashlib.sha256()
    for name in CLASSES:
        for index in range(4):  # enough for every branch to be taken
            digest.update(draw(name, generator(0, index), 96).tobytes())
    assert demo.VERSION == 1
    assert digest.hexdigest() == "e63d9024d0cc5dcb5e08c3e7fcedbcd76c7738e30ea6e3033ee431e8e2bb8841"


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("size", [64, 97])
def test_an_image_has_the_size_asked_for_and_uses_the_range(name, size):
    pixels = draw(name, generator(1), size)
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert np.ptp(pixels) > 20  # neither blank nor burnt out
    assert (pixels == 255).mean() < 0.5


def test_each_class_draws_something_else_from_the_same_generator():
    drawn = {draw(name, generator(2), 64).tobytes() for name in CLASSES}
    assert len(CLASSES) == len(set(CLASSES)) == len(drawn) == 10


@pytest.mark.slow
def test_the_colour_says_nothing_about_the_class():
    """Classes' mean colours differ no more than the means of random groups would."""
    means = np.array(
        [
            [draw(n, generator(c, i), 32).mean((0, 1)) for i in range(25)]
            for c, n in enumerate(CLASSES)
        ]
    )
    within = means.std(axis=1).mean() / np.sqrt(25)
    between = means.mean(axis=1).std(axis=0).mean()
    assert between < 1.5 * within


def test_an_unknown_class_is_refused():
    with pytest.raises(InputError, match="no texture plaid; choose one of: striped, "):
        draw("plaid", generator(0))


@pytest.mark.slow
def test_the_split_holds_the_last_quarter_of_each_class(small):
    found = sorted(name for name in contents(small) if name.endswith(".jpg"))
    expected = [
        f"{split}/{name}/{index:04d}.jpg"
        for name in CLASSES
        for split, indices in (("train", range(4)), ("test", range(4, 5)))
        for index in indices
    ]
    assert found == sorted(expected)


def test_the_marker_is_the_only_other_file_and_says_what_the_set_is(small):
    (other,) = (name for name in contents(small) if not name.endswith(".jpg"))
    assert other == "dataset.json"
    assert json.loads((small / other).read_text(encoding="utf-8")) == {
        "name": "headstart textures",
        "seed": 3,
        "per_class": 5,
        "version": demo.VERSION,
    }


def test_the_files_are_rgb_pictures_of_several_sizes(small):
    sizes = set()
    for path in small.rglob("*.jpg"):
        with Image.open(path) as image:
            assert image.format == "JPEG"
            assert image.mode == "RGB"
            sizes.add(image.size)
    assert sizes == {(224, 224), (256, 256), (288, 288)}


def test_a_file_shows_the_drawing_of_its_class(small):
    code = CLASSES.index("marbled")
    drawn = draw("marbled", generator(3, code, 1), 256).astype(int)
    with Image.open(small / "train" / "marbled" / "0001.jpg") as image:
        assert np.abs(np.asarray(image).astype(int) - drawn).mean() < 8  # JPEG loses a little


@pytest.mark.slow
def test_an_image_depends_on_nothing_but_seed_class_and_index(small, tmp_path):
    write(tmp_path / "again", seed=3, per_class=5)
    assert contents(tmp_path / "again") == contents(small)
    write(tmp_path / "fewer", seed=3, per_class=4)
    assert (tmp_path / "fewer/test/grid/0003.jpg").read_bytes() == (
        small / "train/grid/0003.jpg"
    ).read_bytes()


@pytest.mark.slow
def test_another_seed_gives_other_images(small, tmp_path):
    write(tmp_path / "other", seed=4, per_class=4)
    mine, theirs = contents(small), contents(tmp_path / "other")
    assert not any(mine[name] == data for name, data in theirs.items() if name in mine)


def test_no_image_occurs_twice(small):
    files = contents(small)
    assert len(set(files.values())) == len(files)


def test_the_same_set_is_recognised_and_left_alone(small):
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*")}
    assert is_written(small, 3, 5)
    assert write(small, seed=3, per_class=5) == 0
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*")} == before


@pytest.mark.parametrize(("seed", "per_class"), [(3, 6), (0, 5)])
def test_another_set_is_not_taken_for_this_one(small, seed, per_class):
    before = contents(small)
    assert not is_written(small, seed, per_class)
    with pytest.raises(InputError, match="choose another folder"):
        write(small, seed, per_class)
    assert contents(small) == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "headstart textures"}', "\udcff"])
def test_a_damaged_marker_is_no_marker(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    assert not is_written(tmp_path, 0, 80)


def test_a_folder_that_is_absent_holds_no_set(tmp_path):
    assert not is_written(tmp_path / "absent", 0, 80)


def test_a_folder_with_anything_else_in_it_is_refused(tmp_path):
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(InputError, match="choose another folder"):
        write(tmp_path, per_class=4)
    assert contents(tmp_path) == {"holiday.txt": b"mine"}


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="choose another folder"):
        write(tmp_path / "out", per_class=4)
    assert contents(tmp_path) == {"out": b"mine"}


@pytest.mark.slow
def test_missing_parents_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "CLASSES", CLASSES[:1])
    assert write(tmp_path / "not" / "yet" / "there", per_class=4) == 4
    assert [path.name for path in (tmp_path / "not" / "yet").iterdir()] == ["there"]


@pytest.mark.slow
def test_an_empty_folder_is_filled_when_the_set_is_complete(tmp_path, monkeypatch):
    out, plain = tmp_path / "out", tmp_path / "plain"
    out.mkdir()
    plain.mkdir()
    save, visible = demo.images.save_jpeg, []

    def look_and_save(path: Path, pixels: np.ndarray) -> None:
        visible.extend(out.iterdir())
        save(path, pixels)

    monkeypatch.setattr(demo.images, "save_jpeg", look_and_save)
    monkeypatch.setattr(demo, "CLASSES", CLASSES[:2])
    assert write(out, per_class=4) == 8
    assert visible == []
    assert is_written(out, 0, 4)
    assert out.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(28, "No space left on device"), OutputError),
    ],
)
def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch, raised, expected):
    save, saved = demo.images.save_jpeg, []

    def save_some(path: Path, pixels: np.ndarray) -> None:
        if len(saved) >= 7:
            raise raised
        save(path, pixels)
        saved.append(path)

    monkeypatch.setattr(demo.images, "save_jpeg", save_some)
    with pytest.raises(expected):
        write(tmp_path / "out", per_class=4)
    assert saved  # it did begin
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("seed", "per_class", "message"),
    [
        (-1, 4, "seed is -1; choose 0 or more"),
        (0, 3, "per_class is 3; choose 4 or more"),
        (0, -80, "per_class is -80; choose 4 or more"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path, seed, per_class, message):
    with pytest.raises(InputError, match=message):
        write(tmp_path / "out", seed, per_class)
    assert list(tmp_path.iterdir()) == []
