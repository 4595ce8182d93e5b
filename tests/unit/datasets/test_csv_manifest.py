"""CSV manifests."""

from __future__ import annotations

import csv
import tempfile
import unicodedata
from pathlib import Path

import pytest
from headstart.core.errors import InputError
from headstart.core.records import Listing
from headstart.datasets import Options, location, open_source, order, read_groups
from hypothesis import given
from hypothesis import strategies as st
from image_files import (
    plant,
    refused,
    rows,
)


def attempt(data: str) -> Listing | str:
    """Return the listing, or the message of the error."""
    try:
        return open_source(data)
    except InputError as error:
        return str(error)


@pytest.fixture
def photos(tmp_path):
    return plant(tmp_path, "cat/1.jpg", "cat/2.jpg", "dog/1.jpg")


def manifest(folder: Path, text: str | bytes, name: str = "list.csv") -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_manifest_with_splits_in_any_column_order(photos):
    file = manifest(
        photos,
        "Split, note ,LABEL,path\n"
        "Val,x, cat ,cat/1.jpg\n"
        "TRAIN,x,dog,./dog//1.jpg\n"
        "\n"
        ",x,,cat\\2.jpg\n"
        "test,x,dog,cat/none.jpg\n",
    )
    listing = open_source(str(file))
    assert rows(listing) == [
        ("dog/1.jpg", "dog", "train"),
        ("cat/1.jpg", "cat", "validation"),
        ("cat/none.jpg", "dog", "test"),
        ("cat/2.jpg", None, ""),
    ]
    assert (listing.root, listing.name) == (photos, str(file))
    assert listing.classes == ("cat", "dog")
    assert listing.ignored == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", b"path,label\ncat/1.jpg,cat\n"),
        ("a.csv", b"\xef\xbb\xbfpath,label\r\ncat/1.jpg,cat\r\n"),
        ("a.csv", b'"path","label"\r"cat/1.jpg","cat"'),
        ("A.TSV", b"path\tlabel\ncat/1.jpg\tcat\n"),
    ],
)
def test_spellings_of_a_manifest(name, text, photos):
    file = manifest(photos, text, name)
    assert rows(open_source(str(file))) == [("cat/1.jpg", "cat", "")]


