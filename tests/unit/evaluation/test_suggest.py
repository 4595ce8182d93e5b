"""Images to label next: clusters, strategies, forecasts and what cannot be chosen."""

from __future__ import annotations

import csv
import dataclasses

import factories
import numpy as np
import pytest
from headstart.core.errors import InputError, UsageError
from headstart.core.records import SUGGESTED
from headstart.core.results import CurvePoint, LearningCurve
from headstart.core.suggestions import GO_ON, MORE_AT_ONCE, STOP
from headstart.datasets import Options
from headstart.datasets.csv_manifest import read_labels
from headstart.evaluation.suggest import Guesser, select, table
from headstart.evaluation.suggest.clusters import cluster, on_main_axes
from headstart.evaluation.suggest.forecast import forecast
from headstart.evaluation.suggest.model import class_margins, label_margins
from headstart.evaluation.suggest.strategies import STRATEGIES, Candidates


@pytest.fixture
def islands():
    """Six islands of 30 images each, (180, 8), with the number of each image's island."""
    rng = np.random.default_rng(0)
    centres = 5 * np.eye(8)[:6]
    number = np.repeat(np.arange(6), 30)
    return (centres[number] + 0.3 * rng.normal(size=(180, 8))).astype(np.float32), number


def unlabelled(data, rows):
    label = data.label.copy()
    label[rows] = -1
    return dataclasses.replace(data, label=label)


@pytest.fixture
def data():
    return factories.feature_set(n=90, k=3)


@pytest.fixture
def partly(data):
    return unlabelled(data, np.arange(30, 90))


def curve(accuracy, sizes=(10, 20, 40, 80, 160)):
    points = [CurvePoint(n, n, accuracy(n), (0.0, 1.0)) for n in sizes]
    return LearningCurve("h", "", points, None, None)


@pytest.fixture
def sets():
    """90 images with up to three labels, of which 40 are looked at."""
    data = factories.label_sets(n=90)
    known = data.label_sets.copy()
    known[40:] = -1
    return dataclasses.replace(data, label_sets=known)


@pytest.fixture
def guesser(data):
    """Something that guesses without being fitted."""
    weights = np.random.default_rng(0).normal(size=(8, 3))

    def probabilities(rows):
        scores = np.exp(rows @ weights / 10)
        return scores / scores.sum(axis=1, keepdims=True)

    return Guesser("g", data.classes, probabilities, curve(lambda n: 0.9 - 1 / n), 30)


def chosen(selection):
    return selection.rows.tolist()


def test_clusters_are_the_islands_whatever_the_weights(islands):
    rows, number = islands
    rng = np.random.default_rng(0)
    for weights in (None, rng.random(180).astype(np.float32)):
        member = cluster(on_main_axes(rows), 6, np.random.default_rng(1), weights).member
        assert len({*zip(member, number, strict=True)}) == 6


def test_there_are_no_more_clusters_than_different_rows():
    rows = np.zeros((5, 3), np.float32)
    assert len(cluster(rows, 3, np.random.default_rng(0)).centres) == 1


@pytest.mark.parametrize("name", ["diverse", "typical"])
def test_every_island_without_a_label_gets_an_image(islands, name):
    rows, number = islands
    candidates = Candidates(rows[number > 1], rows[number < 2][::10])
    picked = STRATEGIES[name](candidates, 4, np.random.default_rng(0))
    assert sorted(number[number > 1][picked]) == [2, 3, 4, 5]


def test_a_typical_image_is_in_the_middle_of_its_island(islands):
    rows, number = islands
    candidates = Candidates(rows, np.zeros((0, 8), np.float32))
    for picked in STRATEGIES["typical"](candidates, 6, np.random.default_rng(0)):
        island = rows[number == number[picked]]
        apart = np.linalg.norm(island - island.mean(axis=0), axis=1)
        own = np.linalg.norm(rows[picked] - island.mean(axis=0))
        assert (apart < own).mean() < 0.25


def test_uncertain_images_have_small_margins_and_lie_apart(islands):
    rows, number = islands
    probabilities = np.full((180, 2), [0.99, 0.01])
    doubtful = np.isin(number, [0, 1, 2])
    share = 0.5 + np.random.default_rng(0).uniform(0, 0.02, doubtful.sum())
    probabilities[doubtful] = np.column_stack([share, 1 - share])
    margins = class_margins(probabilities)
    candidates = Candidates(on_main_axes(rows), np.zeros((0, 8), np.float32), margins)
    picked = STRATEGIES["uncertainty"](candidates, 3, np.random.default_rng(0))
    assert sorted(number[picked]) == [0, 1, 2]


