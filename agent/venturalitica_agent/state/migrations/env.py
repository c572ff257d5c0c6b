"""What Alembic runs for each command: it works on the connection that it is handed, in that one's transaction."""

from alembic import context

from venturalitica_agent.state.opening import VERSION_TABLE
from venturalitica_agent.state.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite can't alter a column: the table is made anew
)
with context.begin_transaction():
    context.run_migrations()
