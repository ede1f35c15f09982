import pytest

from warpadam import shapes
from warpadam.sharing import only_inputs, share_inputs, share_stream, within

ANCHOR = "0123456789ab"
MODEL = {"arch": "transformer", "layers": 2, "width": 16, "heads": 2, "context": 8, "vocabulary": 20}
KEYS = shapes.axis_keys(MODEL, ANCHOR)
SHAPES = {parameter.name: parameter.shape for parameter in shapes.parameters(MODEL)}


def test_q_k_and_v_share_their_input_and_nothing_else_changes() -> None:
    shared = share_inputs(KEYS)
    qkv = f"param:blocks.1.qkv:1:16@{ANCHOR}"
    for part in ("q", "k", "v"):
        assert shared[f"blocks.1.{part}.weight"] == (KEYS[f"blocks.1.{part}.weight"][0], qkv)
    assert shapes.sharing_by_key(shared)[qkv] == 3
    assert {name for name in KEYS if shared[name] != KEYS[name]} == {
        f"blocks.{layer}.{part}.weight" for layer in (0, 1) for part in ("q", "k", "v")
    }


def test_one_residual_stream_goes_through_all_layers() -> None:
    shared = share_stream(KEYS)
    stream = f"param:stream:0:16@{ANCHOR}"
    assert shared["tokens.weight"] == ("tokens.in:20", stream)
    assert shared["head.weight"] == ("tokens.out:20", stream)
    assert shared["blocks.0.q.weight"] == (KEYS["blocks.0.q.weight"][0], stream)
    assert shared["blocks.1.o.weight"] == (stream, KEYS["blocks.1.o.weight"][1])
    assert shared["blocks.1.down.weight"] == (stream, KEYS["blocks.1.down.weight"][1])
    assert shapes.sharing_by_key(shared)[stream] == 3 + 2 * (3 + 1 + 1 + 1)


def test_shared_keys_are_keys_that_no_parameter_has() -> None:
    for shared in (share_inputs(KEYS), share_stream(KEYS)):
        new = shapes.sizes_by_key(shared).keys() - shapes.sizes_by_key(KEYS).keys()
        hidden = [shapes.parse_hidden_key(key) for key in new]
        assert all(key is not None and key.name not in SHAPES for key in hidden)


def test_only_inputs_of_each_architecture() -> None:
    kept = only_inputs(KEYS)
    assert kept["tokens.weight"] == ("tokens.in:20", None)
    assert kept["head.weight"] == (None, KEYS["head.weight"][1])
    assert kept["blocks.0.up.weight"] == (None, KEYS["blocks.0.up.weight"][1])
    conv = shapes.axis_keys({"arch": "convnet", "channels": [4], "kernel": 3, "input": [8, 8, 3], "output": 10}, None)
    assert only_inputs(conv) == {"convs.0.weight": (None, "channels:3", "taps:9"), "head.weight": (None, None)}


def test_within_keeps_p_below_the_weights() -> None:
    total = sum(size**2 for size in shapes.sizes_by_key(KEYS).values())
    weights = sum(rows * (columns[0] if columns else 1) for rows, *columns in SHAPES.values())
    assert total > weights
    for ratio in (0.1, 1.0):
        kept = shapes.sizes_by_key(within(KEYS, SHAPES, ratio))
        assert 0 < sum(size**2 for size in kept.values()) <= ratio * weights
    assert within(KEYS, SHAPES, 100) == KEYS
    assert f"param:blocks.0.up.weight:0:64@{ANCHOR}" not in shapes.sizes_by_key(within(KEYS, SHAPES))


def test_a_ratio_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="ratio must be above 0"):
        within(KEYS, SHAPES, 0)


def test_a_vocabulary_above_the_cap_has_no_key() -> None:
    keys = shapes.axis_keys({**MODEL, "vocabulary": 50_000}, ANCHOR)
    assert keys["tokens.weight"] == (None, f"param:tokens.weight:1:16@{ANCHOR}")
    assert max(shapes.sizes_by_key(keys).values()) <= shapes.MAX_AXIS
