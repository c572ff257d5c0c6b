"""Runs, audits, policies and their terms, stores.

States of before versions grew table by table, so this step and the next make only what is missing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audits",
        sa.Column("store", sa.String(length=12), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("audit_id", sa.String(length=32), nullable=False),
        sa.Column("policy", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("policy_digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("run_name", sa.Text(), nullable=False),
        sa.Column("link", sa.Text(), nullable=False),
        sa.Column("counts", sa.String(length=64), nullable=False),
        sa.Column("failed", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("evidence_digest", sa.String(length=64), nullable=False),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("audited_at", sa.Float(), nullable=False),
        sa.Column("tagged_at", sa.Float(), nullable=False),
        sa.Column("decision", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("store", "run_id", "audit_id"),
        if_not_exists=True,
    )
    op.create_index("audits_by_run", "audits", ["store", "run_id", "policy"], unique=False, if_not_exists=True)
    op.create_table(
        "policies",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("first_seen", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
        if_not_exists=True,
    )
    op.create_table(
        "policy_mistakes",
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("folder"),
        if_not_exists=True,
    )
    op.create_table(
        "policy_terms",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("policy", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=True),
        sa.Column("evaluate_with", sa.String(length=16), nullable=False),
        sa.Column("reaches_back", sa.Float(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("commit", sa.String(length=64), nullable=False),
        sa.Column("dirty", sa.Boolean(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
        if_not_exists=True,
    )
    op.create_index(
        "one_version_in_force",
        "policy_terms",
        ["policy"],
        unique=True,
        sqlite_where=sa.text("until IS NULL"),
        postgresql_where=sa.text("until IS NULL"),
        if_not_exists=True,
    )
    op.create_table(
        "runs",
        sa.Column("store", sa.String(length=12), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("experiment_id", sa.String(length=256), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=True),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("revision", sa.String(length=128), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("ready_at", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("audited_revision", sa.String(length=128), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("store", "run_id"),
        if_not_exists=True,
    )
    op.create_index(
        "runs_by_phase", "runs", ["phase", "live", "ready_at", "end_time"], unique=False, if_not_exists=True
    )
    op.create_table(
        "stores",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("remedy", sa.Text(), nullable=False),
        sa.Column("scanned_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    _give_terms()


def _give_terms() -> None:
    """Terms for policies that were kept before there were any: each until the next of its id."""
    policies = sa.table("policies", *map(sa.column, ("digest", "id", "version", "file_name", "first_seen")))
    columns = ["policy", "version", "digest", "file_name", "since", "until"]
    columns += ["evaluate_with", "reaches_back", "folder", "commit"]
    terms = sa.table("policy_terms", *map(sa.column, columns))
    seen = policies.c.first_seen
    found = sa.select(
        policies.c.id,
        policies.c.version,
        policies.c.digest,
        policies.c.file_name,
        seen,
        sa.func.lead(seen).over(partition_by=policies.c.id, order_by=(seen, policies.c.digest)),
        sa.literal("run-start"),
        sa.literal(0.0),
        sa.literal(""),
        sa.literal(""),
    )
    db = op.get_bind()
    if db.execute(sa.select(terms.c.policy).limit(1)).first() is None:
        db.execute(sa.insert(terms).from_select(columns, found))
