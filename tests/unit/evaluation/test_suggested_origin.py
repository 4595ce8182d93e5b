"""Images that `suggest` chose stay in training, from the CSV to the protocol."""

from __future__ import annotations

import dataclasses

import factories
import numpy as np
import pytest
from headstart import datasets
from headstart.core.records import SUGGESTED
from headstart.evaluation.splits import Rules, make_protocol
from headstart.features import store


def with_origin(data, rows):
    origin = [SUGGESTED if row in set(rows) else "" for row in range(len(data.path))]
    return dataclasses.replace(data, origin=origin)


@pytest.fixture
def data():
    return factories.feature_set(n=80, k=2)


def test_chosen_images_are_not_held_out(data):
    chosen = list(range(0, 80, 3))
    plain = make_protocol(data, Rules(holdout=True))
    assert set(plain.test) & set(chosen)
    protocol = make_protocol(with_origin(data, chosen), Rules(holdout=True))
    assert len(protocol.test)
    assert not set(protocol.test.tolist()) & set(chosen)
    assert set(chosen) <= set(protocol.train.tolist())
    assert any("never scored" in line for line in factories.texts(protocol.warnings))


def test_a_group_with_a_chosen_image_is_not_held_out(data):
    group = np.arange(80) // 4
    protocol = make_protocol(with_origin(data, [0, 4, 8]), Rules(holdout=True), {"scenes": group})
    assert not {*group[protocol.test].tolist()} & {0, 1, 2}


def test_out_of_fold_scores_are_of_the_other_images(data):
    protocol = make_protocol(with_origin(data, range(40)), Rules(holdout=False))
    assert protocol.test.tolist() == list(range(40, 80))
    assert len(protocol.train) == 80


def test_where_nearly_all_were_chosen_all_are_scored_and_the_protocol_says_so(data):
    protocol = make_protocol(with_origin(data, range(70)), Rules(holdout=False))
    assert len(protocol.test) == 80
    assert any("no random sample" in line for line in factories.texts(protocol.warnings))


def test_a_split_that_the_user_names_is_kept(data):
    named = dataclasses.replace(data, split=["test"] * 40 + ["train"] * 40)
    protocol = make_protocol(with_origin(named, range(10)), Rules())
    assert set(range(10)) <= set(protocol.test.tolist())
    assert any("chosen" in line for line in factories.texts(protocol.warnings))


@pytest.mark.slow
def test_the_column_travels_from_the_table_to_the_store(tmp_path, tiny_backbone, headstart_here):
    names = [f"{number}.png" for number in range(6)]
    for number, name in enumerate(names):
        factories.write_image(tmp_path / name, number)
    rows = [
        f"{name},{'ab'[n % 2]},{'Suggested' if n < 2 else 'Peru'}\n" for n, name in enumerate(names)
    ]
    table, out = tmp_path / "t.csv", tmp_path / "s.h5"
    table.write_text("path,label,origin\n" + "".join(rows))
    assert [ref.origin for ref in datasets.open_source(str(table)).images][:3] == [
        SUGGESTED,
        SUGGESTED,
        "",
    ]
    headstart_here(table, out, tiny_backbone)
    assert store.verify(out) == []
    assert store.read(out).origin == [SUGGESTED] * 2 + [""] * 4
    before = out.read_bytes()
    headstart_here(table, out, tiny_backbone)
    assert out.read_bytes() == before
    table.write_text("path,label\n" + "".join(f"{n},{'ab'[i % 2]}\n" for i, n in enumerate(names)))
    headstart_here(table, out, tiny_backbone)
    assert store.read(out).origin == []


@pytest.fixture
def headstart_here():
    from headstart.workflows.features import extract_features

    return lambda data, out, backbone: extract_features(data, out, backbone=backbone)
