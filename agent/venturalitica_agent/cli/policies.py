"""What the compliance officer runs: check, compare, date and try policies."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from venturalitica_agent import logging as our_logging
from venturalitica_agent.cli.root import app
from venturalitica_agent.cli.terminal import (
    AsJson,
    Config,
    coloured,
    err,
    print_json,
    progress,
    read_settings,
    say,
    untrusted,
)
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.logging import clean

policy_app = typer.Typer(help="Check policies.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(policy_app, name="policy")


class _To(StrEnum):
    OSCAL = "oscal"


@policy_app.callback()
def _own_metrics() -> None:
    from venturalitica_agent.sandbox.own_metrics import enlist

    for refused in enlist():
        err.print(Text(clean(f"not used: {refused}")), soft_wrap=True)


@policy_app.command("check")
def policy_check(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Policy files or folders of policies.")],
    to: Annotated[
        _To | None, typer.Option("--to", help="Print the policy as an OSCAL 1.2.1 component-definition.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check policy files: every mistake, with its line."""
    from venturalitica_agent.policy.load import load_one_policy, load_policies
    from venturalitica_agent.policy.waivers import load_waivers

    if to is _To.OSCAL:
        from venturalitica_agent.policy.oscal_export import to_oscal

        if len(paths) != 1:
            raise ConfigError("--to takes one policy", remedy="name one policy file")
        changed = datetime.fromtimestamp(paths[0].stat().st_mtime, UTC) if paths[0].exists() else datetime.now(UTC)
        print_json(to_oscal(load_one_policy(paths[0]), changed))
        return

    by_path = {path: load_policies(path) for path in paths}
    policies = [policy for found in by_path.values() for policy in found]
    waivers = sum(len(load_waivers(path, found).items) for path, found in by_path.items())
    if as_json:
        print_json(
            [
                {
                    "id": p.id,
                    "version": p.version,
                    "digest": p.digest,
                    "file": p.file_name,
                    "shape": p.shape,
                    "controls": [c.id for c in p.controls],
                }
                for p in policies
            ]
        )
        return
    for p in policies:
        say(f"{p.ref}  {len(p.controls)} controls  {p.shape}  sha256:{p.digest[:16]}…  {p.file_name}")
    if waivers:
        say(f"waivers: {waivers}")


@policy_app.command("diff")
def policy_diff(
    old: Annotated[str, typer.Argument(help="A file, a folder with one policy, or a version on record: id@1.2 or 1.2")],
    new: Annotated[str, typer.Argument(help="The version to compare it with.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """What changes from one version of a policy to another, in words."""
    from venturalitica_agent.overview import policy_named
    from venturalitica_agent.policy.diff import diff

    before, after = (policy_named(named, lambda: read_settings(config)) for named in (old, new))
    changes = diff(before, after)
    if as_json:
        rows = [{"kind": c.kind.value, "control": c.control, "words": c.words} for c in changes]
        print_json({"old": before.ref, "new": after.ref, "changes": rows})
        return
    say(clean(f"{before.ref} -> {after.ref}: " + (f"{len(changes)} changes" if changes else "nothing changes")))
    for change in changes:
        say(clean(str(change)))


@policy_app.command("history")
def policy_history(
    policy: Annotated[str | None, typer.Argument(metavar="ID", help="Of this policy only.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Which version of which policy was in force when."""
    from venturalitica_agent.overview import policy_history as read_history
    from venturalitica_agent.policy.history import line, row

    history = read_history(read_settings(config))
    if policy is not None and policy not in history:
        known = ", ".join(history) or "none"
        raise ConfigError("no such policy was ever in force", subject=clean(policy), remedy=f"there are: {known}")
    terms = [term for name in history if policy in (None, name) for term in history[name]]
    if as_json:
        print_json([row(term) for term in terms])
        return
    for term in terms:
        say(clean(line(term)))


@policy_app.command("backtest")
def policy_backtest(
    new: Annotated[Path, typer.Argument(help="A policy file, or a folder with one policy: the version to try.")],
    last: Annotated[int, typer.Option(min=1, help="How many verdicts to look at, newest first.")] = 500,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Fetch and measure again what stored measurements can't answer.")
    ] = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Which past runs would get another verdict under a new version. Nothing is written."""
    from venturalitica_agent.backtest import backtest
    from venturalitica_agent.policy.load import load_one_policy

    our_logging.configure()
    policy = load_one_policy(new)
    with progress("judging again") as advance:
        found = backtest(read_settings(config), policy, last=last, evaluate=evaluate, on_progress=advance)
    if as_json:
        print_json(found.document())
        return
    say(clean(f"{found.policy}: {found.runs} verdicts looked at, {len(found.flips)} would change"))
    if not found.runs and found.other_policies:
        others = ", ".join(found.other_policies)
        say(clean(f"no verdict under {policy.id!r} is on record; there are some under {others}"))
    for flip in found.flips:
        name = untrusted(flip.record.run_name or flip.record.run_id, 40)
        say(name, ": ", coloured(flip.record.status), " -> ", coloured(flip.status))
        for words in flip.words:
            say(clean(f"  {words}"))
    for record, reasons in found.unanswered:
        say(untrusted(record.run_name or record.run_id, 40), ": not answerable from stored measurements")
        for reason in reasons:
            say(clean(f"  {reason}"))


@policy_app.command("schema")
def policy_schema() -> None:
    """Print the JSON Schema of policy files, for editors."""
    from venturalitica_agent.policy.json_schema import schema_text

    sys.stdout.write(schema_text())
