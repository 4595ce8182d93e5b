"""Who trains and who tests: images that belong together stay on one side, small classes too."""

from __future__ import annotations

import re

import numpy as np
import pytest
from factories import texts
from headstart.core.errors import InputError
from headstart.core.records import FeatureSet
from headstart.evaluation import groups
from headstart.evaluation.splits import Rules, describe_protocol, make_protocol
from headstart.heads.folds import divisions, predefined
from hypothesis import given
from hypothesis import strategies as st


def data_of(label, split=None, k=None, names=None):
    """Images with these labels and distinct bytes."""
    label = np.array(label, np.int32)
    n, k = len(label), k or int(label.max()) + 1
    rng = np.random.default_rng(0)
    return FeatureSet(
        features=rng.normal(size=(n, 4)).astype(np.float32),
        path=[f"{i}.jpg" for i in range(n)],
        label=label,
        split=split or [""] * n,
        sha256=rng.integers(256, size=(n, 32), dtype=np.uint8),
        classes=names or tuple(f"class-{i}" for i in range(k)),
        extraction={},
        digest="",
        pixels=None,
        failures=[],
        name="photos",
    )


def partition(*parts):
    return np.array(parts, np.intp)


@pytest.mark.slow
@given(
    st.lists(
        st.lists(st.integers(1, 6), min_size=4, max_size=9),  # the groups' sizes, by class
        min_size=2,
        max_size=4,
    ),
    st.integers(0, 2**32 - 1),
)
def test_groups_are_never_divided(sizes, seed):
    label = np.concatenate([np.full(sum(part), c) for c, part in enumerate(sizes)])
    group = np.repeat(np.arange(sum(map(len, sizes))), np.concatenate(sizes))
    order = np.random.default_rng(seed).permutation(len(label))
    label, group = label[order], group[order]
    found = make_protocol(
        data_of(label), Rules(folds=3, seed=seed, holdout=True), {"relatives": group}
    )
    assert not found.predefined
    assert not found.leaked.any()
    assert not set(group[found.train]) & set(group[found.test])
    assert sorted([*found.train, *found.test]) == list(range(len(label)))
    assert set(label[found.test]) == set(label)  # there are groups enough to hold some of each out
    folds = divisions(label[found.train], found.folds, seed, 2, found.group[found.train])
    assert folds.shape == (2, len(found.train))
    for fold in folds:
        held = [set(group[found.train][fold == i]) for i in range(found.folds)]
        assert sum(map(len, held)) == len(set(group[found.train]))
        for number in range(found.folds):
            assert set(label[found.train][fold != number]) == set(label)


def test_what_leads_from_training_to_test_is_told_by_its_kind():
    data = data_of([0, 1] * 10, ["train"] * 14 + ["test"] * 6)
    scene = groups.by_name(data.path, {"0.jpg": "x", "14.jpg": "x", "16.jpg": "x", "15.jpg": "y"})
    data.sha256[17] = data.sha256[1]
    found = make_protocol(data, Rules(), {"near-duplicates": scene})
    assert found.leaked.tolist() == [True, False, True, True, False, False]
    exact, near = texts(found.warnings)
    assert exact.startswith("Leakage: 1 test image (of 6) has byte-for-byte duplicates")
    assert near.startswith("Leakage: 2 test images (of 6) have near-duplicates")
    told = describe_protocol(data, found, Rules())
    assert told["n_leaked"] == 3
    assert told["n_grouped"] == 5


def test_groups_are_said_to_stay_in_one_fold():
    data = data_of([0, 1] * 200, ["train"] * 380 + ["test"] * 20)
    pairs = np.arange(400) // 4
    found = make_protocol(data, Rules(), {"near-duplicates": pairs})
    assert describe_protocol(data, found, Rules())["tuned_on"] == (
        "5-fold stratified cross-validation, groups kept in one fold, on 380 training images"
    )


# ---- repeats and validation ----------------------------------------------------------------------


def test_tiny_sets_are_divided_again_and_again():
    data = data_of([0, 1] * 60, ["train"] * 100 + ["test"] * 20)
    assert make_protocol(data, Rules()).repeats == 10
    assert make_protocol(data, Rules(repeats=3)).repeats == 3
    folds = divisions(data.label, 5, seed=0, repeats=4)
    assert len({tuple(fold) for fold in folds}) == 4
    assert np.array_equal(folds[:1], divisions(data.label, 5, seed=0))
    assert np.array_equal(folds, divisions(data.label, 5, seed=0, repeats=4))


def test_a_validation_split_trains_unless_heads_are_chosen_on_it():
    split = ["train"] * 12 + ["validation"] * 4 + ["test"] * 4
    data = data_of([0, 1] * 10, split)
    found = make_protocol(data, Rules())
    assert found.validation is None
    assert found.train.tolist() == list(range(16))
    rules = Rules(validation="predefined")
    found = make_protocol(data, rules)
    assert found.train.tolist() == list(range(16))
    assert np.flatnonzero(found.validation).tolist() == [12, 13, 14, 15]
    assert predefined(found.validation).tolist() == [[-1] * 12 + [0] * 4]
    assert found.repeats == 1
    assert describe_protocol(data, found, rules)["tuned_on"] == (
        "the data's own split named validation, 4 images, after fitting on the other 12 training"
        " images"
    )


def test_a_validation_split_that_leaks_is_told():
    data = data_of([0, 1] * 10, ["train"] * 12 + ["validation"] * 4 + ["test"] * 4)
    data.sha256[[12, 13]] = data.sha256[[0, 1]]
    (warning,) = texts(make_protocol(data, Rules(validation="predefined")).warnings)
    assert warning.startswith("Leakage: 2 validation images (of 4) share a group")
    assert make_protocol(data, Rules()).warnings == []