def test_absolute_paths(photos, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    listing = open_source(str(manifest(elsewhere, f"path,label\n{photos}/cat/1.jpg,cat\n")))
    (image,) = listing.images
    assert location(listing, image) == photos / "cat" / "1.jpg"


def test_a_backslash_in_a_name_stays(photos):
    plant(photos, "cat/a\\b.jpg")
    listing = open_source(str(manifest(photos, "path,label\ncat/a\\b.jpg,cat\n")))
    assert location(listing, listing.images[0]).exists()


def test_an_image_listed_twice_counts_once(photos):
    file = manifest(photos, "path,label\ncat/1.jpg,cat\n./cat/1.jpg,cat\ncat/1.jpg,cat\n")
    listing = open_source(str(file))
    assert rows(listing) == [("cat/1.jpg", "cat", "")]
    assert listing.ignored == {"listed twice": 2}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["empty"]),
        ("path,label\n", ["no images"]),
        ("img_id,label\nx,y\n", ["no column path", "img_id, label", "--path-column"]),
        ("img_id;fine\nx;y\n", ["no column path and no column label", "img_id, fine", "semi"]),
        ("cat/1.jpg,cat\ncat/2.jpg,cat\n", ["the first row must name the columns"]),
        ("path,fine_label\nx,y\n", ["no column label", "did you mean", "--label-column"]),
        ("path,label,Path\nx,y,z\n", ["column path is there twice"]),
        ("path,label\ncat/1.jpg,cat\n ,cat\n", ["line 3", "path is empty"]),
        ("path,label\n\ncat/1.jpg,cat,x\n", ["line 3", "3 columns where the header has 2"]),
        ("path,label\ncat/1.jpg\n", ["line 2", "1 column "]),
        ("path,label,split\ncat/1.jpg,cat,banana\n", ["line 2", "banana"]),
        ("path,label\ncat/1.jpg,cat\ncat/1.jpg,dog\n", ["line 3: cat/1.jpg", "line 2; keep one"]),
        (
            "path,label,split\ncat/1.jpg,cat,train\ncat/1.jpg,cat,test\n",
            ["split", "line 2; keep one"],
        ),
        ('path,label\ncat/1.jpg,"cat\n', ["line 2", "malformed"]),
        ('path,label\n"cat/1.jpg"x,cat\n', ["line 2", "malformed"]),
        ("path,label\ncat/1.jpg,cat\ncat/2.jpg,c\0t\n", ["line 3", "NUL"]),
        (b"\xef\xbb\xbfpath,label\ncat/1.jpg,caf\xe9\n", ["line 2", "UTF-8"]),
        ("path,label\nnone/1.jpg,cat\nnone/2.jpg,cat\n", ["none of the 2 files", "relative to"]),
        ("path,label\n" + "x" * 5000 + ",cat\n", ["none of the 1 files"]),
    ],
)
def test_manifests_that_cannot_be_used(text, parts, photos):
    message = refused(manifest(photos, text))
    assert "list.csv" in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "path;label\ncat/1.jpg;cat\n"),
        ("a.csv", "path\tlabel\ncat/1.jpg\tcat\n"),
        ("a.csv", "path|label\ncat/1.jpg|cat\n"),
        ("a.tsv", "path,label\ncat/1.jpg,cat\n"),
        ("a.csv", "sep=;\npath;label\ncat/1.jpg;cat\n"),
        ("a.csv", "path;label\n\n;\n  ; \ncat/1.jpg;cat\n;\n"),
        ("a.csv", "path,label\n,,\n \ncat/1.jpg,cat\n,\n"),
        ("a.csv", "path,label\n  cat/1.jpg , cat \n"),
        ("a.csv", "Image , CLASS\ncat/1.jpg,cat\n"),
        ("a.csv", "file,category\ncat/1.jpg,cat\n"),
        ("a.csv", "File Name,target\ncat/1.jpg,cat\n"),
        ("a.csv", "filename,label\ncat\\1.jpg,cat\n"),
        ("a.csv", b"\xff\xfe" + "path,label\ncat/1.jpg,cat\n".encode("utf-16-le")),
        ("a.csv", b"\xfe\xff" + "path;label\ncat/1.jpg;cat\n".encode("utf-16-be")),
        ("a.csv", "path,label\ncat/1.jpg,cat\n".encode("utf-16-le")),
        ("a.csv", 'id;path;label;note\n1;cat/1.jpg;cat;"a;b, c"\n'),
    ],
)
def test_tables_as_programs_write_them(name, text, photos):
    listing = open_source(str(manifest(photos, text, name)))
    assert rows(listing) == [("cat/1.jpg", "cat", "")]


def test_commas_stay_what_separates_where_they_do(photos):
    file = manifest(photos, "path,label,a;b|c\ncat/1.jpg,x;y|z,1\n")
    assert rows(open_source(str(file))) == [("cat/1.jpg", "x;y|z", "")]


def test_columns_can_be_named(photos):
    file = manifest(photos, "path,shot,fine,coarse\nx,cat/1.jpg,tabby,cat\n")
    listing = open_source(str(file), Options(label_column="FINE", path_column="shot"))
    assert rows(listing) == [("cat/1.jpg", "tabby", "")]
    message = refused_with(file, label_column="finest")
    assert "no column label" in message
    assert "did you mean fine" in message


def test_columns_cannot_be_named_for_folders(photos):
    assert "--label-column" in refused_with(photos, label_column="x")
    assert "--path-column" in refused_with(photos, path_column="x")


def test_no_labels_needs_no_column_of_labels(photos):
    file = manifest(photos, "path,fine\ncat/1.jpg,x\n")
    assert rows(open_source(str(file), Options(labels=False))) == [("cat/1.jpg", None, "")]
    file = manifest(photos, "path,label,split\ncat/1.jpg,x,test\n")
    listing = open_source(str(file), Options(labels=False))
    assert (rows(listing), listing.classes) == ([("cat/1.jpg", None, "test")], ())


