"""The adapter to MLflow's client. It reads runs and writes verdicts; how runs are noticed differs by kind of store and
lives in the three modules that build on this one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from venturalitica_agent.domain.run import LoggedDataset, LoggedModel, Run, RunRef, RunStatus
from venturalitica_agent.errors import PermanentError, RunGone, StoreUnavailable, UntrustedInput
from venturalitica_agent.stores import links, local_files
from venturalitica_agent.stores.base import RemoteFile
from venturalitica_agent.stores.mlflow_artifacts import Artifacts
from venturalitica_agent.stores.mlflow_asking import ABSENT, Asking, settled
from venturalitica_agent.stores.mlflow_registry import MlflowRegistry, is_version_of
from venturalitica_agent.stores.naming import input_fingerprint, moment, name, store_id, text, texts

if TYPE_CHECKING:
    from venturalitica_agent.stores.mlflow_api import MlflowClient

_LOCATIONS = 1000  # artifact roots that are remembered: enough for the runs in hand
_TAGS_AT_ONCE = 100  # source: mlflow.utils.validation.MAX_TAGS_PER_BATCH


class MlflowAccess:
    """Reading and writing of one MLflow store through MLflow's own client.

    Args:
        uri: tracking URI, possibly with credentials; kept out of `uri`, logs and errors.
        roots: local folders that artifacts of this store may live in.
        ui: where deep links point; empty when no UI is known.
    """

    sweep_every = 0.0
    versioned = False

    def __init__(self, uri: str, *, roots: Sequence[Path] = (), ui: str = "") -> None:
        self._tracking_uri = uri
        self.roots = tuple(roots)
        self._ui = ui.rstrip("/")
        self._asking = Asking(uri)
        self._artifacts = Artifacts(uri, self.roots, self._asking)
        self._locations: dict[str, str] = {}

    @property
    def uri(self) -> str:
        return self._asking.uri

    @property
    def id(self) -> str:
        return store_id(self._tracking_uri)

    @cached_property
    def _client(self) -> MlflowClient:
        from venturalitica_agent.stores.mlflow_api import MlflowClient

        return MlflowClient(tracking_uri=self._tracking_uri)

    def prepare(self) -> None:
        """Import and connect ahead of need, so that the first audit doesn't pay for it.

        Only to a store that is there: MLflow's client would make an empty one at its place.
        """
        with suppress(StoreUnavailable):
            self.ping()
            _ = self._client.tracking_uri

    def ping(self) -> None:
        """See `Store.ping`."""
        with self._asking(self.uri):
            self._client.search_experiments(max_results=1)

    def look(self, run_id: str) -> RunRef | None:
        """See `Store.look`; the stores that know a cheaper way do it that way."""
        from venturalitica_agent.stores.mlflow_api import MlflowException

        if not _is_plain(run_id):
            return None
        with self._asking(f"run {run_id}"):
            try:
                return self._ref(self._client.get_run(run_id))
            except MlflowException as error:
                if error.error_code == ABSENT:
                    return None
                raise

    def _ref(self, found: Any) -> RunRef:
        datasets = found.inputs.dataset_inputs if found.inputs else ()
        models = found.outputs.model_outputs if found.outputs else ()
        links = [*(f"d:{i.dataset.name}:{i.dataset.digest}" for i in datasets), *(f"m:{m.model_id}" for m in models)]
        return RunRef(
            store=self.id,
            run_id=found.info.run_id,
            experiment_id=found.info.experiment_id,
            status=RunStatus(found.info.status),
            start_time=moment(found.info.start_time),
            end_time=moment(found.info.end_time),
            deleted=found.info.lifecycle_stage == "deleted",
            inputs=input_fingerprint(links),
        )

    def _vouch(self, run_id: str) -> None:
        """Called before MLflow's client opens the records of a run: a store whose records are files looks at them.

        Raises:
            UntrustedInput: one of them is not what MLflow writes.
        """

    def _vouch_model(self, model_id: str) -> None:
        """Like `_vouch`, before the records of a logged model are opened."""

    def experiments(self) -> Mapping[str, str]:
        with self._asking(self.uri):
            found: dict[str, str] = {}
            token = None
            while True:
                page = self._client.search_experiments(page_token=token, max_results=1000)
                found.update((e.experiment_id, e.name) for e in page)
                token = page.token
                if not token:
                    return found

    # -- notes of an experiment -----------------------------------------------------------------------------
    def notes(self, experiment: str) -> Mapping[str, str]:
        """The tags of an experiment by its name; none where there is no such experiment."""
        with self._asking(f"experiment {experiment}"):
            found = self._client.get_experiment_by_name(experiment)
        return texts(found.tags) if found is not None else {}

    def note(self, experiment: str, name: str, value: str) -> None:
        """Set a tag of an experiment, which is made where there is none."""
        with self._asking(f"experiment {experiment}"):
            found = self._client.get_experiment_by_name(experiment)
            id_ = found.experiment_id if found is not None else self._client.create_experiment(experiment)
            self._client.set_experiment_tag(id_, name, value)

    # -- reading --------------------------------------------------------------------------------------------
    def get_run(self, run_id: str) -> Run:
        ref = self.look(run_id)  # before the content: what changes in between shows as a newer revision
        if ref is None or ref.deleted:
            raise RunGone("the run is deleted or was never there", subject=f"run {run_id}")
        self._vouch(run_id)
        with self._asking(f"run {run_id}"):
            found = settled(lambda: self._client.get_run(run_id))
            experiment = self._client.get_experiment(found.info.experiment_id).name
            models = self._models(found)
        if len(self._locations) > _LOCATIONS:
            self._locations.clear()
        self._locations[run_id] = found.info.artifact_uri
        return Run(
            ref=ref,
            name=name(found.info.run_name),
            experiment=name(experiment),
            artifact_uri=found.info.artifact_uri,
            tags=texts(found.data.tags),
            params=texts(found.data.params),
            metrics=dict(found.data.metrics),
            datasets=tuple(_dataset(i) for i in (found.inputs.dataset_inputs if found.inputs else ())),
            tables=tuple(_tables(found.data.tags.get("mlflow.loggedArtifacts", ""))),
            models=models,
        )

    def _models(self, found: Any) -> tuple[LoggedModel, ...]:
        outputs = found.outputs.model_outputs if found.outputs else ()
        models = [self._logged_model(output.model_id, output.step) for output in outputs]
        if models:
            return tuple(models)
        # MLflow 2 keeps models among the run's artifacts.
        try:
            files = self._artifacts.files(found.info.artifact_uri)
        except UntrustedInput:
            # Whoever fetches this meets the same refusal, and there it becomes a finding with its reason.
            return (LoggedModel(name="", location=found.info.artifact_uri),)
        paths = [f.path for f in files if f.path.rsplit("/", 1)[-1] == "MLmodel"]
        return tuple(
            LoggedModel(name=p.rpartition("/")[0], location=found.info.artifact_uri, path=p.rpartition("/")[0])
            for p in sorted(paths)
        )

    def _logged_model(self, model_id: str, step: int) -> LoggedModel:
        from venturalitica_agent.stores.mlflow_api import MlflowException

        self._vouch_model(model_id)
        try:
            logged = self._client.get_logged_model(model_id)
        except MlflowException as error:
            if error.error_code != ABSENT:
                raise
            return LoggedModel(name=f"{model_id} (deleted)", location="", model_id=model_id, ready=False, step=step)
        return LoggedModel(
            name=text(logged.name) or model_id,
            location=logged.artifact_location,
            model_id=model_id,
            ready=str(logged.status).rsplit(".", 1)[-1] == "READY",
            step=step,
        )

    def _location(self, run_id: str) -> str:
        if run_id not in self._locations:
            self._vouch(run_id)
            with self._asking(f"run {run_id}"):
                self._locations[run_id] = settled(lambda: self._client.get_run(run_id)).info.artifact_uri
        return self._locations[run_id]

    def list_files(self, run_id: str) -> Sequence[RemoteFile]:
        return self._artifacts.files(self._location(run_id))

    def fetch_file(self, run_id: str, path: str, destination: Path) -> None:
        self._artifacts.fetch(self._location(run_id), path, destination)

    def fetch_model(self, run_id: str, model: LoggedModel, destination: Path) -> None:  # noqa: ARG002 - the Protocol's
        prefix = f"{model.path}/" if model.path else ""
        for file in self._artifacts.files(model.location):
            if file.path.startswith(prefix):
                self._artifacts.fetch(model.location, file.path, destination / file.path.removeprefix(prefix))

    def resolve(self, reference: str) -> Sequence[RemoteFile]:
        raise PermanentError(
            "this is an MLflow store, which has no W&B artifacts",
            subject=reference[:200],
            remedy="use {artifact: …}, {dataset: …} or {file: …} in agent.yaml, or select runs of W&B only",
        )

    def read_file(self, run_id: str, path: str) -> bytes:
        return self._artifacts.read(self._location(run_id), path)

    # -- writing --------------------------------------------------------------------------------------------
    def put_files(self, run_id: str, files: Mapping[str, bytes]) -> None:
        location = self._location(run_id)
        local = self._artifacts.local(location)
        if local is not None:
            local.mkdir(parents=True, exist_ok=True)
            for path, content in files.items():
                local_files.write_regular(local, path, content)
            return
        with tempfile.TemporaryDirectory() as folder:
            for path, content in files.items():
                target = Path(folder, *local_files.safe_relative(path).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            with self._writing(run_id):
                self._client.log_artifacts(run_id, folder)

    def set_tags(self, run_id: str, tags: Mapping[str, str], remove: Sequence[str] = ()) -> None:
        from venturalitica_agent.stores.mlflow_api import RunTag

        given = [RunTag(k, v) for k, v in tags.items()]
        self._vouch(run_id)
        with self._writing(run_id):
            present = set(settled(lambda: self._client.get_run(run_id)).data.tags) if remove else set()
            for name in sorted(present & set(remove)):
                self._client.delete_tag(run_id, name)
            for start in range(0, len(given), _TAGS_AT_ONCE):
                batch = given[start : start + _TAGS_AT_ONCE]
                settled(partial(self._client.log_batch, run_id, tags=batch))

    @contextmanager
    def _writing(self, run_id: str) -> Iterator[None]:
        """Like `_asking`; a refusal means RunGone when the run turns out to be deleted."""
        try:
            with self._asking(f"run {run_id}"):
                yield
        except (PermanentError, StoreUnavailable) as error:
            ref = self.look(run_id)
            if ref is None or ref.deleted:
                raise RunGone("the run is deleted or was never there", subject=f"run {run_id}") from error
            raise

    def get_tags(self, run_id: str) -> Mapping[str, str]:
        self._vouch(run_id)
        with self._asking(f"run {run_id}"):
            return texts(settled(lambda: self._client.get_run(run_id)).data.tags)

    def tag_models(self, run_id: str, models: Sequence[LoggedModel], tags: Mapping[str, str]) -> None:
        self._vouch(run_id)
        for model in models:
            if model.model_id and model.location:  # a deleted model has none
                self._vouch_model(model.model_id)
                with self._asking(f"model {model.model_id}"):
                    self._client.set_logged_model_tags(model.model_id, dict(tags))
        with self._asking(f"run {run_id}"):
            for version in self._client.search_model_versions(f"run_id = '{_plain(run_id)}'"):
                if any(is_version_of(version.source or "", model, run_id) for model in models):
                    for name, value in tags.items():
                        self._client.set_model_version_tag(version.name, version.version, name, value)

    def link_audit(
        self, run: Run, used: Sequence[str], evidence: Mapping[str, bytes], about: Mapping[str, str]
    ) -> None:
        """Nothing: MLflow has no lineage graph; the models' tags lead to the evidence."""

    def registry(self) -> MlflowRegistry:
        return MlflowRegistry(lambda: self._client, self._asking)

    # -- links ----------------------------------------------------------------------------------------------
    def run_link(self, run: Run) -> str:
        return links.mlflow_run(self._ui, run.ref.experiment_id, run.ref.run_id)


def _is_plain(run_id: str) -> bool:
    return run_id.isascii() and run_id.isalnum()


def _plain(run_id: str) -> str:
    if not _is_plain(run_id):
        raise UntrustedInput("is not a run id", subject=repr(run_id[:80]))
    return run_id


def _tables(tag: str) -> Iterator[str]:
    try:
        entries = json.loads(tag) if tag else []
    except (ValueError, RecursionError):
        return
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("type") == "table" and isinstance(entry.get("path"), str):
            yield entry["path"]


def _dataset(given: Any) -> LoggedDataset:
    context = next((t.value for t in given.tags if t.key == "mlflow.data.context"), "")
    return LoggedDataset(
        name=text(given.dataset.name),
        digest=text(given.dataset.digest),
        context=text(context),
        source_type=text(given.dataset.source_type),
        source=text(given.dataset.source),
        schema=text(given.dataset.schema),
        profile=text(given.dataset.profile),
    )
