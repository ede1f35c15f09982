"""Which families' P suit some data; versions whose file retention has removed."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
COLLECTED = ("warp_versions", "start_versions", "start_contributions")


def upgrade() -> None:
    op.create_table(
        "family_matches",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("dataset_id", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("resolved", sa.JSON(), nullable=False),
        sa.Column("attempts", INTEGER, nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("failure", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="fk_family_matches_dataset_id"),
        sa.PrimaryKeyConstraint("id", name="pk_family_matches"),
    )
    op.create_index("ix_family_matches_state", "family_matches", ["state", "project", "id"])
    op.create_index("ix_family_matches_project", "family_matches", ["project", "id"])
    for table in COLLECTED:
        op.add_column(table, sa.Column("collected_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    for table in COLLECTED:
        op.drop_column(table, "collected_at")
    op.drop_table("family_matches")
