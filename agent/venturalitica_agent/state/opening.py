"""Opening the state: its tables are made where there are none, brought up to date where an older agent wrote them, and
refused where a newer one did. A state that is up to date costs one look at its version and doesn't load Alembic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from venturalitica_agent.errors import ConfigError, StateUnavailable
from venturalitica_agent.state.dialects import connecting, with_driver
from venturalitica_agent.state.machines import machines_of
from venturalitica_agent.state.tables import metadata

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "state_version"  # not Alembic's usual name, which MLflow's own database has

_version = sa.Table(
    VERSION_TABLE,
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)
_LOCK = 0x76_65_6E_74_75_72_61  # any number that only we take
_OURS = {
    "runs": {"store", "run_id", "phase", "audited_revision"},
    "audits": {"audit_id", "policy_digest", "decision"},
    "policies": {"digest", "file_name", "first_seen"},
}


def open_state(url: str) -> sa.Engine:
    """The database behind `url` (a SQLAlchemy URL), with the tables of this version of the agent.

    Any number of processes may open one state at once: one of them changes its tables, the others wait.

    Whatever keeps it from working later is StateUnavailable, wherever it is met.

    Raises:
        ConfigError: the state can't be opened, a newer agent wrote it, or it is another program's database.
    """
    parsed = sa.make_url(url)
    sqlite = parsed.get_backend_name() == "sqlite"
    if sqlite and parsed.database:
        folder = Path(parsed.database).parent
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(
                f"the state folder can't be made: {error.strerror}",
                subject=str(folder),
                remedy="set `state:` in agent.yaml to a folder that this user may write",
            ) from error

    engine = sa.create_engine(with_driver(url), connect_args=connecting(url), pool_pre_ping=not sqlite)
    if sqlite:

        @sa.event.listens_for(engine, "connect")
        def _durable(connection: object, _record: object) -> None:
            cursor = connection.cursor()  # type: ignore[attr-defined]  # a DBAPI connection has no common type
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.close()

    subject = parsed.render_as_string(hide_password=True)
    try:
        with engine.connect() as db:
            found = _version_of(db)
        if found != head():
            with _alone(engine) as db:
                _bring_up_to_date(db, subject)
    except sa.exc.SQLAlchemyError as error:
        engine.dispose()
        raise ConfigError(
            f"the state can't be opened: {error.__class__.__name__}: {str(error).splitlines()[0]}",
            subject=subject,
            remedy="check `state:` in agent.yaml and the permissions of its folder",
        ) from error
    except ConfigError:
        engine.dispose()
        raise

    @sa.event.listens_for(engine, "handle_error")
    def _explain(context: sa.engine.ExceptionContext) -> None:
        if isinstance(context.sqlalchemy_exception, sa.exc.OperationalError):
            raise StateUnavailable.because(context.original_exception, subject) from context.original_exception

    return engine


def revisions() -> list[str]:
    """The schema's versions that this agent knows, oldest first: the numbers that the migrations' files begin with."""
    return sorted(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))


def head() -> str:
    """The schema's version that this agent works with."""
    return revisions()[-1]


def _version_of(db: sa.Connection) -> str | None:
    if not sa.inspect(db).has_table(VERSION_TABLE):
        return None
    found: str | None = db.execute(sa.select(_version.c.version_num)).scalar()
    return found


@contextmanager
def _alone(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction that no other process has at the same time; all of it is kept, or nothing."""
    if engine.dialect.name == "sqlite":
        # Python's driver would begin the transaction only at the first row that is written, after the tables.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
            db.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.exec_driver_sql("ROLLBACK")
                raise
            db.exec_driver_sql("COMMIT")
    else:
        with engine.begin() as db:
            db.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            yield db


def _bring_up_to_date(db: sa.Connection, subject: str) -> None:
    found = _version_of(db)
    if found == head():  # another process was faster
        return
    if found is not None and found not in revisions():
        raise ConfigError(
            f"a newer agent wrote this state: its tables are version {found}, this agent knows {head()} and older",
            subject=subject,
            remedy="install the newer agent again, or set `state:` in agent.yaml to the copy from before the upgrade",
        )
    tables = set(sa.inspect(db).get_table_names()) & set(metadata.tables)
    if found is None:
        _refuse_foreign(db, tables, subject)
    if found is None and not tables:
        metadata.create_all(db)
        _version.create(db)
        db.execute(sa.insert(_version).values(version_num=head()))
    else:
        if db.dialect.name != "sqlite" and (others := machines_of(db)):
            raise ConfigError(
                f"the tables of this state must be brought up to date, and {len(others)} older agents work on it",
                subject=subject,
                remedy="stop them on all machines, then start this one",
            )
        from venturalitica_agent.state.migrations import upgrade

        upgrade(db)


def _refuse_foreign(db: sa.Connection, tables: set[str], subject: str) -> None:
    """Tables without a version are a state's of before versions, or another program's: MLflow has `runs` too."""
    inspector = sa.inspect(db)
    for name in sorted(tables & set(_OURS)):
        if not _OURS[name] <= {column["name"] for column in inspector.get_columns(name)}:
            raise ConfigError(
                f"this is another program's database: its table {name} is not the agent's",
                subject=subject,
                remedy="set `state:` in agent.yaml to a database of the agent's own",
            )
