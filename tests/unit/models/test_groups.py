"""One prediction for each group of images."""

import headstart as hs
import pytest
from factories import with_facts
from headstart.core.errors import InputError, UsageError
from headstart.models.groups import GroupPrediction


@pytest.fixture
def photos(image_folder, tmp_path):
    return image_folder(tmp_path / "photos", splits=["test"])


def by_folder(root):
    return {
        path.relative_to(root).as_posix(): path.parent.name
        for path in root.rglob("*")
        if path.is_file()
    }


def test_a_group_gets_one_prediction_of_its_images(tiny_classifier, photos):
    (photos / "test" / "bark" / "broken.jpg").write_bytes(b"no image")
    images = []
    rows = list(
        hs.predict(tiny_classifier, photos, groups=by_folder(photos), on_image=images.append)
    )
    assert [row.path for row in rows] == ["bark", "cloth"]
    assert all(isinstance(row, GroupPrediction) for row in rows)
    assert (rows[0].failed, rows[0].images, rows[1].failed) == (1, len(images) // 2, 0)
    for row in rows:
        assert sum(row.probabilities) == pytest.approx(1)
        assert (
            row.label
            == hs.load_model(tiny_classifier).classes[
                max(range(3), key=row.probabilities.__getitem__)
            ]
        )
    votes = list(hs.predict(tiny_classifier, photos, groups=by_folder(photos), group_answer="vote"))
    assert all(round(p * row.images, 6).is_integer() for row in votes for p in row.probabilities)


def test_an_image_alone_keeps_its_answer_and_a_group_without_images_says_why(
    tiny_classifier, photos
):
    single = list(hs.predict(tiny_classifier, photos))
    first, second = single[:2]
    broken = photos / "broken.jpg"
    broken.write_bytes(b"no image")
    rows = {
        row.path: row
        for row in hs.predict(
            tiny_classifier,
            [first.path, second.path, broken],
            groups={second.path: "a", str(broken): "b"},
        )
    }
    assert rows[first.path].group == ""
    assert rows[first.path].probabilities == pytest.approx(first.probabilities, abs=1e-5)
    assert rows["a"].label == second.label
    assert "1 image" in rows["b"].error
    assert (rows["b"].label, rows["b"].images, rows["b"].failed) == ("", 0, 1)


@pytest.mark.parametrize(
    "settings",
    [{"target": "95%"}, {"sets": "adaptive"}, {"correct_priors": True}, {"group_answer": "x"}],
)
def test_promises_about_single_images_are_refused(tiny_classifier, photos, settings):
    with pytest.raises((UsageError, InputError)):
        hs.predict(tiny_classifier, photos, groups=by_folder(photos), **settings)
    with pytest.raises(UsageError, match="groups"):
        hs.predict(tiny_classifier, photos, group_answer="vote")


def test_thresholds_and_sets_for_groups_decide_on_groups(tiny_classifier, photos, tmp_path):
    mean = {"answer": "mean", "operating_points": [{"target": 0.95, "threshold": 0.9999}]}
    rule = {"level": 0.95, "mass": 1.0, "least": [0.0, 0.0, 0.0]}
    promised = {"groups": mean | {"prediction_sets": rule}, "prediction_sets": rule}
    model = with_facts(tiny_classifier, tmp_path / "model.onnx", **promised)
    groups = by_folder(photos)
    rows = list(hs.predict(model, photos, groups=groups, target="95%", sets="adaptive"))
    for row in rows:
        sure = max(row.probabilities) >= 0.9999
        assert (row.label != "unknown") == sure
        assert len(row.classes) == 3
    with pytest.raises(InputError, match="--group-answer mean"):
        hs.predict(model, photos, groups=groups, target="95%", group_answer="vote")
    with pytest.raises(InputError, match="98%"):
        hs.predict(model, photos, groups=groups, target="98%")
    with pytest.raises(InputError, match="no thresholds for groups"):
        hs.predict(tiny_classifier, photos, groups=groups, target="95%")


def test_groups_must_name_an_image(tiny_classifier, photos):
    with pytest.raises(InputError, match="none of the images"):
        list(hs.predict(tiny_classifier, photos, groups={"elsewhere.png": "a"}))