@pytest.mark.parametrize("name", STRATEGIES)
def test_each_image_is_chosen_once_even_if_all_are(islands, name):
    rows, _ = islands
    rows = np.repeat(rows[:20], 2, axis=0)  # clusters are fewer than images
    candidates = Candidates(rows, rows[:3], np.zeros(40))
    picked = STRATEGIES[name](candidates, 40, np.random.default_rng(0))
    assert sorted(picked) == list(range(40))


def test_margins_are_those_of_the_two_best_classes():
    assert class_margins(np.array([[0.2, 0.7, 0.1], [0.5, 0.0, 0.5]])) == pytest.approx([0.5, 0.0])
    assert class_margins(np.array([[1.0]])).tolist() == [1]


def test_several_labels_are_in_doubt_as_much_as_the_least_sure_one():
    doubts = np.array([[0.5, 1.0], [1.0, 0.5], [0.75, 0.0], [0.0, 0.75], [1.0, 1.0], [0.0, 0.0]])
    assert label_margins(doubts) == pytest.approx([0.0, 0.0, 0.25, 0.25, 1.0, 1.0])


def test_doubt_about_a_rare_label_counts_for_more():
    likely = np.full((100, 2), [0.05, 0.3])
    likely[:2] = [[0.4, 0.3], [0.05, 0.4]]
    margins = label_margins(likely)
    assert margins[0] == 0 < margins[1] - 0.3


@pytest.mark.slow
def test_labelled_images_are_asked_and_guessed(partly):
    selection = select(partly, 10)
    suggestions = selection.suggestions
    assert suggestions.strategy == "uncertainty"
    assert set(chosen(selection)) <= set(range(30, 90))
    assert len(suggestions.images) == len({image.path for image in suggestions.images}) == 10
    assert {image.label for image in suggestions.images} <= set(partly.classes)
    apart = [image.margin for image in suggestions.images]
    assert apart == sorted(apart)
    assert suggestions.forecast.labelled == 30


def test_the_same_seed_gives_the_same_images(partly, guesser):
    first, second = (select(partly, 10, guesser=guesser, seed=3) for _ in range(2))
    assert chosen(first) == chosen(second)


def test_without_labels_the_images_are_centres_of_clusters(data):
    suggestions = select(unlabelled(data, np.arange(90)), 10).suggestions
    assert (suggestions.strategy, suggestions.forecast) == ("diverse", None)
    assert {image.confidence for image in suggestions.images} == {None}
    assert {remark.code for remark in suggestions.remarks} == {"HS802", "HS804"}


def test_labels_of_one_class_make_no_model(data):
    first = np.flatnonzero(data.label == data.label[0])
    one = unlabelled(data, np.setdiff1d(np.arange(90), first[:5]))
    suggestions = select(one, 5).suggestions
    assert suggestions.strategy == "diverse"
    assert any(data.classes[data.label[0]] in remark.text for remark in suggestions.remarks)
    with pytest.raises(InputError, match="needs a model"):
        select(one, 5, "uncertainty")


def test_copies_are_suggested_once_and_never_if_one_is_labelled(data, guesser):
    sha256, features = data.sha256.copy(), data.features.copy()
    for copy, original in ((50, 40), (60, 2)):  # image 2 has a label, image 40 none
        sha256[copy], features[copy] = sha256[original], features[original]
    twice = dataclasses.replace(
        unlabelled(data, np.arange(30, 90)), sha256=sha256, features=features
    )
    selection = select(twice, 60, guesser=guesser)
    assert not {50, 60} & set(chosen(selection))
    assert selection.suggestions.repeated == 2


def test_all_are_suggested_where_more_are_asked_for(partly, guesser):
    selection = select(partly, 500, guesser=guesser)
    assert sorted(chosen(selection)) == list(range(30, 90))
    assert "HS801" in {remark.code for remark in selection.suggestions.remarks}


