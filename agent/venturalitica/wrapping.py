"""`vl.wrap`: the same model, whose `fit` leaves on the run what an audit needs.

The wrapped model is an instance of a subclass that is made for it. All that the subclass changes is `fit`; the policy
belongs to the class, so the model's own state, parameters and predictions are exactly the bare model's. What is written
of it (pickles of any kind) is the bare model, and loads where this package isn't installed.
"""

from __future__ import annotations

import copy
import copyreg
import functools
import inspect
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from venturalitica.attaching import attach, prepare, snapshot
from venturalitica.nesting import within_another_fit
from venturalitica.roles import split_keywords

M = TypeVar("M")
_GOVERNED = "_venturalitica"


def wrap(model: M, policy: str | Path = "model_policy.yaml") -> M:
    """The model, governed by a policy: to be used in place of `model`, which stays as it is.

    `fit` then also takes `audit_data=` (a DataFrame) and, for each role of the policy, the name of its column or a map
    such as `{"column": "age", "bins": [25]}`.

    Args:
        policy: file of the policy; read when the model is fitted.

    Raises:
        TypeError: `model` is not an object with a `fit`.
    """
    if isinstance(model, type) or not callable(getattr(model, "fit", None)):
        raise TypeError(f"vl.wrap takes a model, an object that has fit(); this is {model!r:.100}")
    base = _base_of(type(model))
    wrapped: M = _as(copy.copy(_bare(model, base)), _governed(base, Path(policy).absolute()))
    return wrapped


@functools.cache
def _governed(base: Any, policy: Path) -> type:
    """The subclass of `base` whose fits are governed by the policy; one for each pair, so that clones have it too."""

    @functools.wraps(base.fit)  # keeps the signature, which scikit-learn inspects
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _fit(base, policy, self, args, kwargs)

    def reduce(self: Any, protocol: Any) -> tuple[Any, ...]:
        made, *rest = _bare(self, base).__reduce_ex__(protocol)
        if made is vars(copyreg)["__newobj__"]:  # which pickle takes for the object's own class only
            return vars(copyreg)["_reconstructor"], (base, object, None), *rest[1:]
        return (made, *rest)

    def shallow(self: Any) -> Any:
        return _as(copy.copy(_bare(self, base)), type(self))

    def deep(self: Any, memo: dict[int, Any]) -> Any:
        return _as(copy.deepcopy(_bare(self, base), memo), type(self))

    members: Mapping[str, Any] = {
        "fit": fit,
        "__reduce_ex__": reduce,
        "__copy__": shallow,
        "__deepcopy__": deep,
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        _GOVERNED: (base, policy),
    }
    return types.new_class(base.__name__, (base,), exec_body=lambda body: body.update(members))


def _fit(base: Any, policy: Path, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    rules = snapshot(policy)
    own, said = split_keywords(base.fit, kwargs, rules.known)
    if within_another_fit(model):
        return base.fit(model, *args, **own)
    x, y = _data(base, args, own)
    prepared = prepare(rules, x, y, said)
    fitted = base.fit(model, *args, **own)
    attach(prepared, model)
    return fitted


def _data(base: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    """The first two arguments of `fit`, whatever they are called; the model's own fit complains of wrong ones."""
    names = list(inspect.signature(base.fit).parameters)[1:3]
    given = [*args[:2], *(kwargs.get(name) for name in names[len(args) :]), None, None]
    return given[0], given[1]


def _base_of(kind: type) -> type:
    """The class of the bare model."""
    found: type = getattr(kind, _GOVERNED, (kind,))[0]
    return found


def _bare(model: Any, base: Any) -> Any:
    """The bare model with the very state of this one."""
    bare = base.__new__(base)
    bare.__dict__.update(model.__dict__)
    return bare


def _as(model: Any, kind: type) -> Any:
    model.__class__ = kind
    return model
