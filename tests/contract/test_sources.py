"""What every kind of image source holds to: the same images, listed, read, embedded, predicted."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import fsspec
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from contract.toy_source import ToySource
from headstart import datasets
from headstart.cli import cli
from headstart.core.errors import ImageError, InputError
from headstart.datasets import reader
from headstart.features import store
from headstart.features.embed import EmbedConfig, embed
from headstart.models.predict import Model, predict
from image_files import PHOTOS, contents, folder, tar, wds, zipped

LABELS = [name[0] for name in PHOTOS]


def saved(root: Path) -> Path:
    """Write a folder as Hugging Face's ``datasets`` does."""
    root.mkdir()
    table = pa.table({"image": [{"bytes": data} for data in PHOTOS.values()], "label": LABELS})
    with pa.ipc.new_stream(str(root / "data.arrow"), table.schema) as out:
        out.write_table(table)
    (root / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    (root / "dataset_info.json").write_text("{}")
    return root


def parquet(path: Path) -> Path:
    table = pa.table({"image": [*PHOTOS.values()], "label": LABELS})
    pq.write_table(table, path, row_group_size=3)
    return path


def hdf5(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", len(PHOTOS), h5py.vlen_dtype(np.uint8))
        for row, data in enumerate(PHOTOS.values()):
            images[row] = np.frombuffer(data, np.uint8)
        file["labels"] = LABELS
    return path


def manifest(root: Path) -> Path:
    folder(root)
    lines = ["path,label", *(f"{name},{name[0]}" for name in PHOTOS)]
    (root / "list.csv").write_text("\n".join(lines))
    return root / "list.csv"


def paths_in_parquet(root: Path) -> Path:
    pq.write_table(pa.table({"path": [*PHOTOS], "label": LABELS}), folder(root) / "list.parquet")
    return root / "list.parquet"


def described(root: Path) -> Path:
    lines = ["file_name,label", *(f"{name},{name[0]}" for name in PHOTOS)]
    (folder(root) / "metadata.csv").write_text("\n".join(lines))
    return root


def shards(root: Path) -> Path:
    names = [*PHOTOS]
    for number in range(2):
        half = {name: PHOTOS[name] for name in names[number::2]}
        tar(root / f"{number}.tar", wds(half))
    return root


def toy(path: Path) -> Path:
    rows = (f"{name},{name[0]},{base64.b64encode(data).decode()}" for name, data in PHOTOS.items())
    path.write_text("\n".join(rows))
    return path


def in_memory(name: str, data: bytes | None = None) -> str:
    system = fsspec.filesystem("memory")
    for path, content in {name: data}.items() if data else PHOTOS.items():
        system.pipe(f"/contract/{path}", content)
    return "memory://contract" + (f"/{name}" if data else "")


# How to write the images as each kind of source; gives what the user would name.
KINDS = {
    "folder": lambda tmp: folder(tmp / "photos"),
    "described folder": lambda tmp: described(tmp / "photos"),
    "manifest": lambda tmp: manifest(tmp / "photos"),
    "zip": lambda tmp: zipped(tmp / "x.zip", PHOTOS),
    "tar": lambda tmp: tar(tmp / "x.tar", PHOTOS),
    "webdataset": lambda tmp: tar(tmp / "x.tar", wds()),
    "folder of shards": lambda tmp: shards(tmp / "shards"),
    "pattern": lambda tmp: f"{shards(tmp)}/{{0..1}}.tar",
    "parquet": lambda tmp: parquet(tmp / "x.parquet"),
    "paths in parquet": lambda tmp: paths_in_parquet(tmp / "photos"),
    "saved set": lambda tmp: saved(tmp / "saved"),
    "hdf5": lambda tmp: hdf5(tmp / "x.h5"),
    "file URL": lambda tmp: f"file://{folder(tmp / 'photos')}",
    "file URL of a zip": lambda tmp: f"file://{zipped(tmp / 'x.zip', PHOTOS)}",
    "memory URL": lambda _: in_memory(""),
    "memory URL of a table": lambda tmp: in_memory(
        "x.parquet", parquet(tmp / "x.parquet").read_bytes()
    ),
    "toy": lambda tmp: toy(tmp / "x.toy"),
}
LOCAL_CONTAINERS = ("zip", "tar", "webdataset", "parquet", "saved set", "hdf5", "toy")


@pytest.fixture(autouse=True)
def toys():
    source = ToySource()
    datasets.register(source)
    yield source
    datasets.unregister(source)


@pytest.fixture
def source(request, tmp_path) -> str:
    fsspec.filesystem("memory").store.clear()
    return str(KINDS[request.param](tmp_path))


every_kind = pytest.mark.parametrize("source", KINDS, indirect=True)


@every_kind
def test_the_images_are_listed_and_read(source):
    listing = datasets.open_source(source)
    assert listing.name == source
    assert listing.classes == ("a", "b")
    assert sorted(contents(listing).values()) == sorted(PHOTOS.values())
    by_label = {(ref.label, datasets.read(listing, ref)[0]) for ref in listing.images}
    assert by_label == {(name[0], data) for name, data in PHOTOS.items()}


@every_kind
def test_the_state_is_known_without_reading(source):
    listing = datasets.open_source(source)
    for ref in listing.images:
        assert datasets.state(listing, ref) == datasets.read(listing, ref)[1]


@every_kind
def test_a_subset_can_be_sent_to_another_process(source):
    listing = datasets.open_source(source)
    part = pickle.loads(pickle.dumps(datasets.subset(listing, [5, 1])))
    assert part.images == (listing.images[5], listing.images[1])
    assert part.classes == listing.classes
    assert contents(part) == {ref.path: datasets.read(listing, ref)[0] for ref in part.images}
    if part.reader is not None:
        with pytest.raises(KeyError):
            part.reader.read(listing.images[0].path)


@every_kind
def test_threads_read_at_once(source):
    listing = datasets.open_source(source)
    with ThreadPoolExecutor(8) as pool:
        data = [*pool.map(partial(datasets.read, listing), [*listing.images] * 5)]
    assert sorted({content for content, _ in data}) == sorted(PHOTOS.values())


@pytest.mark.slow
@every_kind
def test_the_images_are_embedded_and_predicted(source, tmp_path, tiny_backbone, tiny_classifier):
    config = EmbedConfig(str(tiny_backbone))
    summary = embed(source, tmp_path / "store.h5", config)
    assert (summary.rows, summary.failures) == (len(PHOTOS), {})
    hashes = {row.tobytes() for row in store.read(tmp_path / "store.h5").sha256}
    assert hashes == {hashlib.sha256(data).digest() for data in PHOTOS.values()}
    rows = list(predict(Model(tiny_classifier), [source], workers=2))
    assert [row.error for row in rows] == [""] * len(PHOTOS)
    assert len({row.path for row in rows}) == len(PHOTOS)
    streamed = [datasets.read(*image)[0] for image in datasets.stream([source]) if image]
    assert sorted(streamed) == sorted(PHOTOS.values())


@pytest.mark.parametrize("source", LOCAL_CONTAINERS, indirect=True)
def test_a_container_that_has_changed_is_refused(source):
    listing = datasets.open_source(source)
    datasets.read(listing, listing.images[0])
    other = datasets.open_source(source)
    for file in other.reader.files:
        content = Path(file.place).read_bytes()
        Path(file.place).write_bytes(content + b"\0" * 512)
    assert datasets.state(other, other.images[0]) is None
    reader._cache.clear()
    with pytest.raises(ImageError, match="changed"):
        datasets.read(other, other.images[0])


def test_a_toy_among_others_is_a_folder_or_a_pattern(tmp_path, toys):
    toy(tmp_path / "x.toy")
    toy(tmp_path / "y.toy")
    for data in (tmp_path, f"{tmp_path}/*.toy"):
        listing = datasets.open_source(data)
        assert len(listing.images) == 2 * len(PHOTOS)
        assert contents(listing)["y.toy/b/3.png"] == PHOTOS["b/3.png"]
    datasets.unregister(toys)
    with pytest.raises(InputError, match="no images"):
        datasets.open_source(tmp_path)
    datasets.register(toys)


@pytest.mark.parametrize("source", ["zip", "parquet", "hdf5", "file URL"], indirect=True)
def test_the_command_predicts(source, tiny_classifier):
    result = CliRunner().invoke(cli, ["predict", str(tiny_classifier), source, "--json"])
    assert result.exit_code == 0, result.output
    paths = [row["path"] for row in json.loads(result.stdout)["predictions"]]
    assert len(paths) == len(PHOTOS)
    assert all(path.startswith(source) for path in paths)


@pytest.mark.slow
def test_an_image_and_an_archive_behind_http(tmp_path, tiny_classifier):
    zipped(folder(tmp_path) / "x.zip", PHOTOS)
    handler = partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            names = [f"{url}/a/0.png", f"{url}/x.zip", f"{url}/none.png"]
            rows = list(predict(Model(tiny_classifier), names, workers=2))
        finally:
            server.shutdown()
            thread.join()
    assert rows[0].path == f"{url}/a/0.png"
    assert rows[1].path == f"{url}/x.zip/a/0.png"
    assert [row.error for row in rows] == [""] * 9 + ["file not found"]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, by ranges as well, and prints nothing."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        byte_range = self.headers.get("Range")
        path = Path(self.translate_path(self.path))
        if not byte_range or not path.is_file():
            return super().do_GET()
        content = path.read_bytes()
        first, last = byte_range.removeprefix("bytes=").split("-")
        part = content[int(first) : int(last or len(content)) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.end_headers()
        self.wfile.write(part)
