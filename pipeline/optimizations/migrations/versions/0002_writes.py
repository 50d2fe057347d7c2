"""What an application wrote, so that a crash is resumed and a rollback knows the way back."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table of writes."""
    op.create_table(
        "ledger_writes",
        sa.Column("optimization_id", sa.String(16), primary_key=True),
        sa.Column("subject", sa.String(64), primary_key=True),
        sa.Column("field", sa.String(64), primary_key=True),
        sa.Column("before", sa.Text, nullable=False),
        sa.Column("after", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=True),
    )


def downgrade() -> None:
    """Take it away."""
    op.drop_table("ledger_writes")