def refused_with(data: Path, **options: str) -> str:
    with pytest.raises(InputError) as caught:
        open_source(str(data), Options(**options))
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("cat/1.JPG", ["cat/1.JPG", "there is 1.jpg", "case"]),
        ("Cat/1.jpg", ["there is cat", "case"]),
        ("cat/1", ["there is 1.jpg"]),
        ("cat/1.png", ["there is 1.jpg"]),
        ("photos/cat/1.jpg", ["there is cat/1.jpg", "leave the first folder out"]),
        (r"C:\Users\x\1.jpg", [r"C:\Users\x\1.jpg", "Windows"]),
        (r"\\server\share\1.jpg", ["Windows"]),
        ("https://example.com/a/1.jpg", ["https://example.com/a/1.jpg", "is a URL"]),
        ("/nowhere/1.jpg", ["/nowhere/1.jpg"]),
    ],
)
def test_missing_files_are_explained_by_the_first(path, parts, photos):
    message = refused(manifest(photos, f"path,label\n{path},x\n"))
    for part in parts:
        assert part in message


def test_a_path_that_is_right_elsewhere_is_explained(photos):
    (photos / "lists").mkdir()
    message = refused(manifest(photos / "lists", "path,label\ncat/1.jpg,x\n"))
    assert f"it is in {photos}" in message


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_are_found_in_either_form(forms, tmp_path):
    written, listed = (unicodedata.normalize(form, "Café") for form in forms)
    plant(tmp_path, f"{written}/1.jpg", "dog/2.jpg")
    text = f"path,label\n{listed}/1.jpg,{listed}\ndog/2.jpg,{written}\n"
    listing = open_source(str(manifest(tmp_path, text)))
    assert all(location(listing, image).exists() for image in listing.images)
    assert listing.classes == (unicodedata.normalize("NFC", "Café"),)


def test_blanks_at_the_end_of_a_name_stay(photos):
    plant(photos, "cat/9.jpg ")
    listing = open_source(str(manifest(photos, "path,label\ncat/9.jpg ,cat\n")))
    assert rows(listing) == [("cat/9.jpg ", "cat", "")]


def test_groups_are_read_from_the_manifest_or_a_table_of_their_own(photos):
    text = "path,label,group\n./cat/1.jpg,cat,a\ndog\\2.jpg,dog, b \nx.jpg,dog,\n"
    (photos / "m.csv").write_text(text, encoding="utf-8")
    assert read_groups(photos / "m.csv") == {"cat/1.jpg": "a", "dog/2.jpg": "b"}
    (photos / "g.tsv").write_text("Group\tPath\nسلام\tx.jpg\nسلام\tx.jpg\n", encoding="utf-8")
    assert read_groups(photos / "g.tsv") == {"x.jpg": "سلام"}


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("g.csv", "path,label\na.jpg,cat\n", "has no column group"),
        (
            "g.csv",
            "path,group\na.jpg,1\na.jpg,2\n",
            "line 3: a.jpg is in the group 2 here",
        ),
        ("g.csv", "path,group\na.jpg,\n", "names no group"),
        ("g.csv", "", "is empty; expected a header with path,group"),
        ("g.json", "{}", "not a table of groups; give a .csv or .tsv"),
    ],
)
def test_groups_that_cannot_be_used(name, text, part, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=part):
        read_groups(tmp_path / name)


def test_a_manifest_that_cannot_be_read(photos, monkeypatch):
    file = manifest(photos, "path,label\ncat/1.jpg,cat\n")

    def forbid(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", forbid)
    assert "Permission denied" in refused(file)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=6))
