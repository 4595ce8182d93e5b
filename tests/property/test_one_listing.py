"""A tree gives one listing, or one refusal, as a folder, zip and tar."""

from __future__ import annotations

import unicodedata

import pytest
from headstart.core.errors import InputError
from headstart.datasets import check_labels, open_source, summary
from hypothesis import given
from hypothesis import strategies as st
from image_files import folder, photo, tar, zipped

TREE = "tree"  # what every packing is called in messages
WRAPPERS = ["archive", "data", "images", "My Photos", "seg_train", "Bilder"]
SPLITS = ["train", "Train", "training_set", "seg_train", "imgs_train", "test", "test_set"]
SPLITS += ["val", "validation", "Validate", "eval", "hold-out", "seg_pred", "other"]
CLASSES = [
    "cat",
    "Cat",
    "dog",
    "dog ",
    " dog",
    "Caf\u00e9",
    unicodedata.normalize("NFD", "Caf\u00e9"),
]
CLASSES += ["ネコ", "سلام", "👩\u200d🚀", "a.b", "1", "-1", "images", "train", "c&d; $(x)"]
CLUTTER = ["@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", "__MACOSX", ".git", "node_modules"]
FILES = ["1.jpg", "2.JPG", "3.png", "4.jpg.1", "notes.txt", "Thumbs.db", "~$6.jpg", "7"]

names = st.sampled_from([*WRAPPERS, *SPLITS, *CLASSES, *CLUTTER])
usual = st.tuples(st.sampled_from(SPLITS), st.sampled_from(CLASSES))
class_first = st.tuples(st.sampled_from(CLASSES), st.sampled_from(SPLITS))
folders = st.one_of(usual, class_first, st.lists(names, max_size=4).map(tuple))
paths = st.tuples(folders, st.sampled_from(FILES)).map(lambda pair: "/".join((*pair[0], pair[1])))
wrappers = st.lists(st.sampled_from(WRAPPERS), max_size=2).map(
    lambda top: "".join(f"{n}/" for n in top)
)
METADATA = [
    None,
    b"site,date\nA,1\n",
    b"file_name,label\n1.jpg,x\n",
    "sit\u00e9\n".encode("latin-1"),
]


def outcome(source: object) -> object:
    """Return all that a listing says, or how it was refused, with the source's name replaced."""
    try:
        listing = open_source(str(source))
        refusal = ""
        try:
            check_labels(listing)
        except InputError as error:
            refusal = str(error).replace(str(source), TREE)
    except InputError as error:
        return str(error).split("; ")[0].replace(str(source), TREE)
    lines = [line.replace(str(source), TREE) for line in summary(listing)[1:]]
    return listing.images, listing.classes, listing.ignored, lines, refusal


@pytest.mark.slow
@given(
    top=wrappers,
    files=st.lists(paths, min_size=1, max_size=12, unique=True),
    metadata=st.sampled_from(METADATA),
)
def test_a_tree_is_one_listing_however_it_is_packed(top, files, metadata, tmp_path_factory):
    root = tmp_path_factory.mktemp(TREE)
    contents = {f"{top}{name}": photo(number, 4) for number, name in enumerate(files)}
    if metadata is not None:
        contents[f"{top}metadata.csv"] = metadata
    here = outcome(folder(root / "x", contents))
    assert outcome(zipped(root / "x.zip", contents)) == here
    assert outcome(tar(root / "x.tar", contents)) == here
