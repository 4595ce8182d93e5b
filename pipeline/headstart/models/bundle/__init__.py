"""Stage: join a backbone and a fitted head into one ONNX file, verified before it is published.

The file takes the backbone's ``uint8`` images and returns ``label`` (an index into the class
names), ``probabilities``, ``features`` and, with a `Reference`, the ``distance`` to the training
images. Its metadata hold the class names, a summary of the training, the software it needs and the
backbone's description. Predicting with it needs no scikit-learn and unpickles nothing.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference import external_data, parity
from headstart.backbones.inference.description import (
    HEAD_INPUT,
    METADATA,
    OUTPUT,
    PROBABILITIES,
    describe,
)
from headstart.backbones.inference.extract import batches
from headstart.backbones.inference.feature_runner import FeatureRunner
from headstart.backbones.inference.runner import Runner, open_session
from headstart.core import targets, training_profile
from headstart.core.errors import HeadstartError, count
from headstart.core.files import replacing
from headstart.core.parallel import available_cores
from headstart.core.parallel.blas import run_parallel
from headstart.core.records import Backbone
from headstart.core.rows import Features
from headstart.datasets.images import decode
from headstart.heads.votes import tied
from headstart.models import seal, training_images
from headstart.models.bundle.convert import KINDS, Change, write_variant
from headstart.models.bundle.joining import joined, needs, save_sealed
from headstart.models.bundle.model_card import write_companions
from headstart.models.bundle.trained import TrainedHead
from headstart.models.novelty import METHOD

__all__ = [
    "KINDS",
    "MAX_DIFFERENCE",
    "MIN_AGREEMENT",
    "Agreement",
    "Change",
    "TrainedHead",
    "bundle",
    "write_companions",
    "write_variant",
]

MIN_AGREEMENT = 0.999  # of labels; the rest are ties
MAX_DIFFERENCE = 1e-4  # of probabilities
_BLOCK = 1024  # rows compared at once
_COMPARED = 4096  # rows at most, evenly spread


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How the ONNX head compares with scikit-learn's on the same features.

    ``labels`` is the share of equal labels, and ``max_difference`` is of probabilities. Both are
    without ``ties``: rows that differ because rounding decides which training rows are nearest.
    """

    rows: int
    labels: float
    max_difference: float
    ties: int = 0

    @property
    def holds(self) -> bool:
        """Whether the file may be published; labels may differ in ties, one of them always."""
        unequal = round((1 - self.labels) * self.rows)
        return (
            unequal <= max(1, (1 - MIN_AGREEMENT) * self.rows)
            and self.max_difference <= MAX_DIFFERENCE
        )

    def __str__(self) -> str:
        ties = f", except {count(self.ties, 'row')} with equally near neighbours"
        return (
            f"ONNX against scikit-learn on {self.rows:,} rows: {self.labels:.2%} equal labels, "
            f"probabilities within {self.max_difference:.1e}{ties if self.ties else ''}"
        )


def bundle(
    backbone: Path | Backbone, head: TrainedHead, features: Features, out: Path
) -> Agreement:
    """Write a model, if it agrees with scikit-learn on the ``(n, d) float32`` features.

    ``backbone`` is the network's file, or the description of imported features: the model then
    takes features.

    Raises:
        HeadstartError: the head cannot be converted, or does not agree.
    """
    import onnx

    estimator, reference = head.estimator, head.reference
    kind = targets.by_name(head.target).part("model")
    graph = kind.graph(head, features.shape[1])
    if isinstance(backbone, Backbone):
        trunk, metadata = None, {METADATA: json.dumps(backbone.to_json())}
    else:
        trunk = onnx.load(backbone, load_external_data=False)
        metadata = {prop.key: prop.value for prop in trunk.metadata_props}
    model = joined(trunk, graph, reference)
    if not isinstance(backbone, Backbone):
        metadata |= external_data.move(model, backbone, out)
    if head.profile is not None:
        metadata[training_profile.KEY] = head.profile.to_text()
    if head.trained_on is not None:
        metadata[training_images.KEY] = training_images.encode(head.trained_on)
    with replacing(out) as partial:
        onnx.save(graph, partial)
        agreement = _agreement(partial, head, features)
        if not agreement.holds:
            raise HeadstartError(
                f"{out.name} was not written: the ONNX head does not agree with scikit-learn's "
                f"({agreement})"
            )
        facts = {"schema": seal.SCHEMA} | kind.facts(head) | needs(model) | head.summary
        facts["licence"] = json.loads(metadata[METADATA])["licence"]
        facts["agreement"] = dataclasses.asdict(agreement)
        if reference is not None:
            facts["novelty"] = {
                "method": METHOD,
                "neighbours": reference.neighbours,
                "images": len(reference.rows),
                "quantile": reference.quantile,
                "threshold": reference.threshold,
                "unusual": reference.unusual and dataclasses.asdict(reference.unusual),
            }
        save_sealed(model, metadata, facts, partial)
        _verify(partial, estimator, out.name)
    return agreement


