"""The division of images into training, validation and test, and warnings about it.

`config` has the user's rules, `split` divides by them, `small_classes` and `warnings` check classes
and data, and `description` writes the result's account of it. `iterative` divides images with
several labels, and `small_labels` checks the labels.
"""

from headstart.evaluation.splits.config import Rules
from headstart.evaluation.splits.description import describe_dataset, describe_protocol
from headstart.evaluation.splits.split import (
    HELD_OUT_SHARE,
    Protocol,
    make_protocol,
    representative,
)
from headstart.evaluation.splits.warnings import NARROW, check_features

__all__ = [
    "HELD_OUT_SHARE",
    "NARROW",
    "Protocol",
    "Rules",
    "check_features",
    "describe_dataset",
    "describe_protocol",
    "make_protocol",
    "representative",
]
