"""Does a run still carry what was published on it? Somebody may have edited or removed it since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

from venturalitica_agent.domain.evidence import Decision, EvidenceBundle
from venturalitica_agent.errors import PermanentError, RunGone
from venturalitica_agent.publish.writeback import PREFIX, verdict_tags
from venturalitica_agent.stores.base import Store

_OF_THE_WRITER = f"{PREFIX}agent_version"  # it names who wrote the tags last, which another version may do


def drifted(
    store: Store, run_id: str, files: Mapping[str, str], decided: Sequence[tuple[Decision, EvidenceBundle]]
) -> list[str]:
    """What is not as it was published, a sentence each; empty where everything is.

    Args:
        files: artifact path -> SHA-256.
        decided: of the bundles only the place and the digest of the evidence are looked at.

    Raises:
        RunGone: the run was deleted. RetryableError: the store doesn't answer.
    """
    found = [words for path, digest in sorted(files.items()) if (words := _file(store, run_id, path, digest))]
    tags = store.get_tags(run_id)
    # With several verdicts the tags without a policy's name are those of the worst one, of which there may be two.
    expected = verdict_tags(sorted(decided, key=lambda pair: pair[1].evidence != tags.get(f"{PREFIX}evidence")))
    for name in sorted({*expected, *(tag for tag in tags if tag.startswith(PREFIX))} - {_OF_THE_WRITER}):
        if name not in tags:
            found.append(f"the tag {name} was removed")
        elif name not in expected:
            found.append(f"the tag {name} was added")
        elif tags[name] != expected[name]:
            found.append(f"the tag {name} was changed")
    return found


def _file(store: Store, run_id: str, path: str, digest: str) -> str:
    try:
        content = store.read_file(run_id, path)
    except RunGone:
        raise
    except PermanentError:
        return f"the file {path} was removed"
    return "" if sha256(content).hexdigest() == digest else f"the file {path} was changed"
