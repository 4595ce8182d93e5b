"""What was made by the former decoding rules goes on with them, and fits to what is made today."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
from headstart import backbones
from headstart.backbones import export
from headstart.backbones.inference.decoding import with_rules
from headstart.backbones.inference.description import describe
from headstart.backbones.inference.runner import Runner
from headstart.core.records import Choice, Preprocess
from headstart.datasets import images
from headstart.evaluation.duplicates import find
from headstart.features import store
from headstart.features.embed import EmbedConfig, Hooks, embed
from headstart.features.image_embedder import ImageEmbedder

FORMER = 3


@pytest.fixture
def run(tmp_path, image_folder):
    image_folder("photos")

    def run(choice: Choice, out: str = "s.h5", lines: list[str] | None = None):
        notice = (lambda line: None) if lines is None else lines.append
        config = EmbedConfig(choice, workers=1)
        return embed(tmp_path / "photos", tmp_path / out, config, Hooks(notice=notice))

    return run


@pytest.mark.slow
def test_a_store_goes_on_with_its_own_rules(run, tmp_path, tiny_backbone, write_image):
    latest = Choice(str(tiny_backbone))
    run(dataclasses.replace(latest, policy=FORMER))
    write_image(tmp_path / "photos" / "train" / "bark" / "new.png", 77, (90, 131))
    lines: list[str] = []
    assert run(latest, lines=lines).embedded == 1
    assert any("decoding rules" in line for line in lines)
    rows = store.read(tmp_path / "s.h5")
    assert rows.extraction["backbone"]["preprocess"]["policy"] == FORMER
    runner = Runner(with_rules(tiny_backbone, "", "", FORMER))
    (row,) = np.flatnonzero([path.endswith("new.png") for path in rows.path])
    content = (tmp_path / "photos" / rows.path[row]).read_bytes()
    crop = images.decode(content, runner.backbone.preprocess)
    assert np.allclose(rows.features[row], runner.embed(crop[np.newaxis])[0], atol=1e-5)
    assert (crop != images.decode(content, describe(tiny_backbone).preprocess)).any()


def test_a_store_by_the_latest_rules_says_nothing_of_them(run, tmp_path, tiny_backbone):
    lines: list[str] = []
    for _ in range(2):
        run(Choice(str(tiny_backbone)), lines=lines)
    assert not any("decoding rules" in line for line in lines)
    facts = store.read(tmp_path / "s.h5").extraction["backbone"]["preprocess"]
    assert facts["policy"] == images.POLICY


def test_the_backbone_of_a_former_store_is_located(tiny_backbone):
    former = describe(with_rules(tiny_backbone, "", "", FORMER))
    path, _ = export.model_file(Choice(str(tiny_backbone), policy=FORMER))
    assert export.locate(former.to_json(), str(path)) == path
    assert backbones.settled(Choice(str(tiny_backbone)), former).policy == FORMER


def test_an_embedder_that_was_fitted_before_keeps_its_rules(tiny_backbone, write_image, tmp_path):
    path = write_image(tmp_path / "a.png", 1, (90, 131))
    embedder = ImageEmbedder(str(tiny_backbone), workers=1).fit([path])
    assert embedder.policy_ == images.POLICY
    today = embedder.transform([path])
    del embedder.policy_
    earlier = pickle.loads(pickle.dumps(embedder))
    former = earlier.transform([path])
    assert (former != today).any()
    assert (earlier.fit([path]).transform([path]) == today).all()


@pytest.mark.slow
def test_duplicates_are_found_between_former_rows_and_todays():
    """The same pictures in other files, decoded by one policy and by the other."""
    rng = np.random.default_rng(0)
    kinds = [Preprocess(128, 112, policy=policy) for policy in images.POLICIES]
    crops = []
    for preprocess in kinds:
        for seed in range(12):
            coarse = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), np.uint8)
            picture = np.kron(coarse, np.ones((24, 24, 1), np.uint8))
            crops.append(images.decode(images.encode(picture, "PNG"), preprocess))
    miniatures = np.stack([images.miniature(crop) for crop in crops])
    assert np.abs(miniatures[:12].astype(int) - miniatures[12:]).max() <= 1
    pictures = rng.normal(size=(12, 32)).astype(np.float32)
    features = np.concatenate([pictures, pictures + rng.normal(0, 0.01, (12, 32))])
    sha256 = rng.integers(0, 256, (24, 32), np.uint8)
    found = find(features.astype(np.float32), sha256, miniatures)
    assert sorted(found.rows.tolist()) == list(range(24))
