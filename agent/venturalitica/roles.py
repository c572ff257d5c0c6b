"""The keywords of `fit` that are ours: the audit data, and which column plays which role of the policy."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from venturalitica_agent.domain.policy import Policy

DATA = "audit_data"
TARGET = "target"
# Policies need not name them: every model has a truth and a prediction.
_ALWAYS = (TARGET, "prediction", "score")
_KEYS = ("column", "positive", "groups", "bins")


def roles_of(policy: Policy) -> frozenset[str]:
    """Every role, or name of a column, that a control of the policy looks at."""
    return frozenset({*_ALWAYS, *_named(policy)})


def _named(policy: Policy) -> Iterator[str]:
    for control in policy.controls:
        yield from (*control.roles, control.target, control.prediction, *control.columns)
        if control.sensitive:
            yield control.sensitive


def split_keywords(
    fit: Callable[..., Any], given: Mapping[str, Any], policy: Policy | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keywords for the model's own `fit`, and ours.

    Args:
        policy: None when it could not be read; then what can only be ours is taken for ours.

    Raises:
        TypeError: a keyword that neither the model's fit takes nor the policy knows.
    """
    parameters = inspect.signature(fit).parameters.values()
    own = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    roles = roles_of(policy) if policy is not None else None
    theirs, ours = {}, {}
    for name, value in given.items():
        known = name in roles if roles is not None else "__" not in name and _looks_like_role(value)
        if name not in own and (name == DATA or known):
            ours[name] = value
        elif name in own or takes_any or roles is None:
            theirs[name] = value
        else:
            raise TypeError(_unexpected(name, {*own, *roles, DATA} - {"self"}, policy))
    return theirs, ours


def _looks_like_role(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, Mapping) and not set(value) - set(_KEYS))


def _unexpected(name: str, known: Collection[str], policy: Policy | None) -> str:
    of = f" of the policy {policy.id}" if policy else ""
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return (
        f"fit() got an unexpected keyword argument {name!r}: it is neither a parameter of the model's fit nor a role"
        f"{of}{meant}"
    )


def column_of(role: str, said: object) -> dict[str, Any]:
    """What a role keyword says, in the form of agent.yaml's `columns:`; without "column" where it doesn't say which.

    Raises:
        TypeError, ValueError: it says nothing that agent.yaml could say.
    """
    if isinstance(said, str) and said:
        return {"column": said}
    if not isinstance(said, Mapping):
        raise TypeError(
            f"{role}= takes the name of a column of {DATA}, or a map such as {{'column': 'x', 'bins': [25]}}"
        )
    unknown = [key for key in said if key not in _KEYS]
    if unknown:
        raise ValueError(f"{role}= has the unknown key {unknown[0]!r}; there are {', '.join(_KEYS)}")
    found = {key: _plain(value) for key, value in said.items() if value is not None}
    if "column" not in found and role != TARGET:
        raise ValueError(f"{role}= must say which column it is")
    return found


def _plain(value: Any) -> Any:
    """The same in the words of JSON: numpy's scalars and arrays as Python's."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, str | bool | int | float):
        return value
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple | set | frozenset | range):
        return [_plain(inner) for inner in (sorted(value) if isinstance(value, set | frozenset) else value)]
    raise ValueError(f"a value of the type {type(value).__name__} can't be declared; use text, numbers or booleans")
