"""The append-only log, and the present verdicts apart from all that were ever given."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "evidence_files",
        sa.Column("store", sa.String(length=12), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("audit_id", sa.String(length=32), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("store", "run_id", "audit_id", "path"),
        if_not_exists=True,
    )
    op.create_table(
        "log_entries",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", sa.String(length=256), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("checkpoint", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("key"),
        if_not_exists=True,
    )
    op.create_table(
        "log_heads",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("frontier", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_table(
        "store_faults",
        sa.Column("store", sa.String(length=12), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("remedy", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("store"),
        if_not_exists=True,
    )
    op.create_table(
        "timestamps",
        sa.Column("message", sa.String(length=64), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("message"),
        if_not_exists=True,
    )
    op.create_table(
        "verdict_controls",
        sa.Column("control", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("store", sa.String(length=12), nullable=False),
        sa.Column("run_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("policy", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.PrimaryKeyConstraint("control", "store", "run_id", "policy"),
        if_not_exists=True,
    )
    op.create_index(
        "verdict_controls_by_run", "verdict_controls", ["store", "run_id", "policy"], unique=False, if_not_exists=True
    )
    op.create_table(
        "verdicts",
        sa.Column("store", sa.String(length=12), nullable=False),
        sa.Column("run_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("policy", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("audit_id", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("experiment_id", sa.Text(), nullable=False),
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("run_name", sa.Text(), nullable=False),
        sa.Column("folded_name", sa.Text(), nullable=False),
        sa.Column("ended", sa.BigInteger(), nullable=False),
        sa.Column("decided_at", sa.Float(), nullable=False),
        sa.Column("model_digest", sa.String(length=64), nullable=False),
        sa.Column("data_digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("store", "run_id", "policy"),
        if_not_exists=True,
    )
    op.create_index("verdicts_by_data", "verdicts", ["data_digest"], unique=False, if_not_exists=True)
    op.create_index(
        "verdicts_by_end", "verdicts", ["ended", "store", "run_id", "policy"], unique=False, if_not_exists=True
    )
    op.create_index("verdicts_by_experiment", "verdicts", ["experiment", "ended"], unique=False, if_not_exists=True)
    op.create_index(
        "verdicts_by_experiment_id",
        "verdicts",
        ["store", "experiment_id", "decided_at"],
        unique=False,
        if_not_exists=True,
    )
    op.create_index("verdicts_by_model", "verdicts", ["model_digest"], unique=False, if_not_exists=True)
    op.create_index("verdicts_by_policy", "verdicts", ["policy", "ended"], unique=False, if_not_exists=True)
    op.create_index("verdicts_by_status", "verdicts", ["status", "ended"], unique=False, if_not_exists=True)
    op.create_index(
        "verdicts_by_store", "verdicts", ["store", "ended", "run_id", "policy"], unique=False, if_not_exists=True
    )
    op.create_index(
        "runs_by_store", "runs", ["store", "phase", "reason", "changed_at"], unique=False, if_not_exists=True
    )
    _list_older()


def _list_older() -> None:
    """Present verdicts of what was audited before: the newest of each run and policy."""
    db = op.get_bind()
    tables = sa.MetaData()
    audits, verdicts, controls, files = (
        sa.Table(name, tables, autoload_with=db)
        for name in ("audits", "verdicts", "verdict_controls", "evidence_files")
    )
    if db.execute(sa.select(verdicts.c.store).limit(1)).first() is not None:
        return
    newest = sa.func.row_number().over(
        partition_by=(audits.c.store, audits.c.run_id, audits.c.policy), order_by=audits.c.audited_at.desc()
    )
    ranked = sa.select(audits.c.store, audits.c.run_id, audits.c.audit_id, newest.label("rank")).subquery()
    for key in db.execute(sa.select(ranked).where(ranked.c.rank == 1)).all():
        of_audit = {"store": key.store, "run_id": key.run_id, "audit_id": key.audit_id}
        found = sa.select(audits, sa.type_coerce(audits.c.decision, sa.JSON).label("read")).filter_by(**of_audit)
        audit = dict(db.execute(found).mappings().one())
        decision = audit["read"]
        db.execute(sa.insert(verdicts).values(**_present(audit, decision)))
        of_run = {name: audit[name] for name in ("store", "run_id", "policy")}
        findings = decision["verdict"]["findings"]
        for control in dict.fromkeys(f["control"] for f in findings if f["status"] not in ("pass", "skip")):
            db.execute(sa.insert(controls).values(control=control, **of_run))
        db.execute(sa.delete(files).filter_by(**of_audit))
        db.execute(sa.insert(files).values(**of_audit, path=audit["evidence"], sha256=audit["evidence_digest"]))


def _present(audit: Mapping[str, Any], decision: Mapping[str, Any]) -> dict[str, Any]:
    copied = ("store", "run_id", "policy", "audit_id", "version", "status", "experiment", "run_name")
    model, data = decision["subject"]["model"], decision["subject"]["data"].get("evaluation")
    return {
        **{name: audit[name] for name in copied},
        "experiment_id": str(decision["run_facts"].get("experiment_id") or ""),
        "folded_name": audit["run_name"].casefold(),
        "ended": audit["end_time"] or 0,
        "decided_at": datetime.fromisoformat(decision["decided_at"]).timestamp(),
        "model_digest": model["digest"] if model else "",
        "data_digest": data["file"]["sha256"] if data else "",
    }
