"""Grids of hyper-parameters whose best value lies at an end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headstart.heads.search import FittedHead


MORE = 3  # values that a grid grows by
LARGEST = 10_000  # training images; with more, a second search would take minutes


def ends(head: FittedHead) -> dict[str, int]:
    """Return which of the best parameters are the smallest (-1) or largest (1) value tried.

    Only where the next value is less accurate: among equal candidates the first is chosen, which is
    often at an end.
    """
    return sides(head.params, head.grid)


def sides(params: Mapping[str, Any], grid: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return `ends` of the best parameters among candidates, as `FittedHead.grid` lists them."""
    at_end = {}
    for name, value in params.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        others = {k: v for k, v in params.items() if k != name}
        line = sorted(
            (candidate["params"][name], candidate["cv_accuracy"])
            for candidate in grid
            if name in candidate["params"] and others.items() <= candidate["params"].items()
        )
        values = [tried for tried, _ in line]
        if len(line) < 3 or value not in (values[0], values[-1]):
            continue
        side, (inner, end) = (-1, line[1::-1]) if value == values[0] else (1, line[-2:])
        if inner[1] < end[1] and not (name == "n_neighbors" and side < 0):
            at_end[name] = side
    return at_end


def grown(grid: Mapping[str, Any], head: FittedHead) -> dict[str, Any] | None:
    """Return a grid that is longer where the best value lies at an end, or None."""
    added = {
        name: longer(grid[name], side, MORE) for name, side in ends(head).items() if name in grid
    }
    if not added or head.n_rows > LARGEST or head.approximation:
        return None
    return {**grid, **added}


def longer(values: Any, side: int, count: int) -> tuple[Any, ...]:  # noqa: ANN401 - of one kind
    """Continue a geometric grid, ascending or descending, at its smallest or largest value."""
    ascending = values[0] < values[-1]
    near, last = (values[1], values[0]) if ascending == (side < 0) else values[-2:]
    kind = type(last)
    added = [kind(float(f"{last * (last / near) ** step:.3g}")) for step in range(1, count + 1)]
    if ascending == (side < 0):
        return (*reversed(added), *values)
    return (*values, *added)
