"""The plots as SVG files."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from factories import results_document, square
from headstart.report import plots, write_plots

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("k", [2, 3, 60])
def test_plots_are_written_as_drawings_of_the_results(tmp_path: Path, k: int):
    names = ["<b>&'\"", "سلام", *(f"{i}, a long name that is cut somewhere" for i in range(58))][:k]
    document = json.dumps(results_document(names, square(k)))
    (tmp_path / "results.json").write_text(document, encoding="utf-8")
    paths = write_plots(tmp_path)
    assert [path.stem for path in paths] == ["heads", "confusion", "reliability", "learning-curve"]
    drawn = {path.stem: ElementTree.parse(path).getroot() for path in paths}
    texts = {
        name: ["".join(t.itertext()) for t in root.iter(f"{SVG}text")]
        for name, root in drawn.items()
    }
    assert {"Linear SVM", "best", "tie", "Raw pixels"} <= set(texts["heads"])
    assert len(list(drawn["heads"].iter(f"{SVG}circle"))) == 5
    shown = set(texts["confusion"])
    if k <= plots.MATRIX_CLASSES:
        assert {"<b>&'\"", "سلام", "8", "2"} <= shown
    else:
        assert len([text for text in shown if " → " in text]) == plots.PAIRS
        assert "<b>&'\" → سلام" in shown
    assert "calibration error 0.065" in texts["reliability"][0]
    assert len(list(drawn["reliability"].iter(f"{SVG}circle"))) == 2
    write_plots(tmp_path)
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(
        path.name for path in paths
    )


def test_the_learning_curve_shows_sizes_law_and_forecast():
    points = [
        {"images": 20.0 * 2**i, "accuracy": 0.6 + 0.05 * i, "accuracy_ci": [0.5, 0.9]}
        for i in range(6)
    ]
    doubling = {"images": 1600, "accuracy": 0.9, "accuracy_ci": [0.85, 0.95]}
    law = {"ceiling": 0.95, "scale": 1.0, "exponent": 0.3}
    curve = {"head": "knn", "points": points, "fit": law, "doubling": doubling}
    for one, circles in (
        (curve, 7),
        (curve | {"fit": None, "doubling": None}, 6),
        (curve | {"points": points[:1], "fit": None, "doubling": None}, 1),
        (curve | {"points": [], "fit": None, "doubling": None}, 0),
        (None, 0),
    ):
        drawn = plots.learning_curve({"heads": [], "insights": {"learning_curve": one}})
        root = ElementTree.fromstring(drawn)
        found = list(root.iter(f"{SVG}circle"))
        assert len(found) == circles
        xs = [float(circle.get("cx")) for circle in found]
        assert xs == sorted(set(xs))
        assert ("90.0 %" in drawn) == (circles == 7)
        assert (circles > 0) == ("Learning curve, k" in drawn)
        assert "nan" not in drawn
