"""CSV as people write it."""

import numpy as np
import pytest

from service.data import DataError, inspect, load
from service.spec import DatasetOptions
from tests.service.data.sources import csv, file

OPTIONS = DatasetOptions(val_fraction=0.25)


def options(target: str) -> DatasetOptions:
    return DatasetOptions(target=target, val_fraction=0.25)


def test_inputs_keep_their_order_and_labels_are_sorted() -> None:
    source = csv("b,species,a\n1,dog,2\n3,cat,4\n5,dog,6\n7,cat,8\n")
    arrays = load(source, options("species"), "classification")
    assert arrays.info.columns == ["b", "a"]
    assert arrays.info.target_columns == ["species"]
    assert arrays.info.classes == ["cat", "dog"]
    assert arrays.info.target.kinds == ["classes"]
    assert (arrays.info.train, arrays.info.val) == (3, 1)
    rows = {tuple(row): label for row, label in zip(arrays.x_train.tolist(), arrays.y_train.tolist(), strict=True)}
    rows |= {tuple(row): label for row, label in zip(arrays.x_val.tolist(), arrays.y_val.tolist(), strict=True)}
    assert rows == {(1, 2): 1, (3, 4): 0, (5, 6): 1, (7, 8): 0}


@pytest.mark.parametrize(
    "text",
    [
        "a,target\n1,2.5\n2,3.5\n",
        "\ufeffa,target\r\n1,2.5\r\n2,3.5\r\n",
        '"a","target"\n"1","2.5"\n"2","3.5"',
        "a;target\n1;2.5\n2;3.5\n",
        "a, target\n1, 2.5\n2, 3.5\n",
        "a\ttarget\n1\t2.5\n2\t3.5\n",
        "a,target\n 1 , 2.5\n\n2,3.5\n\n",
        '\n"a","target"\n1,2.5\n2,3.5\n',
    ],
)
def test_dialects(text: str) -> None:
    info = inspect(csv(text), OPTIONS)
    assert info.columns == ["a"]
    assert info.target.kind == "values"
    assert (info.train, info.val) == (1, 1)


def test_quoted_fields_may_hold_separators_and_lines() -> None:
    info = inspect(csv('"a, or\nb",target\n1,"x,y"\n2,"p\nq"\n3,"x,y"\n4,"p\nq"\n'), OPTIONS)
    assert info.columns == ["a, or\nb"]
    assert info.classes == ["p\nq", "x,y"]


def test_booleans_are_zero_and_one() -> None:
    arrays = load(csv("a,target\ntrue,1.5\nFALSE,2.5\nTrue,3.5\nfalse,4.5\n"), OPTIONS, "regression")
    both = np.concatenate([arrays.x_train, arrays.x_val])
    assert sorted(both[:, 0].tolist()) == [0, 0, 1, 1]


def test_several_targets() -> None:
    info = inspect(csv("a,u,v\n1,2,3\n4,5,6.5\n"), options("v, u"))
    assert info.target_columns == ["v", "u"]
    assert info.target.shape == [2]


def test_a_target_whose_name_holds_a_comma() -> None:
    assert inspect(csv('a,"u,v"\n1,2\n4,5\n'), options("u,v")).target_columns == ["u,v"]


def test_a_label_called_na_is_a_label() -> None:
    assert inspect(csv("a,target\n1,NA\n2,DE\n3,NA\n4,DE\n"), OPTIONS).classes == ["DE", "NA"]


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("a,b\n1,2\n3,4\n", None, r"no column named target.*target=NAME.*'a', 'b'"),
        ("a,b\n1,2\n3,4\n", "c", r"no column 'c'.*'a', 'b'"),
        ("a,b\n1,2\n3,4\n", "a,b", r"no columns but its target"),
        ("a,b\n1,2\n3,4\n", "a,a", r"twice"),
        ("a,b\n1,2\n3,4\n", " , ", r"no column"),
        (
            "city,c,target\nParis,x,1\nRome,y,2\n",
            None,
            r"column 'city' holds text \('Paris' in data row 1\).*'c'.*get_dum",
        ),
        ("a,target\n1,1\n,2\n3,3\n", None, r"missing in column 'a', the first in data row 2"),
        ("a,target\n1,1\nNaN,2\nNA,3\n", None, r"Values are missing in column 'a', the first in data row 2"),
        ("a,target\n1,1\n2,\n3,3\n", None, r"missing in column 'target', the first in data row 2"),
        ("a,target\n1,x\n2,\n3,y\n", None, r"missing in column 'target', the first in data row 2"),
        ("a,target\n1,1\ninf,2\n3,3\n", None, r"column 'a', data row 2 is inf"),
        ('a,target\n"1,5",1\n"2,5",2\n', None, r"column 'a' holds text \('1,5'"),
        ("a,b,target\n1,,1\n3,,2\n", None, r"missing in column 'b', the first in data row 1"),
        ("a,target\n1,2\n1,2,3\n", None, r"another number of fields.*[Rr]ow #3"),
        ("1,2\n3,4\n", None, r"header"),
        ("a,a,target\n1,2,3\n", None, r"more than one column named 'a'"),
        (",a,target\n0,1,2\n1,1,3\n", None, r"index=False"),
        ("a,target\n", None, r"no rows"),
        ("", None, r"empty"),
        ("\n\n", None, r"empty"),
        ("a,u,v\n1,x,2\n3,y,4\n", "u,v", r"holds text"),
        ("a,target\n1,2\n", None, r"at least 2"),
    ],
)
def test_every_mistake_is_told(text: str, target: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        inspect(csv(text), DatasetOptions(target=target))


@pytest.mark.parametrize(
    "content",
    ["a,target\ncafé,1\n2,3\n".encode("latin-1"), "a,target\n1,2\n".encode("utf-16"), bytes(range(256)) * 20],
)
def test_bytes_that_are_no_utf8_are_told(content: bytes) -> None:
    with pytest.raises(DataError):
        inspect(file("data.csv", content), OPTIONS)


def test_a_column_that_turns_to_text_late_is_named() -> None:
    """Type inference on the first block only would fail without naming the column."""
    rows = "".join(f"{i},{i}.5\n" for i in range(200_000))
    with pytest.raises(DataError, match=r"column 'a' holds text"):
        inspect(csv(f"a,target\n{rows}oops,1\n"), OPTIONS)
