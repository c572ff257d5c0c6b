"""MLflow's registry of models: its versions, which of them an alias names, and whose run each was made by."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from venturalitica_agent.domain.run import LoggedModel
from venturalitica_agent.stores.mlflow_asking import Asking
from venturalitica_agent.stores.naming import text, texts

if TYPE_CHECKING:
    from venturalitica_agent.stores.mlflow_api import MlflowClient

_PAGE = 1000
_MODEL = re.compile(r"models:/(m-[0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """One registered model. Names and tags are whatever somebody wrote."""

    name: str
    aliases: Mapping[str, str]  # alias -> version
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version: `source` is where it came from; `run_id` is empty where the registry doesn't know it."""

    name: str
    version: str
    run_id: str
    source: str
    tags: Mapping[str, str]


class MlflowRegistry:
    """The registry beside an MLflow store. Every method raises StoreUnavailable when it doesn't answer.

    Args:
        client: MLflow's, asked for when it is needed: importing it takes seconds.
    """

    def __init__(self, client: Callable[[], MlflowClient], asking: Asking) -> None:
        self._client = client
        self._asking = asking

    def models(self) -> list[RegisteredModel]:
        def asked(token: str | None) -> Any:
            return self._client().search_registered_models(max_results=_PAGE, page_token=token)

        return [
            RegisteredModel(
                text(found.name), {text(k): str(v) for k, v in (found.aliases or {}).items()}, texts(found.tags or {})
            )
            for found in self._paged(asked)
        ]

    def versions(self) -> list[ModelVersion]:
        def asked(token: str | None) -> Any:
            return self._client().search_model_versions(max_results=_PAGE, page_token=token)

        return [
            ModelVersion(
                text(found.name),
                str(found.version),
                text(found.run_id or ""),
                text(found.source or ""),
                texts(found.tags or {}),
            )
            for found in self._paged(asked)
        ]

    def _paged(self, asked: Any) -> Iterator[Any]:
        token: str | None = None
        while True:
            with self._asking(f"the registry of {self._asking.uri}"):
                page = asked(token)
            yield from page
            token = page.token
            if not token:
                return

    def set_alias(self, model: str, alias: str, version: str) -> None:
        with self._asking(f"model {model}"):
            self._client().set_registered_model_alias(model, alias, version)

    def remove_alias(self, model: str, alias: str) -> None:
        with self._asking(f"model {model}"):
            self._client().delete_registered_model_alias(model, alias)

    def note(self, model: str, name: str, value: str) -> None:
        """Set a tag of the registered model."""
        with self._asking(f"model {model}"):
            self._client().set_registered_model_tag(model, name, value)

    def tag(self, version: ModelVersion, tags: Mapping[str, str]) -> None:
        with self._asking(f"model {version.name}"):
            for name, value in tags.items():
                self._client().set_model_version_tag(version.name, version.version, name, value)

    def untag(self, version: ModelVersion, name: str) -> None:
        with self._asking(f"model {version.name}"):
            self._client().delete_model_version_tag(version.name, version.version, name)

    def run_of(self, version: ModelVersion) -> str:
        """The run that a version says it is from; empty where it says none."""
        found = _MODEL.fullmatch(version.source)
        if version.run_id or found is None:
            return version.run_id
        with self._asking(f"model {version.name}"):
            return text(self._client().get_logged_model(found[1]).source_run_id or "")

    @staticmethod
    def is_of(version: ModelVersion, model: LoggedModel, run_id: str) -> bool:
        """Whether what a version leads to is this model of the run; what else it says of itself doesn't count."""
        return is_version_of(version.source, model, run_id)


def is_version_of(source: str, model: LoggedModel, run_id: str) -> bool:
    """Whether a registered version was made of this model of the run, by where its files come from."""
    source = source.rstrip("/")
    if model.model_id:
        return source in (f"models:/{model.model_id}", model.location.rstrip("/"))
    return source in (f"{base}/{model.path}".rstrip("/") for base in (f"runs:/{run_id}", model.location))
