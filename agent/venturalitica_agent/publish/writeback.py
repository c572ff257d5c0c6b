"""Writing a verdict back: artifacts, read back, then lineage and the models' tags, and the run's own tags last. They
are the commit point: whoever sees the status finds everything else complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from venturalitica_agent import __version__
from venturalitica_agent.domain.evidence import Decision, EvidenceBundle
from venturalitica_agent.domain.run import Run
from venturalitica_agent.domain.verdict import STALE, counts_tag, worst
from venturalitica_agent.errors import RetryableError, RunChanged, RunGone
from venturalitica_agent.stores.base import Store

PREFIX = "venturalitica."
_FAILED_LIMIT = 5000  # MLflow's SQL stores cut a tag at 8,000 characters without saying so


def verdict_tags(decisions: Sequence[tuple[Decision, EvidenceBundle]]) -> dict[str, str]:
    """The tags of a run: one policy's verdict, or with several policies the worst one's, and each under its id."""
    status = worst(d.verdict.status for d, _ in decisions)
    deciding = next(((d, b) for d, b in decisions if d.verdict.status == status), decisions[0])
    tags = {f"{PREFIX}{name}": value for name, value in _tags_of(*deciding).items()}
    del tags[f"{PREFIX}status"]
    if len(decisions) > 1:
        for decision, bundle in decisions:
            tags |= {
                f"{PREFIX}{decision.verdict.policy}.{name}": value
                for name, value in _tags_of(decision, bundle).items()
                if name not in ("audited_at", "agent_version")
            }
    # Last in a store that writes one tag after the other: whoever sees the status finds the rest.
    return tags | {f"{PREFIX}status": status.value}


def _tags_of(decision: Decision, bundle: EvidenceBundle) -> dict[str, str]:
    verdict = decision.verdict
    return {
        "status": verdict.status.value,
        "policy": f"{verdict.policy}@{verdict.version}",
        "policy_digest": verdict.policy_digest,
        "counts": counts_tag(verdict.counts),
        "failed": cut_at_id(verdict.not_passed),
        "evidence": bundle.evidence,
        "evidence_digest": bundle.digest,
        "audited_at": decision.decided_at,
        "agent_version": __version__,
    }


def cut_at_id(ids: Sequence[str], limit: int = _FAILED_LIMIT) -> str:
    """Control ids joined by commas, never cutting one in half."""
    text = ""
    for control in ids:
        longer = f"{text},{control}" if text else control
        if len(longer) > limit:
            break
        text = longer
    return text


def publish(store: Store, run: Run, decisions: Sequence[tuple[Decision, EvidenceBundle]]) -> Mapping[str, str]:
    """Write evidence and tags on `run`; doing it again changes nothing. Returns the tags as they were read back.

    Raises:
        RunChanged: the run got a newer revision meanwhile; its tags are left to the newer audit.
        RunGone: it was deleted meanwhile.
        RetryableError: what was read back is not what was written.
    """
    for _, bundle in decisions:
        store.put_files(run.ref.run_id, bundle.files)
        for path, content in bundle.files.items():
            if store.read_file(run.ref.run_id, path) != content:
                raise RetryableError(  # another agent may be writing the same just now
                    "the store returned other bytes than were written",
                    subject=f"{path} of run {run.ref.run_id}",
                    remedy="check who else writes below `venturalitica/` of this run, and the artifact store's health",
                )
    still = store.look(run.ref.run_id)
    if still is None or still.deleted:
        raise RunGone("the run was deleted while it was audited", subject=f"run {run.ref.run_id}")
    if still.revision != run.ref.revision:
        raise RunChanged("the run changed while it was audited", subject=f"run {run.ref.run_id}")
    tags = verdict_tags(decisions)
    evidence = {path: content for _, bundle in decisions for path, content in bundle.files.items()}
    used = {d.subject.model.model_id for d, _ in decisions if d.subject.model}
    used |= {data.name for d, _ in decisions for data in d.subject.data.values()}
    store.link_audit(run, sorted(used), evidence, tags)
    on_models = {name: tags[name] for name in (f"{PREFIX}{n}" for n in ("status", "policy", "evidence_digest"))}
    audited = {(d.subject.model.model_id, d.subject.model.name) for d, _ in decisions if d.subject.model}
    store.tag_models(run.ref.run_id, [m for m in run.models if (m.model_id, m.name) in audited], on_models)
    stale = [t for t in store.get_tags(run.ref.run_id) if t.startswith(PREFIX) and t not in tags]
    store.set_tags(run.ref.run_id, tags, remove=stale)
    found = store.get_tags(run.ref.run_id)
    wrong = sorted(name for name, value in tags.items() if found.get(name) != value)
    if wrong:
        raise RetryableError(
            f"these tags read back otherwise than they were written: {', '.join(wrong)}",
            subject=f"run {run.ref.run_id}",
            remedy="check who else writes `venturalitica.*` tags",
        )
    return tags


def withdraw(store: Store, run: Run, decisions: Sequence[Decision], stale: Sequence[Decision]) -> None:
    """Say on the run that verdicts of it are `stale`; the evidence, and what the other tags say of it, stay.

    Args:
        decisions: all that were published together. stale: those of them whose model or data changed.
    """
    names = [f"{PREFIX}{d.verdict.policy}.status" for d in stale] if len(decisions) > 1 else []
    models = {(d.subject.model.model_id, d.subject.model.name) for d in stale if d.subject.model}
    status = {f"{PREFIX}status": STALE}
    store.tag_models(run.ref.run_id, [m for m in run.models if (m.model_id, m.name) in models], status)
    store.set_tags(run.ref.run_id, dict.fromkeys(names, STALE) | status)


def rfc3339(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
