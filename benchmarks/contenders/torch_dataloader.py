"""A torch DataLoader with eager inference and the library's transform, in every usual setting."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import alternate
import networks
import torch
from headstart.core.parallel import available_cores
from PIL import Image

BATCHES = (1, 8, 32)


class Photos(torch.utils.data.Dataset):
    """Image files as what a transform makes of them."""

    def __init__(self, paths: Sequence[str], transform: Any) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB"))


class DataLoader:
    """Answers ``{"network"}`` first, then ``{"paths", "setting"}`` with images per second."""

    module: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Open the network, or embed images."""
        if self.module is None:
            self.module = networks.module(request["network"])
            self.transform = networks.transform(request["network"])
            return {"settings": settings(available_cores())}
        return {"speed": len(request["paths"]) / self.seconds(request["paths"], request["setting"])}

    def seconds(self, paths: list[str], setting: dict[str, Any]) -> float:
        """Return the time to embed images."""
        layout = torch.channels_last if setting["channels_last"] else torch.contiguous_format
        module = self.module.to(memory_format=layout)
        torch.set_num_threads(setting["threads"])
        started = time.perf_counter()
        loader = torch.utils.data.DataLoader(
            Photos(paths, self.transform),
            batch_size=setting["batch"],
            num_workers=setting["workers"],
        )
        with torch.inference_mode():
            rows = [module(photos.to(memory_format=layout)).numpy() for photos in loader]
        assert sum(len(row) for row in rows) == len(paths)
        return time.perf_counter() - started


def settings(cores: int) -> list[dict[str, Any]]:
    """Return what is worth trying on a machine: workers, batch, layout, threads of an operator."""
    workers, threads = sorted({0, 1, 2, cores}), sorted({1, cores})
    return [
        {
            "name": f"workers={w} batch={b} threads={t}{' channels_last' * last}",
            "workers": w,
            "batch": b,
            "threads": t,
            "channels_last": last,
        }
        for w, b, t, last in itertools.product(workers, BATCHES, threads, (False, True))
        if w or t == cores  # without workers, fewer threads leave a core idle
    ]


if __name__ == "__main__":
    alternate.serve(DataLoader().answer)
