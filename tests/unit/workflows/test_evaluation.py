"""`headstart.evaluate` from Python."""

import headstart as hs
import pytest


@pytest.mark.slow
def test_an_open_model_is_scored_as_its_file_is(tiny_classifier, image_folder):
    photos = image_folder(splits=["test"])
    by_file = hs.evaluate(tiny_classifier, photos, ignore="HS501,HS506")
    model = hs.load_model(tiny_classifier)
    opened = hs.evaluate(model, photos, against=tiny_classifier, fail_worse=True)
    assert opened.models[0].accuracy == by_file.models[0].accuracy == opened.models[1].accuracy
    assert opened.models[0].title == "the model"
    assert opened.paired.changes == []
    assert opened.passed
    assert by_file.remarks == []
    groups = {f"test/bark/{n}.png": "one" for n in range(9)}
    assert hs.evaluate(model, photos, groups=groups).images == by_file.images
