"""What the training code says of its own run: `venturalitica/declaration.json`, which `vl.wrap` and `vl.monitor` write.

It comes from those who are audited, so it is read as data and never as permission: it may point at artifacts of this
very run and at columns in them, it gives way to agent.yaml wherever that says something, and what is taken from it is
shown as declared by the training code. One that can't be read for sure is refused as a whole, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from venturalitica_agent.domain.run import Run
from venturalitica_agent.domain.subject import ColumnBinding, DataPlan, DataRef
from venturalitica_agent.errors import PermanentError, RunChanged, RunGone, UntrustedInput
from venturalitica_agent.fetch.cache import Cache
from venturalitica_agent.fetch.problems import Unfit
from venturalitica_agent.stores.base import Store
from venturalitica_agent.stores.local_files import safe_relative
from venturalitica_agent.strict_yaml import shown

PATH = "venturalitica/declaration.json"
SCHEMA = "venturalitica.declaration/1"
MAX_BYTES = 64 << 10
RUN = "run"  # the kind of a `DataRef` to exactly one artifact of the run
_REMEDY = "train the run again with this release of the package, or name data and columns in agent.yaml"
_OURS = ("venturalitica/", "policy_snapshot/")


def _artifact(path: str) -> str:
    """An artifact of the same run, and none that the agent writes."""
    try:
        relative = str(safe_relative(path))
    except UntrustedInput as error:
        raise ValueError(error.what) from error
    if relative.startswith(_OURS):
        raise ValueError("is where evidence is kept")
    return relative


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds control characters")
    return text


_Text = Annotated[str, Field(max_length=1000), AfterValidator(_printable)]
_Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
_Artifact = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_artifact)]
_Value = bool | int | Annotated[float, Field(allow_inf_nan=False)] | _Text


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Policy(_Strict):
    file: _Text = ""
    id: _Text = ""
    version: _Text = ""
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Model(_Strict):
    name: _Text = ""
    model_id: _Text = ""
    path: _Artifact | Literal[""] = ""


class _Data(_Strict):
    artifact: _Artifact


class _Splits(_Strict):
    evaluation: _Data | None = None
    training: _Data | None = None


class _Column(_Strict):
    column: _Name
    positive: _Value | None = None
    groups: Annotated[dict[_Name, list[_Value]], Field(max_length=1000)] = {}
    bins: list[Annotated[float, Field(allow_inf_nan=False)]] = []


class _Error(_Strict):
    what: _Text
    remedy: _Text = ""


class _Document(_Strict):
    declared_schema: Annotated[Literal["venturalitica.declaration/1"], Field(alias="schema")]
    by: Literal["wrap", "monitor"]
    version: _Text = ""
    policy: _Policy | None = None
    model: _Model | None = None
    data: _Splits = _Splits()
    columns: Annotated[dict[_Name, _Column], Field(max_length=200)] = {}
    notes: Annotated[list[_Text], Field(max_length=20)] = []
    error: _Error | None = None


@dataclass(frozen=True, slots=True)
class DeclaredModel:
    """The model that the training code means: by the tracker's id, by its artifact path, or by its name."""

    name: str = ""
    model_id: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Declaration:
    """A declaration that was understood.

    Attributes:
        policy: (file, id, version, SHA-256) of the policy that the training code was given.
        data: split -> artifact path of the run.
        columns: role -> binding; `how` is "run".
        notes: what the training code wants readers to know.
        error: (what, remedy) where the companion could not attach what it declares.
    """

    policy: tuple[str, str, str, str] | None = None
    model: DeclaredModel | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, ColumnBinding] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: tuple[str, str] | None = None

    def under(self, plan: DataPlan) -> DataPlan:
        """agent.yaml's plan, and what it leaves open as the training code declares it."""
        data = {split: DataRef(RUN, path) for split, path in self.data.items()}
        return replace(plan, data={**data, **plan.data}, columns={**self.columns, **plan.columns})

    def remarks(self, plan: DataPlan, in_force: Collection[str]) -> tuple[str, ...]:
        """What a reader of the evidence should know of it.

        Args:
            plan: agent.yaml's, which prevails.
            in_force: SHA-256 of every policy that this run is audited under.
        """
        said = [f"the training code says: {note}" for note in self.notes]
        if self.policy is not None and self.policy[3] not in in_force:
            name, version = shown(self.policy[1] or self.policy[0]), shown(self.policy[2])
            said.append(
                f"the training code was given policy {name} version {version} (SHA-256 {self.policy[3]}), which is not "
                "in force here; the rules in force decide"
            )
        if len(self.data) > 1 and len(set(self.data.values())) == 1 and not plan.data:
            said.append("the training code declares the same table as evaluation and as training data")
        overruled = sorted({*self.data} & {*plan.data}) + sorted({*self.columns} & {*plan.columns})
        if overruled:
            said.append(
                f"declared by the training code otherwise or likewise, decided by agent.yaml: {_list(overruled)}"
            )
        return tuple(said)


