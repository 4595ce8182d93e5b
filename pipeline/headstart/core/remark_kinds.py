"""The kinds of remarks: one table of stable codes, which docs/remarks.md explains.

A code never changes its meaning, and that of a remark which is no longer made is not used again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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
        "HS311",
        "leakage",
        "Test images are related to training images",
        "Some test images have a duplicate, a near-duplicate or an image of their group among the"
        " training images. Such images are easier than new ones, so the test accuracy is too"
        " good.",
        "Believe the accuracy without them, which is in the output for one class an image. Or"
        " leave the test split out: Headstart then holds out images that share no group with the"
        " others.",
    ),
    Kind(
        "HS312",
        "leakage",
        "Validation images are related to the images fitted on",
        "Some validation images share a group with images that heads are fitted on. The selection"
        " favours heads that memorise.",
        "Keep each group in one split, or let cross-validation choose: leave out `--validation"
        " predefined`.",
    ),
    Kind(
        "HS313",
        "leakage",
        "No test image is independent",
        "Every test image shares a group with a training image, so no test accuracy says how the"
        " model does on new images.",
        "Take other images for the test split, or leave it out: Headstart then holds out images"
        " that share no group with the others. Until then, read the accuracy in cross-validation.",
    ),
    Kind(
        "HS314",
        "leakage",
        "Near-duplicates are divided",
        "All training images of a class look like near-duplicates of one another. They are"
        " divided among the folds all the same, because none could be held out otherwise, and"
        " accuracies may be too high.",
        "Look at them in the report. If they are copies, add other images of the class; if they"
        " only look alike, you can leave out the search with `--no-near-duplicates`.",
    ),
    Kind(
        "HS321",
        "classes",
        "Small classes are left out",
        "You chose `--small-classes drop`, so classes with fewer training images than folds are"
        " left out, and so are labels that fewer training images have, or lack. The model never"
        " answers with them.",
        "Add images of them, or use fewer `--folds`.",
    ),
    Kind(
        "HS322",
        "classes",
        "Fewer folds than asked for",
        "Every fold needs an image of each class, and one with and one without each label; images"
        " of one group count once. The smallest class allows fewer folds than you asked for.",
        "Add images of this class, or leave it out with `--small-classes drop`.",
    ),
    Kind(
        "HS323",
        "classes",
        "Classes without training images",
        "Some test images have a class that no training image has. The model cannot know it, so"
        " these images count as errors.",
        "Move some of these images to the training images, or out of the test split. Look for a"
        " misspelt label.",
    ),
    Kind(
        "HS324",
        "classes",
        "Classes without images",
        "The data name a class that no image has, so the model never answers with it.",
        "Nothing, or add images of the class.",
    ),
    Kind(
        "HS331",
        "images",
        "Images without a label",
        "Images without a label are neither trained on nor scored.",
        "Nothing if they should have none: `headstart suggest` says which of them to label first."
        " Otherwise complete the labels, and run `headstart features` again.",
    ),
    Kind(
        "HS332",
        "images",
        "Images that could not be used",
        "Some files could not be read as images, so they have no features. They are neither"
        " trained on nor scored.",
        "The report lists them with the reasons. Repair or remove the files, and run `headstart"
        " features` again.",
    ),
    Kind(
        "HS333",
        "images",
        "Duplicates with different labels",
        "Images that are identical, or nearly so, have different labels. At least one of them is"
        " wrong, or both belong to both classes.",
        "Correct the labels, and run `headstart features` again. `results.json` lists all pairs.",
    ),
    Kind(
        "HS334",
        "images",
        "Images that not all stores have",
        "Backbones are compared on the images that all stores share, and the others are left out.",
        "Run `headstart features` on the same images for every store.",
    ),
    Kind(
        "HS335",
        "images",
        "Stores are joined by names",
        "Imported features have no images to compare, so rows of several stores are matched by"
        " the names of the rows, or a part of them.",
        "Check that the rule fits your names. If it mixes up images, give the same path to the"
        " same image in every file.",
    ),
    Kind(
        "HS341",
        "features",
        "All features are the same",
        "All images have the same features, or nearly so, and no head can do better than chance."
        " The backbone or its layer is at fault, not the labels.",
        "Take another layer or backbone, and run `headstart features` again.",
    ),
    Kind(
        "HS342",
        "features",
        "Very few features",
        "One or two features an image tell few classes apart. Low scores and doubtful labels then"
        " say nothing of the images.",
        "Take another layer or backbone, and run `headstart features` again.",
    ),
    Kind(
        "HS343",
        "features",
        "Features stay on disk",
        "The features would take more memory than `--stream-above` allows. Heads read them in"
        " blocks or use a sample, only images with the same bytes count as duplicates, and labels"
        " are judged in one round.",
        "Nothing, or raise `--stream-above` if you have the memory.",
    ),
    Kind(
        "HS344",
        "features",
        "Random weights",
        "The backbone was never trained. Results say nothing of the network, and are for trials"
        " of the pipeline only.",
        "Leave out `--weights random`, and run `headstart features` again.",
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
        "HS402",
        "groups",
        "Images in no group",
        "The groups that you named leave some images out. Each of these counts as a group of its"
        " own.",
        "Name their groups too, if they belong to some: otherwise they may be on both sides of a"
        " split.",
    ),
    Kind(
        "HS403",
        "groups",
        "Images that may be of one session",
        "Different photos have the same background, as if they were taken in one session. If they"
        " were, a random split has images of one session on both sides, and accuracies are too"
        " high.",
        "Look at `sessions.csv`. If it is right, train again with `--groups sessions.csv`.",
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
        "HS605",
        "labels",
        "Labels that cannot be learned",
        "A label needs training images with it and without it, two of both at least, and images"
        " of one group count once. Others are left out: the model never answers with them.",
        "Add the images that are missing, or correct the labels.",
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
    Kind(
        "HS806",
        "split",
        "Chosen images are not scored",
        "Images that `suggest` chose are no random sample, so they are trained on and never"
        " scored.",
        "Nothing. Label images that were drawn at random, too, if the intervals are wide.",
    ),
    Kind(
        "HS807",
        "split",
        "Chosen images are scored",
        "Some scored images were chosen by `suggest`, and chosen images are no random sample: new"
        " images may be easier or harder.",
        "Label images that were drawn at random: `--strategy random` does so.",
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
KINDS: Mapping[str, Kind] = {kind.code: kind for kind in _TABLE}
