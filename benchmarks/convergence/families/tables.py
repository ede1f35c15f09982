"""Families of tables: scikit-learn's breast cancer set, 569 patients × 30 measurements.

Inputs are always the same 20 columns, the means and the errors of ten measurements. `table-values`: three of the
"worst" columns from them; contributors have benign patients and six of the ten targets, held-out jobs malignant
patients and the other four targets. `table-classes`: the third of its patients in which a "worst" column lies, for
other patients and other columns than any contributor's, and the diagnosis itself.
"""

from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer

from benchmarks.convergence.tasks import Family, Task, split_rows

Table = NDArray[np.float64]
SEEN_TARGETS, OTHER_TARGETS = range(20, 26), range(26, 30)
WIDTHS, HELD_OUT_WIDTH = (24, 32, 48), 40


def values() -> Family:
    _, benign = _table()
    patients, others = np.flatnonzero(benign), np.flatnonzero(~benign)
    kept, tuned = patients[::2], patients[1::2]
    contributed = list(combinations(SEEN_TARGETS, 3))
    wanted = list(combinations(OTHER_TARGETS, 3))
    return Family(
        "table-values",
        "three measurements of patients from twenty others; patients and targets never seen; MLP, random init",
        T=30,
        batch_size=16,
        contributors=tuple(_values(kept, c, WIDTHS[i % 3], "benign") for i, c in enumerate(contributed)),
        tuning=tuple(_values(tuned, columns, HELD_OUT_WIDTH, "tuning") for columns in wanted),
        held_out=tuple(_values(others, columns, HELD_OUT_WIDTH, "malignant") for columns in wanted),
    )


def classes() -> Family:
    table, _ = _table()
    order = np.random.default_rng(5).permutation(len(table))
    groups = np.array_split(order[:285], 4)
    contributed = [(column, group) for column in SEEN_TARGETS for group in range(4)][:20]
    tuned, judged = order[285:385], order[385:]
    return Family(
        "table-classes",
        "thirds of a measurement, and the diagnosis, of patients from twenty others; patients and targets never seen",
        T=12,
        batch_size=16,
        contributors=tuple(
            _thirds(np.concatenate([groups[g], groups[(g + 1) % 4]]), c, WIDTHS[i % 3], f"group {g}")
            for i, (c, g) in enumerate(contributed)
        ),
        tuning=tuple(_thirds(tuned, column, HELD_OUT_WIDTH, "tuning") for column in (26, 27, 28, 29)),
        held_out=(*(_thirds(judged, column, HELD_OUT_WIDTH, "judged") for column in (27, 28, 29)), _diagnosis(judged)),
    )


@cache
def _table() -> tuple[Table, NDArray[np.bool_]]:
    """All thirty columns, standardised, and whether the patient is benign."""
    data = load_breast_cancer()
    return (data.data - data.data.mean(0)) / data.data.std(0), data.target == 1


def _values(patients: NDArray[np.int64], columns: tuple[int, ...], width: int, group: str) -> Task:
    table, _ = _table()
    y = table[np.ix_(patients, np.array(columns))]
    y = ((y - y.mean(0)) / y.std(0)).astype(np.float32)
    name = f"{group} {'-'.join(map(str, columns))}"
    parts = split_rows(table[patients, :20], y, seed=sum(columns))
    return Task(name, "regression", _sources(patients, columns), parts, _mlp(width, len(columns)))


def _thirds(patients: NDArray[np.int64], column: int, width: int, group: str) -> Task:
    table, _ = _table()
    bounds = np.quantile(table[patients, column], [1 / 3, 2 / 3])
    y = np.searchsorted(bounds, table[patients, column])
    parts = split_rows(table[patients, :20], y, seed=column)
    return Task(f"{group} {column}", "classification", _sources(patients, (column,)), parts, _mlp(width, 3))


def _diagnosis(patients: NDArray[np.int64]) -> Task:
    table, benign = _table()
    parts = split_rows(table[patients, :20], benign[patients].astype(np.int64), seed=30)
    sources = _sources(patients, ()) | {"diagnosis"}
    return Task("diagnosis", "classification", sources, parts, _mlp(HELD_OUT_WIDTH, 2))


def _sources(patients: NDArray[np.int64], columns: tuple[int, ...]) -> frozenset[str]:
    return frozenset({*(f"patient {place}" for place in patients), *(f"target {column}" for column in columns)})


def _mlp(width: int, outputs: int) -> dict[str, object]:
    return {"arch": "mlp", "hidden": [width], "activation": "relu", "input": 20, "output": outputs}
