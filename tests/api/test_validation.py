"""Mistakes are told by the request's own paths, and one field with several kinds is told of once."""

import pytest
from pydantic import ValidationError

from api.validation import field_errors
from service.spec import JobSpec

BASE = {"family": "f", "dataset": {"id": "x"}, "task": "regression", "model": {"arch": "mlp", "hidden": [1]}}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": {"arch": "mlp", "hidden": [0]}}, [("model.hidden.0", "greater_than_equal")]),
        ({"model": {"arch": "ring"}}, [("model", "unknown_model")]),
        ({"model": {"arch": "mlp"}}, [("model.hidden", "missing")]),
        ({"init": "zero"}, [("init", "literal_error")]),
        ({"init": {"checkpoint": 3}}, [("init.checkpoint", "string_type")]),
        ({"optimizer": {"lr": -1}}, [("optimizer.lr", "greater_than")]),
        ({"optimizer": {"lr": float("nan")}}, [("optimizer.lr", "finite_number")]),
        ({"optimizer": {"warp": 0}}, [("optimizer.warp", "greater_than_equal")]),
        ({"optimizer": {"warp": "A!"}}, [("optimizer.warp", "string_pattern_mismatch")]),
        ({"optimizer": {"betas": [0.9]}}, [("optimizer.betas.1", "missing")]),
        ({"optimizer": {"momentum": 1}}, [("optimizer.momentum", "unknown_field")]),
        ({"optimizer": {"nesterov": True, "name": "adamw"}}, [("optimizer", "value_error")]),
        ({"optimizer": {"adapt": "some"}}, [("optimizer.adapt", "literal_error")]),
        ({"optimizer": {"adapt": "all", "project_back": False}}, [("optimizer", "value_error")]),
        ({"optimizer": {"adapt": "all", "name": "adamw"}}, [("optimizer", "value_error")]),
        ({"optimizer": {"adapt": "all", "follow": True}}, [("optimizer", "value_error")]),
        ({"resources": {"workers": 0}}, [("resources.workers", "greater_than_equal")]),
        ({"resources": {"workers": {"min": 3, "max": 1}}}, [("resources.workers", "value_error")]),
        ({"metadata": {"": "x"}}, [("metadata.", "string_too_short")]),
        ({"training": {"steps": 1, "epochs": 1}}, [("training", "value_error")]),
        ({"dataset": {}}, [("dataset", "value_error")]),
    ],
)
def test_paths_are_those_of_the_request(change: dict[str, object], told: list[tuple[str, str]]) -> None:
    body = {**BASE, **change}
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(body)
    found = [{**each, "loc": ("body", *each["loc"])} for each in caught.value.errors()]
    mistakes = field_errors(found, body)
    assert [(each.param, each.code) for each in mistakes] == told
    assert not any("Value error" in each.message for each in mistakes)


def test_a_body_that_is_no_object() -> None:
    mistakes = field_errors([{"type": "model_type", "loc": ("body",), "msg": "wrong"}], [1])
    assert [each.param for each in mistakes] == ["body"]
