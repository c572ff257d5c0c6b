"""What is on record about the configuration that the service was last told to take up."""

from __future__ import annotations

import sqlalchemy as sa

from venturalitica_agent.state.dialects import insert_of
from venturalitica_agent.state.tables import config_mistakes


class ConfigRecord:
    """Why a changed configuration is refused while the one before it goes on."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._insert = insert_of(engine)

    def note_mistake(self, file: str, words: str, *, now: float) -> None:
        statement = self._insert(config_mistakes).values(file=file, words=words, since=now)
        with self._engine.begin() as db:
            db.execute(statement.on_conflict_do_update(index_elements=["file"], set_={"words": words, "since": now}))

    def clear(self, file: str) -> None:
        """The configuration in this file is in force as it is."""
        with self._engine.begin() as db:
            db.execute(config_mistakes.delete().where(config_mistakes.c.file == file))

    def refused(self) -> tuple[str, ...]:
        """Why what was asked for is not in force, in words for people; empty when it is."""
        with self._engine.connect() as db:
            return tuple(db.execute(sa.select(config_mistakes.c.words)).scalars())
