"""GraphQL: the schema, and one request validated against it and executed."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    build_schema,
    execute_sync,
    parse,
    validate,
)

from .artifact_mutations import ArtifactMutations
from .calls import Access, ApiError, Call
from .mutations import RunMutations
from .queries import Queries
from .texts import snake, written_time

_OPERATION = re.compile(r"\b(query|mutation)\s+(\w+)")


class Root(Queries, RunMutations, ArtifactMutations):
    """All fields of the two roots: no two share a name."""


@dataclass(frozen=True)
class Operation:
    """What a request asks for, as far as its text tells before anything is checked."""

    kind: str
    name: str
    query: str
    variables: dict[str, Any]


def read_operation(body: bytes) -> Operation:
    """
    Raises:
        ApiError: the body is no GraphQL request.
    """
    try:
        message = json.loads(body)
        query, variables = message["query"], message.get("variables") or {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ApiError(400, "the body is no GraphQL request") from error
    found = _OPERATION.search(query)
    kind, name = found.groups() if found else ("query", "")
    return Operation(kind, message.get("operationName") or name, query, variables)


class Graph:
    """One schema; the parsed and validated documents are kept, as the same few come again and again."""

    def __init__(self, *, modify_runs: bool) -> None:
        self._schema = _schema(modify_runs)
        self._document = functools.lru_cache(maxsize=256)(self._checked)

    def execute(self, operation: Operation, call: Call) -> tuple[int, dict[str, Any]]:
        """An HTTP status and the response's body; nothing is executed when any part of the query is unknown."""
        document, errors = self._document(operation.query)
        if document is None:
            return 400, {"errors": errors}
        if _mutates(document) and call.access is not Access.FULL:
            return 403, {"errors": [{"message": "permission denied"}], "data": None}
        result = execute_sync(
            self._schema,
            document,
            root_value=Root(),
            context_value=call,
            variable_values=operation.variables,
            field_resolver=_resolve,
            type_resolver=lambda source, _info, _type: source.graphql_type,
        )
        if not result.errors:
            return 200, {"data": result.data}
        for error in result.errors:
            if error.original_error and not isinstance(error.original_error, (ApiError, GraphQLError)):
                raise error.original_error
        first = result.errors[0].original_error
        status = first.status if isinstance(first, ApiError) else 400
        return status, {"data": result.data, "errors": [error.formatted for error in result.errors]}

    def _checked(self, query: str) -> tuple[DocumentNode | None, list[Any]]:
        try:
            document = parse(query)
        except GraphQLSyntaxError as error:
            return None, [error.formatted]
        errors = validate(self._schema, document)
        return (None, [error.formatted for error in errors]) if errors else (document, [])


def _mutates(document: DocumentNode) -> bool:
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    return any(node.operation.value == "mutation" for node in operations)


def _resolve(source: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
    name = snake(info.field_name)
    value = source[name] if isinstance(source, dict) else getattr(source, name)
    return value(info.context, **arguments) if callable(value) else value


def _schema(modify_runs: bool) -> GraphQLSchema:
    text = Path(__file__).with_name("schema.graphql").read_text()
    if not modify_runs:
        text = "\n".join(line for line in text.splitlines() if not line.startswith("  modifyRuns("))
    schema = build_schema(text)
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
            for field in kind.fields.values():
                for name, argument in field.args.items():
                    argument.out_name = snake(name)
        elif isinstance(kind, GraphQLInputObjectType):
            for name, input_field in kind.fields.items():
                input_field.out_name = snake(name)
    _scalar(schema, "JSONString", _json_text, json.loads)
    _scalar(schema, "Int64", int, int)
    _scalar(schema, "DateTime", written_time, str)
    return schema


def _scalar(schema: GraphQLSchema, name: str, serialize: Any, parse_value: Any) -> None:
    kind = cast("GraphQLScalarType", schema.type_map[name])
    kind.serialize, kind.parse_value = serialize, parse_value  # type: ignore[method-assign]


def _json_text(value: Any) -> str:
    """A line of history is JSON already."""
    return value if isinstance(value, str) else json.dumps(value)
