"""Folds and points of a grid on a Ray cluster, by joblib's backend for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from headstart.core.errors import HeadstartError
from headstart.core.parallel.code_digest import code_digest
from headstart.core.parallel.ray_engine import RayEngine, cause_of

Task = TypeVar("Task")
Result = TypeVar("Result")
Map = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]


@contextmanager
def joblib_on_ray(address: str = "") -> Iterator[Map]:
    """Give a function that maps another one over items in processes of a cluster.

    Function and items cross the cluster with all that they hold, and so do the results.

    Args:
        address: as `RayEngine` takes it.

    Raises:
        HeadstartError: the cluster is not there, Ray is not installed, or, while mapping, a
            process fails or has other source.
    """
    engine = RayEngine(address)
    try:
        processes = engine.workers()
        from ray.util.joblib import register_ray

        register_ray()  # type: ignore[no-untyped-call]

        def run(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
            from joblib import Parallel, delayed

            calls = (delayed(_call)(code_digest(), function, item) for item in items)
            try:
                with Parallel(processes, backend="ray", batch_size=1) as pool:
                    return list(pool(calls))
            except Exception as error:
                raise cause_of(error) from None

        yield run
    finally:
        engine.close()


def _call(expected: str, function: Callable[[Task], Result], item: Task) -> Result:
    """Work on one item, in a process that has the source of the one that asks."""
    if code_digest() != expected:
        raise HeadstartError(
            "a node of the Ray cluster has another version of Headstart; install the same one on"
            " all of them"
        )
    return function(item)
