"""Indexes for lists of jobs by state, family and metadata: each filter is walked along from its newest entry."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("job_labels", sa.Column("project", sa.String(length=64), nullable=False, server_default=""))
    op.execute("UPDATE job_labels SET project = (SELECT project FROM jobs WHERE jobs.id = job_labels.job_id)")
    with op.batch_alter_table("job_labels") as table:
        table.alter_column("project", server_default=None)
    op.drop_index("ix_job_labels_value", "job_labels")
    op.create_index("ix_job_labels_value", "job_labels", ["project", "key", "value", "job_id"])
    op.create_index("ix_jobs_state", "jobs", ["project", "state", "id"])
    op.drop_index("ix_jobs_family", "jobs")
    op.create_index("ix_jobs_family", "jobs", ["family_id", "state", "id"])
    op.create_index("ix_jobs_family_id", "jobs", ["family_id", "id"])


def downgrade() -> None:
    op.drop_index("ix_jobs_family_id", "jobs")
    op.drop_index("ix_jobs_family", "jobs")
    op.create_index("ix_jobs_family", "jobs", ["family_id", "state"])
    op.drop_index("ix_jobs_state", "jobs")
    op.drop_index("ix_job_labels_value", "job_labels")
    op.create_index("ix_job_labels_value", "job_labels", ["key", "value", "job_id"])
    with op.batch_alter_table("job_labels") as table:
        table.drop_column("project")
