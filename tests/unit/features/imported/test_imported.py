"""Features of other programs: every format gives the same rows, and bad ones a line each."""

import csv
import warnings

import h5py
import headstart as hs
import numpy as np
import pytest
from headstart.core.errors import InputError, StoreError, UsageError
from headstart.features import store

CLASSES = np.array(["cat", "dog", "owl"])


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 10)
    features = rng.normal(size=(30, 5)).astype(np.float32)
    names = [f"img_{row:02d}.png" for row in range(30)]
    return features, labels, names


def by_name(path):
    data = store.read(path)
    return {
        name: (data.features[row], data.label_text(row), data.split[row])
        for row, name in enumerate(data.path)
    }


def assert_rows(path, rows, exactly=True):
    features, labels, names = rows
    stored = by_name(path)
    assert list(stored) == sorted(names)
    for row, name in enumerate(names):
        np.testing.assert_allclose(stored[name][0], features[row], atol=0 if exactly else 1e-3)
        assert stored[name][1] == CLASSES[labels[row]]
    assert store.verify(path) == []


def write_csv(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.mark.slow
def test_arrays_in_memory_and_in_files_and_tables_give_the_same_store(tmp_path, rows):
    features, labels, names = rows
    words = CLASSES[labels]
    hs.import_features(features, tmp_path / "memory.h5", labels=words, names=names)
    assert_rows(tmp_path / "memory.h5", rows)

    np.savez(tmp_path / "a.npz", X=features, y=labels, target_names=CLASSES, filenames=names)
    hs.import_features(tmp_path / "a.npz", tmp_path / "npz.h5")
    assert_rows(tmp_path / "npz.h5", rows)

    cells = [[name, *row, word] for name, row, word in zip(names, features, words, strict=True)]
    write_csv(tmp_path / "a.csv", ["path", *(f"f{i}" for i in range(5)), "label"], cells)
    hs.import_features(tmp_path / "a.csv", tmp_path / "csv.h5")
    assert_rows(tmp_path / "csv.h5", rows)

    write_csv(tmp_path / "b.csv", ["name", *range(5), "class"], cells)
    hs.import_features(tmp_path / "b.csv", tmp_path / "numbers.h5")
    assert_rows(tmp_path / "numbers.h5", rows)

    np.save(tmp_path / "X.npy", features.astype(np.float16))
    np.save(tmp_path / "y.npy", words)
    written = hs.import_features(tmp_path / "X.npy", tmp_path / "npy.h5", labels=tmp_path / "y.npy")
    assert (written.dtype, written.rows, written.labelled) == ("float16", 30, 30)
    assert_rows(
        tmp_path / "npy.h5", (features, labels, [f"{row:02d}" for row in range(30)]), exactly=False
    )


@pytest.mark.parametrize("lists", [True, False])
def test_parquet_has_a_column_of_lists_or_one_for_each_feature(tmp_path, rows, lists):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    features, labels, names = rows
    columns = {"filename": names, "label": CLASSES[labels].tolist(), "width": [7] * 30}
    if lists:
        columns["embedding"] = features.tolist()
    else:
        columns |= {f"dim_{i}": features[:, i] for i in range(5)}
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    written = hs.import_features(tmp_path / "a.parquet", tmp_path / "a.h5")
    assert any("width" in remark for remark in written.remarks)
    assert_rows(tmp_path / "a.h5", rows)


@pytest.mark.slow
def test_what_export_features_writes_comes_back(tmp_path, rows):
    features, labels, names = rows
    hs.import_features(features, tmp_path / "a.h5", labels=CLASSES[labels], names=names)
    for kind in ("csv", "parquet"):
        (table,) = hs.export_features(tmp_path / "a.h5", to=kind, out=tmp_path / f"a.{kind}")
        hs.import_features(table, tmp_path / f"{kind}.h5")
        assert_rows(tmp_path / f"{kind}.h5", rows, exactly=kind == "parquet")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_several_labels_come_back_with_what_is_unknown(tmp_path, rows, kind):
    """Columns of labels are no features, whatever their names."""
    features, _, names = rows
    classes = ["1", "2", "3", "4", "5", "6", "7", "x", "f0", "a|b", "never"]
    states = np.random.default_rng(0).integers(-1, 2, (len(names), len(classes)))
    states[:, -1], states[0], states[1] = 0, -1, 0
    table = tmp_path / "labels.csv"
    write_csv(table, ["path", *classes], [[n, *row] for n, row in zip(names, states, strict=True)])
    hs.import_features(
        features, tmp_path / "a.h5", names=names, labels=table, label_columns=classes
    )
    before = hs.FeatureStore(tmp_path / "a.h5")
    (written,) = hs.export_features(tmp_path / "a.h5", to=kind, out=tmp_path / f"b.{kind}")
    hs.import_features(written, tmp_path / "b.h5")
    after = hs.FeatureStore(tmp_path / "b.h5")
    assert after.target == before.target == "multi-label"
    assert (after.path, after.classes) == (before.path, before.classes)
    assert (after.label_sets == before.label_sets).all()
    assert (before.label_sets < 0).any()
    np.testing.assert_allclose(after.features, before.features, rtol=1e-6)


def test_arrays_by_split_are_joined(tmp_path, rows):
    features, labels, _ = rows
    np.savez(
        tmp_path / "a.npz",
        X_train=features[:20],
        y_train=labels[:20],
        X_test=features[20:],
        y_test=labels[20:],
    )
    hs.import_features(tmp_path / "a.npz", tmp_path / "a.h5")
    data = store.read(tmp_path / "a.h5")
    assert sorted(data.split) == ["test"] * 10 + ["train"] * 20
    np.savez(tmp_path / "b.npz", X_train=features, X_test=features, y_train=labels)
    with pytest.raises(InputError, match="y_test"):
        hs.import_features(tmp_path / "b.npz", tmp_path / "b.h5")


def write_slide(path, patches, coords=True, encoder="", **others):
    with h5py.File(path, "w") as file:
        file["features"] = patches
        if encoder:
            file["features"].attrs["encoder"] = encoder
        if coords:
            n = patches.shape[-2] if patches.ndim > 1 else 1
            file["coords"] = np.arange(2 * n).reshape(n, 2)
        for name, values in others.items():
            file[name] = values


@pytest.fixture
def slides(tmp_path):
    rng = np.random.default_rng(1)
    bags = {f"slide_{i}": rng.normal(size=(4 + i, 6)).astype(np.float32) for i in range(8)}
    folder = tmp_path / "h5_files"
    folder.mkdir()
    for i, (name, bag) in enumerate(bags.items()):
        write_slide(folder / f"{name}.h5", bag[np.newaxis] if i % 2 else bag, encoder="uni_v1")
    table = tmp_path / "slides.csv"
    cases = [[f"case{i}", name, "tumor" if i < 4 else "normal"] for i, name in enumerate(bags)]
    write_csv(table, ["case_id", "slide_id", "label"], cases)
    return folder, table, bags


@pytest.mark.slow
def test_slides_become_means_or_patches_with_their_slide_as_group(tmp_path, slides):
    folder, table, bags = slides
    written = hs.import_features(folder, tmp_path / "mean.h5", labels=table)
    assert (written.backbone, written.rows, written.labelled) == ("imported:uni_v1", 8, 8)
    stored = by_name(tmp_path / "mean.h5")
    for name, bag in bags.items():
        np.testing.assert_allclose(stored[name][0], bag.mean(axis=0), atol=1e-6)
    assert stored["slide_0"][1] == "tumor"

    written = hs.import_features(folder, tmp_path / "all.h5", labels=table, aggregate="none")
    stored = by_name(tmp_path / "all.h5")
    assert written.rows == len(stored) == sum(map(len, bags.values()))
    np.testing.assert_array_equal(stored["slide_3/2_3"][0], bags["slide_3"][1])
    assert {label for name, (_, label, _) in stored.items() if name.startswith("slide_0/")} == {
        "tumor"
    }
    groups = dict(list(csv.reader(written.groups.read_text().splitlines()))[1:])
    assert set(groups) == set(stored)
    assert groups["slide_3/2_3"] == "slide_3"


def test_a_slide_encoder_writes_one_vector(tmp_path):
    for name in ("a", "b"):
        write_slide(tmp_path / f"{name}.h5", np.arange(4.0), coords=False)
    written = hs.import_features([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "s.h5")
    assert (written.rows, written.dim) == (2, 4)


def test_slides_of_two_encoders_or_widths_do_not_mix(tmp_path, slides):
    folder, table, _ = slides
    write_slide(folder / "other.h5", np.ones((3, 6), np.float32), encoder="conch")
    with pytest.raises(InputError, match="encoder"):
        hs.import_features(folder, tmp_path / "x.h5", labels=table)
    write_slide(folder / "other.h5", np.ones((3, 7), np.float32), encoder="uni_v1")
    with pytest.raises(InputError, match="7"):
        hs.import_features(folder, tmp_path / "x.h5", labels=table)


def test_an_hdf5_file_with_labels_is_a_table(tmp_path, rows):
    features, labels, names = rows
    words = [str(word).encode() for word in CLASSES[labels]]
    write_slide(
        tmp_path / "t.h5",
        features,
        coords=False,
        labels=words,
        filenames=[name.encode() for name in names],
    )
    hs.import_features(tmp_path / "t.h5", tmp_path / "a.h5")
    assert_rows(tmp_path / "a.h5", rows)


def test_several_labels_come_from_lists_columns_matrices_and_tables(tmp_path, rows):
    features, _, names = rows
    flags = np.random.default_rng(2).integers(0, 2, (30, 3))
    flags[0] = 1
    sets = [tuple(CLASSES[np.flatnonzero(row)]) for row in flags]
    np.savez(tmp_path / "a.npz", X=features, y=flags, names=names, classes=CLASSES)
    header = ["path", *CLASSES]
    cells = [[name, *row] for name, row in zip(names, flags.tolist(), strict=True)]
    write_csv(tmp_path / "flags.csv", header, cells)
    np.savez(tmp_path / "b.npz", X=features, names=names)
    hs.import_features(tmp_path / "a.npz", tmp_path / "matrix.h5")
    hs.import_features(tmp_path / "b.npz", tmp_path / "csv.h5", labels=tmp_path / "flags.csv")
    hs.import_features(features, tmp_path / "memory.h5", labels=sets, names=names)
    for name in ("matrix", "csv", "memory"):
        data = store.read(tmp_path / f"{name}.h5")
        assert data.target == "multi-label"
        assert [tuple(sorted(label)) for label in data.labels] == [
            tuple(sorted(map(str, label))) for label in sets
        ]


def test_labels_join_by_the_strictest_rule_that_fits(tmp_path, rows):
    features, labels, names = rows
    cells = [
        [f"/data/{n.replace('.png', '.tif')}", CLASSES[i]]
        for n, i in zip(names, labels, strict=True)
    ]
    write_csv(tmp_path / "l.csv", ["path", "label"], [*cells[:-2], ["/data/strange.tif", "cat"]])
    np.savez(tmp_path / "a.npz", X=features, names=names)
    written = hs.import_features(tmp_path / "a.npz", tmp_path / "a.h5", labels=tmp_path / "l.csv")
    assert written.labelled == 28
    text = " ".join(written.remarks)
    assert "file name without extension" in text
    assert "img_28.png" in text
    assert "strange" in text


@pytest.mark.slow
def test_a_store_is_replaced_by_features_of_the_same_identity_alone(tmp_path, rows):
    features, labels, _ = rows
    out = tmp_path / "a.h5"
    hs.import_features(features, out, labels=labels, name="dino")
    hs.import_features(features[:9], out, labels=labels[:9], name="dino")
    assert len(store.read(out)) == 9
    for other, name in ((features, "clip"), (features[:, :4], "dino"), (features * 1.0, "dino")):
        changed = other.astype(np.float64) if other.shape == features.shape else other
        with pytest.raises(StoreError, match="other features"):
            hs.import_features(changed if name == "dino" else other, out, labels=labels, name=name)
    (tmp_path / "notes.h5").write_text("mine")
    with pytest.raises(StoreError, match="no feature store"):
        hs.import_features(features, tmp_path / "notes.h5", labels=labels)


def with_value(features, value):
    changed = features.astype(np.float64)
    changed[7, 2] = value
    return changed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: {"X": with_value(x, np.nan)}, ["img_07.png", "NaN", "feature 2"]),
        (lambda x: {"X": with_value(x, -np.inf)}, ["img_07.png", "infinity"]),
        (lambda x: {"X": with_value(x, 1e300)}, ["img_07.png", "1e+300"]),
        (lambda x: {"y": np.arange(29)}, ["y", "29 entries", "30 rows"]),
        (lambda x: {"names": np.array(["same.png"] * 30)}, ["same.png", "twice"]),
        (lambda x: {"X": np.ones((30, 2, 2))}, ["shape"]),
        (lambda x: {"X": x.astype(str)}, ["type"]),
        (lambda x: {"names": np.array([{}] * 30, object)}, ["pickled"]),
    ],
)
def test_what_cannot_be_used_is_one_line_that_names_it(tmp_path, rows, change, words):
    features, labels, names = rows
    arrays = {"X": features, "y": labels, "names": names} | change(features)
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError) as caught:
        hs.import_features(tmp_path / "a.npz", tmp_path / "a.h5")
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert not (tmp_path / "a.h5").exists()


