"""The history of policies as people name and read it."""

from __future__ import annotations

from typing import Any

from venturalitica_agent.domain.history import History, Term, moment
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.logging import clean


def find(history: History, ref: str) -> Term:
    """The term that `id@1.2`, `1.2` or `v1.2` names: of several with that version, the last one.

    Raises:
        ConfigError: there is none, or the bare version is one of several policies.
    """
    policy_id, _, version = ref.rpartition("@")
    terms = [term for owned in history.values() for term in owned if policy_id in ("", term.policy)]
    named = [term for term in terms if term.version == version]
    named = named or [term for term in terms if f"v{term.version}" == version]
    owners = sorted({term.policy for term in named})
    if len(owners) > 1:
        raise ConfigError(
            f"several policies have a version {clean(version)}: {', '.join(owners)}",
            subject=clean(ref),
            remedy=f"say which one, such as {named[0].ref}",
        )
    if not named:
        known = ", ".join(dict.fromkeys(term.ref for term in terms)) or "none"
        raise ConfigError(
            "is neither a file nor a version of a policy that was ever in force",
            subject=clean(ref),
            remedy=f"name a file, or one of the versions on record: {known}",
        )
    return named[-1]


def row(term: Term) -> dict[str, Any]:
    """One term as JSON; times are RFC 3339 UTC."""
    return {
        "policy": term.policy,
        "version": term.version,
        "digest": term.digest,
        "file": term.file_name,
        "from": moment(term.since),
        "until": None if term.until is None else moment(term.until),
        "commit": term.commit,
        "dirty": term.dirty,
    }


def line(term: Term) -> str:
    """One term for people."""
    until = "still in force" if term.until is None else f"until {moment(term.until)}"
    origin = f"  commit {term.commit[:12]}{' with changes' if term.dirty else ''}" if term.commit else ""
    return f"{term.ref}  from {moment(term.since)}  {until}  sha256:{term.digest[:16]}…{origin}"
