"""One W&B project as a store: noticing its runs, reading them, and writing verdicts on them without touching anything
that is somebody else's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from venturalitica_agent.domain.run import LoggedDataset, LoggedModel, Run, RunRef
from venturalitica_agent.errors import PermanentError, RetryableError, RunGone, StoreUnavailable, UntrustedInput
from venturalitica_agent.logging import get_logger
from venturalitica_agent.stores import links
from venturalitica_agent.stores import wandb_facts as facts
from venturalitica_agent.stores import wandb_marks as marks
from venturalitica_agent.stores import wandb_queries as queries
from venturalitica_agent.stores.base import RemoteFile
from venturalitica_agent.stores.local_files import safe_relative
from venturalitica_agent.stores.naming import store_id, text
from venturalitica_agent.stores.wandb_artifacts import Artifact, ArtifactReader, Hidden, pages, parse_artifact
from venturalitica_agent.stores.wandb_files import RunFiles
from venturalitica_agent.stores.wandb_http import WandbHttp
from venturalitica_agent.stores.wandb_lineage import record_audit
from venturalitica_agent.stores.wandb_names import Reference, is_name, split_path
from venturalitica_agent.stores.wandb_verdicts import Verdicts

log = get_logger(__name__)

_PAGE = 100
_ARTIFACTS = 50
_REMEMBERED = 200  # runs and artifacts that we know: enough for those in hand


class WandbProject:
    """A `PolledStore`.

    Args:
        app: gives the address of the server's UI, when links are wanted and agent.yaml names none.
        audit_runs: whether audits are shown in the lineage graph by runs of their own.
    """

    versioned = True
    sweep_every = 3600.0  # a full listing is a request per hundred runs

    def __init__(
        self,
        http: WandbHttp,
        entity: str,
        project: str,
        *,
        ui: str = "",
        app: Callable[[], str] = str,
        roots: Sequence[Path] = (),
        audit_runs: bool = True,
    ) -> None:
        self._http = http
        self._where = {"entity": entity, "project": project}
        self._entity, self._project = entity, project
        self._ui, self._app = ui.rstrip("/"), app
        self._audit_runs = audit_runs
        self._artifacts: dict[str, Artifact] = {}
        self._contents: dict[str, tuple[list[RemoteFile], list[Artifact]]] = {}  # as of the last `get_run`
        self._reader = ArtifactReader(http)
        self._files = RunFiles(http, entity, project)
        self._verdicts = Verdicts(http, lambda run_id: self._run(queries.MARKS, run_id))
        self._refused: set[tuple[str, str]] = set()
        self.roots = tuple(roots)

    @property
    def uri(self) -> str:
        return f"{self._http.shown}/{self._entity}/{self._project}"

    @property
    def id(self) -> str:
        return store_id(self.uri)

    def prepare(self) -> None:
        """Nothing has to be warm."""

    def ping(self) -> None:
        """See `Store.ping`; a wrong key and a project that isn't there are told apart."""
        self.writable()

    def writable(self) -> bool:
        """Whether the project's runs may be tagged with our key, as far as the server tells.

        Raises:
            StoreUnavailable: no answer, no good key, or no such project.
        """
        found = self._http.ask(queries.PING, self._where)
        if not found["viewer"]:
            raise StoreUnavailable(
                f"does not know the API key from {self._http.key().origin} (it answers, and names no user)",
                subject=self._http.shown,
                remedy="set a valid WANDB_API_KEY for this server in the environment or in .env",
            )
        if not found["project"]:
            raise StoreUnavailable(
                f"has no project {self._entity}/{self._project}, or this key may not see it",
                subject=self._http.shown,
                remedy="check the spelling of entity/project in agent.yaml and that the key's owner is a member; "
                "a project appears with its first run",
            )
        return not found["project"]["readOnly"]

    # -- noticing -------------------------------------------------------------------------------------------
    def experiments(self) -> Mapping[str, str]:
        return {self._project: self._project}

    def scan(self) -> Iterator[RunRef]:
        # By creation, which never changes: an order that moves while it is read hides runs between two pages.
        yield from self._runs("-created_at", {})

    def version(self) -> int | None:
        return None

    def recent(self, since: int) -> Iterator[RunRef]:
        # The Z matters: without it the server compares texts and finds nothing. The order is that of `scan`: by
        # heartbeat, whichever run lives moves another across the end of a page, where nobody sees it.
        moment = datetime.fromtimestamp(since / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        yield from self._runs("-created_at", {"heartbeatAt": {"$gte": moment}})

    def _runs(self, order: str, filters: Mapping[str, Any]) -> Iterator[RunRef]:
        variables = {**self._where, "order": order, "filters": json.dumps(filters), "perPage": _PAGE}
        seen: set[str] = set()
        try:
            for node in pages(self._http, queries.RUNS, variables, "runs"):
                ref = self._ref(node)
                if ref is not None and ref.run_id not in seen:
                    seen.add(ref.run_id)
                    yield ref
        except Hidden:
            self.writable()  # says which of the reasons it is
            raise

    def look(self, run_id: str) -> RunRef | None:
        return self._ref(self._run(queries.LOOK, run_id)) if is_name(run_id) else None

    def _run(self, query: str, run_id: str, **more: Any) -> Any:
        project = self._http.ask(query, {**self._where, "run": run_id, **more})["project"]
        if project is None:
            self.writable()  # raises, and says which of the reasons it is
            raise StoreUnavailable("hid the project for a moment", subject=self.uri, remedy="it is tried again")
        return project["run"]

    def _ref(self, node: Any) -> RunRef | None:
        if not node:
            return None
        name, state = node["name"], str(node["state"])
        status = facts.STATES.get(state)
        if not is_name(name):
            self._refuse(repr(name)[:200], "such an id is refused")
            return None
        if status is None:
            self._refuse(name, f"it is in the unknown state {state[:40]!r}, and is not looked at while it is")
            return None
        return RunRef(
            store=self.id,
            run_id=name,
            experiment_id=self._project,
            status=status,
            start_time=facts.milliseconds(node["createdAt"]),
            end_time=facts.milliseconds(node["heartbeatAt"]) if status.ended else None,
            mark=f"h{int(node['historyLineCount'] or 0)}" if status.ended else "",
        )

    def _refuse(self, run: str, why: str) -> None:
        """Say it once: listings come every half minute."""
        if (run, why) not in self._refused and len(self._refused) < _REMEMBERED:
            self._refused.add((run, why))
            log.warning("run.refused", store=self.uri, run=run, reason=why)

    # -- reading --------------------------------------------------------------------------------------------
    def get_run(self, run_id: str) -> Run:
        node = self._run(queries.RUN, run_id, perPage=_ARTIFACTS)
        ref = self._ref(node)
        if ref is None and node:
            raise RetryableError(
                "the run is in an unknown state", subject=f"run {run_id}", remedy="it is looked at again"
            )
        if ref is None:
            raise RunGone("the run is deleted or was never there", subject=f"run {run_id}")
        root = f"wandb-run://{self._entity}/{self._project}/{quote(run_id, safe='')}"
        logged, used = self._linked(node, "logged", run_id), self._linked(node, "used", run_id)
        models = [a for a in logged if a.type == "model"] or [a for a in used if a.type == "model"]
        models.sort(key=lambda a: (a.created, a.version))  # a later one counts as a later step
        files = [RemoteFile(f.path, f.size) for f in self._files.list(run_id)]
        summary = facts.decoded(node["summaryMetrics"])
        if len(self._contents) > _REMEMBERED:
            self._contents.clear()
        contents = [a for a in {a.id: a for a in (*used, *logged)}.values() if a.complete]
        self._contents[run_id] = files, contents
        return Run(
            ref=ref,
            name=text(node["displayName"]) or run_id,
            experiment=self._project,
            artifact_uri=root,
            tags=marks.theirs(facts.flat_tags(node["tags"] or (), node["group"], node["jobType"])),
            params=facts.params(facts.decoded(node["config"])),
            metrics=facts.numbers(summary),
            datasets=tuple(d for a in contents if a.type == "dataset" for d in self._datasets(a, root)),
            tables=tuple(facts.tables(summary)),
            models=tuple(
                LoggedModel(a.ref, a.qualified, model_id=a.id, ready=a.complete, step=i) for i, a in enumerate(models)
            ),
        )

    def _linked(self, node: Any, side: str, run_id: str) -> list[Artifact]:
        """The run's artifacts of one side that an audit may look at."""
        nodes = [edge["node"] for edge in node[side]["edges"]]
        page = node[side]["pageInfo"]
        if page["hasNextPage"]:
            variables = {**self._where, "run": run_id, "perPage": _ARTIFACTS}
            nodes += pages(self._http, queries.MORE_ARTIFACTS[side], variables, "run", side, cursor=page["endCursor"])
        found = []
        for each in nodes:
            try:
                artifact = parse_artifact(each)
            except UntrustedInput as error:
                log.warning("artifact.refused", store=self.uri, run=run_id, reason=str(error))
                continue
            if artifact.type in ("model", "dataset"):
                found.append(artifact)
                self._remember(artifact)
        return found

    def _remember(self, artifact: Artifact) -> str:
        """The folder under which the artifact's files are known to `list_files` and `fetch_file`."""
        ours = artifact.project == f"{self._entity}/{self._project}"
        folder = artifact.ref if ours else artifact.qualified
        if len(self._artifacts) > _REMEMBERED:
            self._artifacts.clear()
        self._artifacts[folder] = artifact
        return folder

    def _datasets(self, artifact: Artifact, root: str) -> Iterator[LoggedDataset]:
        files = ((file.path, file.digest) for file in self._reader.files(artifact))
        folder = f"{root}/{self._remember(artifact)}"
        return facts.datasets_of(artifact.name, files, aliases=artifact.aliases, folder=folder)

    def list_files(self, run_id: str) -> Sequence[RemoteFile]:
        known = self._contents.get(run_id)
        if known is None:
            self.get_run(run_id)
            known = self._contents[run_id]
        files, artifacts = known
        inside = [file for a in artifacts for file in self._under(a)]
        return sorted({f.path: f for f in (*files, *inside)}.values(), key=lambda f: f.path)

    def _under(self, artifact: Artifact) -> list[RemoteFile]:
        folder = self._remember(artifact)
        return [RemoteFile(f"{folder}/{f.path}", f.size) for f in self._reader.files(artifact)]

    def resolve(self, reference: str) -> Sequence[RemoteFile]:
        """See `Store.resolve`: `name:alias`, or `entity/project/name:alias`, with a path inside if one is meant."""
        wanted = Reference.of(reference, self._entity, self._project)
        artifact = self._named(wanted)
        inside = {f"{self._remember(artifact)}/{wanted.path}"} if wanted.path else set()
        return [f for f in self._under(artifact) if not inside or f.path in inside]

    def _named(self, wanted: Reference) -> Artifact:
        name, where = f"{wanted.name}:{wanted.alias}", f"{wanted.entity}/{wanted.project}"
        artifact = self._reader.named(wanted.entity, wanted.project, name)
        if artifact is None or not artifact.complete:
            raise PermanentError(
                f"there is no artifact {name} in {where}"
                if artifact is None
                else f"the artifact {name} is not complete",
                subject=self.uri,
                remedy="correct the name or the alias in agent.yaml, or log that artifact",
            )
        self._remember(artifact)
        return artifact

    def fetch_file(self, run_id: str, path: str, destination: Path) -> None:
        folder, inside = split_path(path)
        if not folder:
            self._files.fetch(run_id, str(safe_relative(path)), destination)
            return
        artifact = self._version(folder)
        files = [f for f in self._reader.files(artifact) if f.path == inside]
        if not files:
            raise PermanentError("there is no such file in the artifact", subject=path[:300])
        self._reader.fetch(artifact, files, lambda _: destination)

    def _version(self, folder: str) -> Artifact:
        """The artifact whose files are below `folder`: known from the run that it belongs to, else asked for."""
        return self._artifacts.get(folder) or self._named(Reference.of(folder, self._entity, self._project))

    def fetch_model(self, run_id: str, model: LoggedModel, destination: Path) -> None:  # noqa: ARG002 - the Protocol's
        folder, _ = split_path(f"{model.location.removeprefix(f'{self._entity}/{self._project}/')}/.")
        if not folder:
            raise UntrustedInput("is not the name of a version of an artifact", subject=model.location[:300])
        artifact = self._version(folder)
        self._reader.fetch(
            artifact, self._reader.files(artifact), lambda p: destination.joinpath(*safe_relative(p).parts)
        )

    def read_file(self, run_id: str, path: str) -> bytes:
        return self._files.read(run_id, path)

    # -- writing --------------------------------------------------------------------------------------------
    def put_files(self, run_id: str, files: Mapping[str, bytes]) -> None:
        try:
            self._files.put(run_id, files)
        except PermanentError:
            if self.look(run_id) is None:
                raise RunGone("the run was deleted", subject=f"run {run_id}") from None
            raise

    def link_audit(
        self, run: Run, used: Sequence[str], evidence: Mapping[str, bytes], about: Mapping[str, str]
    ) -> None:
        """See `Store.link_audit`: the audit run."""
        if not self._audit_runs:
            return
        # By what the run and the paths say, not by memory: this process may not be the one that fetched them.
        models = {m.model_id: m.location for m in run.models}
        folders = [split_path(path)[0] for path in used if path not in models]
        qualified = {models[name] for name in used if name in models}
        qualified |= {f if "/" in f else f"{self._entity}/{self._project}/{f}" for f in folders if f}
        record_audit(
            self._http,
            self._entity,
            self._project,
            run,
            used=sorted(qualified),
            evidence=evidence,
            metadata=about,
        )

    def get_tags(self, run_id: str) -> Mapping[str, str]:
        return self._verdicts.read(run_id)

    def set_tags(self, run_id: str, tags: Mapping[str, str], remove: Sequence[str] = ()) -> None:
        self._verdicts.write(run_id, tags, remove)

    def tag_models(self, run_id: str, models: Sequence[LoggedModel], tags: Mapping[str, str]) -> None:
        """Nothing: an artifact's lineage leads to the audit run, and its own tags belong to its owners."""

    # -- links ----------------------------------------------------------------------------------------------
    def run_link(self, run: Run) -> str:
        return links.wandb_run(self._ui or self._app(), self._entity, self._project, run.ref.run_id)
