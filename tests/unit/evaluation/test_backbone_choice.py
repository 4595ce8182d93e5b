"""Choosing a backbone for a source: sample, ranking, cost, failures, plot."""

from __future__ import annotations

import io
import json
import tarfile
import xml.etree.ElementTree as ET
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from graphs import Maker
from headstart import backbones, datasets
from headstart.backbones.catalogue import Entry
from headstart.cli import cli
from headstart.core.errors import BackboneError, InputError
from headstart.core.records import Choice, ImageRef, Listing
from headstart.datasets.images import save_png
from headstart.evaluation.backbone_choice import FOLDS, ChooseConfig, choose, sample
from headstart.report import costs
from headstart.workflows.features import choice

CLASSES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def surfaces(tmp_path_factory) -> Path:
    """Write three classes of twelve images, told by their colour, and a test split of no images."""
    root = tmp_path_factory.mktemp("surfaces")
    for code, name in enumerate(CLASSES):
        for number in range(12):
            noise = np.random.default_rng(100 * code + number).integers(0, 120, (48, 48, 3))
            image = (noise + 130 * np.eye(3, dtype=int)[code]).astype(np.uint8)
            path = root / "train" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_png(path, image)
        test = root / "test" / name / "0.png"
        test.parent.mkdir(parents=True)
        test.write_bytes(b"not to be opened")
    return root


@pytest.fixture(scope="module")
def blind(tiny_backbone, tmp_path_factory) -> Path:
    """Give the tiny backbone that hardly sees anything: its features are nearly the bias."""
    model = onnx.load(tiny_backbone)
    for tensor in model.graph.initializer:
        if tensor.name == "kernel":
            kernel = onnx.numpy_helper.to_array(tensor).copy()
            kernel[1:], kernel[0] = 0, kernel[0] * 1e-5
            tensor.CopyFrom(onnx.numpy_helper.from_array(kernel, "kernel"))
    for prop in model.metadata_props:
        if "certificate" not in prop.key and '"tiny"' in prop.value:
            prop.value = prop.value.replace('"tiny"', '"blind"')
    path = tmp_path_factory.mktemp("blind") / "blind.onnx"
    onnx.save(model, path)
    return path


def config(*named, **more):
    return ChooseConfig(tuple(Choice(str(name)) for name in named), at_hand=False, **more)


class TestSample:
    def listing(self, counts: dict[str, int], split: str = "train") -> Listing:
        refs = [
            ImageRef(f"{label}/{number}.png", label, split)
            for label, count in counts.items()
            for number in range(count)
        ]
        return Listing(Path(), refs, tuple(counts), {}, "source")

    def test_classes_are_drawn_in_proportion_and_small_ones_kept(self):
        drawn = Counter(
            ref.label for ref in sample(self.listing({"a": 900, "b": 300, "c": 6, "d": 4}), 100, 0)
        )
        assert drawn == {"a": 75, "b": 25, "c": FOLDS}  # four of d are too few for the folds

    def test_it_is_the_same_again_and_hardly_changes_when_images_come(self):
        def paths(count, seed=0):
            return {ref.path for ref in sample(self.listing({"a": count, "b": count}), 50, seed)}

        assert paths(100) == paths(100) != paths(100, seed=1)
        assert len(paths(100) & paths(102)) > 45

    @pytest.mark.parametrize(("split", "counts"), [("test", {"a": 9, "b": 9}), ("", {"a": 9})])
    def test_too_few_are_one_line(self, split, counts):
        with pytest.raises(InputError, match="takes two classes with 5 labelled images each"):
            sample(self.listing(counts, split), 100, 0)


