"""The commands. Nothing is decided here: each one reads its options, calls what does the work, and prints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from venturalitica_agent import __version__
from venturalitica_agent import logging as our_logging
from venturalitica_agent.errors import AgentError, ConfigError
from venturalitica_agent.logging import clean
from venturalitica_agent.settings import Settings, default_agent_yaml, load_settings

app = typer.Typer(
    name="venturalitica-agent",
    help="Audits every training run in MLflow against a versioned policy, without touching training code.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
policy_app = typer.Typer(help="Check policies.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(policy_app, name="policy")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="agent.yaml; default: ./agent.yaml where it exists.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what is seen, not only what is done.")]

_COLOURS = {"pass": "green", "fail": "red", "warn": "yellow", "inconclusive": "blue", "error": "magenta"}


def main() -> None:
    """Entry point: errors of ours end in a sentence and an exit code, never in a traceback."""
    try:
        app(standalone_mode=True)
    except AgentError as error:
        err.print(Text(clean(str(error.diagnostics()))))
        sys.exit(2 if isinstance(error, ConfigError) else 3)


def _settings(config: Path | None) -> Settings:
    return load_settings(config, env=os.environ, cwd=Path.cwd())


def _print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _status(status: str) -> Text:
    return Text(status, style=_COLOURS.get(status, ""))


def _untrusted(value: object, limit: int = 60) -> Text:
    words = clean(str(value))
    return Text(words if len(words) <= limit else words[: limit - 1] + "…")


def _verdict_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("run", "experiment", "policy", "status", "not passed", "s to tag"):
        table.add_column(column, overflow="fold")
    for row in rows:
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f}"
        failed = _untrusted(", ".join(row["failed"]), 60)
        names = _untrusted(row["run"] or row["run_id"], 40), _untrusted(row["experiment"], 30)
        table.add_row(*names, _untrusted(row["policy"]), _status(row["status"]), failed, seconds)
    return table


@app.command()
def run(config: Config = None, verbose: Verbose = False) -> None:
    """The service: watch the stores and audit every run that ends, until stopped."""
    our_logging.configure(verbose=verbose)
    from venturalitica_agent.agent import Agent
    from venturalitica_agent.daemon import Service

    Service(Agent(_settings(config))).run()


@app.command()
def audit(
    config: Config = None,
    runs: Annotated[
        list[str] | None, typer.Option("--run", help="Only this run: an id, runs:/<id> or its link. Repeatable.")
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """One pass over what is due (or only --run …), then exit: 0 pass or warn, 1 fail, 2 usage, 3 no verdict."""
    our_logging.configure(verbose=verbose)
    from venturalitica_agent.agent import Agent
    from venturalitica_agent.once import run_once
    from venturalitica_agent.overview import audit_row

    agent = Agent(_settings(config))
    with _progress("auditing") as advance:
        done = run_once(agent, runs or (), on_progress=advance)
    rows = [audit_row(record) for record in done.verdicts]
    if as_json:
        _print_json(
            {
                "exit_code": done.exit_code,
                "audited": done.audited,
                "verdicts": rows,
                "without_verdict": [{"run_id": r, "reason": why} for r, why in done.without],
                "stores_down": [{"uri": uri, "reason": why} for uri, why in done.down],
            }
        )
    else:
        out.print(_verdict_table(rows))
        out.print(f"{done.audited} verdicts given now, {len(rows)} in all")
        for run_id, why in done.without:
            out.print(Text(f"no verdict: {run_id}: {clean(why)}"))
        for uri, why in done.down:
            out.print(Text(f"store down: {uri}: {clean(why)}"))
    raise typer.Exit(done.exit_code)


@contextmanager
def _progress(what: str) -> Iterator[Any]:
    """A progress bar on a terminal's standard error; nothing elsewhere. Yields `advance(done, total)`."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@app.command()
def status(config: Config = None, as_json: AsJson = False, limit: int = 50) -> None:
    """What was audited, what is due, what is stuck."""
    from venturalitica_agent.overview import overview

    document = overview(_settings(config), limit=limit)
    if as_json:
        _print_json(document)
        return
    for store in document["stores"]:
        health = {True: "answers", False: "DOWN", None: "not looked at yet"}[store["ok"]]
        out.print(Text(f"{store['uri'] or store['id']}: {health}  {clean(store['error'])}"))
        out.print("  runs: " + (", ".join(f"{n} {phase}" for phase, n in sorted(store["runs"].items())) or "none"))
        for reason, count in store["ignored"].items():
            out.print(Text(f"  {count} not audited: {clean(reason)}"))
    verdicts = ", ".join(f"{n} {s}" for s, n in sorted(document["verdicts"].items())) or "none yet"
    out.print(f"due: {document['due']}   verdicts: {verdicts}")
    for kind in ("stuck", "retrying"):
        for entry in document[kind]:
            out.print(Text(f"{kind}: {entry['run_id']}: {clean(entry['reason'])}"))
    for entry in document["running_too_long"]:
        out.print(f"RUNNING for too long, never ended: {entry['run_id']}")
    if document["audits"]:
        out.print(_verdict_table(document["audits"]))


@policy_app.command("check")
def policy_check(
    paths: Annotated[list[Path], typer.Argument(help="Policy files or folders of policies.")], as_json: AsJson = False
) -> None:
    """Check policies: every mistake with its file, line and the nearest right word."""
    from venturalitica_agent.policy.load import load_policies

    policies = [policy for path in paths for policy in load_policies(path)]
    if as_json:
        _print_json(
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
        out.print(Text(f"{p.ref}  {len(p.controls)} controls  {p.shape}  sha256:{p.digest[:16]}…  {p.file_name}"))


@app.command()
def doctor(config: Config = None, as_json: AsJson = False) -> None:
    """What works here, and what to do where it doesn't. Exit code 0 when everything works, else 2."""
    our_logging.configure()
    from venturalitica_agent.checkup import check_up

    checks = check_up(_settings(config))
    if as_json:
        _print_json([{"name": c.name, "ok": c.ok, "detail": c.detail, "remedy": c.remedy} for c in checks])
    else:
        for check in checks:
            mark = Text("ok   ", style="green") if check.ok else Text("FAIL ", style="red")
            out.print(mark + Text(f"{clean(check.name)}: {clean(check.detail)}"))
            if check.remedy and not check.ok:
                out.print(Text(f"     what to do: {clean(check.remedy)}"))
    raise typer.Exit(0 if all(c.ok for c in checks) else 2)


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where to write them.")] = Path()) -> None:
    """Write a commented agent.yaml and a first policy; never overwrites."""
    from venturalitica_agent.starter import write_starter

    for path in write_starter(folder, default_agent_yaml()):
        out.print(Text(f"wrote {path}"))
    out.print("Next: put your experiment's name and columns into agent.yaml, then `venturalitica-agent doctor`.")


@app.command()
def demo(
    folder: Annotated[
        Path | None,
        typer.Option("--dir", envvar="VENTURALITICA_DEMO_DIR", help="Keep the demo here; default: a temporary folder."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Real models on real data in fresh stores, audited by a real service, with links."""
    from venturalitica_agent.demo import run_demo

    result = run_demo(folder, say=lambda words: err.print(Text(words)))
    if as_json:
        _print_json(result.document())
    else:
        result.show(out)
    raise typer.Exit(0 if result.complete else 3)


@app.command()
def version() -> None:
    """The agent's version."""
    out.print(__version__)
