"""Weights: published files in the libraries' caches, files by users, random ones."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import http.server
import pickle
import threading
from pathlib import Path

import pytest
from headstart import backbones
from headstart.backbones import weights
from headstart.backbones.catalogue import Entry
from headstart.core.errors import BackboneError
from headstart.core.names import warning_about
from headstart.core.records import Choice
from headstart.core.torchvision_import import import_timm, import_torchvision

TORCHVISION = "torchvision:squeezenet1_1"
TIMM = "timm:mobilenetv3_small_050"


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """Give empty caches of torch and the hub, and keep the hub off the network."""
    from huggingface_hub import constants

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.fixture(scope="module")
def states():
    """Give seeded state dicts of the two networks, as their libraries build them."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(7)
        models = import_torchvision().models
        one = models.get_model(TORCHVISION.partition(":")[2], weights=None).state_dict()
        two = import_timm().create_model(TIMM.partition(":")[2], pretrained=False).state_dict()
    return {TORCHVISION: one, TIMM: two}


def save(state, path: Path) -> str:
    import torch
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    else:
        torch.save(state, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def as_published(monkeypatch):
    """Give ``as_published(name, **changes)``: change what a provider knows of an entry."""

    def change(name: str, **changes) -> Entry:
        entry = dataclasses.replace(backbones.find(Choice(name, "random")).entry, **changes)
        provider = backbones.provider_of(name)
        entries = [
            entry if other.name == entry.name else other for other in provider.list_entries()
        ]
        monkeypatch.setattr(provider, "list_entries", lambda: entries)
        return entry

    return change


def hub_file(homes: Path, entry: Entry, state) -> tuple[Path, str]:
    """Lay a file into the hub's cache, as the hub does: refs, snapshots, blobs by their hash."""
    folder = homes / "hub" / f"models--{entry.repo.replace('/', '--')}"
    found = save(state, folder / "blobs" / "new.safetensors")
    (folder / "blobs" / "new.safetensors").rename(folder / "blobs" / found)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc123")
    link = folder / "snapshots" / "abc123" / entry.file
    link.parent.mkdir(parents=True)
    link.symlink_to(folder / "blobs" / found)
    return link, found


class TestPublished:
    def test_torchs_cache_is_used_and_its_file_hashed(self, homes, states, as_published):
        path = homes / "torch/hub/checkpoints/own-file.pth"
        found = save(states[TORCHVISION], path)
        entry = as_published(TORCHVISION, file=path.name, sha256=found[:8])
        assert backbones.is_available(entry)
        candidate = backbones.find(TORCHVISION)
        assert candidate.name == entry.name
        assert candidate.weights == weights.Weights(path, found, published=True)
        module, backbone = candidate.load()
        assert backbone.weights_sha256 == found
        assert backbone.source == f"{entry.url} (squeezenet1_1 of torchvision)"
        held = module.network.state_dict()
        assert all((held[key] == value).all() for key, value in states[TORCHVISION].items())

    def test_a_file_that_is_not_the_published_one_is_refused(self, homes, states):
        entry = backbones.find(Choice(TORCHVISION, "random")).entry
        path = homes / "torch/hub/checkpoints" / entry.file
        found = save(states[TORCHVISION], path)
        with pytest.raises(BackboneError) as caught:
            backbones.find(TORCHVISION)
        said = str(caught.value)
        assert f"have SHA-256 {found}" in said
        assert f"should begin with {entry.sha256}" in said
        assert entry.url in said

    @pytest.mark.slow
    def test_the_hubs_cache_is_used_and_its_file_hashed(self, homes, states):
        entry = backbones.find(Choice(TIMM, "random")).entry
        assert not backbones.is_available(entry)
        link, found = hub_file(homes, entry, states[TIMM])
        assert backbones.is_available(entry)
        candidate = backbones.find(TIMM)
        assert candidate.weights == weights.Weights(link, found, published=True)
        module, backbone = candidate.load()
        assert (backbone.name, backbone.weights_sha256) == (entry.name, found)
        held = module.state_dict()
        assert all((value == states[TIMM][key]).all() for key, value in held.items())
        link.resolve().write_bytes(b"damaged")
        with pytest.raises(BackboneError, match=r"should begin with [0-9a-f]{64}; delete the file"):
            backbones.find(TIMM)

    @pytest.mark.parametrize(
        ("variables", "folder"),
        [
            ({"HF_HOME": "a"}, "a/hub"),
            ({"HF_HUB_CACHE": "b", "HF_HOME": "a"}, "b"),
            ({"XDG_CACHE_HOME": "c"}, "c/huggingface/hub"),
        ],
    )
    def test_the_hubs_variables_are_honoured(
        self, variables, folder, tmp_path, fresh_python, monkeypatch
    ):
        for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, str(tmp_path / value))
        place = tmp_path / folder / "models--timm--x"
        (place / "refs").mkdir(parents=True)
        (place / "refs/main").write_text("r1")
        (place / "snapshots/r1").mkdir(parents=True)
        (place / "snapshots/r1/model.safetensors").touch()
        script = """
            from pathlib import Path
            from headstart.backbones import cache
            from headstart.backbones.catalogue import Entry
            entry = Entry("timm:x", "x", (8, 8), url="u", file="model.safetensors", repo="timm/x")
            print('"' + str(cache.cached(entry, Path())) + '"')
        """
        assert fresh_python(script) == str(place / "snapshots/r1/model.safetensors")

    def test_torchs_variables_are_torchs_own(self, tmp_path, monkeypatch):
        import torch

        entry = Entry("torchvision:x", "x", (8, 8), url="u", file="x.pth")
        for variables in ({"TORCH_HOME": "a"}, {"XDG_CACHE_HOME": "b"}):
            with monkeypatch.context() as patch:
                patch.delenv("TORCH_HOME", raising=False)
                for name, value in variables.items():
                    patch.setenv(name, str(tmp_path / value))
                folder = Path(torch.hub.get_dir()) / "checkpoints"
                folder.mkdir(parents=True)
                (folder / "x.pth").touch()
                assert backbones.provider_of(entry.name).cache_path(entry) == folder / "x.pth"

    @pytest.mark.parametrize("name", [TORCHVISION, TIMM, "timm:gcvit_base"])
    def test_without_a_network_the_error_says_what_to_do(self, homes, name, as_published):
        entry = backbones.find(Choice(name, "random")).entry
        if not entry.repo:  # an address that answers nobody, whatever network there is
            entry = as_published(name, url=f"http://127.0.0.1:9/{entry.file}")
        with pytest.raises(BackboneError) as caught:
            backbones.find(name)
        said = str(caught.value)
        assert said.isprintable()
        assert f"the weights of {entry.name} are not on this machine" in said
        assert f"fetch {entry.url}" in said
        assert "--weights FILE" in said
        if entry.repo:
            assert str(homes / "hub" / f"models--{entry.repo.replace('/', '--')}") in said
            assert f"https://huggingface.co/{entry.repo}/blob/main/{entry.file}" in said
        else:
            assert f"SHA-256 begins with {entry.sha256}" in said
            assert str(homes / "torch/hub/checkpoints" / entry.file) in said

    def test_an_architecture_without_published_weights(self):
        name = next(e.name for e in backbones.available("timm:") if not e.url)
        with pytest.raises(BackboneError, match="were published; give your own with --weights"):
            backbones.find(name)

    @pytest.mark.parametrize("right", [True, False])
    def test_a_file_is_fetched_checked_and_kept(self, homes, states, right, as_published):
        digits = save(states[TORCHVISION], homes / "www/own.pth")[:8]
        handler = functools.partial(
            http.server.SimpleHTTPRequestHandler, directory=str(homes / "www")
        )
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_port}/own.pth"
            as_published(
                TORCHVISION, url=url, file="own.pth", sha256=digits if right else "00000000"
            )
            if right:
                assert backbones.find(TORCHVISION).weights.sha256.startswith(digits)
            else:
                with pytest.raises(BackboneError, match="invalid hash value"):
                    backbones.find(TORCHVISION)
            server.shutdown()
        assert (homes / "torch/hub/checkpoints/own.pth").exists() == right


