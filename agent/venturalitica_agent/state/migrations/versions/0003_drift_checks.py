"""What was found where an audited run was looked at again."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drift_checks",
        sa.Column("store", sa.String(length=12), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("checked_at", sa.Float(), nullable=False),
        sa.Column("incidents", sa.Integer(), server_default="0", nullable=False),
        sa.Column("found_at", sa.Float(), nullable=True),
        sa.Column("words", sa.Text(), server_default="", nullable=False),
        sa.Column("restored", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("store", "run_id"),
        if_not_exists=True,
    )
