"""A store keeps its rows unless the user says that they may go."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from factories import write_image
from headstart.core.errors import InputError, OutputError
from headstart.datasets import open_source
from headstart.features import store
from headstart.features.embed import EmbedConfig, EmbedSummary, Sharding, embed
from image_files import zipped

SHARDED = Sharding("threads", shard_size=4)


def photos(root: Path, seed: int, per_class: int = 6, splits: tuple[str, ...] = ("train",)) -> Path:
    for number, split in enumerate(splits):
        for n in range(2 * per_class):
            label = "ab"[n % 2]
            write_image(root / split / label / f"{n}.png", seed + 100 * number + n)
    return root


@pytest.fixture(params=[None, SHARDED], ids=["file", "folder"])
def run(request, tiny_backbone, tmp_path):
    def embed_into_one(data: object, **options: object) -> EmbedSummary:
        config = EmbedConfig(str(tiny_backbone), sharding=request.param, **options)
        out = tmp_path / ("store.h5" if request.param is None else "store")
        return embed(str(data), out, config)

    return embed_into_one


def hashes(summary: EmbedSummary) -> set[bytes]:
    return {row.tobytes() for row in store.read(summary.store).sha256}


@pytest.mark.cases(1)
@pytest.mark.slow
def test_another_data_set_is_refused_and_the_store_stays(run, tmp_path):
    first = run(photos(tmp_path / "one", 0))
    before = hashes(first)
    other = photos(tmp_path / "two", 1000)  # of the same names
    with pytest.raises(InputError, match=r"12 rows, and 12 of them .* --replace to drop these 12"):
        run(other)
    assert hashes(first) == before
    second = run(other, replace=True)
    assert (second.rows, second.dropped) == (12, 12)
    assert not hashes(second) & before


@pytest.mark.cases(1)
@pytest.mark.slow
def test_a_smaller_part_is_refused(run, tmp_path):
    root = photos(tmp_path / "one", 0, splits=("train", "validation", "test"))
    run(root)
    with pytest.raises(InputError, match="36 rows, and 24 of them"):
        run(root / "test")


@pytest.mark.cases(3)
@pytest.mark.slow
@pytest.mark.parametrize("kept", [13, 12, 11], ids=["more than half", "half", "less"])
def test_half_of_the_rows_do_not_go_without_leave(run, tmp_path, kept):
    root = photos(tmp_path / "one", 0, per_class=12)
    run(root)
    for path in sorted(root.rglob("*.png"))[kept:]:
        path.unlink()
    if kept > 12:
        assert run(root).dropped == 24 - kept
        return
    with pytest.raises(InputError, match=f"24 rows, and {24 - kept} of them .* --replace"):
        run(root)
    assert run(root, replace=True).dropped == 24 - kept


@pytest.mark.cases(1)
@pytest.mark.slow
def test_what_goes_is_counted(run, tmp_path):
    root = photos(tmp_path / "one", 0)
    assert run(root).dropped == 0
    assert run(root).dropped == 0
    (root / "train/a/0.png").unlink()
    write_image(root / "train/a/100.png", 77)
    summary = run(root)
    assert (summary.rows, summary.dropped) == (12, 1)


@pytest.mark.cases(1)
@pytest.mark.slow
def test_moved_and_packed_images_are_met_again(run, tmp_path):
    root = photos(tmp_path / "one", 0)
    run(root)
    shutil.move(root / "train", root / "training_set")
    for n, path in enumerate(sorted(root.rglob("*.png"))):
        path.rename(path.with_name(f"new{n}.png"))
    moved = run(root)
    assert (moved.embedded, moved.dropped) == (0, 0)
    files = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*.png")}
    packed = run(zipped(tmp_path / "x.zip", files))
    assert (packed.embedded, packed.dropped) == (0, 0)


@pytest.mark.cases(1)
@pytest.mark.slow
def test_more_images_need_no_leave(run, tmp_path):
    root = photos(tmp_path / "one", 0, per_class=2)
    run(root)
    photos(root, 500, splits=("test", "validation"))
    summary = run(root)
    assert (summary.rows, summary.dropped) == (28, 0)


def test_the_store_is_not_put_over_the_images(tiny_backbone, tmp_path):
    root = photos(tmp_path / "one", 0)
    config = EmbedConfig(str(tiny_backbone))
    for out in (root, tmp_path, root / "train/a/0.png", root / "new.jpg"):
        with pytest.raises(OutputError, match="--out"):
            embed(str(root), out, config)
    assert len(open_source(root).images) == 12
    assert embed(str(root), root / "store.h5", config).rows == 12
