"""Families hand out starts: their versions, and the final weights that jobs contribute to them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("families", sa.Column("starts", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("families", sa.Column("start_step", sa.Float(), nullable=False, server_default="1"))
    op.create_table(
        "start_versions",
        sa.Column("family_id", ID, nullable=False),
        sa.Column("version", ID, nullable=False),
        sa.Column("anchor", sa.String(length=12), nullable=False),
        sa.Column("identity", sa.String(length=64), nullable=False),
        sa.Column("model", sa.JSON(), nullable=False),
        sa.Column("epoch", ID, nullable=False),
        sa.Column("rule", sa.String(length=32), nullable=False),
        sa.Column("step", sa.Float(), nullable=False),
        sa.Column("round", ID, nullable=False),
        sa.Column("parent", ID, nullable=False),
        sa.Column("jobs", sa.JSON(), nullable=False),
        sa.Column("datasets", sa.JSON(), nullable=False),
        sa.Column("warp_version", ID, nullable=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", ID, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["family_id"], ["families.id"], name="fk_start_versions_family_id"),
        sa.PrimaryKeyConstraint("family_id", "version", name="pk_start_versions"),
    )
    op.create_index("ix_start_versions_anchor", "start_versions", ["family_id", "anchor", "version"])
    op.create_table(
        "start_contributions",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("number", ID, nullable=True),
        sa.Column("family_id", ID, nullable=False),
        sa.Column("anchor", sa.String(length=12), nullable=False),
        sa.Column("began", ID, nullable=False),
        sa.Column("steps", ID, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", ID, nullable=False),
        sa.Column("norm", sa.Float(), nullable=True),
        sa.Column("round", ID, nullable=True),
        sa.Column("code", sa.String(length=32), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["family_id"], ["families.id"], name="fk_start_contributions_family_id"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_start_contributions_job_id"),
        sa.PrimaryKeyConstraint("job_id", name="pk_start_contributions"),
    )
    op.create_index("ix_start_contributions_family", "start_contributions", ["family_id", "decided_at"])


def downgrade() -> None:
    op.drop_table("start_contributions")
    op.drop_table("start_versions")
    op.drop_column("families", "start_step")
    op.drop_column("families", "starts")
