"""Remarks of evaluate, drift and suggest."""

from __future__ import annotations

from headstart.core.remark_kinds.kind import Kind

KINDS = (
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
)