def test_other_bad_input_is_one_line(tmp_path, rows):
    features, labels, names = rows
    out = tmp_path / "x.h5"
    with pytest.raises(InputError, match="29"):
        hs.import_features(features, out, labels=labels[:29])
    with pytest.raises(InputError, match="names"):
        hs.import_features(features, out, names=names[:3])
    np.savez(tmp_path / "a.npz", X=features, names=names)
    write_csv(tmp_path / "l.csv", ["path", "label"], [["elsewhere.png", "cat"]])
    with pytest.raises(InputError, match=r"elsewhere\.png"):
        hs.import_features(tmp_path / "a.npz", out, labels=tmp_path / "l.csv")
    np.savez(tmp_path / "two.npz", left=features, right=features)
    with pytest.raises(InputError, match="left"):
        hs.import_features(tmp_path / "two.npz", out)
    hs.import_features(tmp_path / "two.npz", out, features="right")
    with pytest.raises(InputError, match="feature store"):
        hs.import_features(out, tmp_path / "y.h5")
    with pytest.raises(UsageError, match="array"):
        hs.import_features(tmp_path / "a.npz", out, names=names)
    (tmp_path / "clam" / "pt_files").mkdir(parents=True)
    (tmp_path / "clam" / "pt_files" / "a.pt").write_bytes(b"PK")
    with pytest.raises(InputError, match="h5_files"):
        hs.import_features(tmp_path / "clam" / "pt_files", out)
    (tmp_path / "clam" / "h5_files").mkdir()
    write_slide(tmp_path / "clam" / "h5_files" / "a.h5", np.ones((3, 6), np.float32))
    with pytest.raises(InputError, match="clam/h5_files"):
        hs.import_features(tmp_path / "clam", out)
    (tmp_path / "image.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="no file of features"):
        hs.import_features(tmp_path / "image.jpg", out)
    np.save(tmp_path / "nameless.npy", features)
    write_csv(tmp_path / "m.csv", ["path", "label"], [[names[0], "cat"]])
    with pytest.raises(InputError, match="no names"):
        hs.import_features(tmp_path / "nameless.npy", out, labels=tmp_path / "m.csv")


def test_constant_features_and_rows_of_zeros_are_remarked_on(tmp_path, rows):
    features, labels, _ = rows
    features[:, 1] = 3
    features[4] = 0
    features[:, 1] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = hs.import_features(features, tmp_path / "a.h5", labels=labels)
    assert any("1 of 5" in remark for remark in written.remarks)
    assert any("zeros" in remark for remark in written.remarks)