def test_unlabelled_test_images_are_not_suggested(partly, guesser):
    split = ["test" if row >= 80 else "" for row in range(90)]
    selection = select(dataclasses.replace(partly, split=split), 60, guesser=guesser)
    assert max(chosen(selection)) < 80
    assert "HS803" in {remark.code for remark in selection.suggestions.remarks}


@pytest.mark.slow
def test_labelled_test_images_teach_nothing(partly):
    split = ["test" if row < 10 else "" for row in range(90)]
    assert select(dataclasses.replace(partly, split=split), 5).suggestions.labelled == 20


def test_nothing_to_choose_from_is_said_in_one_line(data, partly):
    with pytest.raises(InputError, match="labelled"):
        select(data, 5)
    with pytest.raises(UsageError, match="--n"):
        select(partly, 0)
    with pytest.raises(UsageError, match="typical"):
        select(partly, 5, "clever")
    features = partly.features.copy()
    features[70, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        select(dataclasses.replace(partly, features=features), 5)


@pytest.mark.slow
def test_a_model_of_other_classes_is_refused(partly):
    guesser = Guesser("m", ("cat", "dog"), lambda rows: np.full((len(rows), 2), 0.5))
    with pytest.raises(InputError, match="does not know"):
        select(partly, 5, guesser=guesser)


def test_the_forecast_says_when_to_go_on_and_when_to_stop():
    rising = forecast(curve(lambda n: 0.95 - 2 * n**-0.5), 160, 160)
    assert rising.verdict == GO_ON
    assert rising.accuracy_then == pytest.approx(0.95 - 2 * 320**-0.5, abs=0.01)
    assert forecast(curve(lambda n: 0.95 - 2 * n**-0.5), 160, 1).verdict == MORE_AT_ONCE
    sure = forecast(curve(lambda n: 1.0, (3, 6, 12, 24)), 30, 10)
    assert 0.005 < sure.noise < sure.gain_ci[1] + 1e-9  # all right so far is no proof
    flat = forecast(curve(lambda n: 0.9, (125, 250, 500, 1000, 2000)), 2000, 100)
    assert (flat.verdict, flat.enough) == (STOP, None)
    assert "Stop" in flat.text
    assert flat.gain_ci[0] < 0 < flat.gain_ci[1] < 0.01
    few = forecast(curve(lambda n: 0.9), 160, 100)  # too few labels to know
    assert (few.verdict, few.enough) == (MORE_AT_ONCE, None)
    assert "many more" in few.text
    slow = forecast(curve(lambda n: 0.5 + 0.03 * np.log(n)), 160, 1)
    assert f"label about {slow.enough}" in slow.text
    assert forecast(curve(lambda n: 0.9, (10, 20)), 160, 100) is None
    assert forecast(None, 160, 100) is None


def test_two_stores_are_one_pool_with_the_classes_of_both(data):
    few = dataclasses.replace(
        data,
        path=[f"b/{path}" for path in data.path],
        label=np.zeros(90, np.int32),
        classes=("new",),
        sha256=data.sha256 ^ 255,
    )
    pooled = table.Pooled.of([data, few])
    assert len(pooled.data) == 180
    assert pooled.data.classes == (*data.classes, "new")
    assert pooled.data.label_text(0) == data.label_text(0)
    assert pooled.data.label_text(170) == "new"
    assert pooled.place(100) == (pooled.parts[1], 10)
    assert len(table.Pooled.of([data, data]).data) == 90


def test_the_table_says_where_images_come_from(tmp_path, partly, guesser):
    pooled = table.Pooled.of([partly])
    selection = select(partly, 10, guesser=guesser)
    remarks = table.write(tmp_path / "t.csv", pooled, selection, "csv", all_images=True)
    assert [remark.code for remark in remarks] == ["HS805"]  # there are no files
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert [row["origin"] for row in rows] == [SUGGESTED] * 10 + [""] * 80
    assert all(not row["label"] and row["guess"] for row in rows[:10])
    assert sum(bool(row["label"]) for row in rows) == 30
    table.write(tmp_path / "r.csv", pooled, select(partly, 10, "random", guesser))
    drawn = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    assert {row["origin"] for row in drawn} == {"random"}


def test_several_labels_are_guessed_by_their_thresholds(sets):
    selection = select(sets, 10)
    suggestions = selection.suggestions
    assert min(chosen(selection)) >= 40
    assert (suggestions.strategy, suggestions.target) == ("uncertainty", "multi-label")
    assert suggestions.forecast.score == "mean average precision"
    margins = [image.margin for image in suggestions.images]
    assert margins == sorted(margins)
    for image in suggestions.images:
        assert image.label == "|".join(each.label for each in image.labels)
        least = min([each.confidence for each in image.labels], default=image.confidence)
        assert image.confidence == least


def test_labels_that_two_images_do_not_have_make_no_model(sets):
    labels = sets.label_sets.copy()
    labels[:40] = [1, 0, 0]
    labels[0] = [1, 1, 0]
    few = select(dataclasses.replace(sets, label_sets=labels), 5).suggestions
    assert few.strategy == "diverse"
    assert "two" in few.remarks[0].text
    with pytest.raises(InputError, match="lack"):
        select(dataclasses.replace(sets, label_sets=labels), 5, "uncertainty")


def test_a_model_of_another_target_is_refused(sets, partly, guesser):
    with pytest.raises(InputError, match="several labels"):
        select(sets, 5, guesser=guesser)
    several = dataclasses.replace(guesser, thresholds=np.full(3, 0.5))
    with pytest.raises(InputError, match="one class"):
        select(partly, 5, guesser=several)


def test_all_looked_at_is_said_with_the_mark_of_those_that_are_not():
    with pytest.raises(InputError, match=r"\?"):
        select(factories.label_sets(n=30), 5)


def cells(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_table_of_several_labels_is_read_as_it_was_written(tmp_path, sets):
    pooled = table.Pooled.of([sets])
    table.write(tmp_path / "t.csv", pooled, select(sets, 10), "csv", all_images=True)
    rows = {row["path"]: row["labels"] for row in cells(tmp_path / "t.csv")}
    assert list(rows.values())[:10] == ["?"] * 10
    listing = read_labels(tmp_path / "t.csv", Options())
    assert listing.target == "multi-label"
    for image in listing.images:
        row = sets.path.index(image.path)
        assert image.is_labelled == (row < 40)
        assert "|".join(image.names) == sets.label_text(row)


def test_a_table_of_partly_unknown_labels_has_a_column_for_each(tmp_path, sets):
    labels = sets.label_sets.copy()
    labels[3] = [1, 0, -1]
    sets = dataclasses.replace(sets, label_sets=labels)
    pooled, selection = table.Pooled.of([sets]), select(sets, 10)
    table.write(tmp_path / "t.csv", pooled, selection, "csv", all_images=True)
    listing = read_labels(tmp_path / "t.csv", Options())
    image = next(each for each in listing.images if each.path == sets.path[3])
    assert image.labels == (("label 0",), ("label 2",))
    table.write(tmp_path / "n.csv", pooled, selection)
    assert {row["labels"] for row in cells(tmp_path / "n.csv")} == {"?"}


def test_names_with_a_separator_are_written_as_lists(tmp_path, sets):
    sets = dataclasses.replace(sets, classes=("a;b", "c|d", "e"))
    table.write(tmp_path / "t.csv", table.Pooled.of([sets]), select(sets, 5), "csv", True)
    listing = read_labels(tmp_path / "t.csv", Options())
    names = {image.path: image.names for image in listing.images}
    assert {"a;b", "c|d"} <= {name for each in names.values() for name in each}
    assert all(names[sets.path[row]] == tuple(sets.labels[row]) for row in range(40))


def test_stores_without_labels_take_the_target_of_the_others(tmp_path, sets):
    free = dataclasses.replace(
        unlabelled(factories.feature_set(n=30, d=12, seed=5), np.arange(30)), classes=()
    )
    pooled = table.Pooled.of([sets, free])
    assert pooled.data.target == "multi-label"
    assert pooled.data.is_labelled.sum() == 40
    assert select(pooled.data, 5).suggestions.target == "multi-label"
    alone = table.Pooled.of([free], "multi-label")
    table.write(tmp_path / "t.csv", alone, select(alone.data, 5))
    assert cells(tmp_path / "t.csv")[0]["labels"] == "?"
    with pytest.raises(InputError, match="otherwise"):
        table.Pooled.of([sets, factories.feature_set(n=30, d=12)])
    with pytest.raises(InputError, match="--target"):
        table.Pooled.of([sets], "single-label")
