"""Embedding real folders with a real, tiny backbone: the rows, what is left to do, what fails."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
from headstart import datasets
from headstart.backbones.inference.description import METADATA, OUTPUT
from headstart.backbones.inference.runner import Runner, device_name
from headstart.core.errors import (
    BackboneError,
    InputError,
    OutputError,
    RunnerError,
    StoreError,
    count,
)
from headstart.core.records import Extraction, FeatureSet
from headstart.datasets import images
from headstart.datasets.images import decode, miniature
from headstart.features import store
from headstart.features.embed import EmbedConfig, EmbedSummary, Hooks, embed, stage
from PIL import Image


@pytest.fixture
def run(tiny_backbone, tmp_path):
    """Give ``run(data, out="store.h5", hooks=None, **config)``: embed with the tiny backbone."""

    def run(data, out="store.h5", hooks=None, backbone=tiny_backbone, **config) -> EmbedSummary:
        return embed(str(data), tmp_path / out, EmbedConfig(str(backbone), **config), hooks)

    return run


@pytest.fixture
def read(tmp_path):
    def read(name: str = "store.h5") -> FeatureSet:
        assert store.verify(tmp_path / name) == []
        assert not list(tmp_path.glob(f"{name}.*"))  # neither journal nor lock is left
        return store.read(tmp_path / name)

    return read


def assert_same(one: FeatureSet, other: FeatureSet) -> None:
    """Compare two stores in all that is said of images, bit by bit."""
    first, second = asdict(one), asdict(other)
    del first["run"], second["run"]  # of the run, not of the images
    for name in ("features", "label", "sha256", "pixels"):
        assert np.array_equal(first.pop(name), second.pop(name)), name
    del first["name"], second["name"]
    assert first == second


class TestRows:
    @pytest.mark.slow
    def test_every_image_becomes_the_row_that_it_should(
        self, run, read, image_folder, tiny_backbone
    ):
        root = image_folder(splits=("test", "train", "val"))
        summary = run(root)
        data = read()
        runner = Runner(tiny_backbone)
        assert (summary.changed, summary.rows, summary.embedded) == (True, 36, 36)
        assert (summary.reused, summary.failures, summary.failed) == (0, {}, [])
        assert data.classes == ("bark", "cloth")
        assert data.digest == Extraction(runner.backbone).digest
        assert sorted(data.path) == sorted(
            str(path.relative_to(root)) for path in root.rglob("*.*")
        )
        assert data.features.shape == (36, 12)
        assert len(np.unique(data.features, axis=0)) == 36
        for row, path in enumerate(data.path):
            content = (root / path).read_bytes()
            crop = decode(content, runner.backbone.preprocess)
            split, label, _ = path.split("/")
            assert np.array_equal(data.features[row], runner.embed(crop[np.newaxis])[0])
            assert np.array_equal(data.pixels[row], miniature(crop))
            assert data.sha256[row].tobytes() == hashlib.sha256(content).digest()
            assert data.classes[data.label[row]] == label
            assert data.split[row] == {"val": "validation"}.get(split, split)

    def test_rows_are_in_natural_order(self, run, read, tmp_path, write_image):
        for number in (10, 9, 1, 100):
            write_image(tmp_path / f"photos/bark/{number}.png", number)
        run(tmp_path / "photos")
        assert read().path == [f"bark/{number}.png" for number in (1, 9, 10, 100)]

    @pytest.mark.cases(1)
    @pytest.mark.slow
    @pytest.mark.parametrize("workers", [2, 5])
    def test_the_number_of_workers_changes_no_row(self, run, read, image_folder, workers):
        root = image_folder(per_class=24)
        assert run(root, "one.h5", workers=1).workers == 1
        assert run(root, "many.h5", workers=workers).workers == workers
        assert_same(read("one.h5"), read("many.h5"))

    def test_images_without_a_class_are_embedded(self, run, read, tmp_path, write_image):
        for number in range(3):
            write_image(tmp_path / f"photos/{number}.png", number)
        run(tmp_path / "photos")
        data = read()
        assert (data.label.tolist(), data.classes, data.split) == ([-1] * 3, (), [""] * 3)

    def test_a_manifest_gives_labels_and_splits(self, run, read, tmp_path, write_image):
        for number in range(3):
            write_image(tmp_path / f"{number}.png", number)
        (tmp_path / "list.csv").write_text("path,label,split\n2.png,b,test\n1.png,a,\n0.png,,train")
        run(tmp_path / "list.csv")
        data = read()
        assert data.path == ["0.png", "2.png", "1.png"]
        assert data.label.tolist() == [-1, 1, 0]
        assert data.split == ["train", "test", ""]

    @pytest.mark.parametrize("workers", [1, 5])
    def test_equal_bytes_are_embedded_once(self, run, read, tmp_path, write_image, workers):
        first = write_image(tmp_path / "photos/a/0.png", 1)
        for number in range(1, 30):
            shutil.copy(first, tmp_path / f"photos/a/{number}.png")
        summary = run(tmp_path / "photos", workers=workers)
        assert (summary.rows, summary.embedded, summary.reused) == (30, 1, 29)
        assert len(np.unique(read().features, axis=0)) == 1

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "names",
        [
            [b"with space.png", b"new\nline.png", b"tab\t.png"],
            [b"caf\xe9.png", "café.png".encode(), b"\xff\xfe.png"],
            [b"a,b.png", b"\"quoted'.png", b"-rf.png", b"$(x).png", b"a\\b.png"],
            [b"n" * 245 + b".png"],
        ],
        ids=["white space", "not UTF-8", "punctuation", "long"],
    )
    def test_names_may_be_anything(self, run, read, tmp_path, write_image, names):
        """The names of the class, too, and each stays what it is in the next run."""
        for seed, name in enumerate(names):
            folder = tmp_path / "photos" / os.fsdecode(b"class " + name[:-4])
            image = write_image(tmp_path / "image.png", seed)
            folder.mkdir(parents=True)
            image.rename(folder / os.fsdecode(name))
        assert run(tmp_path / "photos").embedded == len(names)
        data = read()
        stored = {name.decode("utf-8", "backslashreplace") for name in names}
        assert {path.rpartition("/")[2] for path in data.path} == stored
        assert set(data.classes) == {f"class {name[:-4]}" for name in stored}
        again = run(tmp_path / "photos")
        assert (again.changed, again.embedded) == (False, 0)


@pytest.mark.slow
def test_a_large_new_store_gets_a_hint_about_int8_once(run, image_folder, monkeypatch):
    monkeypatch.setattr(stage, "_LARGE", 3)
    asked: list[Path] = []
    monkeypatch.setattr(stage, "would_pay", lambda model: asked.append(model) or True)

    def hints(data, **config):
        lines: list[str] = []
        run(data, hooks=Hooks(notice=lines.append), **config)
        return sum("--precision auto" in line for line in lines)

    few = image_folder("few", per_class=1, splits=("train",))
    many = image_folder("many", per_class=4)
    assert hints(few, out="few.h5") == 0
    assert not asked
    assert hints(many, out="half.h5", precision="fp16") == 0
    assert hints(many) == 1
    assert hints(many) == 0  # the store's precision is what it is


def exchange(one: Path, other: Path) -> None:
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


CHANGES = {  # what happens to the folder train, and how many images it should cost
    "add": (lambda train, draw: draw(train / "bark/new.png"), 1),
    "add a copy": (lambda train, draw: shutil.copy(train / "bark/1.png", train / "cloth/9.png"), 0),
    "remove": (lambda train, draw: (train / "bark/1.png").unlink(), 0),
    "rename": (lambda train, draw: (train / "bark/1.png").rename(train / "bark/9.png"), 0),
    "relabel": (lambda train, draw: (train / "bark/1.png").rename(train / "cloth/9.png"), 0),
    "move": (lambda train, draw: (train / "bark/1.png").rename(train / "../test/bark/9.png"), 0),
    "replace": (lambda train, draw: draw(train / "bark/1.png"), 1),
    "exchange": (lambda train, draw: exchange(train / "bark/1.png", train / "cloth/1.png"), 0),
    "touch": (lambda train, draw: os.utime(train / "bark/1.png", ns=(1, 1)), 0),
    "damage": (lambda train, draw: (train / "bark/1.png").write_bytes(b"damaged"), 0),
    "remove a class": (lambda train, draw: shutil.rmtree(train / "bark"), 0),
}


class TestWhatIsLeftToDo:
    @pytest.mark.slow
    def test_a_second_run_does_nothing(self, run, read, image_folder, tmp_path):
        root = image_folder()
        (root / "train/bark/damaged.jpg").write_bytes(b"no image")
        run(root)
        before, stamp = (tmp_path / "store.h5").read_bytes(), (tmp_path / "store.h5").stat()
        heard: list[str] = []
        summary = run(root, hooks=Hooks(notice=heard.append))
        assert (summary.changed, summary.embedded, summary.reused) == (False, 0, 24)
        assert summary.images_per_second == 0
        assert summary.failed == [
            (
                "train/bark/damaged.jpg",
                "not a JPEG, PNG, WebP, AVIF, BMP, TIFF or GIF image, but text",
            )
        ]
        assert "already in the store under the same path: 24 of 25 images" in heard
        after = (tmp_path / "store.h5").stat()
        assert (after.st_ino, after.st_mtime_ns) == (stamp.st_ino, stamp.st_mtime_ns)
        assert (tmp_path / "store.h5").read_bytes() == before
        read()

    @pytest.mark.slow
    @pytest.mark.parametrize("change", CHANGES)
    def test_a_change_costs_only_itself(self, run, read, image_folder, write_image, change):
        root = image_folder()
        run(root)
        make, embedded = CHANGES[change]
        make(root / "train", lambda path: write_image(path, 999))
        summary = run(root)
        assert (summary.changed, summary.embedded) == (True, embedded)
        run(root, "fresh.h5")
        assert_same(read(), read("fresh.h5"))

    @pytest.mark.slow
    def test_a_file_that_has_not_changed_is_not_read(
        self, run, image_folder, write_image, monkeypatch
    ):
        root = image_folder()
        run(root)
        read: list[str] = []
        original = datasets.read

        def listen(listing, ref):
            read.append(Path(ref.path).name)
            return original(listing, ref)

        monkeypatch.setattr(datasets, "read", listen)
        assert run(root).changed is False
        assert read == []
        write_image(root / "train/bark/new.png", 999)
        os.utime(root / "train/cloth/1.png")
        run(root)
        assert sorted(read) == ["1.png", "new.png"]
        read.clear()
        assert run(root, rehash=True).rows == len(read) == 25

    @pytest.mark.slow
    def test_a_class_may_be_added_in_front(self, run, read, image_folder, write_image):
        root = image_folder()
        run(root)
        write_image(root / "train/apple/0.png", 999)
        assert run(root).embedded == 1
        data = read()
        assert data.classes == ("apple", "bark", "cloth")
        labels = [data.classes[code] for code in data.label]
        assert labels == [path.split("/")[1] for path in data.path]

    @pytest.mark.slow
    def test_another_backbone_is_refused(self, run, read, image_folder, tiny_backbone, tmp_path):
        root = image_folder()
        run(root)
        before = (tmp_path / "store.h5").read_bytes()
        model = onnx.load(tiny_backbone)
        facts = json.loads(model.metadata_props[0].value)
        facts["preprocess"]["resize"] = 40
        onnx.helper.set_model_props(model, {METADATA: json.dumps(facts)})
        onnx.save(model, tmp_path / "other.onnx")
        expected = (
            r"different backbone or preprocessing \(backbone.preprocess.resize: 36 there, 40 now\)"
        )
        with pytest.raises(StoreError, match=expected):
            run(root, backbone=tmp_path / "other.onnx")
        assert (tmp_path / "store.h5").read_bytes() == before
        read()

    @pytest.mark.slow
    def test_a_change_that_hides_is_found_by_rehash(self, run, read, image_folder, write_image):
        root = image_folder()
        path = root / "train/bark/3.bmp"  # a format whose size does not depend on its content
        run(root)
        info = path.stat()
        write_image(path, seed=999)
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
        assert path.stat().st_size == info.st_size
        assert run(root).changed is False
        assert run(root, rehash=True).embedded == 1
        row = read().path.index("train/bark/3.bmp")
        assert read().sha256[row].tobytes() == hashlib.sha256(path.read_bytes()).digest()
        assert run(root, rehash=True).changed is False


class TestFailures:
    @pytest.mark.slow
    @pytest.mark.parametrize(("limit", "fails"), [(0.2, True), (0.25, False), (1.0, False)])
    def test_too_many_failures_end_in_an_error_with_the_good_ones_saved(
        self, run, read, image_folder, limit, fails
    ):
        root = image_folder(per_class=3)
        for name in ("a.jpg", "b.png", "c.gif", "d.bmp"):
            (root / "train/bark" / name).write_bytes(b"no image")
        if fails:
            expected = r"4 of 16 images failed, 25.0%, more than --max-failures 0.2 allows \(4 × "
            with pytest.raises(InputError, match=expected):
                run(root, max_failures=limit)
        else:
            assert run(root, max_failures=limit).rows == 12
        assert len(read().path) == 12
        assert len(read().failures) == 4

    @pytest.mark.slow
    def test_each_bad_image_is_a_row_with_its_reason(self, run, read, image_folder):
        root = image_folder()
        bark = root / "train/bark"
        whole = (bark / "1.png").read_bytes()
        (bark / "empty.jpg").touch()
        (bark / "text.jpg").write_text("no image")
        (bark / "truncated.png").write_bytes(whole[: len(whole) // 2])
        Image.new("F", (40, 40)).save(bark / "float.tif")
        Image.new("RGB", (40, 40)).save(bark / "vector.pdf")
        (bark / "vector.pdf").rename(bark / "vector.jpg")
        summary = run(root)
        other = "not a JPEG, PNG, WebP, AVIF, BMP, TIFF or GIF image"
        unranged = (
            "samples of 32 bits, floating point, have no range; say which values are black and "
            "white with --range LOW:HIGH"
        )
        expected = {
            "train/bark/empty.jpg": "empty file",
            "train/bark/float.tif": unranged,
            "train/bark/text.jpg": f"{other}, but text",
            "train/bark/truncated.png": "truncated image",
            "train/bark/vector.jpg": f"{other}, but PDF",
        }
        assert dict(read().failures) == dict(summary.failed) == expected
        assert summary.rows == len(read().path) == 24
        assert summary.failures == {
            f"{other}, but text": 1,
            f"{other}, but PDF": 1,
            "empty file": 1,
            "truncated image": 1,
            unranged: 1,
        }

    def test_what_a_manifest_lists_may_be_anything(self, run, read, tmp_path, write_image):
        write_image(tmp_path / "good.png", 1)
        (tmp_path / "folder.jpg").mkdir()
        os.mkfifo(tmp_path / "pipe.jpg")
        (tmp_path / "dangling.jpg").symlink_to("nowhere")
        names = ["good.png", "folder.jpg", "pipe.jpg", "dangling.jpg", "missing.jpg", "/dev/null"]
        text = "".join(f"{name},a\n" for name in names)
        (tmp_path / "list.csv").write_text(f"path,label\n{text}")
        assert run(tmp_path / "list.csv", max_failures=1).rows == 1
        assert dict(read().failures) == {
            "folder.jpg": "not a regular file",
            "pipe.jpg": "not a regular file",
            "/dev/null": "not a regular file",
            "dangling.jpg": "file not found",
            "missing.jpg": "file not found",
        }

    @pytest.mark.slow
    def test_pipes_and_folders_named_like_images_hold_nobody_up(
        self, run, read, image_folder, write_image
    ):
        root = image_folder()
        os.mkfifo(root / "train/bark/pipe.jpg")
        write_image(root / "train/bark/folder.jpg/inside.png", 999)
        summary = run(root)
        data = read()
        assert (summary.rows, summary.failed) == (25, [])
        assert (
            data.classes[data.label[data.path.index("train/bark/folder.jpg/inside.png")]] == "bark"
        )
        assert "ignored: 1 not a regular file" in summary.source

    @pytest.mark.slow
    def test_equal_bad_bytes_fail_alike(self, run, read, image_folder):
        root = image_folder()
        for number in range(30):
            (root / f"train/bark/bad {number}.jpg").write_bytes(b"the same")
        assert run(root, workers=5, max_failures=1).rows == 24
        assert len(read().failures) == 30
        assert len({reason for _, reason in read().failures}) == 1
        assert run(root, max_failures=1).changed is False

    @pytest.mark.slow
    def test_a_file_that_vanishes_is_a_failure(self, run, read, image_folder):
        root = image_folder()
        gone = root / "train/cloth/5.gif"
        summary = run(root, hooks=Hooks(notice=lambda line: gone.unlink(missing_ok=True)))
        assert summary.failed == [("train/cloth/5.gif", "file not found")]
        assert len(read().path) == 23

    @pytest.mark.slow
    def test_a_mended_file_is_no_failure_any_more(self, run, read, image_folder, write_image):
        root = image_folder()
        (root / "train/bark/1.png").write_bytes(b"damaged")
        assert len(run(root).failed) == 1
        write_image(root / "train/bark/1.png", 999)
        summary = run(root)
        assert (summary.embedded, summary.failed, read().failures) == (1, [], [])

    @pytest.mark.slow
    def test_on_error_fail_ends_the_run_and_keeps_what_was_done(
        self, run, read, image_folder, tmp_path
    ):
        root = image_folder(per_class=12)
        (root / "train/cloth/99\n.jpg").write_bytes(b"damaged")
        with pytest.raises(InputError, match=r"^train/cloth/99\\n.jpg: not a JPEG.* --on-error"):
            run(root, on_error="fail", workers=1)
        assert not (tmp_path / "store.h5").exists()
        heard: list[str] = []
        summary = run(root, hooks=Hooks(notice=heard.append))
        assert summary.embedded < summary.rows == 48
        assert any(line.startswith("resuming: ") for line in heard)
        run(root, "fresh.h5")
        assert_same(read(), read("fresh.h5"))

    def test_on_error_fail_with_good_images_is_an_ordinary_run(self, run, image_folder):
        assert run(image_folder(), on_error="fail").rows == 24

    @pytest.mark.slow
    def test_no_usable_image_is_an_error_and_leaves_the_store(self, run, image_folder, tmp_path):
        root = image_folder()
        run(root)
        before = (tmp_path / "store.h5").read_bytes()
        for number, path in enumerate(sorted(root.rglob("*.*"))):
            path.write_bytes(b"bad" if number else b"")
        expected = r"^none of 24 images could be used \(23 × not a JPEG.*; 1 × empty file\)$"
        with pytest.raises(InputError, match=expected):
            run(root)
        assert (tmp_path / "store.h5").read_bytes() == before
        with pytest.raises(InputError, match=expected):
            run(root, "other.h5")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "store.h5"]

    def test_features_that_are_not_finite_are_a_failure(
        self, run, image_folder, tiny_backbone, tmp_path
    ):
        model = onnx.load(tiny_backbone)
        node, make = model.graph.node, onnx.helper.make_node
        node[-1].output[0] = "flat"
        white = onnx.numpy_helper.from_array(np.array(255, np.float32), "white")
        model.graph.initializer.append(white)
        node.extend(  # a white image, and no other, is divided by zero
            [
                make("ReduceMin", ["float"], ["darkest"], keepdims=0),
                make("Sub", ["darkest", "white"], ["distance"]),
                make("Div", ["distance", "distance"], ["one"]),
                make("Mul", ["flat", "one"], [OUTPUT]),
            ]
        )
        onnx.save(model, tmp_path / "infinite.onnx")
        root = image_folder()
        images.save_png(root / "train/bark/white.png", np.full((40, 40, 3), 255, np.uint8))
        summary = run(root, backbone=tmp_path / "infinite.onnx", batch=1)
        assert summary.failures == {"the network returned values that are not finite": 1}
        assert summary.rows == 24

    @pytest.mark.slow
    def test_what_cannot_be_used_is_said_before_anything_is_written(
        self, run, image_folder, tmp_path
    ):
        root = image_folder()
        with pytest.raises(InputError, match="no such file or folder"):
            run(tmp_path / "missing")
        with pytest.raises(BackboneError, match="no backbone 'efficientnet-light0'; did you mean"):
            run(root, backbone="efficientnet-light0")
        with pytest.raises(BackboneError, match="no backbone file at"):
            run(root, backbone=tmp_path / "missing.onnx")
        with pytest.raises(RunnerError, match="no device"):
            run(root, device="tpu")
        assert [path.name for path in tmp_path.iterdir()] == ["photos"]
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="cannot write"):
            run(root, "file/store.h5")


class TestInterruption:
    @pytest.mark.cases(3)
    @pytest.mark.slow
    @pytest.mark.parametrize("workers", [1, 2, 5])
    @pytest.mark.parametrize("after", [1, 3])
    def test_finished_work_is_kept_and_the_end_is_the_same(
        self, run, read, image_folder, tmp_path, workers, after
    ):
        root = image_folder(per_class=24)
        (root / "train/bark/damaged.jpg").write_bytes(b"damaged")
        threads = threading.active_count()
        calls = []

        def interrupt(done: int, total: int) -> None:
            calls.append(done)
            if len(calls) == after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(root, hooks=Hooks(progress=interrupt), workers=workers)
        assert threading.active_count() == threads
        assert [path.name for path in tmp_path.glob("store.h5*")] == ["store.h5.journal"]
        heard: list[str] = []
        summary = run(root, hooks=Hooks(notice=heard.append), workers=workers)
        kept = summary.rows - summary.embedded
        assert kept >= calls[-1] - 1  # all that was reported, but for the damaged one
        assert f"resuming: {count(kept, 'image')} of an interrupted run kept" in heard
        run(root, "undisturbed.h5")
        assert_same(read(), read("undisturbed.h5"))

    @pytest.mark.slow
    def test_interrupted_at_every_step(self, run, read, image_folder):
        root = image_folder(per_class=12)

        def interrupt(done: int, total: int) -> None:
            raise KeyboardInterrupt

        for _ in range(8):
            try:
                run(root, hooks=Hooks(progress=interrupt), workers=1)
            except KeyboardInterrupt:
                continue
            break
        else:
            pytest.fail("every run must get a little further")
        run(root, "undisturbed.h5")
        assert_same(read(), read("undisturbed.h5"))

    @pytest.mark.slow
    def test_an_interrupted_update_leaves_the_old_store(
        self, run, read, image_folder, write_image, tmp_path
    ):
        root = image_folder()
        run(root)
        before = (tmp_path / "store.h5").read_bytes()
        for number in range(20):
            write_image(root / f"train/bark/new {number}.png", 1000 + number)

        def interrupt(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(root, hooks=Hooks(progress=interrupt), workers=1)
        assert (tmp_path / "store.h5").read_bytes() == before
        assert run(root).embedded <= 12
        run(root, "undisturbed.h5")
        assert_same(read(), read("undisturbed.h5"))

    @pytest.mark.slow
    def test_one_run_at_a_time(self, run, read, image_folder):
        root = image_folder()

        def meddle(done: int, total: int) -> None:
            with pytest.raises(StoreError, match="is being written by process"):
                run(root)

        run(root, hooks=Hooks(progress=meddle))
        assert len(read().path) == 24


class TestTelling:
    def test_progress_counts_up_to_the_end(self, run, image_folder):
        root = image_folder(per_class=10)
        (root / "train/bark/damaged.jpg").write_bytes(b"damaged")
        heard: list[tuple[int, int]] = []
        run(root, hooks=Hooks(progress=lambda *numbers: heard.append(numbers)))
        assert heard[-1] == (41, 41)
        assert [done for done, _ in heard] == sorted({done for done, _ in heard})
        assert {total for _, total in heard} == {41}

    def test_the_summary(self, run, image_folder, tmp_path):
        heard: list[str] = []
        summary = run(image_folder(), hooks=Hooks(notice=heard.append))
        assert summary.store == tmp_path / "store.h5"
        assert (summary.provider, summary.batch) == ("CPUExecutionProvider", 4)
        assert summary.device == device_name("cpu")
        assert summary.source == "24 images, 2 classes (train 12, test 12)"
        assert any(line.endswith("24 images in 2 classes") for line in heard[:2])
        assert all(len(line) <= 80 for line in heard[1:])
        assert summary.images_per_second == pytest.approx(24 / summary.seconds)

    def test_neither_torch_nor_scikit_learn_is_loaded(
        self, fresh_python, image_folder, tiny_backbone, tmp_path
    ):
        script = """
            import json, sys
            from pathlib import Path
            from headstart.features.embed import EmbedConfig, embed
            summary = embed(sys.argv[1], Path(sys.argv[2]), EmbedConfig(sys.argv[3]))
            heavy = {"torch", "torchvision", "timm", "onnx", "sklearn"} & set(sys.modules)
            print(json.dumps([summary.rows, sorted(heavy)]))
        """
        arguments = (image_folder(), tmp_path / "store.h5", tiny_backbone)
        assert fresh_python(script, *arguments) == [24, []]


def test_the_backbone_may_lie_anywhere(run, image_folder, tiny_backbone, tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9 \n")
    folder.mkdir()
    copy = Path(shutil.copy(tiny_backbone, folder / "a b.onnx"))
    assert run(image_folder(), backbone=copy).rows == 24


@pytest.mark.slow
def test_the_summary_says_where_the_time_went(run, image_folder):
    root = image_folder()
    first = run(root)
    assert set(first.shares) == {"read", "decode", "infer", "write"}
    assert sum(first.shares.values()) == pytest.approx(1, abs=0.001)
    assert first.limit == max(first.shares, key=first.shares.get)
    assert first.images_per_second > 0
    second = run(root)
    assert (second.shares, second.limit, second.images_per_second) == ({}, "", 0.0)


def test_the_store_says_what_ran(run, image_folder, tmp_path):
    root = image_folder()
    (root / "train/bark/damaged.jpg").write_bytes(b"damaged")
    summary = run(root, batch=5, workers=3)
    with h5py.File(tmp_path / "store.h5") as file:
        ran = json.loads(file.attrs["run"])
    told = {name: ran[name] for name in ("provider", "device", "batch", "workers", "limit")}
    assert told == {name: getattr(summary, name) for name in told}
    assert (ran["batch"], ran["workers"], ran["embedded"]) == (5, 3, 24)
    assert ran["images_per_second"] == pytest.approx(24 / ran["seconds"], rel=0.01)
    assert ran["failures"] == summary.failures
    assert sum(ran["shares"].values()) == pytest.approx(1, abs=0.001)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("batch", [2, 7, 64])
def test_batches_make_the_same_rows(run, read, image_folder, batch):
    root = image_folder(per_class=5)
    (root / "train/bark/damaged.jpg").write_bytes(b"damaged")
    shutil.copy(root / "train/bark/0.jpg", root / "train/bark/twin.jpg")
    run(root, "single.h5", batch=1)
    summary = run(root, "batches.h5", batch=batch)
    single, batches = read("single.h5"), read("batches.h5")
    assert summary.batch == batch
    assert batches.path == single.path
    assert np.array_equal(batches.sha256, single.sha256)
    assert np.array_equal(batches.pixels, single.pixels)
    assert np.allclose(batches.features, single.features, atol=1e-6)
    assert batches.failures == single.failures


@pytest.mark.slow
def test_half_precision_is_another_extraction(run, read, image_folder):
    root = image_folder()
    run(root)
    with pytest.raises(StoreError, match=r"backbone\.precision: fp32 there, fp16 now"):
        run(root, precision="fp16")
    run(root, "half.h5", precision="fp16")
    full, half = read(), read("half.h5")
    assert half.digest != full.digest
    assert not np.array_equal(half.features, full.features)
    cosine = (half.features * full.features).sum(1)
    cosine /= np.linalg.norm(half.features, axis=1) * np.linalg.norm(full.features, axis=1)
    assert cosine.min() > 0.9999


@pytest.mark.slow
def test_int8_goes_on_after_images_were_added(run, read, image_folder, write_image, tmp_path):
    root = image_folder(per_class=8)
    first = run(root, precision="int8")
    assert first.precision["drift"]["mean_cosine"] > 0.98
    held = read().extraction["backbone"]["precision"]
    for number in range(40):
        write_image(root / f"train/bark/new{number}.png", 500 + number)
    second = run(root, precision="int8")
    assert (second.embedded, second.rows) == (40, first.rows + 40)
    assert read().extraction["backbone"]["precision"] == held
    with h5py.File(tmp_path / "store.h5") as file:
        assert json.loads(file.attrs["run"])["precision"] == second.precision
