"""A webhook's secret can be changed: the one before signs too for a while."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("webhooks", sa.Column("old_secret", sa.String(length=64), nullable=True))
    op.add_column("webhooks", sa.Column("old_secret_until", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    for name in ("old_secret_until", "old_secret"):
        op.drop_column("webhooks", name)
