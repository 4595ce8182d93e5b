"""The stage from a frozen backbone to a fine-tuned one, which goes through the same door.

`stage` runs it, `division` says which images train, `boundary` divides the network, `activations`
runs the frozen part once over every `views` of the images, `batches` shows them to the `model`,
and `training` trains it. `advice` says before, from a short `pilot`, which mode is worth it.
"""

from headstart.finetune.advice import advise
from headstart.finetune.config import FinetuneConfig
from headstart.finetune.division import Division
from headstart.finetune.stage import HISTORY, Tuned, finetune, refuse

__all__ = [
    "HISTORY",
    "Division",
    "FinetuneConfig",
    "Tuned",
    "advise",
    "finetune",
    "refuse",
]
