"""The ledger knows the key by which it names people."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table of the key."""
    op.create_table("ledger_key", sa.Column("fingerprint", sa.String(64), primary_key=True))