class TestChoose:
    @pytest.mark.slow
    def test_the_better_one_is_first_and_the_cost_is_told(
        self, surfaces, tiny_backbone, blind, tmp_path
    ):
        said: list[str] = []
        chosen = choose(str(surfaces), config(blind, tiny_backbone), tmp_path / "out", said.append)
        assert [one.name for one in chosen.tried] == [str(tiny_backbone), str(blind)]
        assert (chosen.images, chosen.classes, chosen.failed) == (36, 3, {})
        best, worse = chosen.tried
        assert best.accuracy > worse.accuracy + 0.2
        assert best.interval[0] <= best.accuracy <= best.interval[1]
        assert (best.verdict, worse.verdict) == ("best", "worse")
        assert worse.difference_interval[1] < 0
        assert best.logme > worse.logme
        assert best.features == 12
        assert best.megabytes == round(tiny_backbone.stat().st_size / 1e6, 2)
        assert best.images_per_second > 0
        assert best.efficient
        assert chosen.suggested == str(tiny_backbone)
        held = json.loads((tmp_path / "out" / "choice.json").read_text())
        assert held == json.loads(json.dumps(chosen.to_json()))
        assert (tmp_path / "out" / "accuracy_cost.svg").read_text() == costs.draw(held)
        assert [line.partition(":")[0] for line in said] == ["1 of 2", "2 of 2"]

    @pytest.mark.slow
    def test_the_same_seed_gives_the_same_scores(self, surfaces, tiny_backbone):
        first, second = (
            choose(str(surfaces), config(tiny_backbone, images=20)).tried[0] for _ in range(2)
        )
        assert (first.accuracy, first.logme, first.interval) == (
            second.accuracy,
            second.logme,
            second.interval,
        )

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["zip", "parquet", "webdataset"])
    def test_every_source_that_features_takes(self, kind, surfaces, tiny_backbone, tmp_path):
        files = {
            f"{path.parent.name}/{path.stem}.png": path.read_bytes()
            for path in sorted((surfaces / "train").rglob("*.png"))
        }
        data = tmp_path / f"data.{'tar' if kind == 'webdataset' else kind}"
        if kind == "zip":
            with zipfile.ZipFile(data, "w") as archive:
                for name, content in files.items():
                    archive.writestr(name, content)
        elif kind == "parquet":
            columns = {
                "image": [{"bytes": content, "path": name} for name, content in files.items()],
                "label": [name.partition("/")[0] for name in files],
            }
            pq.write_table(pa.table(columns), data)
        else:
            with tarfile.open(data, "w") as archive:
                for key, (name, content) in enumerate(files.items()):
                    for suffix, member in (("png", content), ("cls", name.split("/")[0].encode())):
                        info = tarfile.TarInfo(f"{key:04}.{suffix}")
                        info.size = len(member)
                        archive.addfile(info, io.BytesIO(member))
        chosen = choose(str(data), config(tiny_backbone))
        assert (chosen.images, chosen.classes) == (36, 3)
        assert chosen.tried[0].accuracy > 0.9

    @pytest.mark.slow
    def test_one_that_fails_does_not_end_the_run(self, surfaces, tiny_backbone, tmp_path):
        broken = tmp_path / "broken.onnx"
        broken.write_bytes(b"no graph")
        chosen = choose(
            str(surfaces), config(broken, "torchvision:resnet999", tiny_backbone, tiny_backbone)
        )
        assert [one.name for one in chosen.tried] == [str(tiny_backbone), f"{tiny_backbone} (2)"]
        assert chosen.failed.keys() == {str(broken), "torchvision:resnet999"}
        assert "did you mean torchvision:resnet" in chosen.failed["torchvision:resnet999"]
        with pytest.raises(BackboneError, match=r"every backbone failed, .*broken\.onnx because: "):
            choose(str(surfaces), config(broken))

    @pytest.mark.slow
    def test_images_that_cannot_be_read_are_left_out(self, surfaces, tiny_backbone, tmp_path):
        import shutil

        root = tmp_path / "damaged"
        shutil.copytree(surfaces, root)
        for number in range(3):
            (root / "train" / CLASSES[0] / f"{number}.png").write_bytes(b"broken")
        assert choose(str(root), config(tiny_backbone)).images == 33
        for number in range(8):
            (root / "train" / CLASSES[0] / f"{number}.png").write_bytes(b"broken")
        chosen = choose(str(root), config(tiny_backbone))
        assert (chosen.images, chosen.classes) == (24, 2)

    @pytest.mark.slow
    def test_what_is_not_at_hand_is_named_and_not_fetched(
        self, surfaces, tiny_backbone, monkeypatch
    ):
        there = [Entry("timm:a.x", "a", (9, 9)), Entry("timm:b.y", "b", (9, 9))]
        monkeypatch.setattr(backbones, "available", lambda query, notice: there)
        monkeypatch.setattr(backbones, "is_available", lambda entry: False)
        named = ChooseConfig((Choice(str(tiny_backbone)),), query="timm")
        chosen = choose(str(surfaces), named)
        assert chosen.not_tried == ["timm:a.x", "timm:b.y"]
        with pytest.raises(BackboneError, match="no backbone that matches 'timm' has its weights"):
            choose(str(surfaces), ChooseConfig(query="timm"))

    @pytest.mark.slow
    def test_the_best_is_tried_with_another_fit_too(self, surfaces, tiny_backbone, blind):
        lines: list[str] = []
        named = config(blind, tiny_backbone, fits=True)
        chosen = choose(str(surfaces), named, notice=lines.append)
        fitted = f"{tiny_backbone}?fit=pad"
        assert {one.name for one in chosen.tried} == {str(tiny_backbone), str(blind), fitted}
        assert lines[-1] == f"the best with another fit: {fitted}"
        assert choice(fitted) == Choice(str(tiny_backbone), fit="pad")  # it can be copied
        squashed = Choice(str(tiny_backbone), fit="squash")
        chosen = choose(str(surfaces), ChooseConfig((squashed,), at_hand=False, fits=True))
        assert [one.name for one in chosen.tried] == [f"{tiny_backbone}?fit=squash"]

    @pytest.mark.slow
    def test_random_weights_are_marked_and_never_suggested(self, surfaces):
        named = (Choice("torchvision:squeezenet1_1", "random"),)
        chosen = choose(str(surfaces), ChooseConfig(named, "efficientnet-lite0"))
        by_name = {one.name: one for one in chosen.tried}
        random = by_name.pop("torchvision:squeezenet1_1@IMAGENET1K_V1+random")
        assert "never trained" in random.warning
        assert chosen.suggested == "efficientnet-lite0"
        assert by_name.keys() == {"efficientnet-lite0"}
        assert by_name["efficientnet-lite0"].warning == ""


