"""Networks in repositories of the Hugging Face hub, against a server that speaks its protocol."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from headstart import backbones
from headstart.backbones import export
from headstart.backbones.inference.description import describe
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import BackboneError
from headstart.core.records import Choice
from headstart.core.torchvision_import import import_timm
from headstart.workflows.backbones import list_backbones
from hub_server import TOKEN, as_bytes

NAME = "lab/cells"
CARD = "---\nlicense: other\nlicense_name: cc-by-nc-nd-4.0\n---\n# Cells\n"
CONFIG = {
    "architecture": "test_vit",
    "num_classes": 0,
    "model_args": {"img_size": 96, "num_classes": 0, "depth": 2, "reg_tokens": 2},
    "pretrained_cfg": {
        "input_size": [3, 96, 96],
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "mean": [0.7, 0.6, 0.5],
        "std": [0.2, 0.3, 0.25],
        "license": "cc-by-nc-nd-4.0",
    },
}


@pytest.fixture(scope="module")
def vit():
    """Give a network of timm's with seeded weights, as `CONFIG` describes it, and its file."""
    return seeded("test_vit", **CONFIG["model_args"])


def seeded(architecture: str, **arguments):
    import torch
    from safetensors.torch import save

    with torch.random.fork_rng():
        torch.manual_seed(11)
        network = import_timm().create_model(architecture, **arguments).eval()
    return network, save({key: value.contiguous() for key, value in network.state_dict().items()})


def pixels(network, images: np.ndarray, mean, std):
    """Run a network on ``uint8`` images as its library would."""
    import torch

    scaled = (images.astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)
    with torch.inference_mode():
        return network(torch.from_numpy(scaled.transpose(0, 3, 1, 2)))


@pytest.fixture
def pushed(server, vit):
    """Give the server and the commit of a network on it."""
    files = {"config__json": CONFIG, "README__md": CARD, "model__safetensors": vit[1]}
    return server, server.push(NAME, **files)


