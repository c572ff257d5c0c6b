"""The status page as one ASGI application: pages, JSON API, health, metrics and static files behind the guard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from venturalitica_agent.errors import AgentError, Diagnostics
from venturalitica_agent.logging import get_logger
from venturalitica_agent.settings import Settings
from venturalitica_agent.state.listing import BadQuery
from venturalitica_agent.web import guard
from venturalitica_agent.web.access import read_access, signing_key
from venturalitica_agent.web.api import api_routes, fault
from venturalitica_agent.web.health import health_routes
from venturalitica_agent.web.metrics import metrics_routes
from venturalitica_agent.web.model import Fault
from venturalitica_agent.web.pages import missing, page, page_routes
from venturalitica_agent.web.reader import Reader

log = get_logger(__name__)

_STATIC = Path(__file__).parent / "static"
_FOR_MACHINES = ("/api/", "/metrics", "/healthz", "/readyz", "/static/")


def create_app(settings: Settings, reader: Reader) -> Starlette:
    """The application that answers from `reader`.

    Raises:
        ConfigError: anyone could read it from another machine, or what guards it can't be read.
    """
    access = read_access(settings)
    keeper = guard.Keeper(access, signing_key(settings))
    return Starlette(
        routes=[
            *page_routes(reader),
            *api_routes(reader),
            *health_routes(settings, reader),
            *metrics_routes(reader),
            Mount("/static", _Static(directory=_STATIC)),
        ],
        middleware=[Middleware(guard.Guard, keeper=keeper, host=settings.web.host)],
        exception_handlers={BadQuery: _bad_query, HTTPException: _not_there, sa.exc.SQLAlchemyError: _no_state},
    )


class _Static(StaticFiles):
    """Files of ours, which change with the version only."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        answer = super().file_response(*args, **kwargs)
        answer.headers["cache-control"] = "max-age=3600"
        return answer


def _bad_query(request: Request, error: Exception) -> Response:
    words = error.diagnostics() if isinstance(error, AgentError) else Diagnostics(str(error))
    return _told(request, 400, Fault(what=words.what, subject=words.subject, remedy=words.remedy))


def _not_there(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404 and not request.url.path.startswith(_FOR_MACHINES):
        return missing(request)
    return _told(request, status, Fault(what=str(getattr(error, "detail", error)), subject=request.url.path[:200]))


def _no_state(request: Request, error: Exception) -> Response:
    log.warning("web.no_state", reason=f"{type(error).__name__}: {str(error).splitlines()[0]}")
    what = "the state can't be read now"
    return _told(request, 503, Fault(what=what, remedy="look at the log of the service, then try again"))


def _told(request: Request, status: int, told: Fault) -> Response:
    if request.url.path.startswith(_FOR_MACHINES):
        return fault(status, told)
    sentence = ": ".join(filter(None, (told.subject, told.what)))
    return page(request, "message.html", status=status, heading=str(status), sentence=sentence)
