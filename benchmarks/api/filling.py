"""A database as it looks after years: many jobs with all that they leave, made by SQL in minutes, from a fixed seed.

A few jobs are long: they have two fifths of all metric points. The others share the rest. Every tenth job belongs to
another project, so that what is asked for has to be found among what must not be seen.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select, text

from service.db.models import Dataset, Family, Job, LogChunk
from service.db.session import Database
from service.ids import base32
from service.states import JobState

MINE, OTHERS = "bench", "others"
NAMES = ("train_loss", "val_loss", "lr", "grad_norm")
LONG_JOBS = 20
LONG_SHARE = 0.4
FAMILIES = 20
OWNERS = 50
EVERY_MS = 600_000
"""Between the births of two jobs."""
END = datetime(2026, 11, 1, tzinfo=UTC)
_CHUNK = 2000
_STATES = (("failed", 0.05), ("cancelled", 0.02), ("queued", 0.02), ("paused", 0.001), ("running", 0.005))


@dataclass(frozen=True)
class Plan:
    """How much there is to be."""

    jobs: int = 100_000
    points: int = 10_000_000
    seed: int = 1

    @property
    def long_steps(self) -> int:
        """Points of each metric of a long job."""
        return max(2, round(self.points * LONG_SHARE / LONG_JOBS / len(NAMES)))

    @property
    def short_steps(self) -> int:
        """Of each metric of the others."""
        others = max(1, self.jobs - LONG_JOBS)
        return max(1, round(self.points * (1 - LONG_SHARE) / others / len(NAMES)))


def state_of(draw: float) -> str:
    """The state of a job by a draw from [0, 1)."""
    for state, share in _STATES:
        if draw < share:
            return state
        draw -= share
    return "succeeded"


def job_ids(plan: Plan) -> Iterator[tuple[str, datetime]]:
    """(id, time of birth) of each job, oldest first; the same for the same plan."""
    draw = random.Random(plan.seed)
    first = END - timedelta(milliseconds=EVERY_MS * plan.jobs)
    for number in range(plan.jobs):
        born = first + timedelta(milliseconds=EVERY_MS * number)
        yield f"job_{base32(round(born.timestamp() * 1000) << 80 | draw.getrandbits(80), 26)}", born


def fill(database: Database, template: str, plan: Plan) -> dict[str, Any]:
    """Copies the job `template` as the plan says, with what jobs leave; what there is afterwards, and in what time."""
    began = time.perf_counter()
    with database.read() as session:
        job = session.get_one(Job, template)
        values = {column.name: getattr(job, column.key) for column in Job.__table__.columns}
        dataset = session.get_one(Dataset, job.dataset_id)
        theirs = {column.name: getattr(dataset, column.key) for column in Dataset.__table__.columns}
    theirs |= {"id": f"ds_{base32(plan.seed, 26)}", "project": OTHERS}
    with database.engine.connect() as connection:
        hurry(connection)
        with transaction(connection):
            connection.execute(insert(Dataset), [theirs])
            _jobs(connection, plan, values, _families(connection), theirs["id"])
        for statement in statements(plan, template, connection.dialect.name):
            with transaction(connection):
                connection.exec_driver_sql(statement.replace("%", "%%") if _is_postgres(connection) else statement)
        with transaction(connection):
            _logs(connection, long_ids(plan)[:3])
        tidy(connection)
    return {**counted(database), "seconds": round(time.perf_counter() - began, 1)}


def hurry(connection: Connection) -> None:
    """This connection need not survive a crash of the machine, and its foreign keys are right by their making."""
    if connection.dialect.name == "sqlite":
        for pragma in ("synchronous=OFF", "foreign_keys=OFF", "cache_size=-400000", "temp_store=MEMORY"):
            connection.connection.execute(f"PRAGMA {pragma}").close()
    else:
        with transaction(connection):
            for setting in ("synchronous_commit = off", "session_replication_role = replica", "work_mem = '256MB'"):
                connection.execute(text(f"SET {setting}"))


def transaction(connection: Connection) -> Any:
    return connection.execution_options(writes=True).begin()


def _is_postgres(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def tidy(connection: Connection) -> None:
    """What the database does by itself in time: SQLite's log into its file, PostgreSQL's statistics."""
    plain = connection.connection.driver_connection
    assert plain is not None
    if connection.dialect.name == "sqlite":
        plain.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "cache_size=-2000"):
            plain.execute(f"PRAGMA {pragma}").close()
        return
    plain.autocommit = True
    for statement in ("RESET ALL", "VACUUM (ANALYZE)", "CHECKPOINT"):
        plain.execute(statement)
    plain.autocommit = False


def _families(connection: Connection) -> dict[str, list[int]]:
    names = [(project, f"family-{number:02}") for project in (MINE, OTHERS) for number in range(FAMILIES)]
    rows = [
        {"project": project, "name": name, "columns": {}, "refused": {}, "created_at": END} for project, name in names
    ]
    connection.execute(insert(Family), rows)
    found = connection.execute(
        select(Family.project, Family.id).where(Family.name.like("family-%")).order_by(Family.id)
    )
    by_project: dict[str, list[int]] = {MINE: [], OTHERS: []}
    for project, id_ in found:
        by_project[project].append(id_)
    return by_project


def _jobs(
    connection: Connection, plan: Plan, values: dict[str, Any], families: dict[str, list[int]], other_dataset: str
) -> None:
    draw = random.Random(plan.seed + 1)
    rows = []
    for number, (id_, born) in enumerate(job_ids(plan)):
        state = "succeeded" if is_long(number, plan) else state_of(draw.random())
        project = OTHERS if number % 10 == 9 else MINE
        ended = JobState(state).is_terminal
        began = None if state == "queued" else born + timedelta(seconds=1)
        rows.append(
            {
                **values,
                "id": id_,
                "project": project,
                "dataset_id": values["dataset_id"] if project == MINE else other_dataset,
                "family_id": draw.choice(families[project]),
                "state": state,
                "lane": f"{project} {values['lane'].split(' ', 1)[1]}",
                "created_at": born,
                "queued_at": born,
                "started_at": began,
                "finished_at": born + timedelta(seconds=60) if ended else None,
                "progress_step": 0 if state == "queued" else values["progress_of"],
                "event_seq": LONG_EVENTS if is_long(number, plan) else events_of(state),
                "attempt": 0 if state == "queued" else 1,
                "token": 0 if state == "queued" else 1,
                "result": {"steps": 10, "seconds": 1.5, "final": {"val_loss": 0.5}} if state == "succeeded" else None,
            }
        )
        if len(rows) == _CHUNK:
            connection.execute(insert(Job), rows)
            rows = []
    if rows:
        connection.execute(insert(Job), rows)


def events_of(state: str) -> int:
    """How many a job has had: only one that has ended has its last ones."""
    if state == "queued":
        return 1
    return len(_EVENTS) if JobState(state).is_terminal else len(_EVENTS) - 2


def _logs(connection: Connection, ids: list[str]) -> None:
    line = b"step 1200 train_loss 0.4321 lr 0.00091 step_seconds 0.0123 " + b"." * 20 + b"\n"
    chunk = line * (2**16 // len(line))
    for id_ in ids:
        places = [(number * len(chunk), (number + 1) * len(chunk)) for number in range(LOG_CHUNKS)]
        rows = [{"job_id": id_, "attempt": 1, "start": start, "end": end, "data": chunk} for start, end in places]
        connection.execute(insert(LogChunk), rows)


def is_long(number: int, plan: Plan) -> bool:
    """Long jobs are spread evenly, and are none of the other project's."""
    every = max(10, plan.jobs // LONG_JOBS // 10 * 10)
    return number % every == every // 2 and number // every < LONG_JOBS and number % 10 != 9


def long_ids(plan: Plan) -> list[str]:
    return [id_ for number, (id_, _) in enumerate(job_ids(plan)) if is_long(number, plan)]


_EVENTS = ("job.state", "job.state", "progress", "checkpoint.saved", "job.state", "end")
LONG_EVENTS = 3000
LOG_CHUNKS = 100
_TRANSITIONS = (
    ("NULL", "queued", "submitted", 0, "1 = 1"),
    ("'queued'", "starting", "claimed", 500, "attempt = 1"),
    ("'starting'", "running", "started", 1000, "attempt = 1"),
)
_LABELS = (
    ("owner", f"'owner-' || (created_at / {EVERY_MS} % {OWNERS})"),
    ("kind", "'sweep'"),
    ("rare", f"CASE WHEN created_at / {EVERY_MS} % 9973 = 0 THEN 'yes' ELSE 'no' END"),
)


def statements(plan: Plan, template: str, dialect: str) -> list[str]:
    """INSERTs of what each job leaves, but the template."""
    ids = ", ".join(f"'{id_}'" for id_ in long_ids(plan))
    others, is_long_ = f"j.id <> '{template}'", f"j.id IN ({ids})"
    events = " UNION ALL ".join(f"SELECT {seq} AS seq, '{kind}' AS type" for seq, kind in enumerate(_EVENTS, start=1))
    return [
        *(
            f"INSERT INTO transitions (job_id, source, target, reason, message, at) SELECT id, {source}, '{target}', "
            f"'{reason}', '', created_at + {after} FROM jobs j WHERE {others} AND {condition} ORDER BY id"
            for source, target, reason, after, condition in _TRANSITIONS
        ),
        "INSERT INTO attempts (job_id, number, token, submission_id, launcher, start_step, warps, groups, outcome, "
        "created_at, started_at, finished_at) "
        "SELECT id, 1, 1, id || '-1', 'process', 0, '[{\"step\": 0, \"version\": null}]', '[]', "
        "CASE WHEN state IN ('succeeded', 'failed', 'cancelled') THEN state END, created_at + 500, started_at, "
        f"finished_at FROM jobs j WHERE {others} AND attempt = 1 ORDER BY id",
        _told("e.type", f"CROSS JOIN ({events}) e", f"{others} AND NOT {is_long_} AND e.seq <= j.event_seq"),
        _steps(LONG_EVENTS, "seq", 1) + _told("'progress'", "CROSS JOIN e", is_long_),
        *(
            f"INSERT INTO job_labels (job_id, key, project, value) SELECT id, '{key}', project, {value} "
            f"FROM jobs j WHERE {others} ORDER BY id"
            for key, value in _LABELS
        ),
        _points(f"{others} AND NOT {is_long_} AND j.attempt = 1", plan.short_steps, dialect),
        _points(is_long_, plan.long_steps, dialect),
    ]


def _told(kind: str, joined: str, which: str) -> str:
    return (
        "INSERT INTO events (id, job_id, seq, type, level, message, data, created_at) SELECT 'evt_' || substr(j.id, 5, "
        "22) || substr('0000', 1, 4 - length(cast(e.seq AS TEXT))) || cast(e.seq AS TEXT), j.id, e.seq, "
        f"{kind}, 'info', 'as it went', '{{\"step\": 1}}', j.created_at + e.seq * 1000 "
        f"FROM jobs j {joined} WHERE {which}"
    )


def _steps(count: int, name: str, first: int) -> str:
    return (
        f"WITH RECURSIVE e({name}) AS (SELECT {first} UNION ALL SELECT {name} + 1 FROM e "
        f"WHERE {name} < {first + count - 1}) "
    )


def _points(which: str, steps: int, dialect: str) -> str:
    """So many points of each metric, for the jobs that `which` names, in the order of their key."""
    names = " UNION ALL ".join(f"SELECT '{name}' AS name" for name in sorted(NAMES))
    # SQLite's loops run in this order anyway, and it would sort all the same.
    order = "" if dialect == "sqlite" else " ORDER BY j.id, n.name, e.step"
    return (
        f"{_steps(steps, 'step', 0)}INSERT INTO metrics (job_id, name, step, value, at) SELECT j.id, n.name, e.step, "
        "1.0 / (1 + e.step / 50.0) + (e.step * 7919 % 1000) / 100000.0, j.created_at + 1000 + e.step * 10 "
        f"FROM jobs j CROSS JOIN ({names}) n CROSS JOIN e WHERE {which}{order}"
    )


def counted(database: Database) -> dict[str, int]:
    with database.engine.connect() as connection:
        names = ("jobs", "metrics", "events", "transitions", "job_labels")
        return {name: int(connection.scalar(text(f"SELECT count(*) FROM {name}")) or 0) for name in names}
