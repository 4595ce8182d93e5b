"""The values of options and their defaults, kept apart so that ``--help`` loads no library."""

from __future__ import annotations

BACKBONE = "efficientnet-lite0"  # its weights come with the package
DEVICES = ("cpu", "cuda", "tensorrt")
PERCENTILE = "percentile"  # the range of a set, measured on it
COLOURS = ("srgb",)
QUALITIES = ("best",)  # of features; best sees each image in two views
FITS = ("crop", "pad", "squash", "whole")  # of an image into the network's input
POOLS = ("avg", "max", "gem", "cls", "cls+avg", "flatten")
AUTO = "auto"  # the preset is chosen by trying on labelled images
PRESETS = ("imagenet", "caffe", "inception", "unit", "raw", "darknet", "openface", "tfhub")
SHORTLISTS = (
    "photos",
    "fine-grained",
    "medical",
    "pathology",
    "satellite",
    "species",
    "documents",
)  # kinds of images for which backbones are suggested
PRECISIONS = ("fp32", "fp16", "int8", "auto")  # of features; auto is the fastest within a budget
MODEL_PRECISIONS = ("fp16", "int8")  # of a converted model
MAX_DRIFT = 0.02  # mean of 1 - cosine to the features of fp32
MAX_ACCURACY_LOSS = 0.5  # percentage points
MAX_FAILURES = 0.2  # share of images that may fail before a run counts as failed
ENGINES = ("threads", "ray")
TARGETS = ("single-label", "multi-label")

VALIDATION = ("cross-validation", "predefined")
SMALL_CLASSES = ("reduce", "error", "drop")
SCORED = ("auto", "all", "train", "validation", "test")  # splits that a finished model is scored on
SETS = ("adaptive", "by-class")  # of classes, that hold the true one
IN_MEMORY = 2**30  # bytes of features and thumbnails; larger stores stay on disk
HEAD_FORMATS = ("skops", "joblib")  # of a head saved for scikit-learn
MAPS = ("tsne", "umap", "pca")
GROUP_ANSWERS = ("mean", "vote")  # ways to one answer for a group of images
EXPLAIN = ("class-map", "ablation", "occlusion")  # ways to say where a model looks
LABEL_FORMATS = ("csv", "label-studio", "cvat", "fiftyone")  # of images to label
STRATEGIES = ("auto", "uncertainty", "diverse", "typical", "random")  # to choose images to label
AGGREGATES = ("mean", "none")  # how the patches of a slide become rows
TABLE_FORMATS = ("parquet", "npy", "csv")

TUNED = "fine-tuned"  # the name of a fine-tuned network among the heads
MODES = ("head", "top", "all")  # of fine-tuning
TRAINING_DEVICES = ("cpu", "cuda")