class TestCommand:
    def run(self, *arguments):
        return CliRunner().invoke(cli, ["backbones", *map(str, arguments)])

    @pytest.mark.slow
    def test_table_and_json(self, surfaces, tiny_backbone, blind, tmp_path):
        given = ("--for", surfaces, "--backbone", tiny_backbone, "--backbone", blind)
        given += ("--only-named", "--out", tmp_path / "out")
        done = self.run(*given)
        assert done.exit_code == 0, done.output
        assert "best, efficient" in done.stdout
        assert (
            f"36 images of 3 classes, none of the test split; suggested: {tiny_backbone}"
            in done.stdout
        )
        assert f"{tmp_path / 'out'}: choice.json and the plot accuracy_cost.svg" in done.stdout
        document = json.loads(self.run(*given, "--json").stdout)
        assert [one["name"] for one in document["tried"]] == [str(tiny_backbone), str(blind)]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--backbone", "a"], "need --for DATA"),
            (["--for", "x", "--only-named"], "need --backbone NAME"),
            (["--for", "x", "--weights", "random"], "need --backbone NAME"),
        ],
    )
    def test_options_that_do_nothing_are_wrong_usage(self, arguments, said):
        done = self.run(*arguments)
        assert (done.exit_code, said in done.output) == (2, True), done.output


