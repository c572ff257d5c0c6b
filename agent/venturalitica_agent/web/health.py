"""`/healthz`: the process is alive. `/readyz`: it can answer from the state, and its stores answer it."""

from __future__ import annotations

from hashlib import sha256

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from venturalitica_agent import __version__
from venturalitica_agent.settings import Settings
from venturalitica_agent.web.model import Alive, Ready
from venturalitica_agent.web.reader import Reader


def state_mark(settings: Settings) -> str:
    """Tells one state from another without telling where it is."""
    return sha256(sa.make_url(settings.state).render_as_string(hide_password=True).encode()).hexdigest()[:16]


def health_routes(settings: Settings, reader: Reader) -> list[Route]:
    mark = state_mark(settings)

    def healthz(_request: Request) -> Response:
        return JSONResponse(Alive(status="alive", version=__version__, state=mark).model_dump())

    def readyz(_request: Request) -> Response:
        reasons = not_ready(reader)
        ready = Ready(ready=not reasons, reasons=reasons)
        return JSONResponse(ready.model_dump(mode="json"), 503 if reasons else 200)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


def not_ready(reader: Reader) -> tuple[str, ...]:
    """Why the page can't tell everything now. Anyone may ask, so stores have no names here but their ids."""
    try:
        known, places = reader.reading.known_stores(), reader.places()
    except sa.exc.SQLAlchemyError as error:
        return (f"the state can't be read: {type(error).__name__}",)
    down = [f"store {store} does not answer" for store, row in known.items() if not row["ok"]]
    unseen = [f"store {store} was not looked at yet" for store in places if store not in known]
    return (*down, *unseen)
