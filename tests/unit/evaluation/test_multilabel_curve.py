"""The learning curve of several labels: `headstart.evaluation.multilabel_curve`."""

from __future__ import annotations

import numpy as np
import pytest
from headstart.evaluation.multilabel_curve import learning_curve
from headstart.heads import multilabel
from headstart.heads.multilabel.label_set import LabelSet


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic-regression", "knn"])
def test_more_images_give_a_better_curve(name: str) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 20)).astype(np.float32)
    labels = (rows[:, :3] + 0.5 * rng.normal(size=(400, 3)) > [0, 0.5, 1]).astype(np.int8)
    data = LabelSet(rows, labels, np.arange(400) % 5)
    [family] = multilabel.by_name([name])
    params = {"C": 10.0} if name == "logistic-regression" else {"n_neighbors": 10, "gamma": 5.0}
    curve = learning_curve(data, lambda part: family.answers(params, part), name)
    assert len(curve.points) >= 4
    assert curve.points[-1].accuracy > curve.points[0].accuracy
    for point in curve.points:
        assert point.accuracy_ci[0] <= point.accuracy <= point.accuracy_ci[1]
    assert curve.doubling is not None
    assert curve.doubling.images == 800
