"""Stores and photos in a bucket: a real S3 server on this machine."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import fsspec
import pytest
from headstart.cli import run
from headstart.core.errors import InputError, OutputError, StoreError
from headstart.datasets import mirror, storage
from headstart.features import store
from headstart.features.embed import EmbedConfig, embed

pytestmark = pytest.mark.process
BUCKET = "s3://photos"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", "0"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "Running on" in line)
        yield line.split()[-1]
        process.kill()


@pytest.fixture
def s3(server: str, fresh_cache_home, monkeypatch):
    """An empty bucket, with what fsspec needs to find it, in processes that tests start too."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server,
    }.items():
        monkeypatch.setenv(name, value)
    storage.file_system.cache_clear()
    fsspec.filesystem("s3").clear_instance_cache()
    system = fsspec.filesystem("s3", skip_instance_cache=False)
    urllib.request.urlopen(
        urllib.request.Request(f"{server}/moto-api/reset", method="POST")
    ).close()
    system.invalidate_cache()
    system.mkdir("photos")
    yield system
    storage.file_system.cache_clear()


@pytest.fixture
def folder(image_folder) -> Path:
    return image_folder(per_class=2)


@pytest.fixture
def photos(s3, folder: Path) -> str:
    s3.put(f"{folder}/", "photos/set/", recursive=True)
    return f"{BUCKET}/set"


def headstart(*arguments: object, code: int = 0) -> tuple[str, str]:
    """Run a command in this process; returns what it wrote to stdout and stderr."""
    out, said = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(said):
        assert run([str(argument) for argument in arguments]) == code, said.getvalue()
    return out.getvalue(), said.getvalue()


def in_a_process(*arguments: object) -> str:
    call = [sys.executable, "-c", "from headstart.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_photos_and_a_store_in_a_bucket(s3, photos: str, folder, tiny_backbone, tmp_path):
    """The features command, twice, and what it wrote is the store of the folder."""
    out = f"{BUCKET}/out/store.h5"
    call = ("features", photos, "--backbone", tiny_backbone, "--out", out, "--json")
    told = json.loads(in_a_process(*call))
    assert (told["store"], told["changed"]) == (out, True)
    modified = s3.info("photos/out/store.h5")["LastModified"]
    second = json.loads(headstart(*call)[0])
    assert (second["changed"], second["embedded"]) == (False, 0)
    s3.invalidate_cache()
    assert s3.info("photos/out/store.h5")["LastModified"] == modified
    assert [name for name in s3.find("photos") if "partial" in name] == []

    embed(str(folder), tmp_path / "here.h5", EmbedConfig(str(tiny_backbone)))
    here, there = store.read(tmp_path / "here.h5"), store.read(mirror.read_here(out))
    assert there.path == here.path
    assert there.features.tobytes() == here.features.tobytes()

    assert f"{out}: sound" in headstart("verify", out)[0]


def test_an_image_that_is_new_in_the_bucket_costs_only_itself(s3, photos, tiny_backbone, tmp_path):
    config = EmbedConfig(str(tiny_backbone))
    before = embed(photos, tmp_path / "x.h5", config)
    name = s3.find("photos/set")[0]
    s3.copy(name, name.rpartition(".")[0] + "-copy." + name.rpartition(".")[2])
    s3.invalidate_cache()
    after = embed(photos, tmp_path / "x.h5", config)
    assert (after.rows, after.embedded) == (before.rows + 1, 0)


class TestMirror:
    def test_a_file_is_sent_when_it_has_changed_only(self, s3):
        url = f"{BUCKET}/a/x.h5"
        with mirror.written_here(url) as path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"one")
        assert s3.cat("photos/a/x.h5") == b"one"
        assert mirror.read_here(url).read_bytes() == b"one"
        s3.pipe("photos/a/x.h5", b"two, by somebody else")
        with mirror.written_here(url) as path:
            assert path.read_bytes() == b"two, by somebody else"
        assert mirror.read_here(url).read_bytes() == b"two, by somebody else"

    def test_what_was_published_before_an_error_is_sent(self, s3):
        url = f"{BUCKET}/b/x.h5"

        def write() -> None:
            with mirror.written_here(url) as path:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"good ones")
                raise InputError("too many failures")

        with pytest.raises(InputError, match="too many"):
            write()
        assert s3.cat("photos/b/x.h5") == b"good ones"

    def test_what_could_not_be_sent_is_sent_next_time(self, s3, monkeypatch):
        url = f"{BUCKET}/c/x.h5"
        s3.pipe("photos/c/x.h5", b"old")
        with monkeypatch.context() as patch:
            patch.setattr(type(s3), "put_file", lambda *_: 1 / 0)
            with (
                pytest.raises(OutputError, match="run the command again"),
                mirror.written_here(url) as path,
            ):
                path.write_bytes(b"new")
        assert s3.cat("photos/c/x.h5") == b"old"
        with mirror.written_here(url) as path:
            assert path.read_bytes() == b"new"
        assert s3.cat("photos/c/x.h5") == b"new"

    def test_nobody_elses_work_is_overwritten(self, s3):
        url = f"{BUCKET}/d/x.h5"
        s3.pipe("photos/d/x.h5", b"old")

        def write() -> None:
            with mirror.written_here(url) as path:
                path.write_bytes(b"mine")
                s3.pipe("photos/d/x.h5", b"theirs")

        with pytest.raises(OutputError, match="another process"):
            write()
        assert s3.cat("photos/d/x.h5") == b"theirs"

    def test_what_is_not_there_or_cannot_be_reached(self, s3, monkeypatch):
        with pytest.raises(StoreError, match="nothing at"):
            mirror.read_here(f"{BUCKET}/none.h5")
        with pytest.raises(InputError, match="nosuch"):
            mirror.read_here("nosuch://x/y.h5")
        assert headstart("verify", f"{BUCKET}/none.h5", code=1)[1].count("\n") == 1

    def test_a_path_here_is_itself(self, tmp_path: Path):
        assert mirror.read_here(tmp_path) == tmp_path
        with mirror.written_here(tmp_path) as path:
            assert path == tmp_path
