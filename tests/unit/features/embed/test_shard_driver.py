"""Stores that are folders, on every engine: the same rows as one file has, whatever happens."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import numpy as np
import onnx
import pytest
from headstart import datasets
from headstart.backbones.inference import parity
from headstart.backbones.inference.description import METADATA, OUTPUT, output_names
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import HeadstartError, InputError, OutputError, StoreError
from headstart.core.parallel import ThreadEngine
from headstart.core.records import Backbone, FeatureSet, Part
from headstart.datasets import open_source, origins
from headstart.features import store
from headstart.features.embed import (
    EmbedConfig,
    EmbedSummary,
    Hooks,
    Sharding,
    embed,
    shard_driver,
)
from headstart.features.embed import (
    shard_worker as shard,
)
from headstart.features.embed.shard_worker import WORK
from headstart.features.export_table import export_features
from headstart.features.store import manifest
from onnx import helper

pytestmark = pytest.mark.slow  # a store is read and checked shard by shard, again and again


@pytest.fixture
def run(tiny_backbone, tmp_path):
    """Give ``run(data, out="folder", size=10, **config)``; ``engine=None`` writes one file."""

    def run(
        data, out="folder", engine="threads", size=10, hooks=None, backbone=None, **config
    ) -> EmbedSummary:
        sharding = Sharding(engine, shard_size=size) if engine else None
        config = {"workers": 2, "sharding": sharding} | config
        chosen = EmbedConfig(str(backbone or tiny_backbone), **config)
        return embed(str(data), tmp_path / out, chosen, hooks)

    return run


@pytest.fixture(scope="session")
def other_backbone(tiny_backbone, tmp_path_factory) -> Path:
    """Write the tiny backbone under another name."""
    return described_as(
        tiny_backbone, tmp_path_factory.mktemp("other") / "other.onnx", name="other"
    )


@pytest.fixture(scope="session")
def several_layers(tiny_backbone, tmp_path_factory) -> Path:
    """Write the tiny backbone with two layers as outputs, of which the second is the first."""
    parts = (Part("conv", "avg", 12), Part("again", "avg", 12))
    backbone = Runner(tiny_backbone).backbone.with_layers(parts)
    model = onnx.load(tiny_backbone)
    del model.graph.output[:]
    for name in output_names(backbone):
        model.graph.node.append(helper.make_node("Identity", [OUTPUT], [name]))
        output = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 12])
        model.graph.output.append(output)
    path = tmp_path_factory.mktemp("several") / "several.onnx"
    onnx.save(model, path)
    return described_as(path, path, **{n: getattr(backbone, n) for n in WHAT})


WHAT = ("layer", "pool", "dim", "parts")


def described_as(model: Path, out: Path, **changes) -> Path:
    """Write a backbone that says something else of itself, with a certificate to fit."""
    network = onnx.load(model)
    held = {prop.key: prop.value for prop in network.metadata_props}
    backbone = dataclasses.replace(Backbone.from_json(json.loads(held[METADATA])), **changes)
    metadata = {METADATA: json.dumps(backbone.to_json())}
    helper.set_model_props(network, metadata)
    onnx.save(network, out)
    proof = parity.issue(Runner(out).embed, backbone.preprocess, backbone.widths)
    helper.set_model_props(network, metadata | {parity.METADATA: proof.to_json()})
    onnx.save(network, out)
    return out


@pytest.fixture(params=["threads", "ray"])
def engine(request) -> str:
    if request.param == "ray":
        request.getfixturevalue("ray_cluster")
    return request.param


@pytest.fixture
def photos(image_folder, write_image) -> Path:
    """Write 36 images of six classes, three that are cut off, and two copies."""
    root = image_folder(classes=[f"class{n}" for n in range(6)], per_class=3)
    for number in range(3):
        path = write_image(root / f"train/class{number}/broken{number}.jpg", 100 + number)
        path.write_bytes(path.read_bytes()[:-9])  # enough to be decoded in this process
    shutil.copy(root / "train/class0/0.jpg", root / "train/class5/copy.jpg")
    shutil.copy(root / "train/class0/0.jpg", root / "test/class0/copy.jpg")
    return root


def assert_same(one: FeatureSet, other: FeatureSet) -> None:
    """Compare two stores in all that is said of images, bit by bit."""
    first, second = asdict(one), asdict(other)
    del first["run"], second["run"]  # of the run, not of the images
    for name in ("features", "label", "sha256", "pixels"):
        assert np.array_equal(first.pop(name), second.pop(name)), name
    for name in ("name", "model"):
        del first[name], second[name]
    assert first == second


def shards(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("shard-*"))


@pytest.fixture
def check(run, tmp_path):
    """Give ``check(data, out="folder")``: a folder is whole, tidy, and says what one file says."""

    def check(data, out="folder") -> FeatureSet:
        folder = tmp_path / out
        assert store.verify(folder) == []
        names = {shard.file for shard in manifest.read(folder).shards}
        assert {path.name for path in folder.iterdir()} == names | {"manifest.json"}
        assert store.verify(folder / min(names)) == []  # a store of its own
        run(data, "one.h5", engine=None)
        found = store.read(folder)
        assert_same(found, store.read(tmp_path / "one.h5"))
        (tmp_path / "one.h5").unlink()
        return found

    return check


class TestRows:
    def test_a_folder_says_what_one_file_says(self, run, check, photos, engine):
        summary = run(photos, engine=engine, size=8)
        data = check(photos)
        assert (summary.rows, summary.changed, summary.lost) == (38, True, 0)
        assert summary.shards > 4
        assert sum(summary.failures.values()) == len(summary.failed) == 3
        assert len(data.failures) == 3
        assert 1 <= summary.workers <= 2
        assert summary.embedded + summary.reused == 38

    def test_a_second_run_has_nothing_to_do(self, run, check, photos, tmp_path):
        run(photos)
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "folder").iterdir()}
        summary = run(photos)
        assert (summary.changed, summary.embedded, summary.reused) == (False, 0, 38)
        assert {p: p.stat().st_mtime_ns for p in (tmp_path / "folder").iterdir()} == before
        check(photos)

    def test_an_image_more_changes_one_shard(self, run, check, photos, tmp_path, write_image):
        run(photos)
        before = set(shards(tmp_path / "folder"))
        write_image(photos / "train/class3/new.png", 999)
        summary = run(photos)
        assert (summary.embedded, summary.reused, summary.changed) == (1, 38, True)
        assert len(before - set(shards(tmp_path / "folder"))) <= 2
        check(photos)

    def test_a_class_more_changes_no_label_of_another_shard(self, run, check, photos, write_image):
        run(photos)
        write_image(photos / "train/a-first-class/0.png", 999)
        assert run(photos).embedded == 1
        assert check(photos).classes[0] == "a-first-class"

    def test_an_image_less_leaves(self, run, check, photos):
        run(photos)
        (photos / "train/class3/2.webp").unlink()
        shutil.rmtree(photos / "test/class2")
        assert run(photos).embedded == 0
        check(photos)

    @pytest.mark.further("tests/unit/features/embed/test_stage.py::test_a_change_costs_only_itself")
    def test_an_image_in_another_class_is_not_embedded_again(self, run, check, photos):
        run(photos)
        shutil.move(photos / "train/class0/1.png", photos / "train/class5/moved.png")
        assert run(photos).embedded == 0
        check(photos)

    @pytest.mark.further("tests/unit/features/embed/test_stage.py::test_a_change_costs_only_itself")
    def test_a_changed_file_is_embedded_again(self, run, check, photos, write_image):
        run(photos)
        write_image(photos / "train/class4/0.jpg", 999)
        assert run(photos).embedded == 1
        check(photos)

    @pytest.mark.cases(1)
    @pytest.mark.parametrize("size", [6, 1000])
    def test_another_shard_size_embeds_nothing_again(self, run, check, photos, size):
        run(photos)
        summary = run(photos, size=size)
        assert summary.embedded == 0
        assert (summary.shards == 1) == (size == 1000)
        check(photos)

    def test_a_shard_without_rows(self, run, check, image_folder, tmp_path):
        root = image_folder()
        (root / "train/bark/x.jpg").write_bytes(b"x")
        run(root, size=1)
        check(root)
        assert 0 in [shard.rows for shard in manifest.read(tmp_path / "folder").shards]
        assert [list(b.path) for b in store.read_blocks(tmp_path / "folder")]

    @pytest.mark.further("tests/unit/features/embed/test_stage.py::test_a_change_costs_only_itself")
    def test_read_again(self, run, check, photos):
        run(photos)
        summary = run(photos, rehash=True)
        assert (summary.embedded, summary.changed) == (0, False)
        check(photos)


class TestReading:
    def test_blocks_size_and_origin(self, run, photos, tmp_path, tiny_backbone):
        run(photos)
        run(photos, "one.h5", engine=None)
        folder, one = tmp_path / "folder", tmp_path / "one.h5"
        assert store.read_size(folder) == store.read_size(one) == (38, 12)
        mine, theirs = ([*store.read_blocks(path)] for path in (folder, one))
        for name in ("path", "label", "split"):
            first, second = ([*chain(*(getattr(b, name) for b in bs))] for bs in (mine, theirs))
            assert first == second
        assert store.read_origin(folder) == store.read_origin(one)
        assert store.stored_extraction(folder) == store.stored_extraction(one)

    def test_exported_tables_are_equal(self, run, photos, tmp_path):
        run(photos)
        run(photos, "one.h5", engine=None)
        export_features(tmp_path / "folder", "csv", tmp_path / "a.csv")
        export_features(tmp_path / "one.h5", "csv", tmp_path / "b.csv")
        first, second = ((tmp_path / f"{n}.csv").read_text().splitlines() for n in "ab")
        assert len(first) == len(second) == 39
        for mine, theirs in zip(first, second, strict=True):
            cut = [line.split(",")[:3] + line.split(",")[5:] for line in (mine, theirs)]
            assert cut[0] == cut[1]

    def test_several_layers(self, run, check, photos, several_layers, tmp_path):
        run(photos, backbone=several_layers)
        run(photos, "one.h5", engine=None, backbone=several_layers)
        mine, theirs = (store.read_layers(tmp_path / name) for name in ("folder", "one.h5"))
        assert len(mine) == 2
        for one, other in zip(mine, theirs, strict=True):
            assert_same(one, other)

    def test_a_folder_without_a_manifest(self, tmp_path):
        (tmp_path / "photos").mkdir()
        for call in (store.read, store.verify, store.read_size, store.repair):
            with pytest.raises(StoreError, match="no feature store in"):
                call(tmp_path / "photos")


class TestDamage:
    @pytest.fixture
    def folder(self, run, photos, tmp_path) -> Path:
        run(photos)
        return tmp_path / "folder"

    def test_a_shard_is_missing(self, folder):
        name = shards(folder)[1]
        (folder / name).unlink()
        assert store.verify(folder) == [f"{name} is missing"]
        with pytest.raises(StoreError, match=f"cannot be used: {name} is missing"):
            store.read(folder)

    def test_a_shard_of_another_store(self, folder, run, photos, tmp_path, write_image):
        write_image(photos / "train/class0/0.jpg", 999)
        run(photos, "other", size=1000)
        name = shards(folder)[0]
        shutil.copy(tmp_path / "other/shard-first.1.h5", folder / name)
        assert store.verify(folder) == [
            f"{name} is not the file that the manifest names (it has another seal)"
        ]

    def test_every_byte_of_a_manifest_counts(self, folder):
        path = folder / "manifest.json"
        held = path.read_text()
        path.write_text(held.replace('"rows": 1', '"rows": 2', 1))
        with pytest.raises(StoreError, match="its checksum is wrong"):
            store.read(folder)
        path.write_text(held[: len(held) // 2])
        with pytest.raises(StoreError, match="cannot be read"):
            store.verify(folder)

    @pytest.mark.parametrize("name", ["../x.h5", "/etc/passwd", ".hidden"])
    def test_a_manifest_that_names_a_file_elsewhere(self, folder, name):
        held = manifest.read(folder)
        first = dataclasses.replace(held.shards[0], file=name)
        manifest.write(folder, dataclasses.replace(held, shards=(first, *held.shards[1:])))
        with pytest.raises(StoreError, match="names a file elsewhere"):
            store.verify(folder)

    def test_the_same_shard_twice(self, folder):
        held = manifest.read(folder)
        manifest.write(folder, dataclasses.replace(held, shards=held.shards[:1] * 2))
        found = store.verify(folder)
        assert len(found) == held.shards[0].rows
        assert "row 0 repeats the path" in found[0]

    def test_repair_and_continue(self, folder, run, check, photos):
        path = folder / shards(folder)[2]
        data = bytearray(path.read_bytes())
        at = data.index(store.read(path).features[0].tobytes())
        data[at] ^= 1
        path.write_bytes(data)
        assert store.verify(folder) != []
        with pytest.raises(StoreError, match="verify --repair"):
            run(photos)
        done = store.repair(folder)
        assert (done.kept, sum(done.dropped.values()), done.backup) == (37, 1, folder)
        assert store.verify(folder) == []
        assert store.repair(folder).backup is None
        (backup,) = folder.glob("*.damaged")
        backup.unlink()
        assert run(photos).embedded == 1
        check(photos)

    @pytest.mark.further("test_repair_and_continue")
    def test_repair_without_a_shard(self, folder, run, check, photos):
        name = shards(folder)[1]
        lost = store.read_size(folder / name)[0]
        (folder / name).unlink()
        assert store.repair(folder).kept == 38 - lost
        assert run(photos).embedded <= lost
        check(photos)


class TestRefused:
    def test_another_extraction(self, run, photos, other_backbone, check):
        run(photos)
        with pytest.raises(StoreError, match="different backbone or preprocessing"):
            run(photos, backbone=other_backbone)
        check(photos)

    def test_a_file(self, run, photos, tmp_path):
        (tmp_path / "folder").write_text("x")
        with pytest.raises(StoreError, match="is a file, but --engine writes a folder"):
            run(photos)

    def test_a_folder_of_something_else(self, run, photos, tmp_path):
        other = tmp_path / "other"
        other.mkdir()
        (other / "notes.txt").touch()
        with pytest.raises(StoreError, match="is a folder with other files"):
            run(photos, other)
        assert not (other / WORK).exists()

    def test_two_at_once(self, run, photos, tmp_path):
        def again(line: str) -> None:
            if line.startswith("embedding") or "shards" in line:
                with pytest.raises(StoreError, match="is being written by"):
                    run(photos)

        run(photos, hooks=Hooks(notice=again))

    def test_a_target_that_cannot_be_written(self, run, photos, tmp_path):
        with pytest.raises(OutputError, match="cannot write"):
            run(photos, "/proc/nowhere")

    def test_no_image_can_be_used(self, run, tmp_path):
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos/x.jpg").write_bytes(b"x")
        with pytest.raises(InputError, match=r"^none of 1 images could be used \(1 × "):
            run(tmp_path / "photos")
        assert not (tmp_path / "folder/manifest.json").exists()

    def test_too_many_failures(self, run, check, photos):
        with pytest.raises(InputError, match=r"3 of 41 images failed, 7\.3%, more than"):
            run(photos, max_failures=0.01)
        check(photos)

    def test_the_first_failure(self, run, photos, engine, tmp_path):
        with pytest.raises(InputError, match="--on-error fail"):
            run(photos, engine=engine, on_error="fail")
        assert not (tmp_path / "folder/manifest.json").exists()
        with pytest.raises(StoreError, match="is not finished"):
            store.read(tmp_path / "folder")


class TestSeeing:
    """What a worker must see before it works, and the driver after."""

    @pytest.fixture
    def setup(self, run, photos, tmp_path, monkeypatch):
        """Give a worker's start as the driver makes it, and stop before any worker begins."""
        starts = []

        def stop(engine, start, items):
            starts.append(start)
            raise InputError("far enough")

        monkeypatch.setattr(ThreadEngine, "run", stop)
        with pytest.raises(InputError, match="far enough"):
            run(photos)
        starts[0](lambda: False)  # nothing to complain of
        return starts[0]

    def refused(self, start, told: str) -> None:
        with pytest.raises(HeadstartError, match=told):
            start(lambda: False)

    def test_another_folder_at_the_same_path(self, setup):
        (setup.folder / WORK / "probe").write_text("the other machine's")
        self.refused(setup, "cannot see the folder .* every node has mounted at the same path$")

    def test_no_folder_there(self, setup):
        self.refused(dataclasses.replace(setup, folder=Path("/nowhere")), "cannot see the folder")

    def test_no_images_there(self, setup):
        listing, sizes = setup.samples
        elsewhere = dataclasses.replace(listing, root=Path("/nowhere")), sizes
        self.refused(
            dataclasses.replace(setup, samples=elsewhere), "every node needs the images at the same"
        )

    def test_some_images_may_have_gone(self, setup):
        listing, _ = setup.samples
        datasets.location(listing, listing.images[0]).unlink()
        setup(lambda: False)

    def test_another_backbone_file(self, setup, other_backbone):
        shutil.copy(other_backbone, setup.folder / WORK / "backbone.onnx")
        self.refused(setup, "different backbone file")

    def test_a_file_that_does_not_arrive(self, run, photos, tmp_path, monkeypatch):
        """The worker's folder is another one: what it says it has written is not here."""
        monkeypatch.setattr(shard_driver, "_LAG", 0.0)
        monkeypatch.setattr(
            shard,
            "recorded_hash",
            lambda path, real=shard.recorded_hash: real(path.replace(path)) + "0",
        )
        with pytest.raises(HeadstartError, match=r"has written shard-.*, but it is not in "):
            run(photos)
        assert not (tmp_path / "folder/manifest.json").exists()


