"""YAML as MLflow's file store writes it, read with bounds: libyaml's composer recurses in C, so that a `meta.yaml` of
60 kB that nests deeply ends the whole process, and eight lines of aliases grow to gigabytes once they are shown."""

from __future__ import annotations

from typing import Any

import yaml

MAX_BYTES = 32 << 20  # MLflow allows a dataset's profile 16 MiB, and its schema 1 MiB
MAX_DEPTH = 50

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class BoundedLoader(_Loader):  # type: ignore[misc] # which class it is depends on how PyYAML was built
    """PyYAML's safe loader for text that is looked over first.

    Raises:
        yaml.YAMLError: there is more than MAX_BYTES of it, it nests deeper than MAX_DEPTH, or it has an alias, which
            MLflow never writes.
    """

    def __init__(self, stream: Any) -> None:
        content = stream.read(MAX_BYTES + 1) if hasattr(stream, "read") else stream
        if len(content) > MAX_BYTES:
            raise yaml.YAMLError(f"larger than {MAX_BYTES:,} bytes")
        _look_over(content)
        super().__init__(content)


def _look_over(content: str | bytes) -> None:
    depth = 0
    for event in yaml.parse(content, Loader=_Loader):  # events come one by one, without recursion
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("an alias is refused")
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nests deeper than {MAX_DEPTH} levels")
