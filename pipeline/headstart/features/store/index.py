"""Numbers for hashes: what a dict of bytes does, in a quarter of the memory.

A million images mean a million content hashes and file states. Python objects would take a few
hundred bytes each; here they are in one buffer behind a table of integers.
"""

from __future__ import annotations

from array import array

_FREE = -1
_SMALLEST = 64  # slots in the table; always a power of two


class HashIndex:
    """Numbers distinct hashes of ``width`` bytes, from 0, in the order in which they come.

    An open-addressing table with linear probing. It starts at Python's own hash, which has a new
    seed in every process, so no file can slow it down. One thread may add while others look up.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._hashes = bytearray()
        self._table = array("q", [_FREE]) * _SMALLEST

    def __len__(self) -> int:
        return len(self._hashes) // self._width

    def __getitem__(self, number: int) -> bytes:
        """Return the hash of a number."""
        return bytes(self._hashes[number * self._width : (number + 1) * self._width])

    def find(self, key: bytes) -> int:
        """Return the number of a hash, or -1."""
        table = self._table
        return table[self._place(table, key)]

    def add(self, key: bytes) -> int:
        """Return the number of a hash, a new one if it has none."""
        place = self._place(self._table, key)
        number = self._table[place]
        if number == _FREE:
            number = len(self)
            self._hashes += key
            self._table[place] = number
            if 3 * len(self) > 2 * len(self._table):
                self._table = self._grown()
        return number

    def _place(self, table: array[int], key: bytes) -> int:
        """Return the slot of a hash in a table, or the free slot where it belongs."""
        if len(key) != self._width:
            raise ValueError(f"expected a hash of {self._width} bytes, not of {len(key)}")
        mask = len(table) - 1
        slot = hash(key) & mask
        while (number := table[slot]) != _FREE:
            start = number * self._width
            if self._hashes[start : start + self._width] == key:
                break
            slot = (slot + 1) & mask
        return slot

    def _grown(self) -> array[int]:
        table = array("q", [_FREE]) * (2 * len(self._table))
        for number in range(len(self)):
            table[self._place(table, self[number])] = number
        return table
