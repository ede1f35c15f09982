"""The queue by lanes, what projects used, logs in the store, files that are to go."""

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ENDED = ("succeeded", "failed", "cancelled")
_PAGE = 500


def upgrade() -> None:
    with op.batch_alter_table("jobs") as table:
        table.add_column(sa.Column("lane", sa.String(length=200), nullable=False, server_default=""))
        table.add_column(sa.Column("queued_at", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("stuck_since", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("due_since", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("queue_timeout_s", sa.Double(), nullable=True))
        table.add_column(sa.Column("base_path", sa.Text(), nullable=True))
    with op.batch_alter_table("jobs") as table:
        table.alter_column("lane", server_default=None)
    with op.batch_alter_table("attempts") as table:
        table.add_column(sa.Column("workers", ID, nullable=True))
    op.create_table(
        "project_usage",
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("share_seconds", sa.Double(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", name="pk_project_usage"),
    )
    op.create_table(
        "log_chunks",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("attempt", ID, nullable=False),
        sa.Column("start", ID, nullable=False),
        sa.Column("end", ID, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_log_chunks_job_id"),
        sa.PrimaryKeyConstraint("job_id", "attempt", "start", name="pk_log_chunks"),
    )
    op.create_table(
        "condemned_files",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("path", name="pk_condemned_files"),
    )
    _fill_in()
    op.create_index("ix_condemned_files_at", "condemned_files", ["at"])
    op.create_index("ix_jobs_lane", "jobs", ["state", "lane", "priority", "id"])
    op.create_index("ix_jobs_base_path", "jobs", ["base_path"])
    op.create_index("ix_checkpoints_path", "checkpoints", ["path"])
    op.create_index("ix_checkpoints_state_path", "checkpoints", ["state_path"])
    op.create_index("ix_contributions_path", "contributions", ["path"])
    op.create_index("ix_job_sums_path", "job_sums", ["path"])
    op.create_index("ix_datasets_sha256", "datasets", ["sha256"])


def _fill_in() -> None:
    """Jobs that have not ended get what a newer version writes at their submission."""
    connection = op.get_bind()
    fill = sa.text(
        "UPDATE jobs SET lane = :lane, queued_at = created_at, queue_timeout_s = :timeout, base_path = :base "
        "WHERE id = :id"
    )
    for page in _pages(connection):
        connection.execute(fill, page)


def _pages(connection: sa.Connection) -> Iterator[list[dict[str, Any]]]:
    jobs = sa.table("jobs", *(sa.column(name) for name in ("id", "project", "state")), sa.column("spec", sa.JSON))
    jobs.append_column(sa.column("resolved", sa.JSON))
    last = ""
    while True:
        chosen = sa.select(jobs.c.id, jobs.c.project, jobs.c.spec, jobs.c.resolved).where(
            jobs.c.id > last, jobs.c.state.not_in(_ENDED)
        )
        rows = connection.execute(chosen.order_by(jobs.c.id).limit(_PAGE)).all()
        if not rows:
            return
        last = rows[-1].id
        yield [_values(row.id, row.project, _read(row.spec), _read(row.resolved)) for row in rows]


def _read(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
    return found


def _values(id_: str, project: str, spec: dict[str, Any], resolved: dict[str, Any]) -> dict[str, Any]:
    resources = spec["resources"]
    workers = resources["workers"]
    least, most = (workers["min"], workers["max"]) if isinstance(workers, dict) else (workers, workers)
    needs = f"{least}-{most}x{float(resources['cpus_per_worker']):g}x{float(resources['gpus_per_worker']):g}"
    base = resolved.get("base") or {}
    return {
        "id": id_,
        "lane": f"{project} {needs}",
        "timeout": spec.get("queue_timeout_s"),
        "base": base.get("path"),
    }


def downgrade() -> None:
    for name, table in (
        ("ix_datasets_sha256", "datasets"),
        ("ix_job_sums_path", "job_sums"),
        ("ix_contributions_path", "contributions"),
        ("ix_checkpoints_state_path", "checkpoints"),
        ("ix_checkpoints_path", "checkpoints"),
        ("ix_jobs_base_path", "jobs"),
        ("ix_jobs_lane", "jobs"),
    ):
        op.drop_index(name, table)
    for table in ("condemned_files", "log_chunks", "project_usage"):
        op.drop_table(table)
    with op.batch_alter_table("attempts") as batch:
        batch.drop_column("workers")
    with op.batch_alter_table("jobs") as batch:
        for column in ("base_path", "queue_timeout_s", "due_since", "stuck_since", "queued_at", "lane"):
            batch.drop_column(column)
