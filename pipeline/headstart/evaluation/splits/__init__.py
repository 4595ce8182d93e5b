"""Which images are trained on, which are tested on, and what a reader must be told about it.

`rules` says how it is wanted, `division` divides the images by it, `classes` holds what small
classes allow, `remarks` what must be said about the data, and `description` what the results say.
"""

from headstart.evaluation.splits.config import Rules
from headstart.evaluation.splits.description import describe_dataset, describe_protocol
from headstart.evaluation.splits.split import HELD_OUT_SHARE, Protocol, make_protocol
from headstart.evaluation.splits.warnings import check_features

__all__ = [
    "HELD_OUT_SHARE",
    "Protocol",
    "Rules",
    "check_features",
    "describe_dataset",
    "describe_protocol",
    "make_protocol",
]
