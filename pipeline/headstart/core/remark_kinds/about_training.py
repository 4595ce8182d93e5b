"""Remarks on heads and networks: searches, baselines, several labels, fine-tuning."""

from __future__ import annotations

from headstart.core.remark_kinds.kind import Kind

KINDS = (
    Kind(
        "HS101",
        "search",
        "Best value at the end of the grid",
        "The best value of a hyper-parameter is the smallest or the largest that was tried, after"
        " the grid has grown as far as it may. A value beyond it may be better still.",
        "Nothing, if the accuracy is what you need: the gain is usually small. Otherwise tune this"
        " hyper-parameter yourself, with `result.best_estimator_` as a start.",
    ),
    Kind(
        "HS102",
        "search",
        "Another head did better on the scored images",
        "Cross-validation chose a head, and another one is better on the scored images by more"
        " than chance. The choice is kept: to choose by the images that give the score would make"
        " the score too good.",
        "Add images, which settle it. Or use the other head, and score it on images that are new"
        " to both.",
    ),
    Kind(
        "HS103",
        "search",
        "The model keeps its training images",
        "The best head compares each image with the features of the training images, so"
        " `model.onnx` is large, and predictions are slower than with any other head.",
        "Leave this head out with `--heads` if size or speed matters.",
    ),
    Kind(
        "HS201",
        "baseline",
        "Raw pixels are as good as the features",
        "A classifier of small images, without any network, is as accurate as the best head, or"
        " more accurate. The backbone adds nothing that these images show.",
        "Look for something trivial that tells the classes apart: brightness, a border, a"
        " watermark, the size of the file. If there is none, try another backbone or layer.",
    ),
    Kind(
        "HS601",
        "labels",
        "Labels of few scored images",
        "Fewer than ten scored images have the label, so its scores say little: their intervals are"
        " wide. No verdict between heads hangs on such labels alone.",
        "Add images that have the label, to the test split too.",
    ),
    Kind(
        "HS602",
        "labels",
        "Labels that always occur together",
        "Every image has both labels or neither, as far as they are known. No head can learn what"
        " sets them apart.",
        "Merge the labels, or add images that have only one of them.",
    ),
    Kind(
        "HS603",
        "labels",
        "More labels than training images",
        "With more labels than images, most labels have too few images to be learned.",
        "Add images, or leave out rare labels.",
    ),
    Kind(
        "HS604",
        "labels",
        "Thresholds that miss their aim",
        "No threshold of a label reaches the precision or recall that you asked for on the"
        " out-of-fold scores. The nearest one was taken.",
        "Ask for less, add images that have the label, or leave the label out.",
    ),
    Kind(
        "HS605",
        "labels",
        "Labels that cannot be learned",
        "A label needs training images with it and without it, two of both at least, and images"
        " of one group count once. Others are left out: the model never answers with them.",
        "Add the images that are missing, or correct the labels.",
    ),
    Kind(
        "HS901",
        "fine-tuning",
        "A validation split was drawn",
        "The data have no validation split, so some of the training images choose the best epoch,"
        " and are not trained on.",
        "Nothing, or name a validation split in the data.",
    ),
    Kind(
        "HS902",
        "fine-tuning",
        "No epoch was better than the frozen network",
        "By the validation images, training improved nothing, so the frozen weights were kept.",
        "Use `headstart train-heads`, or ask `headstart finetune --advise` which mode is worth"
        " its time.",
    ),
    Kind(
        "HS903",
        "fine-tuning",
        "Training stopped early",
        "The loss was no longer a finite number, so training stopped. The weights are those of"
        " the best epoch before.",
        "Train again with a lower `--lr`.",
    ),
    Kind(
        "HS904",
        "fine-tuning",
        "A smaller batch size",
        "Memory ran out, so training went on with half the batch size.",
        "Nothing, or choose this `--batch-size` from the start. Close other programs for a larger"
        " one.",
    ),
    Kind(
        "HS905",
        "fine-tuning",
        "Overfitting",
        "Scores are much higher on the training images than on the validation images: the network"
        " learns its training images by heart.",
        "More images, more `--views` or fewer `--epochs` may help.",
    ),
)
