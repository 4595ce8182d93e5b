"""thingsvision over a folder, used as its documentation shows; its weights are random."""

from __future__ import annotations

import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import alternate
import networks
from headstart.core.torchvision_import import import_torchvision

BATCHES = (1, 8, 32)
ITS_NAMES = {"efficientnet-lite0": ("timm", "tf_efficientnet_lite0", "global_pool")}


class ThingsvisionFolder:
    """Answers ``{"network"}`` first, then ``{"paths", "setting"}`` with images per second."""

    extractor: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Open the network, or embed images."""
        if self.extractor is None:
            import_torchvision()  # or its own import would fail where the compiled ops do not fit
            from thingsvision import get_extractor

            name = request["network"]
            source, model, self.layer = ITS_NAMES.get(name, ("torchvision", name, "avgpool"))
            self.extractor = get_extractor(
                model_name=model, source=source, device="cpu", pretrained=False
            )
            networks.awake(self.extractor.model)
            settings = [{"name": f"batch={batch}", "batch": batch} for batch in BATCHES]
            return {"settings": settings, "note": f"{version('thingsvision')}, random weights"}
        with tempfile.TemporaryDirectory() as folder:
            return {"speed": self.speed(request["paths"], request["setting"]["batch"], folder)}

    def speed(self, paths: list[str], batch: int, folder: str) -> float:
        """Return images per second; ``folder`` is scratch."""
        from thingsvision.utils.data import DataLoader, ImageDataset

        photos = Path(folder) / "photos"  # it reads the images of one folder
        photos.mkdir()
        for number, path in enumerate(paths):
            (photos / f"{number:06}{Path(path).suffix}").symlink_to(path)
        started = time.perf_counter()
        dataset = ImageDataset(
            root=str(photos),
            out_path=folder,
            backend=self.extractor.get_backend(),
            transforms=self.extractor.get_transformations(),
        )
        batches = DataLoader(
            dataset=dataset, batch_size=batch, backend=self.extractor.get_backend()
        )
        features = self.extractor.extract_features(
            batches=batches, module_name=self.layer, flatten_acts=True, output_type="ndarray"
        )
        seconds = time.perf_counter() - started
        assert len(features) == len(paths), features.shape
        return len(paths) / seconds


if __name__ == "__main__":
    alternate.serve(ThingsvisionFolder().answer)
