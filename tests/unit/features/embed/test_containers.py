"""Embedding what is in archives, tables and arrays: the same rows as from files."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from headstart.core.errors import InputError
from headstart.core.records import FeatureSet
from headstart.features import store
from headstart.features.embed import EmbedConfig, Sharding, embed

KINDS = ("zip", "tar", "parquet")


def pack(folder: Path, kind: str, skip: str = "") -> Path:
    """Put a folder into an archive beside it, or into a table with its paths as labels."""
    files = [path for path in sorted(folder.rglob("*.*")) if path.name != skip]
    packed = folder.with_name(f"packed.{kind}")
    if kind == "zip":
        with zipfile.ZipFile(packed, "w") as archive:
            for path in files:
                archive.write(path, path.relative_to(folder))
    elif kind == "tar":
        with tarfile.open(packed, "w") as archive:
            for path in files:
                archive.add(path, str(path.relative_to(folder)))
    else:
        parts = [path.relative_to(folder).parts for path in files]
        pq.write_table(
            pa.table(
                {
                    "image": [{"bytes": p.read_bytes(), "path": p.name} for p in files],
                    "split": [part[0] for part in parts],
                    "label": [part[1] for part in parts],
                }
            ),
            packed,
            row_group_size=5,
        )
    return packed


@pytest.fixture
def run(tiny_backbone, tmp_path):
    def run(data: Path, out: str = "x.h5", **options: object) -> FeatureSet:
        config = EmbedConfig(str(tiny_backbone), **options)  # type: ignore[arg-type]
        run.summary = embed(str(data), tmp_path / out, config)  # type: ignore[attr-defined]
        return store.read(tmp_path / out)

    return run


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_gives_the_rows_of_the_folder(run, image_folder, kind: str):
    folder = image_folder()
    plain, packed = run(folder, "plain.h5"), run(pack(folder, kind))
    if kind == "parquet":
        order = {sha: row for row, sha in enumerate(map(bytes, packed.sha256))}
        rows = [order[bytes(sha)] for sha in plain.sha256]
        assert (packed.features[rows] == plain.features).all()
        assert (packed.label[rows] == plain.label).all()
        assert [packed.split[row] for row in rows] == list(plain.split)
    else:
        assert list(packed.path) == list(plain.path)
        assert packed.features.tobytes() == plain.features.tobytes()
        assert (packed.label == plain.label).all()
        assert list(packed.split) == list(plain.split)
    assert packed.classes == plain.classes


@pytest.mark.slow
def test_moving_a_folder_into_an_archive_embeds_nothing(run, image_folder):
    folder = image_folder()
    run(folder)
    run(pack(folder, "zip"))
    assert (run.summary.embedded, run.summary.rows) == (0, 24)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_second_run_reads_nothing_and_an_addition_costs_itself(run, image_folder, kind: str):
    folder = image_folder()
    run(pack(folder, kind, skip=next(folder.rglob("*.png")).name))
    run(pack(folder, kind, skip=next(folder.rglob("*.png")).name))
    assert run.summary.embedded == 0
    data = pack(folder, kind)
    run(data)
    assert 0 < run.summary.embedded <= 4  # one png of each split and class
    run(data)
    assert (run.summary.embedded, run.summary.changed) == (0, False)
    assert run.summary.shares == {}


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_shards_of_an_archive_are_the_rows_of_one_file(run, image_folder, kind: str):
    packed = pack(image_folder(), kind)
    one = run(packed)
    many = run(packed, "folder", sharding=Sharding("threads", shard_size=5))
    assert list(many.path) == list(one.path)
    assert many.features.tobytes() == one.features.tobytes()
    assert run.summary.shards > 1


@pytest.mark.slow
def test_a_bad_image_in_an_archive_is_a_failure(run, image_folder):
    folder = image_folder()
    (folder / "train" / "bark" / "zz.png").write_bytes(b"no image")
    run(pack(folder, "tar"))
    assert [path for path, _ in run.summary.failed] == ["train/bark/zz.png"]
    with pytest.raises(InputError, match=r"zz\.png"):
        run(pack(folder, "tar"), "y.h5", on_error="fail")
