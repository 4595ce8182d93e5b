"""Fine-tune a backbone on your images; the result is a backbone like any other.

`stage` runs a `job`: `division` says which images train, `boundary` divides the network,
`activations` runs the frozen part once over all `views` of the images, `batches` feeds them to the
`model`, and `training` trains it. `advice` predicts beforehand which mode is worth its time.
"""

from headstart.core.artifacts import HISTORY
from headstart.finetune.advice import advise
from headstart.finetune.config import FinetuneConfig
from headstart.finetune.division import Division
from headstart.finetune.stage import FinetuneResult, check_trainable, finetune

__all__ = [
    "HISTORY",
    "Division",
    "FinetuneConfig",
    "FinetuneResult",
    "advise",
    "check_trainable",
    "finetune",
]
