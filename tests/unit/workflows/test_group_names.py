"""Which images belong together, by tables and patterns."""

import pytest
from headstart.core.errors import InputError, UsageError
from headstart.workflows.group_names import GroupNames, groups_of

PATHS = ["train/cat/7/a.jpg", "train/dog/8/b_1.jpg", "c_x_2.jpg"]


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        ("{group}/*", ["7", "8", ""]),
        ("{group}_*.jpg", ["", "b", "c_x"]),
        ("train/{group}/*/*", ["cat", "dog", ""]),
        ("{group}.jpg", ["a", "b_1", "c_x_2"]),
        ("+{group}(*", ["", "", ""]),
    ],
)
def test_a_pattern_fits_the_end_of_a_path(pattern, groups):
    names = GroupNames.of(pattern)
    assert [names.group(path) for path in PATHS] == groups


def test_a_pattern_that_fits_nothing_is_an_error():
    assert groups_of("{group}/*", PATHS) == {PATHS[0]: "7", PATHS[1]: "8"}
    with pytest.raises(InputError, match="pattern"):
        groups_of("elsewhere/{group}.png", PATHS)
    with pytest.raises(UsageError, match="once"):
        groups_of("{group}/{group}", PATHS)


def test_a_table_may_be_relative_to_the_roots():
    names = GroupNames.of({"a.jpg": "one"}, ["photos"])
    assert names.group("photos/a.jpg") == names.group("a.jpg") == "one"
    assert names.group("elsewhere/a.jpg") == ""
    folders = GroupNames.of("{group}/*", ["/data/photos"])
    assert folders.group("/data/photos/7/a.jpg") == "7"
    assert folders.group("/data/photos/a.jpg") == ""
