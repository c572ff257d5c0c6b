"""Waivers: known findings that somebody answers for, for a while. They lie beside the policies, in `waivers.yaml`.

A waiver never hides a finding and never lasts for ever: it names one control of one policy, the runs, a reason, an
owner and the last day on which it counts. Days are days of UTC, as all times of the evidence are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path

from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.domain.verdict import WAIVABLE, Verdict, Waived
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.policy.rules import control_id, day, line_of_text, policy_id, role_name
from venturalitica_agent.strict_yaml import Fields, Mistakes, nearest, parse, read_fields, read_file, shown

_NAMES = ("waivers.yaml", "waivers.yml", "waivers.json")
NOTICE = timedelta(days=7)  # how long before its end a waiver is reported


@dataclass(frozen=True, slots=True)
class Waiver:
    """One waiver.

    Attributes:
        policy, control: ids of what is waived.
        runs: ids or names of runs; empty stands for every run of the experiment. Whoever trains chooses a run's name,
            so an id is the safer one.
        experiment: glob on the experiment's name.
        expires: the last day on which it counts.
        line: line of the waiver in its file, for messages.
    """

    policy: str
    control: str
    reason: str
    owner: str
    expires: date
    runs: tuple[str, ...] = ()
    experiment: str = "*"
    line: int = 0

    def counts_on(self, today: date) -> bool:
        return today <= self.expires

    def covers(self, policy: str, control: str, run_id: str, run_name: str, experiment: str) -> bool:
        """True when it is about this finding, expired or not."""
        named = not self.runs or run_id in self.runs or run_name in self.runs
        return (self.policy, self.control) == (policy, control) and named and fnmatchcase(experiment, self.experiment)


@dataclass(frozen=True, slots=True)
class Waivers:
    """All waivers of one file; `digest` is the SHA-256 of its bytes, empty where there is none."""

    items: tuple[Waiver, ...] = ()
    digest: str = ""

    def on(self, policy: str, run_id: str, run_name: str, experiment: str, today: date) -> dict[str, Waived]:
        """What counts today for a run under a policy, by control."""
        found = {}
        for control in dict.fromkeys(waiver.control for waiver in self.items if waiver.policy == policy):
            waiver = applying(
                self.items, policy, control, run_id=run_id, run_name=run_name, experiment=experiment, today=today
            )
            if waiver is not None:
                found[control] = Waived(waiver.reason, waiver.owner, waiver.expires.isoformat())
        return found

    def agree(self, verdict: Verdict, run_id: str, run_name: str, experiment: str, today: date) -> bool:
        """Whether a verdict waives what counts today, and nothing else."""
        counting = self.on(verdict.policy, run_id, run_name, experiment, today)
        unmet = {f.control for f in verdict.findings if (f.would_be or f.status) in WAIVABLE}
        return verdict.waived == {control: waiver for control, waiver in counting.items() if control in unmet}


def day_of(seconds: float) -> date:
    """The day in UTC of a time in seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).date()


def notices(waivers: Iterable[Waiver], today: date) -> tuple[str, ...]:
    """A sentence for each waiver that is over, and for each that ends within a week."""
    waivers = tuple(waivers)
    over = [f"{_words(w)} expired on {w.expires} and no longer counts" for w in expired(waivers, today)]
    return (*over, *(f"{_words(w)} {_left((w.expires - today).days)}" for w in ending(waivers, today)))


def _words(waiver: Waiver) -> str:
    runs = f"runs {', '.join(waiver.runs)}" if waiver.runs else f"experiment {waiver.experiment}"
    return f"the waiver of {waiver.policy}/{waiver.control} for {runs} ({waiver.owner})"


def _left(days: int) -> str:
    return "expires at the end of today" if days == 0 else f"expires in {days} {'day' if days == 1 else 'days'}"


def applying(
    waivers: Iterable[Waiver], policy: str, control: str, *, run_id: str, run_name: str, experiment: str, today: date
) -> Waiver | None:
    """The waiver that counts today for a finding, or None; of several, the one that lasts longest."""
    found = [w for w in waivers if w.counts_on(today) and w.covers(policy, control, run_id, run_name, experiment)]
    return max(found, key=lambda waiver: waiver.expires, default=None)


