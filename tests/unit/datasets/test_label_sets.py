"""Several labels on one image: how tables say so, and what contradicts it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import write_image
from headstart import datasets
from headstart.core.errors import InputError
from headstart.core.records import LabelSet
from headstart.core.targets import MULTI_LABEL, SINGLE_LABEL
from headstart.datasets import Options
from headstart.datasets.label_sets import of_cells


@pytest.fixture
def photos(tmp_path):
    """Give a folder with six photos, 0.jpg to 5.jpg."""
    for number in range(6):
        write_image(tmp_path / f"{number}.jpg", number)
    return tmp_path


def listing(photos, text, name="list.csv", **options):
    (photos / name).write_text(text, encoding="utf-8")
    place = photos if name.startswith("metadata") else photos / name
    return datasets.open_source(str(place), Options(**options))


def sets(found):
    return {image.path: image.labels for image in found.images}


@pytest.mark.parametrize(
    "text",
    [
        "path,labels\n0.jpg,cat|dog\n1.jpg,cat\n2.jpg,\n",
        "path,labels\n0.jpg,cat;dog\n1.jpg, cat \n2.jpg,\n",
        'path,labels\n0.jpg,"[""cat"", ""dog""]"\n1.jpg,"[\'cat\']"\n2.jpg,[]\n',
        "path,cat,dog\n0.jpg,1,1\n1.jpg,1,0\n2.jpg,0,0\n",
        "path,dog,cat,split\n0.jpg,1.0,true,train\n1.jpg,0,True,train\n2.jpg,0.0,false,train\n",
    ],
)
def test_every_spelling_gives_the_same_sets(photos, text):
    found = listing(photos, text)
    assert found.target == MULTI_LABEL
    assert sorted(found.classes) == ["cat", "dog"]
    given = {path: sorted(labels.present) for path, labels in sets(found).items()}
    assert given == {"0.jpg": ["cat", "dog"], "1.jpg": ["cat"], "2.jpg": []}
    assert "several labels" in " ".join(found.remarks)


def test_unknown_cells_are_no_negatives(photos):
    found = listing(photos, "path,cat,dog\n0.jpg,1,-1\n1.jpg,,0\n")
    assert sets(found) == {"0.jpg": LabelSet(("cat",), ("dog",)), "1.jpg": LabelSet((), ("cat",))}


def test_columns_that_the_user_names(photos):
    text = "path,age,cat,dog\n0.jpg,7,1,0\n1.jpg,8,0,1\n"
    assert listing(photos, text, label_columns=("cat", "dog")).classes == ("cat", "dog")
    with pytest.raises(InputError, match="--label-columns cat,dog"):
        listing(photos, text)
    with pytest.raises(InputError, match="no column bird"):
        listing(photos, text, label_columns=("bird",))


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        ("path,cat,dog\n0.jpg,1,0\n1.jpg,2,0\n", {"label_columns": ("cat", "dog")}, "line 3.*cat"),
        ("path,cat,dog\n0.jpg,1,0\n1.jpg,0,1\n2.jpg,0,7\n", {}, "line 4.*dog has '7'"),
        ("path,cat,dog\n0.jpg,2,0\n1.jpg,2,2\n2.jpg,0,2\n", {}, "line 2.*cat has '2'"),
        ("path,cat,dog\n0.jpg,1,0\n0.jpg,0,0\n", {}, "listed twice"),
        ("path,label\n0.jpg,cat\n0.jpg,dog\n", {}, "listed twice"),
        ("path,labels\n0.jpg,\n1.jpg,\n", {"target": MULTI_LABEL}, "has any label"),
        ('path,labels\n0.jpg,"[""a|b""]"\n1.jpg,"[""a"",""b""]"\n', {}, r"a\|b.*other labels"),
        ("path,cat\n0.jpg,1\n", {"label_columns": ("cat",), "label_column": "cat"}, "choose one"),
    ],
)
def test_contradictions_are_one_line(photos, text, options, reason):
    with pytest.raises(InputError, match=reason) as error:
        listing(photos, text, **options)
    assert "\n" not in str(error.value)


def test_a_class_with_a_separator_in_its_name_stays_a_class(photos):
    text = "path,labels\n0.jpg,bolts; nuts\n1.jpg,screws\n2.jpg,bolts; nuts\n"
    assert listing(photos, text).classes == ("bolts; nuts", "screws")
    divided = listing(photos, text, target=MULTI_LABEL)
    assert divided.classes == ("bolts", "nuts", "screws")
    assert listing(photos, text, target=SINGLE_LABEL).target == SINGLE_LABEL


def test_another_column_needs_the_option_and_says_so(photos):
    text = "path,label\n0.jpg,a|b\n1.jpg,a\n2.jpg,b\n"
    found = listing(photos, text)
    assert found.target == SINGLE_LABEL
    assert "--target multi-label" in found.remarks[0]
    assert listing(photos, text, target=MULTI_LABEL).classes == ("a", "b")


@pytest.mark.parametrize("mark", [",", ", ", "/", " + ", " "])
def test_an_unknown_separator_is_remarked_on(photos, mark):
    text = f'path,labels\n0.jpg,"a{mark}b"\n1.jpg,a\n2.jpg,b\n'
    found = listing(photos, text)
    assert (found.target, len(found.classes)) == (SINGLE_LABEL, 3)
    assert "--target multi-label" in " ".join(found.remarks)
    [remark] = [r for r in listing(photos, text, target=MULTI_LABEL).remarks if "write |" in r]
    assert "--target" not in remark


def test_two_separators_are_remarked_on(photos):
    text = "path,labels\n0.jpg,a|b\n1.jpg,a;b\n2.jpg,b\n"
    assert "write | in place of ';'" in " ".join(listing(photos, text).remarks)


@pytest.mark.parametrize("names", ["red wine|red car|wine", "Paris, France|Paris, Texas|Rome"])
def test_ordinary_names_of_classes_get_no_remark(photos, names):
    rows = "\n".join(f'{n}.jpg,"{name}"' for n, name in enumerate(names.split("|")))
    assert listing(photos, f"path,label\n{rows}").remarks == ()


@pytest.mark.parametrize(
    "text", ["path,cat,dog\n0.jpg,1,1\n1.jpg,1,1\n", "path,labels\n0.jpg,[7]\n"]
)
def test_labels_that_all_images_have_are_refused_before_any_work(photos, text):
    with pytest.raises(InputError, match="have the same"):
        datasets.check_labels(listing(photos, text))


def test_rows_that_contradict_each_other_may_be_several_labels(photos):
    with pytest.raises(InputError, match="--target multi-label"):
        listing(photos, "path,label\n0.jpg,cat\n0.jpg,dog\n")


def test_columns_that_headstart_writes_are_taken_beside_others(photos):
    text = "path,labels,true:cat,true:dog,x\n0.jpg,cat,1,,0.5\n1.jpg,,0,1,0.1\n"
    found = listing(photos, text)
    assert found.classes == ("cat", "dog")
    assert sets(found)["0.jpg"] == LabelSet(("cat",), ("dog",))


def test_rows_of_one_image_add_up_if_the_user_says_so(photos):
    found = listing(photos, "path,label\n0.jpg,a\n0.jpg,b\n1.jpg,a\n", target=MULTI_LABEL)
    assert sets(found) == {"0.jpg": LabelSet(("a", "b")), "1.jpg": LabelSet(("a",))}


def test_copies_in_class_folders_are_one_image_if_the_user_says_so(tmp_path):
    for folder in ("cat", "dog"):
        write_image(tmp_path / folder / "same.jpg", 1)
        write_image(tmp_path / folder / "own.jpg", 2 + len(folder) + ord(folder[0]))
    plain = datasets.open_source(str(tmp_path))
    assert (plain.target, len(plain.images)) == (SINGLE_LABEL, 4)
    found = datasets.open_source(str(tmp_path), Options(target=MULTI_LABEL))
    assert len(found.images) == 3
    assert sets(found)["cat/same.jpg"] == LabelSet(("cat", "dog"))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("metadata.jsonl", [{"labels": ["a", "b"]}, {"labels": []}, {"labels": None}]),
        ("metadata.jsonl", [{"a": 1, "b": 1}, {"a": 0, "b": False}, {"a": None, "b": -1}]),
    ],
)
def test_metadata_of_a_folder(photos, name, rows):
    lines = [json.dumps({"file_name": f"{n}.jpg", **row}) for n, row in enumerate(rows)]
    found = sets(listing(photos, "\n".join(lines), name))
    assert found["0.jpg"].present == ("a", "b")
    assert found["1.jpg"] == LabelSet(())
    assert found["2.jpg"] is None or set(found["2.jpg"].unknown) == {"a", "b"}


def test_flags_beside_class_folders_are_no_labels(tmp_path):
    for name in ("cat", "dog"):
        write_image(tmp_path / name / "1.jpg", len(name) + ord(name[0]))
    (tmp_path / "metadata.csv").write_text("file_name,dark,blurred\ncat/1.jpg,1,0\ndog/1.jpg,0,0\n")
    assert datasets.open_source(str(tmp_path)).target == SINGLE_LABEL


def test_tables_have_lists_and_flags(photos):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    images = [(photos / f"{n}.jpg").read_bytes() for n in range(3)]
    names = {"info": {"features": {"labels": {"feature": {"names": ["u", "v"]}}}}}

    def found(columns, facts=None):
        table = pa.table({"image": images, **columns})
        if facts:
            table = table.replace_schema_metadata({b"huggingface": json.dumps(facts).encode()})
        pq.write_table(table, photos / "t.parquet")
        listed = datasets.open_source(str(photos / "t.parquet"))
        return listed.classes, list(sets(listed).values())

    expected = [LabelSet(("u", "v")), LabelSet(()), None]
    assert found({"labels": [["u", "v"], [], None]}) == (("u", "v"), expected)
    assert found({"labels": [[0, 1], [], None]}, names) == (("u", "v"), expected)
    classes, flags = found({"u": [1, 0, None], "v": [1, 0, 0]})
    assert (classes, flags[2]) == (("u", "v"), LabelSet((), ("u",)))
    captioned, _ = found({"u": [1, 0, 1], "v": [1, 0, 0], "caption": ["x", "y", "z"]})
    assert captioned == ()


def test_a_separator_counts_if_parts_recur():
    assert of_cells(["a|b", "a"], "labels").separator == "|"
    assert of_cells(["a|b", "c|d"], "labels") is None
    assert of_cells(["a|b", "a"], "kind") is None


def coco(photos, **changes):
    document = {
        "images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(3)],
        "annotations": [
            {"image_id": 0, "category_id": 5},
            {"image_id": 0, "category_id": 9},
            {"image_id": 0, "category_id": 9},
            {"image_id": 1, "category_id": 5},
        ],
        "categories": [{"id": 5, "name": "car"}, {"id": 9, "name": "bicycle"}],
    }
    folder = photos / "annotations"
    folder.mkdir(exist_ok=True)
    (folder / "instances_val2017.json").write_text(json.dumps(document | changes))
    return str(folder / "instances_val2017.json")


def test_coco_files_have_the_categories_of_objects(photos):
    (photos / "val2017").mkdir()
    for number in range(3):
        (photos / f"{number}.jpg").rename(photos / "val2017" / f"{number}.jpg")
    found = datasets.open_source(coco(photos))
    assert found.classes == ("car", "bicycle")
    assert [image.split for image in found.images] == ["validation"] * 3
    expected = [("car", "bicycle"), ("car",), ()]
    assert [image.labels.present for image in found.images] == expected
    assert datasets.read(found, found.images[0])[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"categories": []}, "category 5"),
        ({"images": None}, "no file of annotations"),
        ({"categories": [{"id": 5}, {"id": 9, "name": "x"}]}, "no name"),
        ({"images": [{"id": 1, "file_name": "absent.jpg"}]}, "absent.jpg"),
        ({"images": []}, "lists no images"),
        ({"images": [{"file_name": "0.jpg"}]}, "image 0 has no id"),
        ({"images": [{"id": 0, "file_name": f"{n}.jpg"} for n in range(2)]}, "of another one"),
        ({"categories": [{"id": 5, "name": "a"}, {"id": 5, "name": "b"}]}, "two categories"),
        ({"annotations": [{"image_id": 0, "caption": "a car"}]}, "category None"),
        ({"images": [{"id": n, "file_name": "0.jpg"} for n in range(2)]}, "listed twice"),
    ],
)
def test_bad_coco_files_are_one_line(photos, changes, reason):
    with pytest.raises(InputError, match=reason):
        datasets.open_source(coco(photos, **changes))


def test_coco_files_as_other_programs_write_them(photos):
    images = [
        {"id": 0.0, "file_name": str(photos / "0.jpg"), "license": 3},
        {"id": 1.0, "file_name": "./1.jpg"},
    ]
    notes = [
        {"image_id": 0, "category_id": 5.0, "iscrowd": 1, "segmentation": {"counts": []}},
        {"image_id": 1, "segments_info": [{"category_id": 5}, {"category_id": 9}]},
        {"image_id": 1, "segments_info": []},
        {"image_id": 7, "category_id": 9},
    ]
    path = Path(coco(photos, images=images, annotations=notes, licenses=[{"id": 3}]))
    path = path.rename(photos / "_annotations.coco.json")  # beside the images
    listing = datasets.open_source(str(path))
    by_name = {Path(image.path).name: image.labels.present for image in listing.images}
    assert by_name == {"0.jpg": ("car",), "1.jpg": ("car", "bicycle")}
    assert any("does not list" in remark for remark in listing.remarks)
    merged = [{"id": n, "file_name": "0.jpg"} for n in range(2)]
    notes = [{"image_id": 0, "category_id": 5}, {"image_id": 1, "category_id": 9}]
    options = Options(target=MULTI_LABEL)
    (image,) = datasets.open_source(coco(photos, images=merged, annotations=notes), options).images
    assert image.labels.present == ("car", "bicycle")


def test_folders_of_several_years_of_voc_are_one_set(tmp_path):
    for year, name in ((2007, "car"), (2012, "dog")):
        folder = tmp_path / f"VOC{year}"
        (folder / "Annotations").mkdir(parents=True)
        (folder / "ImageSets" / "Main").mkdir(parents=True)
        (folder / "ImageSets" / "Main" / "train.txt").write_text("1\n")
        inside = f"<object><name>{name}</name></object>"
        (folder / "Annotations" / "1.xml").write_text(f"<annotation>{inside}</annotation>")
        for number in (1, 2):
            write_image(folder / "JPEGImages" / f"{number}.jpg", number + year)
    listing = datasets.open_source(str(tmp_path))
    assert sets(listing) == {
        "VOC2007/JPEGImages/1.jpg": LabelSet(("car",)),
        "VOC2012/JPEGImages/1.jpg": LabelSet(("dog",)),
    }
    assert {image.split for image in listing.images} == {"train"}
    assert listing.ignored == {"without annotations": 2}
    assert datasets.read(listing, listing.images[1])[0]


_CLASSES = {"names": ["car", "dog"], "_type": "ClassLabel"}


@pytest.mark.parametrize(
    ("objects", "feature"),
    [
        (
            [{"category": [0, 1, 0], "id": [1, 2, 3]}, {"category": [], "id": []}, None],
            {"feature": {"category": _CLASSES}, "_type": "Sequence"},
        ),
        (
            [{"category": [0, 1], "id": [1, 2]}, {"category": [], "id": []}, None],
            {"category": {"feature": _CLASSES, "_type": "List"}},
        ),
        ([[{"category": 0}, {"category": 1}], [], None], [{"category": _CLASSES}]),
        ([[{"category": "car"}, {"category": "dog"}], [], None], None),
    ],
)
def test_parquet_has_the_categories_of_objects(tmp_path, objects, feature):
    content = write_image(tmp_path / "one.png", 1).read_bytes()
    table = pa.table({"image": [{"bytes": content, "path": "a.png"}] * 3, "objects": objects})
    described = json.dumps({"info": {"features": {"objects": feature}}})
    pq.write_table(
        table.replace_schema_metadata({"huggingface": described}), tmp_path / "t.parquet"
    )
    listing = datasets.open_source(str(tmp_path / "t.parquet"))
    assert listing.classes == ("car", "dog")
    assert [image.labels for image in listing.images] == [
        LabelSet(("car", "dog")),
        LabelSet(()),
        None,
    ]
    assert any("objects.category" in remark for remark in listing.remarks)
    plain = datasets.open_source(str(tmp_path / "t.parquet"), Options(target=SINGLE_LABEL))
    assert plain.classes == ()


def test_voc_folders_have_the_categories_of_objects(tmp_path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("1\n")
    objects = {
        0: "<object><name>car</name></object><object><name>dog</name></object>",
        1: "<object><name>car</name><difficult>1</difficult></object>",
    }
    for number, inside in objects.items():
        write_image(tmp_path / "JPEGImages" / f"{number}.jpg", number)
        text = f"<annotation><filename>{number}.jpg</filename>{inside}</annotation>"
        (tmp_path / "Annotations" / f"{number}.xml").write_text(text)
    found = datasets.open_source(str(tmp_path))
    assert sets(found) == {
        "0.jpg": LabelSet(("car", "dog")),
        "1.jpg": LabelSet((), ("car",)),
    }
    assert {image.path: image.split for image in found.images} == {
        "0.jpg": "",
        "1.jpg": "validation",
    }


@pytest.mark.parametrize(
    ("extension", "contents"),
    [
        ("json", ['{"labels": ["a", "b"]}', '{"labels": []}', '{"labels": ["b"]}']),
        ("cls", ["a\nb\n", "", "b"]),
    ],
)
def test_webdatasets_have_lists_or_several_lines(photos, extension, contents):
    path = shard(photos, extension, contents)
    found = datasets.open_source(path)
    assert found.target == MULTI_LABEL
    expected = [LabelSet(("a", "b")), LabelSet(()), LabelSet(("b",))]
    assert [image.labels for image in found.images] == expected
    with pytest.raises(InputError, match="single-label"):
        datasets.open_source(path, Options(target=SINGLE_LABEL))


def test_an_empty_file_of_a_webdataset_with_one_class_an_image_says_nothing(photos):
    found = datasets.open_source(shard(photos, "cls", ["a", "", "b"]))
    assert found.target == SINGLE_LABEL
    assert [image.label for image in found.images] == ["a", None, "b"]


def test_text_in_a_webdataset_is_divided_if_the_user_says_so(photos):
    path = shard(photos, "json", ['{"labels": "a|b"}', '{"labels": ""}', '{"labels": "b"}'])
    assert "--target multi-label" in " ".join(datasets.open_source(path).remarks)
    found = datasets.open_source(path, Options(target=MULTI_LABEL))
    assert found.classes == ("a", "b")
    assert [image.labels.present for image in found.images] == [("a", "b"), (), ("b",)]


def shard(photos, extension, contents):
    """Write a shard of the first photos with files of labels beside them."""
    import tarfile

    for number, content in enumerate(contents):
        (photos / f"{number}.{extension}").write_text(content)
    with tarfile.open(photos / "shard.tar", "w") as tar:
        for number in range(len(contents)):
            for name in (f"{number}.jpg", f"{number}.{extension}"):
                tar.add(photos / name, name)
    return str(photos / "shard.tar")