@pytest.mark.parametrize("name", [TORCHVISION, TIMM])
class TestOwnFile:
    @pytest.mark.cases(3)
    @pytest.mark.slow
    @pytest.mark.parametrize("file", ["own.pth", "own.safetensors", "wrapped.pt"])
    def test_it_is_loaded_and_named(self, name, file, states, tmp_path):
        state = states[name]
        if file == "wrapped.pt":  # as training scripts save it
            state = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
        found = save(state, tmp_path / file)
        candidate = backbones.find(Choice(name, str(tmp_path / file)))
        assert candidate.name == f"{candidate.entry.name}+file"
        assert candidate.identity["weights"] == found
        _, backbone = candidate.load()
        assert backbone.weights_sha256 == found
        assert "a file of the user's" in backbone.source
        network = candidate.build().module.state_dict()
        assert all((network[key] == states[name][key]).all() for key in network)

    @pytest.mark.slow
    def test_the_classifier_may_be_absent_or_of_other_classes(self, name, states, tmp_path):
        key = {TORCHVISION: "classifier.1", TIMM: "classifier"}[name]
        absent = {k: v for k, v in states[name].items() if not k.startswith(f"{key}.")}
        assert len(absent) < len(states[name])
        other = states[name] | {f"{key}.weight": states[name][f"{key}.weight"][:7].clone()}
        for at, state in enumerate((absent, other)):
            save(state, tmp_path / f"{at}.safetensors")
            module, _ = backbones.find(Choice(name, str(tmp_path / f"{at}.safetensors"))).load()
            first = next(iter(module.state_dict().values()))
            assert (first == next(iter(states[name].values()))).all()

    @pytest.mark.parametrize("change", ["lacks", "has", "shape"])
    def test_what_does_not_fit_is_named(self, name, change, states, tmp_path):
        state = dict(states[name])
        keys = [key for key in state if key.endswith("weight")][:5]
        match change:
            case "lacks":
                for key in keys:
                    del state[key]
            case "has":
                state |= {f"extra.{key}": state[key].clone() for key in keys}
                keys = [f"extra.{key}" for key in keys]
            case _:
                state |= {key: state[key].repeat(2, *[1] * (state[key].dim() - 1)) for key in keys}
        save(state, tmp_path / "w.safetensors")
        with pytest.raises(BackboneError) as caught:
            backbones.find(Choice(name, str(tmp_path / "w.safetensors"))).load()
        said = str(caught.value)
        assert "do not fit this network" in said
        told = {
            "lacks": "the file lacks 5 of its",
            "has": "the file has 5 that it lacks",
            "shape": ": 5 of its",
        }
        assert told[change] in said
        assert sum(f" {key}" in said for key in keys) == 3
        assert said.isprintable()

    @pytest.mark.slow
    def test_it_can_be_asked_for_again_where_it_is(self, name, states, tmp_path):
        path = tmp_path / "w.safetensors"
        save(states[name], path)
        _, backbone = backbones.find(Choice(name, str(path))).load()
        assert backbones.find(backbones.choice_of(backbone, str(path))).load()[1] == backbone
        with pytest.raises(BackboneError, match=r"a file by the user with SHA-256 [0-9a-f]"):
            backbones.choice_of(backbone)

    @pytest.mark.slow
    def test_their_values_are_what_the_user_says(self, name, states, tmp_path):
        path = tmp_path / "w.pt"
        save(states[name], path)
        own = backbones.find(Choice(name, str(path)))
        other = backbones.find(Choice(name, str(path), preprocess="caffe"))
        assert other.identity != own.identity
        backbone = other.load()[1]
        assert (backbone.order, backbone.std[0]) == ("BGR", pytest.approx(1 / 255))
        assert backbone.preprocess.size == own.load()[1].preprocess.size
        again = backbones.find(backbones.choice_of(backbone, str(path))).load()[1]
        assert again == backbone

    def test_auto_and_published_weights_are_refused(self, name, states, tmp_path):
        save(states[name], tmp_path / "w.pt")
        with pytest.raises(BackboneError, match="name a preset for --weights"):
            backbones.find(Choice(name, str(tmp_path / "w.pt"), preprocess="auto"))
        for spec in ("", "random"):
            with pytest.raises(BackboneError, match="is known"):
                backbones.find(Choice(name, spec, preprocess="caffe"))

    @pytest.mark.slow
    @pytest.mark.parametrize("prefix", ["model.", "backbone.", "state_dict.model.module."])
    def test_prefixes_are_removed_and_said(self, name, prefix, states, tmp_path):
        state = {f"{prefix}{key}": value for key, value in states[name].items()}
        state["projector.weight"] = next(iter(states[name].values()))
        save({"model": state, "epoch": 3}, tmp_path / "w.pt")
        candidate = backbones.find(Choice(name, str(tmp_path / "w.pt")))
        network = candidate.build().module.state_dict()
        assert all((network[key] == states[name][key]).all() for key in network)
        notes = " ".join(candidate.weights.notes)
        for part in prefix.split(".")[:-1]:
            assert f"the prefix {part}. of names removed" in notes
        assert "1 tensor without it left out" in notes

    @pytest.mark.slow
    def test_another_implementations_names_fit_by_order(self, name, states, tmp_path):
        state = {}
        modules = list(dict.fromkeys(key.rpartition(".")[0] for key in states[name]))
        for key, value in states[name].items():
            module, _, kind = key.rpartition(".")
            state[f"net.{modules.index(module)}.{kind}"] = value
        save(state, tmp_path / "w.pth")
        candidate = backbones.find(Choice(name, str(tmp_path / "w.pth")))
        network = candidate.build().module.state_dict()
        assert all((network[key] == states[name][key]).all() for key in network)
        assert "fit by order and shape" in candidate.weights.notes[0]
        save(dict(sorted(state.items())), tmp_path / "sorted.pth")
        save(state, tmp_path / "w.safetensors")
        for file in ("sorted.pth", "w.safetensors"):
            with pytest.raises(BackboneError, match="do not fit this network"):
                backbones.find(Choice(name, str(tmp_path / file))).build()

    def test_another_networks_weights(self, name, states, tmp_path):
        other = TIMM if name == TORCHVISION else TORCHVISION
        save(states[other], tmp_path / "w.pth")
        with pytest.raises(BackboneError, match=r"w\.pth"):
            backbones.find(Choice(name, str(tmp_path / "w.pth"))).load()