class TestResumed:
    def test_relative_paths(self, run, check, photos, tmp_path, engine, monkeypatch):
        monkeypatch.chdir(photos.parent)
        assert run(Path(photos.name), engine=engine).rows == 38

    def test_a_moved_image_after_an_interrupt(self, run, check, photos, tmp_path):
        run(photos)
        shutil.move(photos / "train/class0/1.png", photos / "train/class5/moved.png")

        def interrupt(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(photos, hooks=Hooks(progress=interrupt))
        assert store.read_size(tmp_path / "folder") == (38, 12)  # the old store, still
        assert store.verify(tmp_path / "folder") == []
        assert run(photos).embedded == 0
        check(photos)

    def test_what_a_killed_driver_leaves(self, run, check, photos, tmp_path):
        folder = tmp_path / "folder"
        folder.mkdir()
        for name in ("manifest.json.lock", ".manifest.json.1.partial", ".plan.json.1.partial"):
            (folder / name).write_text("x")
        run(photos)
        check(photos)


class TestChanges:
    """A listing that changes during the run."""

    def test_what_is_new_is_left_for_the_next_run(self, run, check, photos, write_image):
        told = []

        def notice(line: str) -> None:
            told.append(line)
            if "shards" in line:
                write_image(photos / "train/class0/new.png", 999)

        assert run(photos, hooks=Hooks(notice=notice)).rows == 38
        assert told[-1].startswith("WARNING: the source changed during the run, from 41 to 42")
        assert run(photos).embedded == 1
        check(photos)

    @pytest.mark.parametrize("tick", [-(10**10), 10**18])
    def test_a_source_is_listed_again_only_if_it_may_have_changed(
        self, tick, run, photos, monkeypatch
    ):
        monkeypatch.setattr(origins, "_TICK", tick)
        listed = []
        monkeypatch.setattr(
            datasets, "open_source", lambda *words: listed.append(words) or open_source(*words)
        )
        assert run(photos).rows == 38
        assert len(listed) == (1 if tick < 0 else 2)

    def test_what_is_gone_is_a_failure(self, run, photos, tmp_path):
        def notice(line: str) -> None:
            if "shards" in line:
                (photos / "train/class0/1.png").unlink()

        summary = run(photos, hooks=Hooks(notice=notice))
        assert summary.failures["file not found"] == 1
        assert store.verify(tmp_path / "folder") == []