@pytest.mark.slow
class TestTimm:
    @pytest.mark.cases(1)
    @pytest.mark.parametrize("prefix", ["timm:hf-hub:", "hf-hub:"])
    def test_the_repository_says_everything(self, prefix, pushed, fresh_cache_home, vit):
        _, commit = pushed
        model, _ = export.model_file(f"{prefix}{NAME}")
        described = describe(model)
        assert described.name == f"timm:hf-hub:{NAME}@{commit}"
        assert described.licence == "cc-by-nc-nd-4.0"
        assert described.preprocess.size == (96, 96)
        assert described.mean == (0.7, 0.6, 0.5)
        address = f"https://huggingface.co/{NAME}/resolve/{commit}/model.safetensors"
        assert described.source.startswith(address)  # and not that of a mirror
        images = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
        expected = pixels(vit[0], images, described.mean, described.std).numpy()
        assert np.allclose(Runner(model).embed(images), expected, atol=1e-4)
        assert expected.shape == (3, 64)

    def test_what_was_fetched_is_used_without_the_server(self, pushed, monkeypatch, vit):
        from huggingface_hub import constants

        server, commit = pushed
        first = backbones.find(f"timm:hf-hub:{NAME}")
        newer = server.push(NAME, config__json=CONFIG, model__safetensors=vit[1])
        assert backbones.find(f"hf-hub:{NAME}") == first
        requests = len(server.requests)
        assert backbones.find(f"timm:hf-hub:{NAME}@{commit}") == first
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert backbones.find(f"hf-hub:{NAME}") == first
        assert len(server.requests) == requests
        with pytest.raises(BackboneError, match=f"hf download {NAME} --revision {newer}"):
            backbones.find(f"timm:hf-hub:{NAME}@{newer}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        second = backbones.find(f"timm:hf-hub:{NAME}@{newer}")
        assert second.entry.name.endswith(newer)
        assert second.identity != first.identity

    def test_a_store_goes_on_with_its_commit(self, pushed):
        _, commit = pushed
        stored = backbones.find(Choice(f"timm:hf-hub:{NAME}", "random")).load()[1]
        again = backbones.settled(Choice(f"hf-hub:{NAME}", "random"), stored)
        assert again.name == f"timm:hf-hub:{NAME}@{commit}"
        assert backbones.find(backbones.choice_of(stored)).load()[1] == stored

    @pytest.mark.parametrize("pooling", ["", "token"])
    def test_gated_units_and_pooling_left_to_the_user(self, pooling, server):
        """As Virchow2 and UNI2 are: a block that the configuration cannot name, and tokens."""
        import torch
        from timm.layers.mlp import SwiGLUPacked

        arguments = CONFIG["model_args"] | {"mlp_ratio": 4.0, "global_pool": pooling}
        network, file = seeded(
            "test_vit", **arguments, mlp_layer=SwiGLUPacked, act_layer=torch.nn.SiLU
        )
        config = CONFIG | {"model_args": arguments}
        server.push(NAME, config__json=config, model__safetensors=file)
        module, described = backbones.find(f"timm:hf-hub:{NAME}").load()
        assert described.licence == "unknown"
        image = torch.rand(2, 3, 96, 96)
        with torch.inference_mode():
            tokens = network.forward_features(image)
            expected = tokens[:, 0]
            if not pooling:
                expected = torch.cat([expected, tokens[:, 3:].mean(1)], 1)
            assert torch.allclose(module(image), expected, atol=1e-5)

    def test_both_tokens_as_a_pool(self, pushed, vit):
        import torch

        module, described = backbones.find(
            Choice(f"timm:hf-hub:{NAME}", layer="norm", pool="cls+avg")
        ).load()
        assert (described.pool, described.dim) == ("cls+avg", 128)
        image = torch.rand(2, 3, 96, 96)
        with torch.inference_mode():
            tokens = vit[0].forward_features(image)
        expected = torch.cat([tokens[:, 0], tokens[:, 3:].mean(1)], 1)
        assert torch.allclose(module(image), expected, atol=1e-5)

    def test_pickled_weights_hold_tensors_alone(self, server, tmp_path, vit):
        import torch

        path = tmp_path / "w.bin"
        torch.save(vit[0].state_dict(), path)
        server.push(NAME, config__json=CONFIG, pytorch_model__bin=path.read_bytes())
        assert backbones.find(f"hf-hub:{NAME}").load()[1].dim == 64
        torch.save({"a": Path("x")}, path)
        server.push("lab/other", config__json=CONFIG, pytorch_model__bin=path.read_bytes())
        with pytest.raises(BackboneError, match="nothing but tensors is loaded"):
            backbones.find("hf-hub:lab/other").load()

    def test_a_file_that_changed_is_refused(self, pushed):
        first = backbones.find(f"hf-hub:{NAME}")
        first.weights.path.resolve().write_bytes(b"damaged")
        with pytest.raises(
            BackboneError, match=r"should begin with [0-9a-f]{64}; delete the file"
        ) as caught:
            backbones.find(f"hf-hub:{NAME}")
        Path(re.search(r"the weights in (\S+) have", str(caught.value))[1]).unlink()
        assert backbones.find(f"hf-hub:{NAME}") == first


def in_shards(file: bytes, kind: str = "safetensors") -> dict[str, object]:
    """Return the files of weights in two shards with an index, by their names on a `Hub`."""
    import io

    import torch
    from safetensors.torch import load, save

    def packed(tensors):
        if kind == "safetensors":
            return save(tensors)
        buffer = io.BytesIO()
        torch.save(tensors, buffer)
        return buffer.getvalue()

    tensors = sorted(load(file).items())
    stem = "model" if kind == "safetensors" else "pytorch_model"
    files: dict[str, object] = {}
    owners = {}
    for number, part in enumerate((tensors[::2], tensors[1::2]), 1):
        name = f"{stem}-{number:05}-of-00002.{kind}"
        files[name] = packed(dict(part))
        owners |= {key: name for key, _ in part}
    return files | {f"{stem}.{kind}.index.json": {"metadata": {}, "weight_map": owners}}


@pytest.mark.slow
class TestShards:
    @pytest.mark.parametrize("kind", ["safetensors", "bin"])
    def test_their_network_is_that_of_one_file(self, kind, server, vit):
        import torch

        server.push(NAME, config__json=CONFIG, **in_shards(vit[1], kind))
        candidate = backbones.find(f"timm:hf-hub:{NAME}")
        assert candidate.weights.published
        image = torch.rand(2, 3, 96, 96)
        with torch.inference_mode():
            assert torch.allclose(candidate.load()[0](image), vit[0](image), atol=1e-6)

    def test_transformers_reads_them_too(self, server):
        import torch

        import_timm()
        network, config, file = tiny("Dinov2")
        rules = {"config__json": config, "preprocessor_config__json": CROPPED}
        server.push(NAME, **rules, **in_shards(file))
        module, _ = backbones.find(f"transformers:{NAME}").load()
        image = torch.rand(2, 3, 28, 28)
        with torch.inference_mode():
            expected = network(image).pooler_output
            assert torch.allclose(module(image), expected, atol=1e-6)

    def test_every_shard_counts_in_the_identity_and_is_checked(self, server, vit):
        files = in_shards(vit[1])
        commit = server.push(NAME, config__json=CONFIG, **files)
        first = backbones.find(f"timm:hf-hub:{NAME}@{commit}").weights
        changed = files | {"model-00002-of-00002.safetensors": b"other"}
        other = server.push(NAME, config__json=CONFIG, **changed)
        assert backbones.find(f"timm:hf-hub:{NAME}@{other}").weights.sha256 != first.sha256
        first.path.with_name("model-00001-of-00002.safetensors").resolve().write_bytes(b"damaged")
        with pytest.raises(BackboneError, match=r"should begin with [0-9a-f]{64}; delete the file"):
            backbones.find(f"timm:hf-hub:{NAME}@{commit}")

    def test_a_users_own_index_is_a_weights_file(self, server, vit, tmp_path):
        server.push(NAME, config__json=CONFIG, model__safetensors=vit[1])
        for name, content in in_shards(vit[1]).items():
            (tmp_path / name).write_bytes(
                content if isinstance(content, bytes) else as_bytes(content)
            )
        index = tmp_path / "model.safetensors.index.json"
        assert backbones.find(Choice(f"hf-hub:{NAME}", str(index))).load()[1].dim == 64
        (tmp_path / "model-00002-of-00002.safetensors").unlink()
        with pytest.raises(BackboneError, match=r"model-00002-of-00002\.safetensors, which is not"):
            backbones.find(Choice(f"hf-hub:{NAME}", str(index)))

    @pytest.mark.parametrize(
        ("index", "noun"),
        [
            ({"weight_map": {"a": "../model.safetensors"}}, "no .safetensors file beside it"),
            ({"weight_map": {"a": "model.bin"}}, "no .safetensors file beside it"),
            ({"weight_map": {}}, "names no files"),
            ({"weight_map": {"a": 3}}, "names no files"),
            ({}, "is broken"),
            ("[", "is broken"),
        ],
    )
    def test_a_broken_index_is_refused(self, index, noun, server):
        server.push(NAME, config__json=CONFIG, **{"model.safetensors.index.json": index})
        with pytest.raises(BackboneError, match=noun) as caught:
            backbones.find(f"timm:hf-hub:{NAME}")
        assert str(caught.value).isprintable()

    def test_a_shard_without_a_tensor_of_the_index_is_refused(self, server, vit):
        files = in_shards(vit[1])
        files["model.safetensors.index.json"]["weight_map"]["more"] = (
            "model-00001-of-00002.safetensors"
        )
        server.push(NAME, config__json=CONFIG, **files)
        with pytest.raises(BackboneError, match="lacks more, which"):
            backbones.find(f"timm:hf-hub:{NAME}").load()

    def test_a_missing_shard_is_named(self, server, vit):
        files = in_shards(vit[1])
        del files["model-00002-of-00002.safetensors"]
        server.push(NAME, config__json=CONFIG, **files)
        with pytest.raises(BackboneError, match="cannot be fetched"):
            backbones.find(f"timm:hf-hub:{NAME}")
        assert backbones.in_hub_cache() == []


@pytest.mark.slow
class TestTheCache:
    def test_its_networks_are_listed_without_the_server(self, server, vit):
        files = {"config__json": CONFIG, "model__safetensors": vit[1], "README__md": CARD}
        old = server.push(NAME, **files)
        backbones.find(f"hf-hub:{NAME}@{old}")
        new = server.push(NAME, **files)
        backbones.find(f"hf-hub:{NAME}")
        import_timm()
        _, config, file = tiny("Dinov2")
        rules = {"config__json": config, "preprocessor_config__json": CROPPED}
        server.push("lab/plain", **rules, model__safetensors=file)
        backbones.find("transformers:lab/plain")
        server.push("lab/no-weights", config__json=CONFIG)
        backbones.find(Choice("hf-hub:lab/no-weights", "random"))
        requests = len(server.requests)
        entries = {entry.name: entry for entry in backbones.in_hub_cache()}
        assert len(server.requests) == requests
        assert entries.keys() == {
            "transformers:lab/plain",
            f"timm:hf-hub:{NAME}",
            f"timm:hf-hub:{NAME}@{old}",
        }
        assert entries[f"timm:hf-hub:{NAME}"].revision == new
        assert entries[f"timm:hf-hub:{NAME}"].licence == "cc-by-nc-nd-4.0"
        assert [entry.name for entry in backbones.in_hub_cache("plain")] == [
            "transformers:lab/plain"
        ]
        rows = list_backbones("lab/cells", downloaded=True)
        assert [row["at_hand"] for row in rows] == [True, True]

    def test_what_hf_download_leaves_suffices(self, server, monkeypatch):
        """It writes no word of files that the repository lacks, and the hub cannot be asked."""
        from huggingface_hub import constants

        import_timm()
        _, config, file = tiny("Dinov2")
        rules = {"config__json": config, "preprocessor_config__json": CROPPED}
        server.push(NAME, **rules, **in_shards(file, "bin"))
        backbones.find(f"transformers:{NAME}")
        folder = Path(constants.HF_HUB_CACHE) / "models--lab--cells"
        shutil.rmtree(folder / ".no_exist", ignore_errors=True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert backbones.find(f"hf-hub:{NAME}").entry.file == "pytorch_model.bin.index.json"


TEXT = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
PLAIN = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
OF_TIMM = {"timm_model_name": "test_vit", "timm_proj": "linear", "timm_pool": "token"}


@pytest.mark.slow
class TestOpenClip:
    @pytest.mark.cases(1)
    @pytest.mark.parametrize(
        ("tower", "squash"),
        [(PLAIN, False), (OF_TIMM | {"image_size": 160}, True)],
        ids=["its own", "timm's"],
    )
    def test_the_image_tower_is_what_encodes_images(self, tower, squash, server, fresh_cache_home):
        import torch
        from safetensors.torch import save

        import_timm()
        from open_clip.model import CLIP

        model = {"embed_dim": 24, "vision_cfg": tower, "text_cfg": TEXT, "quick_gelu": True}
        with torch.random.fork_rng():
            torch.manual_seed(3)
            clip = CLIP(**model).eval()
        config = {"model_cfg": model, "preprocess_cfg": {"mean": [0.5, 0.4, 0.3]}}
        if squash:
            config["preprocess_cfg"]["resize_mode"] = "squash"
        tensors = {key: value.contiguous() for key, value in clip.state_dict().items()}
        commit = server.push(
            NAME,
            open_clip_config__json=config,
            config__json={"model_type": "clip"},
            open_clip_model__safetensors=save(tensors),
        )
        model_file, _ = export.model_file(f"hf-hub:{NAME}")
        described = describe(model_file)
        assert described.name == f"open_clip:{NAME}@{commit}"
        assert described.mean == (0.5, 0.4, 0.3)
        side = tower["image_size"]
        assert described.preprocess.resize == ((side, side) if squash else side)
        images = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)
        expected = pixels(clip.encode_image, images, described.mean, described.std).numpy()
        assert np.allclose(Runner(model_file).embed(images), expected, atol=1e-4)

    def test_a_layer_has_its_class_token(self, server):
        model = {"embed_dim": 24, "vision_cfg": PLAIN, "text_cfg": TEXT}
        server.push(NAME, open_clip_config__json={"model_cfg": model})
        choice = Choice(f"open_clip:{NAME}", "random", "transformer.resblocks.0", "cls+avg")
        assert backbones.find(choice).load()[1].dim == 64

    def test_weights_of_another_tower_are_refused(self, server, vit):
        model = {"embed_dim": 24, "vision_cfg": PLAIN, "text_cfg": TEXT}
        files = {"open_clip_config__json": {"model_cfg": model}}
        server.push(NAME, **files, open_clip_model__safetensors=vit[1])
        with pytest.raises(BackboneError, match=r"do not fit this network: the file lacks"):
            backbones.find(f"open_clip:{NAME}").load()


SQUARE = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "image_mean": [0.5, 0.6, 0.7],
}
CROPPED = SQUARE | {
    "image_processor_type": "BitImageProcessor",
    "do_center_crop": True,
    "image_std": [0.2, 0.3, 0.4],
    "crop_size": {"height": 28, "width": 28},
    "size": {"shortest_edge": 32},
    "resample": 3,
}
STRETCHED = SQUARE | {
    "image_processor_type": "SiglipImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "size": {"height": 28, "width": 28},
    "resample": 2,
}


