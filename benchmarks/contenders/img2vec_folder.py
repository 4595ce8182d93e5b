"""img2vec_pytorch over a list of files, used as its documentation shows; its weights are random.

It would download ImageNet weights when it builds a network; the constructors that it calls are
replaced by ones without weights. What it does with an image is untouched.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

import alternate
import networks
from headstart.core.torchvision_import import import_torchvision
from PIL import Image

BATCHES = (1, 8, 32)


def build(network: str) -> Any:
    """Return its extractor for a network.

    Raises:
        KeyError: it does not know the network.
    """
    torchvision = import_torchvision()
    from img2vec_pytorch import Img2Vec, img_to_vec

    if hasattr(img_to_vec, network):
        builder = getattr(torchvision.models, network)
        setattr(img_to_vec, network, lambda weights: networks.awake(builder(weights=None)))
    return Img2Vec(cuda=False, model=network)


class Img2VecFolder:
    """Answers ``{"network"}`` first, then ``{"paths", "setting"}`` with images per second."""

    extractor: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Open the network, or embed images."""
        if self.extractor is None:
            try:
                self.extractor = build(request["network"])
            except KeyError:
                return {"error": f"it has no {request['network']}"}
            settings = [{"name": f"batch={batch}", "batch": batch} for batch in BATCHES]
            return {"settings": settings, "note": f"{version('img2vec-pytorch')}, random weights"}
        paths, batch = request["paths"], request["setting"]["batch"]
        started = time.perf_counter()
        rows = 0
        for start in range(0, len(paths), batch):
            photos = [Image.open(path).convert("RGB") for path in paths[start : start + batch]]
            if batch == 1:
                rows += len(self.extractor.get_vec(photos[0])[None])
            else:
                rows += len(self.extractor.get_vec(photos))
        assert rows == len(paths)
        return {"speed": len(paths) / (time.perf_counter() - started)}


if __name__ == "__main__":
    alternate.serve(Img2VecFolder().answer)