def read_declaration(store: Store, run: Run, cache: Cache) -> Declaration | None:
    """The run's declaration; None where it has none.

    Raises:
        UntrustedInput: it is too large, or not what a companion writes.
        StoreUnavailable, CacheUnavailable: try again later. RunGone, RunChanged: there is no run any more.
    """
    try:
        entry = cache.add(
            lambda folder: store.fetch_file(run.ref.run_id, PATH, folder / "declaration"), limit=MAX_BYTES
        )
    except (UntrustedInput, RunGone, RunChanged):
        raise
    except PermanentError:
        return None  # there is no such file
    return parse_declaration((entry.path / "declaration").read_bytes())


def parse_declaration(content: bytes) -> Declaration:
    """Raises UntrustedInput, with every mistake, for anything but a declaration."""
    if len(content) > MAX_BYTES:
        raise _refused(f"is larger than {MAX_BYTES:,} bytes")
    try:
        plain = json.loads(content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
        document = _Document.model_validate(plain)
    except ValidationError as error:
        mistakes = [f"{_place(e['loc'])}: {e['msg']}" for e in error.errors(include_url=False, include_input=False)]
        raise _refused("; ".join(mistakes[:5])) from error
    except (ValueError, RecursionError) as error:
        raise _refused(f"{type(error).__name__}: {error}") from error
    columns = {role: _binding(role, said) for role, said in document.columns.items()}
    splits = {"evaluation": document.data.evaluation, "training": document.data.training}
    policy, model, error_ = document.policy, document.model, document.error
    return Declaration(
        policy=(policy.file, policy.id, policy.version, policy.digest) if policy else None,
        model=DeclaredModel(model.name, model.model_id, model.path)
        if model and any(model.model_dump().values())
        else None,
        data={split: data.artifact for split, data in splits.items() if data is not None},
        columns=columns,
        notes=tuple(document.notes),
        error=(error_.what, error_.remedy) if error_ else None,
    )


def check_usable(declaration: Declaration) -> None:
    """Raises Unfit where the companion itself says that it could not do its part."""
    if declaration.error is not None:
        what, remedy = declaration.error
        raise Unfit(f"the training code's companion reports: {what}", remedy=remedy, code="unavailable")


def _binding(role: str, said: _Column) -> ColumnBinding:
    if said.groups and said.bins:
        raise _refused(f"columns.{shown(role)}: gives groups and bins, of which only one can be meant")
    if any(low >= high for low, high in pairwise(said.bins)):
        raise _refused(f"columns.{shown(role)}: its bins don't ascend")
    values = [(type(v), v) for group in said.groups.values() for v in group]
    if len(set(values)) < len(values):
        raise _refused(f"columns.{shown(role)}: a value is in two groups, or twice in one")
    groups = {name: tuple(values) for name, values in said.groups.items()}
    return ColumnBinding(role, said.column, RUN, positive=said.positive, groups=groups, bins=tuple(said.bins))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _place(location: tuple[int | str, ...]) -> str:
    return shown(".".join(map(str, location)) or "the document")


def _list(words: list[str]) -> str:
    return ", ".join(map(shown, words))


def _refused(why: str) -> UntrustedInput:
    return UntrustedInput(f"the run's declaration is refused: {why}"[:1000], subject=PATH, remedy=_REMEDY)