class TestPlot:
    @pytest.mark.slow
    def test_dots_lie_where_speed_and_accuracy_say(self, surfaces, tiny_backbone, blind):
        document = choose(str(surfaces), config(tiny_backbone, blind)).to_json()
        document["tried"][0] |= {"images_per_second": 100.0, "accuracy": 0.9, "efficient": True}
        document["tried"][1] |= {"images_per_second": 10.0, "accuracy": 0.5, "efficient": False}
        root = ET.fromstring(costs.draw(document))
        dots = [one for one in root.iter("{http://www.w3.org/2000/svg}circle")]
        filled = [one for one in dots if one.get("r") == "9"]
        assert len(dots) == 3  # one of them has a ring
        first, second = ([float(one.get(at)) for at in ("cx", "cy")] for one in filled)
        assert first[0] > second[0]
        assert first[1] < second[1]

    @pytest.mark.parametrize("speeds", [[1.0], [0.03, 7.0], [100.0, 1000.0], [999.0]])
    def test_ticks_are_round_and_hold_all_speeds(self, speeds):
        ticks = costs._ticks(speeds)
        assert ticks[0] <= min(speeds) < max(speeds) + 1e-9 <= ticks[-1] + 1e-9
        assert all(f"{tick:e}"[0] in "125" for tick in ticks)


def test_a_source_is_what_features_takes(surfaces):
    assert len(sample(datasets.open_source(str(surfaces)), 500, 0)) == 36


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_cache_home", "no_sandbox")
def test_what_is_assumed_of_a_file_by_others_is_shown(surfaces, tmp_path):
    made = Maker(["n", 3, 32, 32], 18).conv(3, 8, 3, 2).add("Relu").add("GlobalAveragePool")
    onnx.save(made.model(), tmp_path / "net.onnx")
    for _ in range(2):  # the second time it comes from the cache
        lines = []
        name = f"onnx:{tmp_path / 'net.onnx'}"
        chosen = choose(str(surfaces), config(name), notice=lines.append)
        assert [tried.name for tried in chosen.tried] == [name]
        assert any("--preprocess imagenet" in line for line in lines)


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_cache_home", "no_sandbox")
class TestPreprocessing:
    @pytest.fixture
    def network(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        made = Maker(["n", 3, 32, 32], 18).conv(3, 8, 3, 2).add("Relu").add("GlobalAveragePool")
        onnx.save(made.model(), tmp_path / "net.onnx")
        return "onnx:net.onnx"

    def ranked(self, surfaces, *names, code=0):
        words = ["backbones", "--for", str(surfaces), "--only-named"]
        for name in names:
            words += ["--backbone", str(name)]
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == code, result.output
        return result

    def test_each_network_has_its_own_and_it_is_shown(self, surfaces, tiny_backbone, network):
        names = (f"{network}?preprocess=inception:BGR", network, tiny_backbone)
        shown = self.ranked(surfaces, *names).stdout
        turned = (
            f"{network}?preprocess=inception:BGR: BGR -1…1, 32 × 32, crop out of 37 (as you said)"
        )
        assert turned in shown
        assert f"{network}: RGB 0…1 less 0.485, 0.456, 0.406, divided by" in shown
        assert "(assumed)" in shown
        assert f"{tiny_backbone}: " in shown
        assert "(known)" in shown

    def test_what_fails_is_named_and_the_others_go_on(self, surfaces, network, tmp_path):
        (tmp_path / "broken.onnx").write_bytes(b"nothing")
        names = ("onnx:broken.onnx?preprocess=auto", f"{network}?preprocess=auto")
        result = self.ranked(surfaces, *names)
        assert "onnx:broken.onnx: not tried" in result.stderr
        assert "failed: onnx:broken.onnx" in result.stderr
        assert "onnx:net.onnx: --preprocess" in result.stderr
        assert "suggested: onnx:net.onnx?preprocess=" in result.stdout
