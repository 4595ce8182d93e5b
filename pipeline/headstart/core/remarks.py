"""What remarks mean: one table of stable codes, for results, evaluations and docs/remarks.md.

A code never changes its meaning, and that of a remark which is no longer made is not used again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headstart.core.errors import UsageError, near_matches, one_line
from headstart.core.results import Remark


@dataclass(frozen=True)
class Kind:
    """A kind of remark: what it is about, what it means, and what to do."""

    code: str
    topic: str
    title: str
    meaning: str
    advice: str


_TABLE = (
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
        "HS201",
        "baseline",
        "Raw pixels are as good as the features",
        "A classifier of small images, without any network, is as accurate as the best head, or"
        " more accurate. The backbone adds nothing that these images show.",
        "Look for something trivial that tells the classes apart: brightness, a border, a"
        " watermark, the size of the file. If there is none, try another backbone or layer.",
    ),
    Kind(
        "HS301",
        "split",
        "Test images are easier or harder",
        "The accuracies on the test split and in cross-validation differ by more than chance.",
        "If the test images are easier, look for copies of training images among them. If they are"
        " harder, look for another source, camera or time, and ask which of the two your model will"
        " meet.",
    ),
    Kind(
        "HS302",
        "split",
        "A split has other features",
        "A linear rule tells the images of one split from the training images of the same classes."
        " They may come from another source, and scores are those of that source.",
        "Find out how the split was made. If it was drawn from the same images, draw it again; if"
        " it is another source on purpose, read its accuracy as that of new sources.",
    ),
    Kind(
        "HS401",
        "groups",
        "The source tells the label",
        "Images of one group, folder or file type have the same label much more often than any two"
        " images. A model may learn the source instead of the class, and no random split shows it.",
        "Collect every class from several sources, and keep each source on one side of the split"
        " with `--groups`.",
    ),
    Kind(
        "HS501",
        "training images",
        "The model does not list its training images",
        "Nobody can check whether the model was trained on some of the images that it is evaluated"
        " on. Models of earlier versions have no list of their training images.",
        "Train the model again, or make sure by other means that the images are new to it.",
    ),
    Kind(
        "HS502",
        "training images",
        "Evaluated on training images",
        "Some of the images are files that the model was trained on, so its scores are too good."
        " Copies that were saved again are not recognised, so there may be more.",
        "Evaluate on images that the model has not seen. The accuracy on the others is in the"
        " output, if there are others.",
    ),
    Kind(
        "HS503",
        "labels",
        "Labels that the model does not know",
        "Some images have a label that is no class of the model. They are not scored: no answer"
        " could be right.",
        "Correct the spelling of the label, or train the model with this class. If such images will"
        " come, count them as errors.",
    ),
    Kind(
        "HS504",
        "labels",
        "The models know different classes",
        "Only images whose label both models know are scored. The model with fewer classes has an"
        " advantage: it cannot take them for a class that only the other one knows.",
        "Compare models of the same classes, or read the difference as one on the common classes.",
    ),
    Kind(
        "HS505",
        "images",
        "Images of one class only",
        "All scored images have the same label. Accuracy is the recall of that class, and nothing"
        " shows how often other classes are mistaken for it.",
        "Add images of the other classes.",
    ),
    Kind(
        "HS506",
        "images",
        "Few images",
        "The scores of a few images move a lot from one draw to the next.",
        "Read the intervals in place of the scores, and label more images.",
    ),
    Kind(
        "HS507",
        "labels",
        "Labels that no image has",
        "The model knows labels that the images do not name. Either no image has them, or nobody"
        " looked for them; the images cannot tell. They count in no score.",
        "If you looked for these labels, say so: give the labels as 0/1 columns, one for each.",
    ),
    Kind(
        "HS508",
        "labels",
        "One label on every image",
        "Every image has exactly one label, and all other labels count as absent from it. If only"
        " the main label of each image was noted, answers that are right count as errors.",
        "Note all labels of each image, or leave cells of 0/1 columns empty where nobody looked.",
    ),
    Kind(
        "HS509",
        "images",
        "Images without an answer",
        "Some labelled images are not scored because a model could not use them, or a file of"
        " predictions does not list them. If they are harder than the others, the scores are too"
        " good, and a condition is met that should not be.",
        "Predict all images. If some cannot be used, count them as errors.",
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
        "HS701",
        "images",
        "Images that nearly repeat one another",
        "Many images of the batch nearly equal the one before, as in a burst or a video. The tests"
        " of drift take images for independent, so they are too sure.",
        "Name what belongs together with `--groups FILE.csv`, or take one image of each burst.",
    ),
    Kind(
        "HS702",
        "images",
        "Few images in the batch",
        "A few images show only a large difference from the training images.",
        "Wait for more images, and read the intervals.",
    ),
    Kind(
        "HS703",
        "training images",
        "The model does not say what its training images look like",
        "Models of earlier versions, fine-tuned networks and int8 variants lack the facts that a"
        " batch is compared with, so drift is not tested.",
        "Train the heads again with `headstart train-heads`, and compare with the new model.",
    ),
    Kind(
        "HS704",
        "training images",
        "Training images in the batch",
        "The model was trained on some of the images of the batch. They make it look more like the"
        " training images than it is.",
        "Leave these images out. Copies that were saved again are not recognised.",
    ),
    Kind(
        "HS801",
        "images",
        "Fewer images to choose from than asked for",
        "There are fewer unlabelled images than you asked for, so all of them are suggested, in the"
        " order in which they help most.",
        "Nothing, or embed more images.",
    ),
    Kind(
        "HS802",
        "labels",
        "Too few labels for a model",
        "A model needs two classes with two labelled images each. Without one, images are chosen by"
        " clusters of their features, nobody guesses their labels, and there is no learning curve.",
        "Label the suggested images, embed them again, and ask once more.",
    ),
    Kind(
        "HS803",
        "split",
        "Unlabelled images of the test split",
        "Images that are chosen are no random sample, so those of the test split are never"
        " suggested: labelling some of them would bend the test.",
        "Label all images of the test split, or a random part of them.",
    ),
    Kind(
        "HS804",
        "split",
        "Nearly all labelled images were chosen",
        "Images that `suggest` chose are trained on and never scored by themselves, and too few"
        " others have a label. Scores are then of the chosen images, which differ from those to"
        " come.",
        "Label at least 30 images that were drawn at random: `--strategy random` does so, and they"
        " may be scored.",
    ),
    Kind(
        "HS805",
        "images",
        "Suggested images that are no files here",
        "Images inside an archive or a table, of imported features, or that have moved since they"
        " were embedded, have no path that `features` could read, so the table has their names in"
        " the store.",
        "Unpack the archive or restore the folder, embed it, and ask again; the store's rows are"
        " kept.",
    ),
)
KINDS: Mapping[str, Kind] = {kind.code: kind for kind in _TABLE}


def remark(code: str, text: str) -> Remark:
    """Return a remark of a kind."""
    return Remark(KINDS[code].topic, text, code)


def parse(codes: str | Iterable[str]) -> tuple[str, ...]:
    """Return codes from texts with one or several, separated by commas, each once and in order.

    Raises:
        UsageError: there is no such code.
    """
    texts = [codes] if isinstance(codes, str) else codes
    names = [name.strip().upper() for text in texts for name in text.split(",") if name.strip()]
    for name in names:
        if name not in KINDS:
            raise UsageError(
                f"no remark {one_line(name)}; {near_matches(name, KINDS)}docs/remarks.md lists all"
            )
    return tuple(sorted(set(names)))


def without(remarks: Iterable[Remark], codes: Iterable[str]) -> list[Remark]:
    """Return the remarks of other kinds."""
    return [remark for remark in remarks if remark.code not in set(codes)]
