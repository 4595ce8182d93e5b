"""Activation stores: resumed, published whole, refused when damaged or of something else."""

from __future__ import annotations

import numpy as np
import pytest
from headstart.core.errors import StoreError
from headstart.features.store.activations import ActivationReader, ActivationWriter, View

DOCUMENT = {"backbone": {"name": "tiny"}, "views": {"seed": 0}}
VIEWS = [View(bytes([image]) * 32, view) for image in range(5) for view in range(2)]
ROWS = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float16)


def write(path, views=VIEWS, document=DOCUMENT):
    with ActivationWriter(path, document, 6) as writer:
        todo = [view for view in views if not writer.holds(view.content)]
        writer.append([view.record(ROWS[VIEWS.index(view)]) for view in todo])
        writer.publish(views)
    return len(todo)


def test_rows_come_back_in_any_order(tmp_path):
    assert write(tmp_path / "a.h5") == 10
    reader = ActivationReader(tmp_path / "a.h5")
    order = [7, 0, 7, 3]
    assert [reader.index[VIEWS[at]] for at in order] == order
    np.testing.assert_array_equal(reader.read(order), ROWS[order])
    reader.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_killed_run_continues_from_its_journal(tmp_path):
    with ActivationWriter(tmp_path / "a.h5", DOCUMENT, 6) as writer:
        writer.append([VIEWS[4].record(ROWS[4])])
    assert not (tmp_path / "a.h5").exists()
    assert write(tmp_path / "a.h5") == 9
    assert write(tmp_path / "a.h5") == 0


def test_further_images_are_added(tmp_path):
    write(tmp_path / "a.h5", VIEWS[4:8])
    assert write(tmp_path / "a.h5") == 6
    reader = ActivationReader(tmp_path / "a.h5")
    np.testing.assert_array_equal(reader.read(range(10)), ROWS)
    reader.close()


def test_another_boundary_is_refused(tmp_path):
    write(tmp_path / "a.h5")
    with pytest.raises(StoreError, match="of a different network"):
        write(tmp_path / "a.h5", document=DOCUMENT | {"views": {"seed": 1}})


def test_damage_is_refused(tmp_path):
    write(tmp_path / "a.h5")
    data = bytearray((tmp_path / "a.h5").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "a.h5").write_bytes(data)
    with pytest.raises(StoreError, match="damaged or no activation store"):
        ActivationReader(tmp_path / "a.h5")
