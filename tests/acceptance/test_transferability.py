"""Do the scores rank real backbones as the heads do that are trained on them afterwards?"""

import dataclasses

import numpy as np
import pytest
from headstart import backbones
from headstart.backbones import export
from headstart.core.records import Preprocess
from headstart.evaluation import transferability
from headstart.evaluation.compare import CompareConfig
from headstart.evaluation.splits import make_protocol
from headstart.features import store
from headstart.features.embed import EmbedConfig, embed
from headstart.heads.folds import divisions
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.search import class_probabilities
from headstart.heads.training_set import TrainingSet

pytestmark = [pytest.mark.acceptance, pytest.mark.long]


def cut(blocks):
    """Return the network up to some of its blocks, pooled, and the width there."""
    import torch

    class Early(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = backbones.find(backbones.DEFAULT).load()[0]

        def forward(self, image):
            maps = self.network.bn1(self.network.conv_stem(image))
            for block in self.network.blocks[:blocks]:
                maps = block(maps)
            return maps.mean((2, 3))

    module = Early().eval()
    return module, module(torch.zeros(1, 3, 224, 224)).shape[1]


@pytest.fixture(scope="module")
def stores(clothing, tmp_path_factory):
    """Embed the photos by a good backbone and by worse ones; pixels are the worst."""
    folder = tmp_path_factory.mktemp("backbones")
    module, facts = backbones.find(backbones.DEFAULT).load()
    small = dataclasses.replace(facts, name="48 pixels", preprocess=Preprocess(55, 48))
    export.export(module, small, folder / "small.onnx")
    for blocks in (3, 5):
        module, dim = cut(blocks)
        early = dataclasses.replace(facts, name=f"{blocks} blocks", layer=str(blocks), dim=dim)
        export.export(module, early, folder / f"blocks{blocks}.onnx")
    names = [facts.name, *(str(folder / f"{n}.onnx") for n in ("small", "blocks3", "blocks5"))]
    data = []
    for number, name in enumerate(names):
        embed(str(clothing), folder / f"{number}.h5", EmbedConfig(name))
        data.append(store.read(folder / f"{number}.h5"))
    flat = data[0].pixels.reshape(len(data[0].path), -1)
    data.append(dataclasses.replace(data[0], features=flat.astype(np.float32) / 255))
    return data


def agreement(accuracies, scores):
    """Return Kendall's tau."""
    signs = [
        np.sign(accuracies[i] - accuracies[j]) * np.sign(scores[i] - scores[j])
        for i in range(len(scores))
        for j in range(i)
    ]
    return np.mean(signs)


def test_logme_ranks_backbones_as_trained_heads_do(stores):
    """Measured on seven stores: 1.0."""
    protocol = make_protocol(stores[0], CompareConfig())
    labels = stores[0].label[protocol.train].astype(np.int64)
    true = stores[0].label[protocol.test]
    accuracies, log_me = [], []
    for data in stores:
        fold = divisions(labels, 5, 0)
        training = TrainingSet(data.features[protocol.train], labels, fold, workers=2)
        head = LogisticRegressionHead(grid={"C": (3.0,)}).search(training)
        answers = class_probabilities(head.estimator, data.features[protocol.test], 10)
        accuracies.append(np.mean(answers.argmax(axis=1) == true))
        log_me.append(transferability.log_me(training.rows, labels))
    assert agreement(accuracies, log_me) >= 0.8
    assert np.argmax(log_me) == np.argmax(accuracies) == 0
