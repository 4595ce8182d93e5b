"""A torch DataLoader and a network on a GPU, eager or compiled, in float32 or half precision."""

from __future__ import annotations

import time
from typing import Any

import alternate
import networks
import torch
from torch_dataloader import Photos

BATCH = 64


class TorchGpu:
    """Answers the network with its settings first, then ``{"paths"}``."""

    module: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Open the network, or embed images."""
        if self.module is None:
            self.device, self.workers = torch.device(request["device"]), request["workers"]
            if self.device.type == "cuda" and not torch.cuda.is_available():
                return {"error": f"torch {torch.__version__} has no CUDA device"}
            self.type = torch.float16 if request["half"] else torch.float32
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
            network = networks.module(request["network"]).eval()
            network = network.to(self.device, self.type, memory_format=torch.channels_last)
            if request.get("backend"):
                network = torch.compile(network, backend=request["backend"])
            self.module = network
            self.transform = networks.transform(request["network"])
            return {}
        return {"speed": len(request["paths"]) / self.seconds(request["paths"])}

    def seconds(self, paths: list[str]) -> float:
        """Return the time to embed images, the last batch filled up to the shape of the others."""
        started = time.perf_counter()
        loader = torch.utils.data.DataLoader(
            Photos(paths, self.transform),
            batch_size=BATCH,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
        )
        rows = 0
        with torch.inference_mode():
            for photos in loader:
                count = len(photos)
                if count < BATCH:
                    photos = torch.nn.functional.pad(photos, (0,) * 7 + (BATCH - count,))
                photos = photos.to(self.device, non_blocking=True)
                photos = photos.to(self.type, memory_format=torch.channels_last)
                rows += len(self.module(photos)[:count].float().cpu().numpy())
        assert rows == len(paths)
        return time.perf_counter() - started


if __name__ == "__main__":
    alternate.serve(TorchGpu().answer)