def tiny(kind: str, **changes):
    """Return a small network of transformers with seeded weights, its configuration and file."""
    import torch
    import transformers
    from safetensors.torch import save

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = getattr(transformers, f"{kind}Config")(
        **sizes, image_size=28, patch_size=14, **changes
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = getattr(transformers, f"{kind}Model")(config).eval()
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    return network, config.to_dict(), save(tensors)


@pytest.mark.slow
class TestTransformers:
    @pytest.mark.cases(1)
    @pytest.mark.parametrize(
        ("kind", "rules", "changes"),
        [
            ("Dinov2", CROPPED, {}),
            ("DINOv3ViT", CROPPED, {"num_register_tokens": 2, "intermediate_size": 64}),
            ("SiglipVision", STRETCHED, {"intermediate_size": 64}),
        ],
    )
    def test_features_are_the_librarys(self, kind, rules, changes, server, fresh_cache_home):
        import_timm()
        network, config, file = tiny(kind, **changes)
        commit = server.push(
            NAME, config__json=config, preprocessor_config__json=rules, model__safetensors=file
        )
        model_file, _ = export.model_file(f"hf-hub:{NAME}")
        described = describe(model_file)
        assert described.name == f"transformers:{NAME}@{commit}"
        cropped = rules is CROPPED
        assert described.preprocess.resize == (32 if cropped else (28, 28))
        assert described.preprocess.interpolation == ("bicubic" if cropped else "bilinear")
        assert described.mean == (0.5, 0.6, 0.7)
        images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 3), np.uint8)
        out = pixels(network, images, described.mean, described.std)
        assert np.allclose(Runner(model_file).embed(images), out.pooler_output.numpy(), atol=1e-4)

    def test_a_pooler_without_weights_gives_way_to_the_class_token(self, server):
        import torch
        from safetensors.torch import load, save

        import_timm()
        network, config, file = tiny("ViT")
        tensors = {key: value for key, value in load(file).items() if "pooler" not in key}
        files = {"config__json": config, "preprocessor_config__json": STRETCHED}
        server.push(NAME, **files, model__safetensors=save(tensors))
        module, _ = backbones.find(f"transformers:{NAME}").load()
        image = torch.rand(2, 3, 28, 28)
        with torch.inference_mode():
            tokens = network(image).last_hidden_state
            assert torch.allclose(module(image), tokens[:, 0], atol=1e-5)
        layered = Choice(f"transformers:{NAME}", layer="model.layernorm", pool="cls+avg")
        module, _ = backbones.find(layered).load()
        expected = torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1)
        with torch.inference_mode():
            assert torch.allclose(module(image), expected, atol=1e-5)

    def test_missing_tensors_are_refused(self, server):
        from safetensors.torch import load, save

        import_timm()
        _, config, file = tiny("Dinov2")
        tensors = {key: value for key, value in load(file).items() if "layer.1." not in key}
        files = {"config__json": config, "preprocessor_config__json": CROPPED}
        server.push(NAME, **files, model__safetensors=save(tensors))
        with pytest.raises(BackboneError, match="of its tensors are missing"):
            backbones.find(f"transformers:{NAME}").load()