def ending(waivers: Iterable[Waiver], today: date) -> tuple[Waiver, ...]:
    """The waivers that still count today and end within a week, the first to end first."""
    soon = [waiver for waiver in waivers if waiver.counts_on(today) and waiver.expires - today <= NOTICE]
    return tuple(sorted(soon, key=lambda waiver: waiver.expires))


def expired(waivers: Iterable[Waiver], today: date) -> tuple[Waiver, ...]:
    """The waivers that count no longer, the last to end first."""
    return tuple(sorted((w for w in waivers if not w.counts_on(today)), key=lambda w: w.expires, reverse=True))


def load_waivers(folder: Path, policies: Sequence[Policy]) -> Waivers:
    """The waivers of a folder of policies: none when it holds no waivers file, or isn't a folder.

    Raises:
        ConfigError: two such files, one that lies in a subfolder, an unreadable one, or `InvalidDocument` with every
            mistake in it.
    """
    found = waiver_files(folder)
    if any(path.parent != folder for path in found) or len(found) > 1:
        listed = " and ".join(str(path.relative_to(folder)) for path in found)
        raise ConfigError(
            f"waivers where they are not looked for: {listed}"
            if len(found) == 1
            else f"waivers in two files: {listed}",
            subject=str(folder),
            remedy=f"move them all into one file, {folder / _NAMES[0]}",
        )
    if not found:
        return Waivers()
    content = read_file(found[0])
    return Waivers(parse_waivers(content, str(found[0]), policies), sha256(content).hexdigest())


def waiver_files(folder: Path) -> list[Path]:
    """Every file of waivers in a folder and its subfolders, where policies are looked for too; none beside a file."""
    if not folder.is_dir():
        return []
    try:
        entries = [e for e in folder.iterdir() if not e.name.startswith(".")]
        entries += [e for inner in entries if inner.is_dir() for e in inner.iterdir()]
    except OSError as error:
        remedy = "let this user read the folder"
        raise ConfigError(f"can't be listed: {error.strerror}", subject=str(folder), remedy=remedy) from error
    return sorted(entry for entry in entries if entry.name.lower() in _NAMES)


def parse_waivers(content: bytes, shown_as: str, policies: Sequence[Policy]) -> tuple[Waiver, ...]:
    """The waivers in `content`; each must name a control of one of `policies`.

    Raises:
        InvalidDocument: with every mistake in the file.
    """
    mistakes = Mistakes(shown_as)
    root = parse(content, mistakes)
    fields = read_fields(root, "the file of waivers", mistakes)
    waivers: list[Waiver] = []
    if fields is not None:
        fields.require("waivers")
        known = {policy.id: [control.id for control in policy.controls] for policy in policies}
        first: dict[tuple[object, ...], int] = {}
        for item in fields.maps("waivers"):
            waiver = _waiver(item, known)
            what = (waiver.policy, waiver.control, waiver.runs, waiver.experiment)
            if what in first:
                item.note(item.place, f"the same finding is waived on line {first[what]} already")
            first.setdefault(what, waiver.line)
            waivers.append(waiver)
        fields.node("$schema")
        fields.close()
    mistakes.raise_if_any()
    return tuple(waivers)


def _waiver(item: Fields, known: dict[str, list[str]]) -> Waiver:
    item.require("policy", "control", "reason", "owner", "expires")
    waiver = Waiver(
        policy=item.read("policy", policy_id, ""),
        control=item.read("control", control_id, ""),
        reason=item.read("reason", line_of_text, ""),
        owner=item.read("owner", line_of_text, ""),
        expires=item.read("expires", day, date.max),
        runs=item.list_of("run", role_name),
        experiment=item.read("experiment", line_of_text, "*"),
        line=item.place.line,
    )
    if "run" not in item and "experiment" not in item:
        item.note(item.place, "say for which runs: 'run' (ids or names), 'experiment' (a pattern), or both")
    if waiver.policy and waiver.policy not in known:
        item.complain("policy", f"there is no policy {shown(waiver.policy)}", nearest(waiver.policy, known))
    elif waiver.control and waiver.control not in known.get(waiver.policy, [waiver.control]):
        what = f"the policy {shown(waiver.policy)} has no control {shown(waiver.control)}"
        item.complain("control", what, nearest(waiver.control, known[waiver.policy]))
    item.close()
    return waiver
