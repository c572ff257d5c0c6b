"""new_migration.py "what it is for": the next file in state/migrations/versions, from the difference between where the
migrations end and state/tables.py. Read it before you keep it: rows are not its business, and renaming looks to it like
dropping."""

from __future__ import annotations

import sys

import sqlalchemy as sa
from alembic import command

from venturalitica_agent.state.migrations import config_for, upgrade
from venturalitica_agent.state.opening import head

if len(sys.argv) != 2:
    sys.exit(__doc__)
with sa.create_engine("sqlite://").connect() as db:
    upgrade(db)
    config = config_for(db)
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    command.revision(config, message=sys.argv[1], autogenerate=True, rev_id=f"{int(head()) + 1:04}")