def _agreement(path: Path, head: TrainedHead, features: Features) -> Agreement:
    kind = targets.by_name(head.target).part("model")
    session = open_session(path)
    chosen = np.linspace(0, len(features) - 1, min(len(features), _COMPARED)).astype(np.intp)

    def of_block(start: int) -> tuple[int, float, int]:
        rows = features[chosen[start : start + _BLOCK]]
        answer, scores = session.run([kind.ANSWER, PROBABILITIES], {HEAD_INPUT: rows})
        expected = head.estimator.predict_proba(rows)
        right = (answer == kind.answers(head, expected)).reshape(len(rows), -1).all(axis=1)
        worst, ties = _difference(head.estimator, rows, scores, expected, right)
        return int(right.sum()), worst, ties

    blocks = run_parallel(of_block, range(0, len(chosen), _BLOCK), available_cores())
    equal, worst, ties = zip(*blocks, strict=True) if blocks else ((), (), ())
    share = sum(equal) / max(1, len(chosen))
    return Agreement(len(chosen), share, max(worst, default=0.0), sum(ties))


def _difference(
    estimator: Any,  # noqa: ANN401
    features: NDArray[np.float32],
    scores: NDArray[np.float32],
    expected: NDArray[np.float64],
    right: NDArray[np.bool_],
) -> tuple[float, int]:
    """Return the largest difference of probabilities ``(n, k)``, and how many ties are not in it.

    Ties become ``right``, which says whether the answers are equal.
    """
    differences = np.abs(scores - expected).max(axis=1)
    differences[~np.isfinite(differences)] = np.inf
    apart = np.flatnonzero((differences > MAX_DIFFERENCE) | ~right)
    ties = apart[tied(estimator, features[apart])] if len(apart) else apart
    differences[ties], right[ties] = 0.0, True
    return float(differences.max(initial=0.0)), len(ties)


def _verify(path: Path, estimator: Any, name: str) -> None:  # noqa: ANN401
    """Check the joined file's features against its parity record, and its answers to the head's."""
    imported = describe(path).is_imported
    runner = FeatureRunner(path) if imported else Runner(path)
    preprocess = runner.backbone.preprocess
    if isinstance(runner, FeatureRunner):
        rows = np.random.default_rng(0).standard_normal((3, runner.backbone.dim), np.float32)
        groups: list[NDArray[Any]] = [rows]
    elif parity.METADATA in runner.metadata:
        parity.check_metadata(runner.metadata, runner.embed, preprocess)
        probes = parity.Certificate.from_json(runner.metadata[parity.METADATA]).probes
        decoded = ((name, decode(data, preprocess)) for name, data in probes.items())
        groups = [crops for _, crops in batches(decoded, len(probes))]
    else:
        groups = [np.zeros((3, *preprocess.size, 3), np.uint8)]
    for images in (*groups, groups[0][:1]):
        features, scores = runner.outputs((OUTPUT, PROBABILITIES), images)
        expected = estimator.predict_proba(features)
        right = np.ones(len(features), np.bool_)
        difference, _ = _difference(estimator, features, scores, expected, right)
        if difference > MAX_DIFFERENCE:
            raise HeadstartError(
                f"{name} was not written: the joined graph differs from its head (probabilities by "
                f"{difference:.1e})"
            )
