"""The JSON behind every page, at `/api/v1/`. Answers are the documents of `web.model`, mistakes are a `Fault`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from venturalitica_agent.state.listing import BadQuery
from venturalitica_agent.web.model import Document, Fault, RunFilter
from venturalitica_agent.web.openapi import description
from venturalitica_agent.web.reader import Reader

_CURSORS = ("after", "before", "size")
_LONGEST = 500


def api_routes(reader: Reader) -> list[Route]:
    def overview(_request: Request) -> Response:
        return answer(reader.overview())

    def runs(request: Request) -> Response:
        given = dict(request.query_params)
        unknown = given.keys() - RunFilter.model_fields.keys() - set(_CURSORS)
        if unknown:
            known = ", ".join((*RunFilter.model_fields, *_CURSORS))
            raise BadQuery("is not a filter", subject=min(unknown)[:80], remedy=f"there are: {known}")
        too_long = [name for name, value in given.items() if len(value) > _LONGEST]
        if too_long:
            raise BadQuery(f"is longer than {_LONGEST} characters", subject=too_long[0])
        after, before, size = (given.pop(name, "") for name in _CURSORS)
        if size and not (size.isascii() and size.isdigit() and len(size) < 6):
            raise BadQuery("is not a number of rows", subject=f"size={size[:40]}")
        return answer(reader.runs(RunFilter(**given), after=after, before=before, size=int(size or 50)))

    def run(request: Request) -> Response:
        store, run_id = request.path_params["store"], request.path_params["run_id"]
        found = reader.run(store, run_id)
        if found is None:
            return fault(404, Fault(what="nothing is known of such a run", subject=f"{store}/{run_id}"[:200]))
        return answer(found)

    def policies(_request: Request) -> Response:
        return answer(reader.policies())

    def integrations(_request: Request) -> Response:
        return answer(reader.integrations())

    def openapi(_request: Request) -> Response:
        return JSONResponse(description())

    handlers = (
        ("overview", overview),
        ("runs", runs),
        ("runs/{store}/{run_id:path}", run),
        ("policies", policies),
        ("integrations", integrations),
        ("openapi.json", openapi),
    )
    return [Route(f"/api/v1/{path}", handler) for path, handler in handlers]


def answer(document: Document) -> Response:
    return Response(document.model_dump_json(), media_type="application/json")


def fault(status: int, told: Fault) -> Response:
    return JSONResponse(told.model_dump(), status)