class TestFiles:
    class Code:
        def __reduce__(self):
            return (Path.touch, (Path("executed"),))

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "cannot|plain state dict"),
            (b"once upon a time", "plain state dict"),
            (pickle.dumps(Code(), 2), "it holds getattr, and nothing but tensors is loaded"),
        ],
        ids=["empty", "text", "code"],
    )
    @pytest.mark.parametrize("suffix", ["pth", "safetensors"])
    def test_what_is_no_state_dict(self, content, said, suffix, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        path = tmp_path / f"w.{suffix}"
        path.write_bytes(content)
        said = "cannot read" if suffix == "safetensors" else said
        with pytest.raises(BackboneError, match=said) as caught:
            weights.read(path)
        assert str(caught.value).isprintable()
        assert not (tmp_path / "executed").exists()

    @pytest.mark.parametrize("held", [[1, 2], {}, {"a": 1}, {"state_dict": {}}])
    def test_what_holds_no_tensors(self, held, tmp_path):
        import torch

        torch.save(held, tmp_path / "w.pth")
        with pytest.raises(BackboneError, match="is not a state dict"):
            weights.read(tmp_path / "w.pth")

    @pytest.mark.parametrize("spec", ["missing.pth", ".", "a\0b", "n" * 300, "randoms"])
    def test_a_file_that_cannot_be_read(self, spec):
        with pytest.raises(BackboneError, match="cannot read the weights file") as caught:
            backbones.find(Choice(TORCHVISION, spec))
        assert str(caught.value).isprintable()

    def test_a_published_file_is_known_by_its_hash(self, states, tmp_path, as_published):
        found = save(states[TORCHVISION], tmp_path / "renamed.pth")
        entry = as_published("torchvision:squeezenet1_1", sha256=found[:8])
        candidate = backbones.find(Choice(TORCHVISION, str(tmp_path / "renamed.pth")))
        assert candidate.name == entry.name

    def test_a_published_file_of_another_tag_is_refused(self, tmp_path, as_published):
        (tmp_path / "w.pth").write_bytes(b"anything")
        digits = hashlib.sha256(b"anything").hexdigest()[:8]
        as_published("torchvision:resnet50@IMAGENET1K_V1", sha256=digits)
        with pytest.raises(
            BackboneError, match=r"use --backbone torchvision:resnet50@IMAGENET1K_V1"
        ):
            backbones.find(Choice("torchvision:resnet50", str(tmp_path / "w.pth")))


@pytest.mark.parametrize("name", [TORCHVISION, TIMM, "efficientnet-lite0"])
class TestRandom:
    @pytest.mark.slow
    def test_a_seed_decides_them(self, name):
        sums = {
            spec: backbones.find(Choice(name, spec)).load()[1].weights_sha256
            for spec in ("random", "random:0", "random:1")
        }
        assert sums["random"] == sums["random:0"] != sums["random:1"]

    def test_they_are_marked_loudly(self, name):
        candidate = backbones.find(Choice(name, "random:3"))
        _, backbone = candidate.load()
        assert backbone.name == candidate.name == f"{candidate.entry.name}+random:3"
        assert "never trained" in backbone.source
        assert "random weights" in backbone.warning
        assert warning_about(candidate.entry.name) == ""

    def test_torchs_own_generator_is_left_alone(self, name):
        import torch

        before = torch.random.get_rng_state()
        backbones.find(Choice(name, "random")).load()
        assert (torch.random.get_rng_state() == before).all()

    @pytest.mark.parametrize("spec", ["random:", "random:-1", "random:x", "random:4294967296"])
    def test_a_seed_is_a_number(self, name, spec):
        if spec == "random:":
            assert backbones.find(Choice(name, spec)).name.endswith("+random")
            return
        with pytest.raises(BackboneError, match="the seed must be 0 to 4294967295"):
            backbones.find(Choice(name, spec))

    @pytest.mark.slow
    def test_they_can_be_asked_for_again(self, name):
        for choice in (Choice(name, "random"), Choice(name, "random:5")):
            _, backbone = backbones.find(choice).load()
            again = backbones.choice_of(backbone)
            assert backbones.find(again).load()[1] == backbone
