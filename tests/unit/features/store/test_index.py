from __future__ import annotations

import hashlib

import pytest
from headstart.features.store.index import HashIndex
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.binary(min_size=9, max_size=9), max_size=300))
def test_it_is_a_dict(keys):
    """Hashes that start alike are told apart too: hypothesis draws many zeros."""
    index, expected = HashIndex(9), {}
    for key in keys:
        assert index.find(key) == expected.get(key, -1)
        assert index.add(key) == expected.setdefault(key, len(expected))
    assert len(index) == len(expected)
    assert all(index.find(key) == index.add(key) == at for key, at in expected.items())
    assert [index[at] for at in range(len(index))] == list(expected)


def test_it_grows():
    keys = [hashlib.sha256(b"%d" % at).digest() for at in range(5000)]
    index = HashIndex(32)
    assert [index.add(key) for key in keys] == list(range(5000))
    assert [index.find(key) for key in keys] == list(range(5000))
    assert index.find(bytes(32)) == -1


def test_a_hash_of_another_length_is_a_mistake():
    with pytest.raises(ValueError, match="32 bytes, not of 16"):
        HashIndex(32).find(bytes(16))
