"""Remarks on the images of a comparison: splits, classes, features and groups."""

from __future__ import annotations

from headstart.core.remark_kinds.kind import Kind

KINDS = (
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
)
