"""One range of values for a whole set: given, or measured on it and then kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from headstart.core.errors import InputError, StoreError
from headstart.core.records import Choice
from headstart.datasets import open_source
from headstart.features import store
from headstart.features.embed import EmbedConfig, EmbedSummary, Hooks, decoded_by, embed
from headstart.features.embed.set_range import measured_range
from odd_images import deep_png, encoded, picture


@pytest.fixture
def deep(tmp_path) -> Path:
    """Twelve images of 12 bits in two classes, and one photo of 8 bits."""
    for number in range(12):
        folder = tmp_path / "deep" / "train" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        samples = picture(40, 40, number).astype(np.uint16) << 4
        (folder / f"{number}.png").write_bytes(deep_png(samples[..., :1]))
    (folder / "photo.jpg").write_bytes(encoded(picture(40, 40, 99), "JPEG"))
    return tmp_path / "deep"


@pytest.fixture
def run(deep, tmp_path, tiny_backbone):
    def run(value_range: str = "", out: str = "s.h5", notice=lambda line: None) -> EmbedSummary:
        choice = decoded_by(Choice(str(tiny_backbone)), value_range, "")
        return embed(deep, tmp_path / out, EmbedConfig(choice, workers=1), Hooks(notice=notice))

    return run


def extraction(path: Path) -> dict:
    return store.read(path).extraction["backbone"]["preprocess"]


def test_without_a_range_the_features_say_what_is_wrong(run, deep, tmp_path):
    summary = run()
    assert summary.remarks == {"narrow": (12, "train/a/0.png")}
    (line,) = summary.remark_lines
    assert "12" in line
    assert "--range" in line
    assert "value_range" not in extraction(tmp_path / "s.h5")


@pytest.mark.slow
def test_a_given_range_is_part_of_the_store(run, tmp_path):
    assert run("0:4095").remarks == {}
    assert extraction(tmp_path / "s.h5")["value_range"] == "0:4095"
    assert run("0:4095.0").embedded == 0
    lines: list[str] = []
    assert run("", notice=lines.append).embedded == 0  # left out: the store's
    assert any("value_range 0:4095" in line for line in lines)
    for other in ("0:1000", "dtype"):
        with pytest.raises(StoreError, match="value_range"):
            run(other)


@pytest.mark.slow
def test_a_measured_range_is_one_for_the_set_and_stays(run, deep, tmp_path):
    notices: list[str] = []
    run("percentile", notice=notices.append)
    measured = extraction(tmp_path / "s.h5")["value_range"]
    low, high = map(float, measured.split(":"))
    assert low < 600
    assert 3400 < high <= 4080
    assert any(measured in line for line in notices)
    (deep / "train" / "a" / "dark.png").write_bytes(deep_png(np.full((40, 40, 1), 9, np.uint16)))
    assert run("percentile").embedded == 1
    assert extraction(tmp_path / "s.h5")["value_range"] == measured


def test_the_test_split_is_not_looked_at(deep):
    expected = measured_range(open_source(str(deep)))
    (deep / "test" / "a").mkdir(parents=True)
    (deep / "test" / "a" / "x.png").write_bytes(deep_png(np.full((9, 9, 1), 65535, np.uint16)))
    assert measured_range(open_source(str(deep))) == expected


def test_photos_of_8_bits_alone_have_a_range_too(tmp_path):
    (tmp_path / "p" / "a").mkdir(parents=True)
    dark = picture(40, 40) // 10
    (tmp_path / "p" / "a" / "dark.png").write_bytes(encoded(dark, "PNG"))
    low, high = map(int, measured_range(open_source(str(tmp_path / "p"))).split(":"))
    assert 0 <= low < 10 < high <= 26


def test_there_may_be_nothing_to_measure(tmp_path):
    (tmp_path / "p" / "a").mkdir(parents=True)
    image = tmp_path / "p" / "a" / "x.png"
    image.write_bytes(b"no image")
    with pytest.raises(InputError, match="read"):
        measured_range(open_source(str(tmp_path / "p")))
    image.write_bytes(deep_png(np.full((9, 9, 1), 7, np.uint16)))
    with pytest.raises(InputError, match="the same"):
        measured_range(open_source(str(tmp_path / "p")))


@pytest.mark.parametrize("value_range", ["5:2", "all", "1"])
def test_a_bad_range_is_refused(value_range):
    with pytest.raises(InputError, match="--range"):
        decoded_by(Choice("x"), value_range, "")


def test_so_are_other_colours():
    with pytest.raises(InputError, match="srgb"):
        decoded_by(Choice("x"), "", "p3")