@pytest.mark.parametrize(
    ("split", "label", "message"),
    [
        (["train"] * 16 + ["test"] * 4, [0, 1] * 10, "photos has no split named validation; name"),
        (["train"] * 8 + ["validation"] * 8 + ["test"] * 4, [0] * 8 + [1, 0] * 6,
         "outside the split named validation there are training images of fewer than two"),
    ],
)  # fmt: skip
def test_a_validation_split_that_cannot_serve_is_refused(split, label, message):
    with pytest.raises(InputError, match=message):
        make_protocol(data_of(label, split), Rules(validation="predefined"))


@pytest.mark.parametrize(
    "values",
    [
        {"folds": 1}, {"seed": -1}, {"seed": 2**32}, {"repeats": 0}, {"validation": "luck"},
        {"small_classes": "ignore"}, {"repeats": 2, "validation": "predefined"},
        {"holdout": False, "validation": "predefined"},
    ],
)  # fmt: skip
def test_rules_that_make_no_sense_are_refused(values):
    with pytest.raises(InputError):
        Rules(**values)


# ---- small classes -------------------------------------------------------------------------------

SMALL = [0] * 20 + [1] * 20 + [2] * 3 + [3]
SPLIT = ["train"] * 44


def small(rules, extra=0):
    """Two classes of 20, one of 3 and one of 1; ``extra`` images of the last one."""
    label = [*SMALL, *[3] * extra, 0, 1, 2, 3]
    return make_protocol(data_of(label, [*SPLIT, *["train"] * extra, *["test"] * 4]), rules)


def test_by_default_a_small_class_reduces_the_folds_and_one_image_is_too_few():
    with pytest.raises(InputError, match=r"^class-3 has 1 training image; .*--small-classes drop"):
        small(Rules())
    found = small(Rules(), extra=1)
    assert found.folds == 2
    assert "uses 2 folds, because class-3 has only 2 training images." in texts(found.warnings)[0]


def test_small_classes_can_be_an_error():
    with pytest.raises(InputError, match=r"^class-2, class-3 have fewer than 5 training images;"):
        small(Rules(small_classes="error"), extra=1)
    found = small(Rules(small_classes="error", folds=2), extra=1)
    assert found.folds == 2
    assert texts(found.warnings) == []


def test_small_classes_can_be_dropped():
    found = small(Rules(small_classes="drop"))
    assert found.folds == 5
    assert len(found.train) == 40
    assert len(found.test) == 2
    assert texts(found.warnings) == [
        "Left out, because they have fewer than 5 training images: class-2, class-3."
    ]
    with pytest.raises(InputError, match="fewer than two classes have 21 training images or more"):
        small(Rules(small_classes="drop", folds=21))


@pytest.mark.parametrize(
    ("sizes", "folds", "rule"),
    [
        ((1, 2, 3, 80), 5, "reduce"),
        ((1, 2, 3, 80), 5, "drop"),
        ((1, 1, 40, 40), 5, "reduce"),
        ((1, 4, 4, 30), 10, "reduce"),
        ((1, 6, 30), 7, "drop"),
        ((1, 1, 1), 5, "reduce"),
        ((1, 40), 5, "drop"),
    ],
)
def test_the_way_out_that_a_message_names_is_one(sizes, folds, rule):
    """What it advises is done; if it advises only more images, nothing else would help."""
    label = np.repeat(np.arange(len(sizes)), sizes).tolist()
    data = data_of([*label, *range(len(sizes))], ["train"] * sum(sizes) + ["test"] * len(sizes))
    with pytest.raises(InputError) as caught:
        make_protocol(data, Rules(folds=folds, small_classes=rule))
    advice = re.search(r"--small-classes drop(?: --folds (\d+))?$", str(caught.value))
    if advice is None:
        assert sorted(sizes)[-2] < 2
        return
    protocol = make_protocol(data, Rules(folds=int(advice[1] or folds), small_classes="drop"))
    assert len(np.unique(data.label[protocol.train])) >= 2


def test_copies_do_not_make_a_class_large():
    data = data_of([0] * 10 + [1] * 10 + [0, 1], ["train"] * 20 + ["test"] * 2)
    data.sha256[10:18] = data.sha256[10]
    found = make_protocol(data, Rules())
    assert found.folds == 3
    assert texts(found.warnings) == [
        "Cross-validation uses 3 folds, because class-1 has only 10 training images in 3 groups."
    ]
    data.sha256[10:20] = data.sha256[10]
    with pytest.raises(InputError, match="images of class-1 are all in one group"):
        make_protocol(data, Rules())


def test_a_held_out_test_takes_a_whole_group_where_none_is_small_enough():
    data = data_of([0] * 9 + [1] * 30)
    thirds = partition(*np.repeat([0, 1, 2], 3), *range(3, 33))
    found = make_protocol(data, Rules(folds=2, holdout=True), {"relatives": thirds})
    assert np.bincount(data.label[found.test]).tolist() == [3, 6]


def test_many_images_hold_out_a_test_and_few_do_not():
    label = np.arange(1200) % 3
    assert not make_protocol(data_of(label), Rules()).out_of_fold
    found = make_protocol(data_of(label), Rules(holdout=False))
    assert found.out_of_fold
    assert found.repeats == 2
    assert np.array_equal(found.test, found.train)
    assert not found.leaked.any()
    few = make_protocol(data_of(label[:900]), Rules())
    assert (few.out_of_fold, few.repeats, len(few.train)) == (True, 3, 900)
    assert len(make_protocol(data_of(label[:900]), Rules(holdout=True)).test) == 180
    split = ["test"] * 100 + ["train"] * 800
    assert not make_protocol(data_of(label[:900], split), Rules()).out_of_fold
