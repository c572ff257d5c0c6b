"""Finds the table that a split means. What agent.yaml names is used or said to be missing, never replaced by a guess.
Without that, there must be exactly one candidate, in this order: logged datasets with a reachable source, data files
among the artifacts, logged tables that hold predictions. Evaluation never falls back to training data."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from venturalitica_agent.domain.policy import Split
from venturalitica_agent.domain.run import LoggedDataset, Run
from venturalitica_agent.domain.subject import DataRef
from venturalitica_agent.errors import PermanentError, RunChanged, RunGone, UntrustedInput
from venturalitica_agent.fetch.advice import advice_for, say_where
from venturalitica_agent.fetch.declaration import RUN
from venturalitica_agent.fetch.problems import Unfit, listed
from venturalitica_agent.fetch.references import Reference, inside, pick
from venturalitica_agent.fetch.sources import (
    Source,
    artifact_path,
    from_artifact,
    from_dataset,
    from_file,
    same_name,
    source_uri,
)
from venturalitica_agent.stores.base import RemoteFile, Store
from venturalitica_agent.strict_yaml import shown

_WORDS = {
    Split.EVALUATION: frozenset(("test", "testing", "eval", "evaluation", "validation", "valid", "val", "holdout")),
    Split.TRAINING: frozenset(("train", "training")),
}
_OURS = ("venturalitica/", "policy_snapshot/")
_DECLARED = " (declared by the training code)"
_MAX_TABLES = 10
_TOLD = 5


@dataclass(frozen=True, slots=True)
class Found:
    """The table of a split.

    Attributes:
        claims: logged datasets that may be the same table, for comparing digests.
        same: True when it is known, not supposed, that the claims are about this very file.
    """

    source: Source
    claims: tuple[LoggedDataset, ...] = ()
    same: bool = False


class Finder:
    """Finds the tables of one run.

    Args:
        roots: folders below which the source of a logged dataset may be read.
        columns_of: looks into a source for the names of its columns; raises Unfit when it is no table.
    """

    def __init__(
        self, store: Store, run: Run, roots: Sequence[Path], columns_of: Callable[[Source], Collection[str]]
    ) -> None:
        self._store = store
        self._run = run
        self._roots = roots
        self._columns_of = columns_of
        self._advice = advice_for(run)

    def declared(self, split: Split, ref: DataRef) -> Found:
        """What agent.yaml names, or what the training code declares where agent.yaml doesn't.

        Raises Unfit or UntrustedInput when it can't be had; there is no second choice.
        """
        match ref.kind:
            case kind if kind == RUN:
                return self._from_artifact(split, self._declared_artifact(split, ref.value), by=_DECLARED)
            case "artifact":
                return self._from_artifact(split, self._matching(ref.value))
            case "dataset":
                return self._named_dataset(ref.value)
            case "file":
                return Found(from_file(Path(ref.value)), self._claims(split))
            case "wandb":
                return self._referenced(split, Reference.of(ref.value))
        raise Unfit(
            f"agent.yaml takes the {split} data from {shown(ref.kind)}, which is no place that we know",
            remedy="use {artifact: …}, {dataset: …}, {file: …} or {wandb: …}",
            code="unsupported",
        )

    def guessed(self, split: Split, predictions: Collection[str] = ()) -> Found:
        """The only candidate of the first way that has one.

        Args:
            predictions: names of columns that a logged table must have one of to be taken.

        Raises:
            Unfit: no candidate, or several.
        """
        unusable: list[PermanentError] = []
        ways: list[Callable[[], list[Found]]] = [
            lambda: self._logged_datasets(split, unusable),
            lambda: self._data_artifacts(split),
        ]
        if split is Split.EVALUATION and predictions:
            ways.append(lambda: self._logged_tables(predictions))
        for way in ways:
            by_place = {found.source.place: found for found in way()}
            if len(by_place) == 1:
                return next(iter(by_place.values()))
            if by_place:
                origins = listed([f.source.origin for f in by_place.values()])
                raise Unfit(
                    f"several tables could be the {split} data: {origins}",
                    remedy=say_where(self._advice, split, "{artifact: <one of them>}"),
                    code="ambiguous",
                )
        because = f" ({'; '.join(str(e) for e in unusable[:_TOLD])})" if unusable else ""
        raise Unfit(
            f"the run logged no {split} data that can be read{because}",
            remedy=say_where(self._advice, split),
            code="refused" if any(isinstance(e, UntrustedInput) for e in unusable) else "missing",
        )

    # -- logged datasets ------------------------------------------------------------------------------------
    def _logged_datasets(self, split: Split, unusable: list[PermanentError]) -> list[Found]:
        training = self._places(Split.TRAINING) if split is Split.EVALUATION else set()
        found: list[Found] = []
        for dataset in self._claims(split):
            try:
                source = from_dataset(self._store, self._run, dataset, self._roots)
            except (RunGone, RunChanged):
                raise
            except PermanentError as error:
                unusable.append(error)
                continue
            if source.place in training:
                name = shown(dataset.name)
                unusable.append(Unfit(f"the source of the dataset {name} is also that of the training data"))
            else:
                found.append(Found(source, (dataset,), same=True))
        return found

    def _places(self, split: Split) -> set[str]:
        return {found.source.place for found in self._logged_datasets(split, [])}

    def _claims(self, split: Split) -> tuple[LoggedDataset, ...]:
        return tuple(d for d in self._run.datasets if d.context.casefold() in _WORDS[split])

    def _named_dataset(self, value: str) -> Found:
        datasets = self._run.datasets
        meant = [d for d in datasets if d.name == value] or [d for d in datasets if d.context == value]
        if not meant:
            there = listed([f"{d.name} ({d.context or 'no context'})" for d in datasets]) or "none"
            raise Unfit(
                f"the run logged no dataset with the name or context {shown(value)}; it logged {there}",
                remedy=f"{self._advice.log_dataset}, or correct agent.yaml",
                code="missing",
            )
        by_place = {}
        for dataset in meant:
            source = from_dataset(self._store, self._run, dataset, self._roots)
            by_place[source.place] = Found(source, (dataset,), same=True)
        if len(by_place) > 1:
            raise Unfit(
                f"{len(by_place)} datasets have the name or context {shown(value)}: {listed([d.name for d in meant])}",
                remedy="name the dataset instead of its context in agent.yaml, or name an artifact",
                code="ambiguous",
            )
        return next(iter(by_place.values()))

    # -- artifacts ------------------------------------------------------------------------------------------
    @cached_property
    def _files(self) -> tuple[RemoteFile, ...]:
        files = self._store.list_files(self._run.ref.run_id)
        return tuple(f for f in files if not f.path.startswith(_OURS) and ".artifact.uploading." not in f.path)

    def _declared_artifact(self, split: Split, path: str) -> RemoteFile:
        file = next((f for f in self._files if f.path == path), None)
        if file is None:
            raise Unfit(
                f"the training code declares {shown(path)} as its {split} data, but the run has no such artifact",
                remedy=f"{self._advice.log_file}, or {say_where(self._advice, split)}",
                code="missing",
            )
        return file

    def _matching(self, pattern: str) -> RemoteFile:
        expression = _glob(pattern)
        matches = [f for f in self._files if expression.fullmatch(f.path)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise Unfit(
                f"{len(matches)} artifacts match {shown(pattern)}: {listed([f.path for f in matches])}",
                remedy="make the pattern in agent.yaml match exactly one of them",
                code="ambiguous",
            )
        there = listed([f.path for f in self._files]) or "none"
        raise Unfit(
            f"no artifact of the run matches {shown(pattern)}; its artifacts are {there}",
            remedy=f"{self._advice.log_file}, or correct the pattern in agent.yaml",
            code="missing",
        )

    def _data_artifacts(self, split: Split) -> list[Found]:
        other = Split.TRAINING if split is Split.EVALUATION else Split.EVALUATION
        found = []
        for file in self._files:
            path = PurePosixPath(file.path)
            words = set(re.split(r"[^a-z]+", path.stem.casefold()))
            if path.suffix.lower() in (".csv", ".parquet") and words & _WORDS[split] and not words & _WORDS[other]:
                found.append(self._from_artifact(split, file))
        return found

    def _from_artifact(self, split: Split, file: RemoteFile, by: str = "") -> Found:
        source = from_artifact(self._store, self._run, file, by and f"artifact {file.path} of the run{by}")
        exact = self._about(file)
        if exact:
            return Found(source, exact, same=True)
        claims = self._claims(split)
        named = tuple(d for d in claims if same_name(d, file.path))
        return Found(source, named or claims, same=bool(named))

    def _about(self, file: RemoteFile) -> tuple[LoggedDataset, ...]:
        """The logged datasets whose source is this very file."""
        return tuple(d for d in self._run.datasets if artifact_path(self._run, source_uri(d)) == file.path)

    # -- artifacts of W&B, whoever logged them --------------------------------------------------------------
    def _referenced(self, split: Split, reference: Reference) -> Found:
        file = pick(reference, self._store.resolve(reference.artifact), split)
        artifact, path = inside(file.path)
        named = "" if artifact == reference.artifact else f" ({reference.artifact})"
        origin = f"W&B artifact {artifact}{named}, file {path}"
        claims = self._about(file)
        return Found(from_artifact(self._store, self._run, file, origin), claims, same=bool(claims))

    # -- logged tables --------------------------------------------------------------------------------------
    def _logged_tables(self, predictions: Collection[str]) -> list[Found]:
        files = [f for f in self._files if f.path in self._run.tables and f.path.endswith(".json")][:_MAX_TABLES]
        sources = [from_artifact(self._store, self._run, f) for f in files]
        return [Found(s) for s in sources if not self._columns(s).isdisjoint(predictions)]

    def _columns(self, source: Source) -> set[str]:
        try:
            return set(self._columns_of(source))
        except Unfit:
            return set()  # not a table of single values, so not one that holds predictions


def _glob(pattern: str) -> re.Pattern[str]:
    """`*` and `?` stay inside one folder, `**` crosses folders."""
    parts = []
    for piece in re.split(r"(\*\*/?|\*|\?|\[[^\]]*\])", pattern):
        match piece:
            case "**" | "**/":
                parts.append(".*")
            case "*":
                parts.append("[^/]*")
            case "?":
                parts.append("[^/]")
            case _ if piece.startswith("[") and piece.endswith("]"):
                parts.append(fnmatch.translate(piece).removeprefix("(?s:").removesuffix(")\\Z"))
            case _:
                parts.append(re.escape(piece))
    return re.compile("".join(parts), re.DOTALL)
