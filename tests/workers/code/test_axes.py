"""What a module may declare of its axes, and what of it a meta-learner believes."""

import pytest

from warpadam.shapes import outer_sizes
from workers.code.axes import SHARED_AT_MOST, axis_keys, believable

TABLE = {"entrypoint": "a:b", "package": "0" * 64, "kwargs": {}, "input": [6], "output": 3}
IMAGES = {**TABLE, "input": [8, 8, 3], "output": 10}
TEXT = {"entrypoint": "a:b", "package": "0" * 64, "kwargs": {"context": 16}, "context": 16, "vocabulary": 256}
ANCHOR = "0123456789ab"
SHAPES = {"first.weight": (8, 6), "first.bias": (8,), "last.weight": (3, 8)}


def test_the_dataset_says_what_outer_axes_measure() -> None:
    assert outer_sizes(TABLE) == {"input": 6, "output": 3}
    assert outer_sizes(IMAGES) == {"input": 192, "channels": 3, "output": 10}
    assert outer_sizes(TEXT) == {"tokens.in": 256, "tokens.out": 256, "positions": 16}


def test_drawn_weights_have_keys_only_where_the_module_says_what_an_axis_means() -> None:
    declared = {"first.weight": (None, "input:6"), "last.weight": ["output:3", None]}
    assert axis_keys(TABLE, SHAPES, declared, None, 512) == {
        "first.weight": (None, "input:6"),
        "last.weight": ("output:3", None),
    }
    assert axis_keys(TABLE, SHAPES, None, None, 512) == {"first.weight": (None, None), "last.weight": (None, None)}


def test_aligned_weights_have_keys_on_their_hidden_axes_too() -> None:
    found = axis_keys(TABLE, SHAPES, {"first.weight": (None, "input:6")}, ANCHOR, 7)
    assert found == {
        "first.weight": (None, "input:6"),  # its hidden axis is longer than the limit
        "last.weight": (f"param:last.weight:0:3@{ANCHOR}", None),
    }


def test_trailing_axes_are_merged_where_fewer_keys_are_given() -> None:
    found = axis_keys(IMAGES, {"conv": (16, 3, 3, 3)}, {"conv": (None, "channels:3", "taps:9")}, None, 512)
    assert found == {"conv": (None, "channels:3", "taps:9")}


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ([("first.weight",)], "must be a dict"),
        ({"gone": (None,)}, "no such trainable parameter: it has first.weight"),
        ({"first.bias": ("output:8",)}, "has one axis"),
        ({"first.weight": "input:6"}, "a key or None for each axis"),
        ({"first.weight": (None, None, None)}, "has 3 keys, the parameter 2 axes"),
        ({"first.weight": (None, "input:7")}, "that axis has the size 6"),
        ({"last.weight": ("input:3", None)}, "of this dataset it would be input:6"),
        ({"first.weight": (f"param:first.weight:0:8@{ANCHOR}", None)}, "declare None"),
        ({"first.weight": ("anything", None)}, "is not an axis key"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_change(declared: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        axis_keys(TABLE, SHAPES, declared, None, 512)


def test_a_key_is_shared_by_a_bounded_number_of_axes() -> None:
    shapes = {f"layers.{index}": (6, 2) for index in range(SHARED_AT_MOST + 1)}
    with pytest.raises(ValueError, match="65 axes are sensor:6; at most 64"):
        axis_keys(TABLE, shapes, dict.fromkeys(shapes, ("sensor:6", None)), None, 512)


def test_a_contribution_is_believed_where_such_a_module_could_exist() -> None:
    ours, others = f"param:a:0:8@{ANCHOR}", "param:a:0:8@ffffffffffff"
    keys = ["input:6", "input:7", "sensor:4", "output:3", ours, others, "nonsense", "taps:600"]
    sizes, sharing = believable(TABLE, ANCHOR, keys, 512)
    assert sizes == {"input:6": 6, "sensor:4": 4, "output:3": 3, ours: 8}
    assert sharing == {"input:6": 64, "sensor:4": 64, "output:3": 64, ours: 1}
    assert ours not in believable(TABLE, None, keys, 512)[0]
