"""The description of the JSON API, made of the documents' own schemas: OpenAPI 3.1."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic.json_schema import models_json_schema

from venturalitica_agent import __version__
from venturalitica_agent.web.model import (
    Alive,
    Document,
    Fault,
    IntegrationsPage,
    Overview,
    PoliciesPage,
    Ready,
    RunFilter,
    RunPage,
    RunsPage,
)

_ROUTES: dict[str, tuple[type[Document], str]] = {
    "/api/v1/overview": (Overview, "Traffic lights of every store, experiment and policy; what is due and stuck."),
    "/api/v1/runs": (RunsPage, "Verdicts and runs without one, newest first."),
    "/api/v1/runs/{store}/{run_id}": (RunPage, "One run with its verdicts and what each rests on."),
    "/api/v1/policies": (PoliciesPage, "Versions of policies, what each changed and decided, and the waivers."),
    "/api/v1/integrations": (IntegrationsPage, "The stores, credentials by name, and doctor's checks."),
    "/healthz": (Alive, "The process is alive. Asks for no login."),
    "/readyz": (Ready, "It can answer from the state, and its stores answered. Asks for no login."),
}
_SCHEMAS = "#/components/schemas/{model}"
_PAGING = {
    "after": "Cursor: the rows after a page, from its `after`.",
    "before": "Cursor: the rows before a page, from its `before`.",
}


@cache
def description() -> dict[str, Any]:
    """The whole document."""
    models = [(model, "serialization") for model in dict.fromkeys([m for m, _ in _ROUTES.values()] + [Fault])]
    _, schemas = models_json_schema(models, ref_template=_SCHEMAS)  # type: ignore[arg-type]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Venturalitica agent: status",
            "version": __version__,
            "description": "What the status page says, as JSON. Times are seconds since the epoch, UTC.",
        },
        "paths": {path: {"get": _operation(path, model, told)} for path, (model, told) in _ROUTES.items()},
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(path: str, model: type[Document], told: str) -> dict[str, Any]:
    faults = {"401": "Who asks is not known."}
    if path == "/api/v1/runs":
        faults["400"] = "A filter or a cursor can't be read."
    if "{" in path:
        faults["404"] = "Nothing is known of such a run."
    if path in ("/healthz", "/readyz"):
        faults = {}
    answers = {"200": _told("The document.", model), **{code: _told(why, Fault) for code, why in faults.items()}}
    if model is Ready:
        answers["503"] = _told("Not ready, and why.", model)
    name = path.removeprefix("/api/v1").split("{")[0].strip("/")
    return {
        "operationId": "run" if "{" in path else name,
        "summary": told,
        "parameters": _parameters(path),
        "responses": answers,
    }


def _told(words: str, model: type[Document]) -> dict[str, Any]:
    schema = {"$ref": _SCHEMAS.format(model=model.__name__)}
    return {"description": words, "content": {"application/json": {"schema": schema}}}


def _parameters(path: str) -> list[dict[str, Any]]:
    if "{" in path:
        told = {"store": "Id of the store.", "run_id": "Id of the run."}
        return [
            {"name": name, "in": "path", "required": True, "description": words, "schema": {"type": "string"}}
            for name, words in told.items()
        ]
    if path != "/api/v1/runs":
        return []
    filters = {name: about.description or name for name, about in RunFilter.model_fields.items()}
    asked = [
        {"name": name, "in": "query", "description": words, "schema": {"type": "string", "maxLength": 500}}
        for name, words in {**filters, **_PAGING}.items()
    ]
    size = {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}
    return [*asked, {"name": "size", "in": "query", "description": "Rows of a page.", "schema": size}]
