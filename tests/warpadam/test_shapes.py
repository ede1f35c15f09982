import hashlib
import json

import pytest

from warpadam import shapes

MLP = {"arch": "mlp", "hidden": [128], "activation": "relu", "input": 48, "output": 16}
CONVNET = {"arch": "convnet", "channels": [16, 32], "kernel": 3, "input": [8, 8, 3], "output": 10}
TRANSFORMER = {"arch": "transformer", "layers": 2, "width": 64, "heads": 4, "context": 32, "vocabulary": 256}
ANCHOR = "0123456789ab"


def test_parameters_of_an_mlp() -> None:
    assert [(p.name, p.shape, p.roles) for p in shapes.parameters(MLP)] == [
        ("layers.0.weight", (128, 48), (None, "input:48")),
        ("layers.0.bias", (128,), (None,)),
        ("layers.1.weight", (16, 128), ("output:16", None)),
        ("layers.1.bias", (16,), ("output:16",)),
    ]


def test_an_mlp_without_hidden_layers_has_both_roles_on_one_weight() -> None:
    assert shapes.axis_keys({**MLP, "hidden": []}, None) == {"layers.0.weight": ("output:16", "input:48")}


def test_parameters_of_a_convnet_merge_their_taps() -> None:
    first, second = (p for p in shapes.parameters(CONVNET) if p.name.startswith("convs") and len(p.shape) > 1)
    assert (first.shape, first.axes, first.roles) == ((16, 3, 3, 3), (16, 3, 9), (None, "channels:3", "taps:9"))
    assert (second.shape, second.axes, second.roles) == ((32, 16, 3, 3), (32, 16, 9), (None, None, "taps:9"))
    assert shapes.parameters(CONVNET)[-2:] == (
        shapes.ParameterShape("head.weight", (10, 32), ("output:10", None)),
        shapes.ParameterShape("head.bias", (10,), ("output:10",)),
    )


def test_parameters_of_a_transformer_in_order() -> None:
    names = [p.name for p in shapes.parameters(TRANSFORMER)]
    block = ["norm1.weight", "norm1.bias", "q.weight", "k.weight", "v.weight", "o.weight"]
    block += ["norm2.weight", "norm2.bias", "up.weight", "down.weight"]
    blocks = [f"blocks.{index}.{name}" for index in range(2) for name in block]
    assert names == ["tokens.weight", "positions.weight", *blocks, "norm.weight", "norm.bias", "head.weight"]
    shape = {p.name: p.shape for p in shapes.parameters(TRANSFORMER)}
    assert shape["blocks.1.up.weight"] == (256, 64)
    assert shape["blocks.1.down.weight"] == (64, 256)
    assert shape["head.weight"] == (256, 64)


def test_without_an_anchor_only_outer_axes_have_keys() -> None:
    keys = shapes.axis_keys(TRANSFORMER, None)
    assert {key for row in keys.values() for key in row} == {None, "tokens.in:256", "tokens.out:256", "positions:32"}


def test_outer_keys_are_the_same_at_every_width_and_depth() -> None:
    deep = {**MLP, "hidden": [7, 300, 5]}
    assert set(shapes.sizes_by_key(shapes.axis_keys(deep, None))) == set(
        shapes.sizes_by_key(shapes.axis_keys(MLP, None))
    )


def test_with_an_anchor_hidden_axes_have_keys_that_name_it() -> None:
    keys = shapes.axis_keys(MLP, ANCHOR)
    assert keys == {
        "layers.0.weight": (f"param:layers.0.weight:0:128@{ANCHOR}", "input:48"),
        "layers.1.weight": ("output:16", f"param:layers.1.weight:1:128@{ANCHOR}"),
    }


def test_large_axes_and_axes_of_size_one_have_none() -> None:
    keys = shapes.axis_keys({**MLP, "output": 1, "input": 600}, ANCHOR, max_axis=512)
    assert keys["layers.0.weight"] == (f"param:layers.0.weight:0:128@{ANCHOR}", None)
    assert keys["layers.1.weight"][0] is None
    assert shapes.axis_keys(MLP, None, max_axis=47)["layers.0.weight"] == (None, None)


def test_sharing_counts_parameter_axes() -> None:
    assert shapes.sharing_by_key(shapes.axis_keys(CONVNET, None)) == {"channels:3": 1, "taps:9": 2, "output:10": 1}


@pytest.mark.parametrize(
    ("key", "size"), [("input:48", 48), ("tokens.in:256", 256), (f"param:a.b:weight:1:64@{ANCHOR}", 64)]
)
def test_key_size(key: str, size: int) -> None:
    assert shapes.key_size(key) == size


@pytest.mark.parametrize(
    "key", ["", "input", "input:", "input:0", "input:-1", "input:048", "Input:48", "input:4 8", "param:x:0:4@123", ":4"]
)
def test_a_malformed_key_is_a_value_error(key: str) -> None:
    with pytest.raises(ValueError, match="is not an axis key"):
        shapes.key_size(key)


def test_the_anchor_is_the_hash_of_model_and_start() -> None:
    text = json.dumps({"init": "family", "model": MLP}, sort_keys=True, separators=(",", ":"))
    assert shapes.anchor(MLP, "family") == hashlib.sha256(text.encode()).hexdigest()[:12]
    assert shapes.anchor(dict(reversed(MLP.items())), "family") == shapes.anchor(MLP, "family")
    assert shapes.anchor(MLP, "family") != shapes.anchor(MLP, "f" * 64)


def test_the_seed_fits_a_signed_column_and_depends_on_family_and_model() -> None:
    seeds = {shapes.init_seed(f"family-{i}", {**MLP, "output": o}) for i in range(20) for o in (2, 3)}
    assert len(seeds) == 40
    assert all(0 <= seed < 2**63 for seed in seeds)
    digest = hashlib.sha256(("f" + shapes.canonical_json(MLP)).encode()).digest()
    assert shapes.init_seed("f", MLP) == int.from_bytes(digest[:8], "big") % 2**63


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arch": "rnn"}, "model.arch 'rnn' is none of mlp, convnet, transformer"),
        ({"hidden": [0]}, "model.hidden must be a whole number of at least 1, not 0"),
        ({"hidden": 5}, "model.hidden must be a list"),
        ({"input": True}, "model.input must be a whole number"),
        ({"arch": "convnet", "channels": [], "kernel": 3, "input": [8, 8, 3]}, "at least one stage"),
        ({"arch": "convnet", "channels": [4], "kernel": 3, "input": [8, 8]}, "height, width, channels"),
    ],
)
def test_a_model_that_makes_no_sense_is_a_value_error(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shapes.parameters({**MLP, **change})


@pytest.mark.parametrize(("axes", "merged"), [(4, (16, 3, 3, 2)), (3, (16, 3, 6)), (1, (288,))])
def test_merged_shape(axes: int, merged: tuple[int, ...]) -> None:
    assert shapes.merged_shape((16, 3, 3, 2), axes) == merged
    with pytest.raises(ValueError, match="has 1 to 4 axes, not 5"):
        shapes.merged_shape((16, 3, 3, 2), 5)
