"""What repositories of the hub are like and what their server answers, beside the usual."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from headstart import backbones
from headstart.backbones import card, hub
from headstart.core.errors import BackboneError
from headstart.core.records import Choice
from headstart.core.torchvision_import import import_timm
from hub_server import STRANGER, TOKEN, Hub, serving

NAME = "lab/cells"
CONFIG = {
    "architecture": "test_vit",
    "model_args": {"num_classes": 0, "depth": 1, "img_size": 160},
    "pretrained_cfg": {"input_size": [3, 160, 160]},
}
TOWER = {"model_cfg": {"embed_dim": 24, "vision_cfg": {"image_size": 32}}}


def forget_what_is_missing(cache: str) -> None:
    """Leave what ``hf download`` leaves: no word of files that a repository lacks."""
    for folder in Path(cache).glob("models--*/.no_exist"):
        shutil.rmtree(folder)


class TestAnswers:
    @pytest.mark.parametrize(
        ("token", "noun"),
        [
            ("", r"gated: ask for access at http\S+/lab/cells, then log in .*HF_TOKEN"),
            (STRANGER, r"gated, and your token gives no access to it; ask for access at http\S+"),
            ("hf_expired", r"refuses your token \(Invalid credentials in .*log in again"),
        ],
    )
    def test_a_gated_repository(self, token, noun, server, monkeypatch):
        server.push(NAME, config__json=CONFIG)
        server.gated.add(NAME)
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(BackboneError, match=noun) as caught:
            backbones.find(f"hf-hub:{NAME}")
        assert str(caught.value).isprintable()

    def test_a_token_without_a_permission(self, server, monkeypatch):
        server.push(NAME, config__json=CONFIG)
        server.forbidden.add(NAME)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        with pytest.raises(BackboneError, match=r"not let you read lab/cells \(Your token lacks"):
            backbones.find(f"hf-hub:{NAME}")

    @pytest.mark.parametrize(
        ("status", "noun"),
        [
            (429, "too many requests from this address; try again in some minutes"),
            (403, r"does not let you read lab/cells \(no reason given\); see .* log in there"),
            (503, r"cannot be fetched \(.*503.*\)"),
        ],
    )
    @pytest.mark.parametrize("named", [False, True], ids=["configuration", "weights"])
    def test_a_server_that_refuses(self, status, noun, named, server):
        server.push(NAME, config__json=CONFIG, model__safetensors=b"x")
        if named:
            backbones.find(Choice(f"hf-hub:{NAME}", "random"))
        server.busy = status
        with pytest.raises(BackboneError, match=noun) as caught:
            backbones.find(f"hf-hub:{NAME}")
        assert str(caught.value).isprintable()
        assert "\\n" not in str(caught.value)

    def test_a_cache_that_cannot_be_written(self, server, monkeypatch, tmp_path):
        from huggingface_hub import constants

        server.push(NAME, config__json=CONFIG)
        (tmp_path / "file").touch()
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
        with pytest.raises(BackboneError, match=r"cannot write to the hub's cache \S+/file/hub: "):
            backbones.find(f"hf-hub:{NAME}")

    def test_the_host_of_large_files_gets_no_token(self, server, monkeypatch):
        server.push(NAME, config__json=CONFIG, model__safetensors=b"weights")
        server.gated.add(NAME)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        path = backbones.find(f"hf-hub:{NAME}").weights.path
        assert path.read_bytes() == b"weights"

    @pytest.mark.parametrize("revision", ["v1.0", "refs/pr/1", "user@branch"])
    def test_branches_and_tags(self, revision, server):
        old = server.push(NAME, config__json=CONFIG)
        new = server.push(NAME, config__json=CONFIG)
        server.refs[NAME] = {revision: old}
        files = ["config.json"]
        assert hub.open_repository(f"{NAME}@{revision}", files).commit == old
        assert hub.open_repository(NAME, files).commit == new


@pytest.mark.parametrize(
    "name",
    ["lab/cells", "timm:lab/cells", "hf_hub:lab/cells", "https://huggingface.co/lab/cells/"],
)
def test_a_repository_by_its_name_alone(name):
    with pytest.raises(BackboneError, match=r"hub is named hf-hub:lab/cells$"):
        backbones.find(Choice(name, "random"))


def test_a_path_is_no_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "cells").touch()
    for name in ("lab/cells", "./cells", "lab/cells.onnx", "lab/a/b", "resnet18", "a/" + "b" * 999):
        assert hub.repository_in(name) == ""


class TestIdentity:
    def test_a_mirror_is_no_other_network(self, server, monkeypatch, tmp_path):
        from huggingface_hub import constants

        files = {"config__json": CONFIG, "model__safetensors": b"weights"}
        server.push(NAME, **files)
        first = backbones.find(f"hf-hub:{NAME}")
        with serving(Hub()) as mirror:
            mirror.push(NAME, **files)
            template = constants.HUGGINGFACE_CO_URL_TEMPLATE
            moved = template.replace(server.address, mirror.address)
            monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", moved)
            monkeypatch.setattr(constants, "ENDPOINT", mirror.address)
            monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "another"))
            second = backbones.find(f"hf-hub:{NAME}")
        assert mirror.requests
        assert second.entry == first.entry
        assert second._source == first._source


class TestTheCache:
    @pytest.mark.parametrize("prefix", ["hf-hub:", "open_clip:"])
    def test_a_repository_of_open_clip_alone(self, prefix, server, monkeypatch):
        """Such as BioCLIP 2, which has no ``config.json``."""
        from huggingface_hub import constants

        weights = {"open_clip_model__safetensors": b"x", "README__md": "---\nlicense: mit\n---\n"}
        server.push(NAME, open_clip_config__json=TOWER, **weights)
        online = backbones.find(f"hf-hub:{NAME}")
        forget_what_is_missing(constants.HF_HUB_CACHE)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert backbones.find(f"{prefix}{NAME}").entry == online.entry
        forget_what_is_missing(constants.HF_HUB_CACHE)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        server.busy = 503
        assert backbones.find(f"{prefix}{NAME}").entry == online.entry

    def test_a_limit_of_requests_hides_no_licence(self, server):
        server.push(NAME, config__json=CONFIG, README__md="---\nlicense: mit\n---\n")
        repository = hub.open_repository(NAME, ["config.json"])
        server.busy = 429
        with pytest.raises(BackboneError, match="too many requests"):
            _ = repository.licence
        server.busy = 503  # as good as no network
        assert repository.licence == ""


class TestCards:
    @pytest.mark.parametrize(
        ("text", "licence"),
        [
            ("---\nlicense: mit\ntags: [a]\n---\n", "mit"),
            ('---\nlicense: "apache-2.0"\n---', "apache-2.0"),
            ("---\nlicense: mit # see below\n---\n", "mit"),
            ("---\nlicense:\n- mit\nlanguage:\n- en\n---\n", "mit"),
            (
                "---\nlicense:\n  - apache-2.0\n  - 'cc-by-nc-4.0'\n---\n",
                "apache-2.0, cc-by-nc-4.0",
            ),
            ("---\nlicense: [mit, cc0-1.0]\n---\n", "mit, cc0-1.0"),
            ("---\r\nlicense: mit\r\n---\r\n", "mit"),
            ("\ufeff---\nlicense: mit\n---\n", "mit"),
            ("---\nlicense: other\nlicense_name: dinov3-license\n---\n", "dinov3-license"),
            ("---\nlicense_link: https://a.b/c\nlicense: other\n---\n", "other (https://a.b/c)"),
            ("---\nlicense: other\n---\n", "other"),
            ("---\nlicense: mit\nlicense_name: x\n---\n", "mit"),
            ("---\nlicense: mit\n---\n" + "x" * 2**21, "mit"),
            ("---\nlicense:\nlanguage: en\n---\n", ""),
            ("# no front matter\nlicense: mit\n", ""),
            ("---\ntags:\n- license: mit\n---\n", ""),
            ("---\nlicense: mit\n", ""),
        ],
    )
    def test_the_licence_is_the_cards(self, text, licence, tmp_path):
        path = tmp_path / "README.md"
        path.write_bytes(text.encode())
        assert card.licence_of(path) == licence


@pytest.fixture(scope="module")
def vit():
    """Give the tensors of a network of timm's, as `CONFIG` describes it."""
    return timms("test_vit", **CONFIG["model_args"]).state_dict()


