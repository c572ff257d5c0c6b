"""Where each store's runs are seen in its tracker's own UI, by what the settings and the state know of it. No tracker
is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

from venturalitica_agent.settings import Settings
from venturalitica_agent.stores import links
from venturalitica_agent.stores.opening import WandbServer, open_configured


@dataclass(frozen=True)
class Place:
    """One store and its UI.

    Attributes:
        kind: mlflow, wandb, wandb_offline or folder.
        ui: of MLflow: the address of its UI, empty when nobody knows it.
        known_link: of W&B: where some run of the store is seen.
    """

    id: str
    kind: str
    uri: str
    ui: str = ""
    known_link: str = ""

    @cached_property
    def _project(self) -> str:
        return links.project_of(self.known_link)

    def experiment(self, experiment_id: str) -> str:
        return links.mlflow_experiment(self.ui, experiment_id) if self.kind == "mlflow" else self._project

    def failing(self, experiment_id: str) -> str:
        """The tracker's list of failing runs; W&B's UI has none that an address could name."""
        return links.mlflow_filtered(self.ui, experiment_id) if self.kind == "mlflow" else ""

    def run(self, experiment_id: str, run_id: str, noted: str = "") -> str:
        """Where a run is seen; `noted` is the link that was known when it was audited."""
        if self.kind == "mlflow":
            return links.mlflow_run(self.ui, experiment_id, run_id)
        return noted if urlsplit(noted).scheme in ("http", "https") else ""

    def artifact(self, experiment_id: str, run_id: str, path: str, noted: str = "") -> str:
        if self.kind == "mlflow":
            return links.mlflow_artifact(self.ui, experiment_id, run_id, path)
        return links.wandb_file(self.run(experiment_id, run_id, noted), path)


def places(settings: Settings, known: Mapping[str, str], noted: Mapping[str, str]) -> dict[str, Place]:
    """Every store of the settings and of the state, by id.

    Args:
        known: store id -> its URI in the state. noted: store id -> where some run of it is seen.
    """
    found = {}
    for given, store in open_configured(settings, WandbServer(settings), list(known.values())):
        link = noted.get(store.id, "")
        ui = given.ui or _mlflow_ui(link) or (store.uri if store.uri.startswith("http") else "")
        found[store.id] = Place(store.id, given.kind, store.uri, ui, link)
    for identity in known.keys() - found.keys():  # taken out of agent.yaml; its verdicts stay
        uri, link = known[identity], noted.get(identity, "")
        kind = "wandb" if uri.startswith("http") and "/#/" not in link else "mlflow"
        found[identity] = Place(identity, kind, uri, _mlflow_ui(link), link)
    return found


def _mlflow_ui(run_link: str) -> str:
    ui, between, _ = run_link.partition("/#/experiments/")
    return ui if between else ""
