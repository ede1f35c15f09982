import pytest
import torch
from torch import nn

from tests.warpadam.matrices import rotation
from warpadam import Warp, WarpAdam, shapes
from warpadam.axes import find_axes

ANCHOR, OTHER = "0123456789ab", "ba9876543210"


class OwnModel(nn.Module):
    """As our own models do: the keys of the axes travel with the module."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 8), nn.Linear(8, 3)])
        description = {"arch": "mlp", "hidden": [8], "activation": "relu", "input": 6, "output": 3}
        self.axis_keys = shapes.axis_keys(description, None)


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3))


def hidden(anchor: str = ANCHOR) -> str:
    return f"param:0.weight:0:8@{anchor}"


def test_our_own_models_say_their_axes() -> None:
    optimizer = WarpAdam(OwnModel(), warp=Warp({"input:6": rotation(6), "output:3": rotation(3)}))
    assert [(axis.parameter, axis.axis, axis.key) for axis in optimizer.coverage().covered] == [
        ("layers.0.weight", 1, "input:6"),
        ("layers.1.weight", 0, "output:3"),
    ]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch.compile's own
def test_a_compiled_model_is_still_our_own() -> None:
    optimizer = WarpAdam(torch.compile(OwnModel()), warp=Warp({"input:6": rotation(6)}))  # type: ignore[arg-type]
    assert [axis.parameter for axis in optimizer.coverage().covered] == ["layers.0.weight"]


def test_a_given_mapping_wins_over_the_models_own() -> None:
    assert find_axes(OwnModel(), {"layers.1.weight": (None, "input:8")}, ()) == {"layers.1.weight": (None, "input:8")}


def test_hidden_keys_are_matched_by_name_axis_and_size() -> None:
    keys = [hidden(), f"param:1.weight:1:9@{ANCHOR}", f"param:2.weight:0:8@{ANCHOR}", f"param:0.bias:0:8@{ANCHOR}"]
    assert find_axes(plain(), None, [*keys, "input:6"]) == {"0.weight": (hidden(), None)}
    assert find_axes(plain().named_parameters(), None, keys) == {"0.weight": (hidden(), None)}


def test_hidden_keys_of_several_anchors_are_not_guessed() -> None:
    assert find_axes(plain(), None, [hidden(), f"param:1.weight:1:8@{OTHER}"]) == {}


def test_coverage_says_what_is_covered_and_why_the_rest_is_not() -> None:
    axes = {"0.weight": (hidden(), "input:6"), "1.weight": ("output:3", None)}
    coverage = WarpAdam(plain(), warp=Warp({"input:6": rotation(6)}), axes=axes).coverage()
    assert str(coverage).splitlines() == [
        "1 of 4 axes have a matrix",
        f"  0.weight[0] size 8: none (the warp has no {hidden()})",
        "  0.weight[1] size 6: input:6",
        "  1.weight[0] size 3: none (the warp has no output:3)",
        "  1.weight[1] size 8: none (no key)",
    ]


def test_strict_refuses_a_warp_that_covers_nothing_and_shows_the_way() -> None:
    with pytest.raises(ValueError, match="no axis of these parameters found a matrix; the warp has input:6") as error:
        WarpAdam(plain(), warp=Warp({"input:6": rotation(6)}))
    assert "for example axes={'0.weight': (None, 'input:6')}" in str(error.value)
    assert not WarpAdam(plain(), warp=Warp({"input:6": rotation(6)}), strict=False).coverage().covered


@pytest.mark.parametrize(
    ("axes", "keys", "message"),
    [
        (
            {"0.weight": (None, "input:5")},
            {"input:5": 5},
            "0.weight, axis 1: a size differs, its key is input:5, its size 6",
        ),
        (
            {"0.weight": (None, "input:6"), "1.weight": ("output:3", None)},
            {"input:6": 6, "output:4": 4},
            "1.weight, axis 0: a size differs, its key is output:3, the warp has output:4",
        ),
    ],
)
def test_strict_refuses_a_size_that_differs(
    axes: dict[str, tuple[str | None, ...]], keys: dict[str, int], message: str
) -> None:
    warp = Warp({key: rotation(size) for key, size in keys.items()})
    with pytest.raises(ValueError, match=message):
        WarpAdam(plain(), warp=warp, axes=axes)
    WarpAdam(plain(), warp=warp, axes=axes, strict=False)


def test_positions_and_taps_may_differ_within_a_family() -> None:
    axes = {"0.weight": ("positions:8", "input:6")}
    warp = Warp({"input:6": rotation(6), "positions:4": rotation(4)})
    assert len(WarpAdam(plain(), warp=warp, axes=axes).coverage().covered) == 1


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"9.weight": ("input:6",)}, "the model has no parameter '9.weight'; it has 0.weight"),
        ({"0.weight": "input:6"}, "'0.weight' needs one key per axis"),
        ({"0.weight": (None, "input")}, "'input' is not an axis key"),
        ({"0.weight": (None, None, "input:6")}, "has 1 to 2 axes, not 3"),
    ],
)
def test_axes_that_do_not_fit_the_model_are_refused(axes: dict[str, tuple[str | None, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WarpAdam(plain(), warp=Warp({"input:6": rotation(6)}), axes=axes, strict=False)
