"""Large datasets are inspected after they were answered: who does it, until when, how far."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("datasets", sa.Column("inspector", sa.String(length=40), nullable=True))
    op.add_column("datasets", sa.Column("inspect_until", sa.BigInteger(), nullable=True))
    for name in ("inspections", "inspected_bytes"):
        op.add_column("datasets", sa.Column(name, INTEGER, nullable=False, server_default="0"))
    op.create_index("ix_datasets_state", "datasets", ["state", "inspect_until"])


def downgrade() -> None:
    op.drop_index("ix_datasets_state", "datasets")
    for name in ("inspected_bytes", "inspections", "inspect_until", "inspector"):
        op.drop_column("datasets", name)