class TestRefusals:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "noun"),
        [
            ("hf-hub:lab/none", "there is no repository http.*/lab/none"),
            (f"hf-hub:{NAME}@{'0' * 40}", "has no revision 0000"),
            (f"timm:hf-hub:{NAME}@gone", "has no revision gone; see http.*/commits/main"),
            ("hf-hub:cells", "is no repository of the Hugging Face hub"),
            (f"hf-hub:{NAME}@", "is no repository"),
            ("hf-hub:lab/../x", "is no repository"),
            ("timm:hf-hub:lab/no-weights", "no weights of .*lab/no-weights.* were published"),
            ("hf-hub:lab/text", "holds no network of a library"),
            ("timm:hf-hub:lab/text", "names no architecture"),
            ("timm:hf-hub:lab/broken", "config.json of lab/broken is broken"),
            ("timm:hf-hub:lab/list", "is no JSON object"),
            ("timm:hf-hub:lab/empty", "has no config.json"),
            ("timm:hf-hub:lab/bands", "12 channels"),
            ("timm:hf-hub:lab/size", "no input_size"),
            (f"open_clip:{NAME}", "has no open_clip_config.json"),
            (f"transformers:{NAME}", f"holds no network of transformers; try hf-hub:{NAME}"),
            ("transformers:lab/unsized", "gives no size of images"),
            ("transformers:lab/none", "there is no repository http.*/lab/none"),
            ("transformers:lab/no-weights@gone", "has no revision gone; see http.*/commits/main"),
            ("transformers:lab/vit", "no weights of .*lab/vit.* were published"),
            ("open_clip:lab/none", "there is no repository http.*/lab/none"),
            ("open_clip:lab/tower@gone", "has no revision gone; see http.*/commits/main"),
            ("open_clip:lab/tower", "no weights of .*lab/tower.* were published"),
        ],
    )
    def test_one_line_says_what_is_wrong(self, name, noun, server):
        size = {"architecture": "test_vit", "pretrained_cfg": {"input_size": [3]}}
        server.push(NAME, config__json=CONFIG)
        server.push("lab/no-weights", config__json=CONFIG, x__txt="")
        server.push("lab/text", config__json={"vocab_size": 3})
        server.push("lab/broken", config__json="{")
        server.push("lab/list", config__json=[1])
        server.push("lab/empty", README__md=CARD)
        server.push("lab/bands", config__json=CONFIG | {"model_args": {"in_chans": 12}})
        server.push("lab/size", config__json=size)
        unsized = {"model_type": "dinov2", "image_size": 28}
        server.push("lab/unsized", config__json=unsized, preprocessor_config__json={})
        rules = {"size": {"height": 28, "width": 28}}
        server.push("lab/vit", config__json=unsized, preprocessor_config__json=rules)
        tower = {"model_cfg": {"vision_cfg": {"image_size": 32}}}
        server.push("lab/tower", open_clip_config__json=tower)
        with pytest.raises(BackboneError, match=noun) as caught:
            backbones.find(name)
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize("prefix", ["hf-hub:", "timm:hf-hub:", "transformers:", "open_clip:"])
    def test_a_gated_repository_needs_a_token(self, prefix, server, monkeypatch):
        server.push(NAME, config__json=CONFIG, README__md=CARD, model__safetensors=b"x")
        server.gated.add(NAME)
        with pytest.raises(BackboneError, match=rf"gated: ask .* at http\S+/{NAME}, .*HF_TOKEN"):
            backbones.find(f"{prefix}{NAME}")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        entry = backbones.find(Choice(f"hf-hub:{NAME}", "random")).entry
        assert entry.licence == "cc-by-nc-nd-4.0"

    def test_without_a_network_the_error_says_what_to_copy(self, server, monkeypatch, tmp_path):
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(BackboneError, match=rf"hf download {NAME} .*copy \S+cells") as caught:
            backbones.find(f"hf-hub:{NAME}")
        assert str(tmp_path / "hub" / "models--lab--cells") in str(caught.value)


def test_a_joint_backbone_may_come_from_the_hub(server):
    server.push(NAME, config__json=CONFIG)
    choice = Choice(f"timm:hf-hub:{NAME}+efficientnet-lite0")
    assert [each.name for each in backbones.members_of(choice)] == [
        f"timm:hf-hub:{NAME}",
        "efficientnet-lite0",
    ]
