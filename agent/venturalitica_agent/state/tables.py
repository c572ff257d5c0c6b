"""The agent's own tables. One place for the schema as it is now; state/migrations/ holds how older ones become it. The
engine keeps its tables in a database of its own beside it."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("store", sa.String(12), primary_key=True),
    sa.Column("run_id", sa.String(64), primary_key=True),
    sa.Column("experiment_id", sa.String(256), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("start_time", sa.BigInteger),
    sa.Column("end_time", sa.BigInteger),
    sa.Column("revision", sa.String(128), nullable=False),
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("live", sa.Boolean, nullable=False, default=False),
    sa.Column("ready_at", sa.Float, nullable=False, default=0.0),
    sa.Column("due_since", sa.Float),  # while it is due or claimed: since when, however often it was tried
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("failures", sa.Integer, nullable=False, default=0),
    sa.Column("job", sa.String(32), nullable=False, default=""),
    sa.Column("audited_revision", sa.String(128), nullable=False, default=""),
    sa.Column("seen_at", sa.Float, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
    sa.Index("runs_by_phase", "phase", "live", "ready_at", "end_time"),
    sa.Index("runs_by_store", "store", "phase", "reason", "changed_at"),
)

audits = sa.Table(
    "audits",
    metadata,
    sa.Column("store", sa.String(12), primary_key=True),
    sa.Column("run_id", sa.String(64), primary_key=True),
    sa.Column("audit_id", sa.String(32), primary_key=True),
    sa.Column("policy", sa.String(64), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("policy_digest", sa.String(64), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("experiment", sa.Text, nullable=False),
    sa.Column("run_name", sa.Text, nullable=False),
    sa.Column("link", sa.Text, nullable=False),
    sa.Column("counts", sa.String(64), nullable=False),
    sa.Column("failed", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("evidence_digest", sa.String(64), nullable=False),
    sa.Column("end_time", sa.BigInteger),
    sa.Column("audited_at", sa.Float, nullable=False),
    sa.Column("tagged_at", sa.Float, nullable=False),
    sa.Column("decision", sa.JSON, nullable=False),
    sa.Index("audits_by_run", "store", "run_id", "policy"),
)

policies = sa.Table(
    "policies",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("id", sa.String(64), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("file_name", sa.Text, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("first_seen", sa.Float, nullable=False),
)

# When each of them was in force, as we saw it.
policy_terms = sa.Table(
    "policy_terms",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("policy", sa.String(64), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("file_name", sa.Text, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("until", sa.Float),
    sa.Column("evaluate_with", sa.String(16), nullable=False),
    sa.Column("reaches_back", sa.Float, nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("commit", sa.String(64), nullable=False),
    sa.Column("dirty", sa.Boolean),
)
sa.Index(
    "one_version_in_force",
    policy_terms.c.policy,
    unique=True,
    sqlite_where=policy_terms.c.until.is_(None),
    postgresql_where=policy_terms.c.until.is_(None),
)

# What keeps a new state of a policy folder from coming into force.
policy_mistakes = sa.Table(
    "policy_mistakes",
    metadata,
    sa.Column("folder", sa.Text, primary_key=True),
    sa.Column("words", sa.Text, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
)

# The append-only log: state/log.py alone writes these two.
log_entries = sa.Table(
    "log_entries",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("key", sa.String(256), nullable=False, unique=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("path", sa.LargeBinary, nullable=False),
    sa.Column("checkpoint", sa.Text, nullable=False),
    sa.Column("public_key", sa.Text, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

log_heads = sa.Table(
    "log_heads",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("frontier", sa.LargeBinary, nullable=False),
)

stores = sa.Table(
    "stores",
    metadata,
    sa.Column("id", sa.String(12), primary_key=True),
    sa.Column("uri", sa.Text, nullable=False),
    sa.Column("ok", sa.Boolean, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("error", sa.Text, nullable=False, default=""),
    sa.Column("remedy", sa.Text, nullable=False, default=""),
    sa.Column("scanned_at", sa.Float),
)

# What the status page reads: of each run and policy the verdict that counts now, without what it rests on.
_EXACT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # compared as bytes, as SQLite does
verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("store", sa.String(12), primary_key=True),
    sa.Column("run_id", _EXACT, primary_key=True),
    sa.Column("policy", _EXACT, primary_key=True),
    sa.Column("audit_id", sa.String(32), nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("experiment_id", sa.Text, nullable=False),
    sa.Column("experiment", sa.Text, nullable=False),
    sa.Column("run_name", sa.Text, nullable=False),
    sa.Column("folded_name", sa.Text, nullable=False),  # for looking up without regard to case
    sa.Column("ended", sa.BigInteger, nullable=False),  # ms; 0 where the store doesn't know
    sa.Column("decided_at", sa.Float, nullable=False),
    sa.Column("model_digest", sa.String(64), nullable=False),  # empty without one
    sa.Column("data_digest", sa.String(64), nullable=False),  # of the evaluation data
    sa.Index("verdicts_by_end", "ended", "store", "run_id", "policy"),
    sa.Index("verdicts_by_store", "store", "ended", "run_id", "policy"),
    sa.Index("verdicts_by_status", "status", "ended"),
    sa.Index("verdicts_by_policy", "policy", "ended"),
    sa.Index("verdicts_by_experiment", "experiment", "ended"),
    sa.Index("verdicts_by_experiment_id", "store", "experiment_id", "decided_at"),
    sa.Index("verdicts_by_model", "model_digest"),
    sa.Index("verdicts_by_data", "data_digest"),
)

# The controls that a run's present verdict does not pass.
verdict_controls = sa.Table(
    "verdict_controls",
    metadata,
    sa.Column("control", _EXACT, primary_key=True),
    sa.Column("store", sa.String(12), primary_key=True),
    sa.Column("run_id", _EXACT, primary_key=True),
    sa.Column("policy", _EXACT, primary_key=True),
    sa.Index("verdict_controls_by_run", "store", "run_id", "policy"),
)

# What each audit wrote on its run.
evidence_files = sa.Table(
    "evidence_files",
    metadata,
    sa.Column("store", sa.String(12), primary_key=True),
    sa.Column("run_id", sa.String(64), primary_key=True),
    sa.Column("audit_id", sa.String(32), primary_key=True),
    sa.Column("path", sa.Text, primary_key=True),
    sa.Column("sha256", sa.String(64), nullable=False),
)

# The last thing that went wrong with each store, also after it is over.
store_faults = sa.Table(
    "store_faults",
    metadata,
    sa.Column("store", sa.String(12), primary_key=True),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("remedy", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)


# When a run was last compared with what was published on it, and what was found the last time that it was not that.
drift_checks = sa.Table(
    "drift_checks",
    metadata,
    sa.Column("store", sa.String(12), primary_key=True),
    sa.Column("run_id", sa.String(64), primary_key=True),
    sa.Column("checked_at", sa.Float, nullable=False),
    sa.Column("incidents", sa.Integer, nullable=False, server_default="0"),
    sa.Column("found_at", sa.Float),
    sa.Column("words", sa.Text, nullable=False, server_default=""),
    sa.Column("restored", sa.Boolean, nullable=False, server_default=sa.false()),
    # What told model and data from others when they were last compared with what was audited, and what had changed.
    sa.Column("inputs", sa.String(64), nullable=False, server_default=""),
    sa.Column("stale_at", sa.Float),
    sa.Column("stale_words", sa.Text, nullable=False, server_default=""),
)

# Why a changed configuration can't come into force; one row while it can't.
config_mistakes = sa.Table(
    "config_mistakes",
    metadata,
    sa.Column("file", sa.String(1024), primary_key=True),
    sa.Column("words", sa.Text, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
)

# What only grows, for those who watch the service.
counters = sa.Table(
    "counters",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("labels", sa.String(512), primary_key=True),
    sa.Column("value", sa.Float, nullable=False),
)

# What people are to be told of, each once for each channel, and how far each channel has read the log.
notices = sa.Table(
    "notices",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("channel", sa.String(64), nullable=False),
    sa.Column("key", sa.String(128), nullable=False),
    sa.Column("event", sa.String(16), nullable=False),
    sa.Column("line", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("sent_at", sa.Float),
    sa.UniqueConstraint("channel", "key", name="one_notice_a_channel"),
)

channels = sa.Table(
    "channels",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("log_size", sa.BigInteger, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_at", sa.Float, nullable=False, server_default="0"),
    sa.Column("error", sa.Text, nullable=False, server_default=""),
    sa.Column("sent_at", sa.Float),
    sa.Column("given_up", sa.Integer, nullable=False, server_default="0"),
)

# Answers of the time-stamp authority, kept so that evidence which is built again has the one of the first time.
timestamps = sa.Table(
    "timestamps",
    metadata,
    sa.Column("message", sa.String(64), primary_key=True),
    sa.Column("answer", sa.LargeBinary, nullable=False),
)