def test_what_a_csv_writer_writes_is_read_back_or_refused(pairs):
    with tempfile.TemporaryDirectory() as folder:
        root = plant(Path(folder), "there.jpg")
        with (root / "list.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("path", "label"), ("there.jpg", "x"), *pairs])
        listing = attempt(str(root / "list.csv"))
        if isinstance(listing, str):
            assert "line" in listing
            return
        labels = {_class(label) for path, label in pairs if path.strip() or label.strip()} | {"x"}
        assert {image.label for image in listing.images} == labels


def _class(label: str) -> str | None:
    return unicodedata.normalize("NFC", label.strip()) or None


@pytest.mark.parametrize(
    "text",
    [
        "path,label\ncat/1.jpg,cat,\ndog/1.jpg,dog,,\n",  # separators at the end of rows
        "path,label,\ncat/1.jpg,cat\ndog/1.jpg,dog,\n",  # or of the header
        'path, label\n"cat/1.jpg", "cat"\n"dog/1.jpg", "dog"\n',  # blanks before quotes
        '"path", "label"\n"cat/1.jpg", "cat"\n"dog/1.jpg", "dog"\n',
        "path;label;weight\ncat/1.jpg;cat;0,5\ndog/1.jpg;dog;0,25\n",  # a decimal comma
        f"path,label,values\ncat/1.jpg,cat,{'1' * 200_000}\ndog/1.jpg,dog,\n",  # long cells
        "path,label\rcat/1.jpg,cat\rdog/1.jpg,dog\r",
    ],
    ids=["rows", "header", "blanks", "quoted header", "decimal comma", "long", "cr"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_other_tables_of_programs(photos, text, encoding):
    file = photos / "x.csv"
    file.write_bytes(text.encode(encoding))
    assert open_source(str(file)).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('path,label\ncat/1.jpg, "cat"\n', "blank before a quote"),
        ("path,label\ncat/1.jpg,cat,x\n", "3 columns where the header has 2"),
        ("path,label,split\ncat/1.jpg,cat\n", "2 columns where the header has 3"),
        ("My photos;;\npath;label\ncat/1.jpg;cat\n", "first row must name the columns"),
        ("path,label\nfile:///cat/1.jpg,cat\n", "without file://"),
    ],
)
def test_tables_that_are_refused(photos, text, message):
    assert message in refused_with(manifest(photos, text))


def test_files_that_do_not_exist_are_counted_before_any_work(photos):
    gone = "".join(f"gone/{n}.jpg,cat\n" for n in range(3))
    listing = open_source(str(manifest(photos, f"path,label\ncat/1.jpg,cat\n{gone}")))
    assert listing.remarks == ("3 of 4 listed files do not exist, such as gone/0.jpg.",)


@pytest.mark.parametrize(
    ("values", "splits"),
    [
        (("Training", "test"), ["train", "test"]),
        (("A", "B"), ["", ""]),
        (("train", "train"), ["", ""]),
    ],
)
def test_a_column_subset_has_the_splits_if_it_names_several(photos, values, splits):
    text = "path,label,Subset\ncat/1.jpg,cat,{}\ndog/1.jpg,dog,{}\n".format(*values)
    listing = open_source(str(manifest(photos, text)))
    assert [image.split for image in listing.images] == splits
    assert bool(listing.remarks) == (splits[0] != "")


class TestLongManifests:
    """Rows that are sorted in runs, of which one is kept of those that are repeated."""

    @pytest.fixture(autouse=True)
    def short_runs(self, monkeypatch):
        monkeypatch.setattr(order, "RUN", 3)

    def rows(self, *more: str) -> str:
        rows = [f"cat/{n}.jpg,{'cat' if n % 2 else 'dog'},train" for n in range(1, 10)]
        return "\n".join(["path,label,split", *rows, *more]) + "\n"

    def test_a_row_that_is_repeated_counts_as_ignored(self, photos):
        listing = open_source(manifest(photos, self.rows("cat/1.jpg,cat,train")))
        assert [ref.path for ref in listing.images] == [f"cat/{n}.jpg" for n in range(1, 10)]
        assert listing.ignored == {"listed twice": 1}

    @pytest.mark.parametrize("row", ["cat/1.jpg,dog,train", "cat/1.jpg,cat,test"])
    def test_rows_that_contradict_each_other_are_refused(self, row, photos):
        message = refused_with(manifest(photos, self.rows(row)))
        assert "line 11: cat/1.jpg" in message
        assert "line 2; keep one" in message

    def test_a_column_of_subsets_has_the_splits(self, photos):
        listing = open_source(
            manifest(photos, self.rows("cat/x.jpg,cat,test").replace("split", "subset"))
        )
        assert {ref.path: ref.split for ref in listing.images}["cat/x.jpg"] == "test"
        assert "subset" in " ".join(listing.remarks)