def timms(architecture: str, **arguments):
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(3)
        return import_timm().create_model(architecture, **arguments).eval()


def packed(tensors) -> bytes:
    from safetensors.torch import save

    return save({key: value.contiguous() for key, value in tensors.items()})


def features(name: str | Choice):
    """Return the features of two images by a backbone, and the images that its network takes."""
    import torch

    module, described = backbones.find(name).load()
    pixels = torch.rand(2, 3, *described.preprocess.size, generator=torch.manual_seed(0))
    with torch.inference_mode():
        return module(pixels), pixels


@pytest.mark.slow
class TestTimm:
    @pytest.mark.parametrize("architecture", ["test_vit", "test_vit.r160_in1k", "test_vit.mine"])
    def test_a_configuration_of_one_level(self, architecture, server, vit):
        """As timm wrote it up to 0.6, and a tag that only its author knows."""
        import torch

        flat = {"architecture": architecture, "num_features": 64, "global_pool": "token"}
        flat |= {"model_args": CONFIG["model_args"], "num_classes": 0}
        flat |= {"input_size": [3, 160, 160], "pool_size": None, "mean": [0.1, 0.2, 0.3]}
        server.push(NAME, config__json=flat, model__safetensors=packed(vit))
        ours, pixels = features(f"timm:hf-hub:{NAME}")
        network = timms("test_vit", **CONFIG["model_args"])
        with torch.inference_mode():
            assert torch.equal(ours, network(pixels))
        assert backbones.find(f"hf-hub:{NAME}").build().mean == (0.1, 0.2, 0.3)

    @pytest.mark.parametrize("file", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
    def test_weights_of_open_clip(self, file, server, vit, tmp_path):
        """A whole network of images and text, of which timm takes the image tower."""
        import torch

        tensors = {f"visual.trunk.{key}": value for key, value in vit.items()}
        tensors |= {"text.weight": torch.ones(3), "visual.head.proj.weight": torch.ones(8, 64)}
        content = packed(tensors)
        if file.endswith(".bin"):
            torch.save(tensors, tmp_path / "w.bin")
            content = (tmp_path / "w.bin").read_bytes()
        server.push(NAME, config__json=CONFIG, **{file: content})
        ours, pixels = features(f"timm:hf-hub:{NAME}")
        with torch.inference_mode():
            assert torch.equal(ours, timms("test_vit", **CONFIG["model_args"])(pixels))

    def test_gated_blocks_that_are_the_architectures_own(self, server):
        """EVA's network takes no class of block, and needs none."""
        import torch

        arguments = {"depth": 1, "img_size": 56, "num_classes": 0}
        network = timms("eva02_tiny_patch14_224", **arguments)
        sizes = {"input_size": [3, 56, 56]}
        config = {"architecture": "eva02_tiny_patch14_224", "model_args": arguments}
        files = {"model__safetensors": packed(network.state_dict())}
        server.push(NAME, config__json=config | {"pretrained_cfg": sizes}, **files)
        ours, pixels = features(f"timm:hf-hub:{NAME}")
        with torch.inference_mode():
            assert torch.equal(ours, network(pixels))

    @pytest.mark.parametrize("pooling", ["token", ""])
    def test_a_transformer_at_another_size(self, pooling, server, vit):
        """As timm builds it for that size: embeddings of positions are interpolated."""
        import torch

        arguments = CONFIG["model_args"] | {"global_pool": pooling, "dynamic_img_size": False}
        config = CONFIG | {"model_args": arguments}
        server.push(NAME, config__json=config, model__safetensors=packed(vit))
        choice = Choice(f"timm:hf-hub:{NAME}", size=(96, 64))
        ours, pixels = features(choice)
        assert pixels.shape[2:] == (96, 64)
        network = timms("test_vit", **arguments)
        network.set_input_size(img_size=(96, 64))
        with torch.inference_mode():
            tokens = network.forward_features(pixels)
            expected = tokens[:, 0]
            if not pooling:
                expected = torch.cat([expected, tokens[:, network.num_prefix_tokens :].mean(1)], 1)
            assert torch.equal(ours, expected)
        described = backbones.find(choice).load()[1]
        assert described.weights_sha256 == backbones.find(f"hf-hub:{NAME}").weights.sha256
        assert backbones.choice_of(described).size == (96, 64)
        for size, noun in (((90, 90), r"patches are of 16 × 16; use multiples"), ((96, 90), "16")):
            with pytest.raises(BackboneError, match=rf"90 \(.*{noun}.*; leave --size out for its"):
                backbones.find(Choice(f"hf-hub:{NAME}", size=size)).load()

    def test_an_architecture_that_timm_lacks(self, server, vit):
        config = {"architecture": "vit_of_tomorrow.best", "pretrained_cfg": {}}
        server.push(NAME, config__json=config, model__safetensors=packed(vit))
        noun = r"'vit_of_tomorrow\.best', which timm \S+ does not know; update timm"
        with pytest.raises(BackboneError, match=noun):
            backbones.find(f"hf-hub:{NAME}").load()


RULES = {
    "image_processor_type": "BitImageProcessor",
    **{"do_resize": True, "do_rescale": True, "do_normalize": True, "do_center_crop": True},
    **{"image_mean": [0.5, 0.6, 0.7], "image_std": [0.2, 0.3, 0.4], "resample": 3},
    **{"crop_size": {"height": 28, "width": 28}, "size": {"shortest_edge": 32}},
}
CODE = "raise SystemExit('the code of a repository ran')\n"


def dinov2():
    """Return a small network of transformers, and its configuration."""
    import_timm()
    import torch
    from transformers import Dinov2Config, Dinov2Model

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Dinov2Config(**sizes, image_size=28, patch_size=14)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Dinov2Model(config).eval(), config.to_dict()


@pytest.mark.slow
class TestTransformers:
    def test_rules_inside_those_of_a_processor(self, server):
        """As transformers 5 writes them; they count before those in the older file."""
        network, config = dinov2()
        files = {"config__json": config, "model__safetensors": packed(network.state_dict())}
        files["processor_config__json"] = {"image_processor": RULES}
        server.push(NAME, **files)
        backbone = backbones.find(f"hf-hub:{NAME}").load()[1]
        assert (backbone.preprocess.resize, backbone.preprocess.crop) == (32, 28)
        older = RULES | {"crop_size": {"height": 14, "width": 14}}
        server.push("lab/both", preprocessor_config__json=older, **files)
        assert backbones.find("hf-hub:lab/both").load()[1].preprocess == backbone.preprocess

    def test_weights_are_not_shortened(self, server, capfd):
        """A configuration may name half precision for weights that have more."""
        import torch

        network, config = dinov2()
        files = {"model__safetensors": packed(network.state_dict())}
        files |= {"preprocessor_config__json": RULES}
        server.push(NAME, config__json=config | {"dtype": "float16"}, **files)
        ours, pixels = features(f"hf-hub:{NAME}")
        with torch.inference_mode():
            assert torch.equal(ours, network(pixels).pooler_output)
        assert capfd.readouterr() == ("", "")  # the library would show bars

    def test_without_rules_nothing_is_guessed(self, server):
        server.push(NAME, config__json={"model_type": "dinov2", "image_size": 28})
        with pytest.raises(BackboneError, match=r"lab/cells has no preprocessor_config\.json, so"):
            backbones.find(f"hf-hub:{NAME}")

    def test_code_in_a_repository_never_runs(self, server, monkeypatch):
        """Neither is the user asked whether it may."""
        monkeypatch.setattr("builtins.input", pytest.fail)
        network, config = dinov2()
        own = {"AutoConfig": "code.Config", "AutoModel": "code.Model"}
        foreign = config | {"model_type": "cells", "auto_map": own}
        rules = RULES | {"auto_map": {"AutoImageProcessor": "code.Processor"}}
        files = {"preprocessor_config__json": rules, "code__py": CODE}
        files["model__safetensors"] = packed(network.state_dict())
        server.push(NAME, config__json=foreign, **files)
        hub.open_repository(NAME, ["code.py"])  # as after hf download
        with pytest.raises(BackboneError, match=r"kind 'cells'.*code of its own, which Headstart"):
            backbones.find(f"hf-hub:{NAME}").load()
        server.push("lab/known", config__json=config | {"auto_map": own}, **files)
        hub.open_repository("lab/known", ["code.py"])
        assert backbones.find("hf-hub:lab/known").load()[1].dim == 32
