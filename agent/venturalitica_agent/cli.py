"""The commands. Nothing is decided here: each one reads its options, calls what does the work, and prints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
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

_HELP = "Audits every training run in MLflow against a versioned policy, without touching training code."

app = typer.Typer(
    name="venturalitica-agent",
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
policy_app = typer.Typer(help="Check policies.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(policy_app, name="policy")
key_app = typer.Typer(help="The keys that evidence is signed with.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(key_app, name="key")

_PIPED = None if sys.stdout.isatty() else 160  # columns of tables in files and pipes, which have no width of their own
out = Console(highlight=False, width=_PIPED)
err = Console(stderr=True, highlight=False)

Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="agent.yaml; default: ./agent.yaml where it exists.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what is seen, not only what is done.")]

_MOST_ROWS = 50
_COLOURS = {"pass": "green", "fail": "red", "warn": "yellow", "inconclusive": "blue", "error": "magenta"}


def _print_version(asked: bool) -> None:
    if asked:
        _say(__version__)
        raise typer.Exit


@app.callback(help=_HELP)
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


def main() -> None:
    """Entry point: errors of ours end in a sentence and an exit code, never in a traceback."""
    try:
        app(standalone_mode=True)
    except AgentError as error:
        err.print(Text(clean(str(error.diagnostics()))), soft_wrap=True)
        sys.exit(2 if isinstance(error, ConfigError) else 3)


def _settings(config: Path | None) -> Settings:
    return load_settings(config, env=os.environ, cwd=Path.cwd())


def _print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _say(*words: str | Text) -> None:
    """A line of prose as long as it is: wrapping it would break paths and what people search for."""
    out.print(Text.assemble(*words), soft_wrap=True)


def _status(status: str) -> Text:
    return Text(status, style=_COLOURS.get(status, ""))


def _untrusted(value: object, limit: int = 60) -> Text:
    words = clean(str(value))
    return Text(words if len(words) <= limit else words[: limit - 1] + "…")


def _verdict_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("run", "experiment", "policy", "status", "failed", "ended"):
        table.add_column(column, overflow="fold", no_wrap=column in ("status", "ended"))
    for row in rows:
        ended = f"{datetime.fromtimestamp(row['end_time'] / 1000):%Y-%m-%d %H:%M}" if row["end_time"] else ""
        failed = _untrusted(", ".join(row["failed"]), 60)
        names = _untrusted(row["run"] or row["run_id"], 40), _untrusted(row["experiment"], 30)
        table.add_row(*names, _untrusted(row["policy"]), _status(row["status"]), failed, ended)
    return table


@app.command()
def run(config: Config = None, verbose: Verbose = False) -> None:
    """The service: audit every run that ends, until stopped."""
    our_logging.configure(verbose=verbose)
    settings = _settings(config)  # a mistake in it is told before the slow imports
    from venturalitica_agent.agent import Agent
    from venturalitica_agent.daemon import Service

    Service(Agent(settings)).run()


@app.command()
def audit(
    config: Config = None,
    runs: Annotated[
        list[str] | None,
        typer.Option("--run", metavar="RUN", help="Only this run: an id, runs:/<id> or its link. Repeatable."),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """One pass over what is due, then exit; for CI.

    Exit codes: 0 everything evaluated passes (or warns), 1 a verdict is `fail`, 2 usage or configuration error,
    3 no verdict (error, inconclusive, skip). Runs named with --run are audited again even if they have a verdict.
    """
    our_logging.configure(verbose=verbose)
    settings = _settings(config)  # a mistake in it is told before the slow imports
    from venturalitica_agent.agent import Agent
    from venturalitica_agent.once import run_once
    from venturalitica_agent.overview import audit_row

    agent = Agent(settings)
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
        out.print(_verdict_table(rows[:_MOST_ROWS]))
        if len(rows) > _MOST_ROWS:
            _say(f"… and {len(rows) - _MOST_ROWS} older ones; --json has them all")
        _say(f"{done.audited} verdicts given now, {len(rows)} in all")
        for run_id, why in done.without:
            _say(f"no verdict: {run_id}: {clean(why)}")
        for uri, why in done.down:
            _say(f"store down: {uri}: {clean(why)}")
    raise typer.Exit(done.exit_code)


@contextmanager
def _progress(what: str) -> Iterator[Any]:
    """A progress bar on a terminal's standard error; nothing elsewhere. Yields `advance(done, total)`."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@app.command()
def status(
    config: Config = None,
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(help="How many verdicts to show, newest first.")] = 50,
) -> None:
    """What was audited, what is due, what is stuck."""
    from venturalitica_agent.overview import overview

    document = overview(_settings(config), limit=limit)
    if as_json:
        _print_json(document)
        return
    for store in document["stores"]:
        health = {True: "answers", False: "DOWN", None: "not looked at yet"}[store["ok"]]
        _say(f"{store['uri'] or store['id']}: {health}  {clean(store['error'])}")
        _say("  runs: " + (", ".join(f"{n} {phase}" for phase, n in sorted(store["runs"].items())) or "none"))
        for reason, count in store["ignored"].items():
            _say(f"  {count} not audited: {clean(reason)}")
    verdicts = ", ".join(f"{n} {s}" for s, n in sorted(document["verdicts"].items())) or "none yet"
    _say(f"due: {document['due']}   verdicts: {verdicts}")
    for refused in document["policies"]["refused"]:
        _say(clean(f"a changed policy is not in force: {refused}"))
    for notice in document["waivers"]:
        _say(clean(notice))
    for kind in ("stuck", "retrying"):
        for entry in document[kind]:
            _say(f"{kind}: {entry['run_id']}: {clean(entry['reason'])}")
    for entry in document["running_too_long"]:
        _say(f"RUNNING for too long, never ended: {entry['run_id']}")
    if document["audits"]:
        out.print(_verdict_table(document["audits"]))


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
        _print_json(to_oscal(load_one_policy(paths[0]), changed))
        return

    by_path = {path: load_policies(path) for path in paths}
    policies = [policy for found in by_path.values() for policy in found]
    waivers = sum(len(load_waivers(path, found).items) for path, found in by_path.items())
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
        _say(f"{p.ref}  {len(p.controls)} controls  {p.shape}  sha256:{p.digest[:16]}…  {p.file_name}")
    if waivers:
        _say(f"waivers: {waivers}")


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

    before, after = (policy_named(named, lambda: _settings(config)) for named in (old, new))
    changes = diff(before, after)
    if as_json:
        rows = [{"kind": c.kind.value, "control": c.control, "words": c.words} for c in changes]
        _print_json({"old": before.ref, "new": after.ref, "changes": rows})
        return
    _say(clean(f"{before.ref} -> {after.ref}: " + (f"{len(changes)} changes" if changes else "nothing changes")))
    for change in changes:
        _say(clean(str(change)))


@policy_app.command("history")
def policy_history(
    policy: Annotated[str | None, typer.Argument(metavar="ID", help="Of this policy only.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Which version of which policy was in force when."""
    from venturalitica_agent.overview import policy_history as read_history
    from venturalitica_agent.policy.history import line, row

    history = read_history(_settings(config))
    if policy is not None and policy not in history:
        known = ", ".join(history) or "none"
        raise ConfigError("no such policy was ever in force", subject=clean(policy), remedy=f"there are: {known}")
    terms = [term for name in history if policy in (None, name) for term in history[name]]
    if as_json:
        _print_json([row(term) for term in terms])
        return
    for term in terms:
        _say(clean(line(term)))


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
    with _progress("judging again") as advance:
        found = backtest(_settings(config), policy, last=last, evaluate=evaluate, on_progress=advance)
    if as_json:
        _print_json(found.document())
        return
    _say(clean(f"{found.policy}: {found.runs} verdicts looked at, {len(found.flips)} would change"))
    if not found.runs and found.other_policies:
        others = ", ".join(found.other_policies)
        _say(clean(f"no verdict under {policy.id!r} is on record; there are some under {others}"))
    for flip in found.flips:
        name = _untrusted(flip.record.run_name or flip.record.run_id, 40)
        _say(name, ": ", _status(flip.record.status), " -> ", _status(flip.status))
        for words in flip.words:
            _say(clean(f"  {words}"))
    for record, reasons in found.unanswered:
        _say(_untrusted(record.run_name or record.run_id, 40), ": not answerable from stored measurements")
        for reason in reasons:
            _say(clean(f"  {reason}"))


@policy_app.command("schema")
def policy_schema() -> None:
    """Print the JSON Schema of policy files, for editors."""
    from venturalitica_agent.policy.json_schema import schema_text

    sys.stdout.write(schema_text())


@app.command()
def ui(
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: web.host.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="TCP port; default: web.port.")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Serve the page and open no browser.")] = False,
) -> None:
    """The status page: opened where the service serves it, else served until stopped."""
    our_logging.configure()
    from venturalitica_agent.web.server import PageServer
    from venturalitica_agent.web.showing import open_browser, served_already

    settings = _settings(config)
    web = replace(settings.web, host=host or settings.web.host, port=port or settings.web.port)
    settings = replace(settings, web=web)
    url = served_already(settings)
    if url:
        _say(f"the service shows it at {url}")
        if not no_browser:
            open_browser(url).join()
        return
    page = PageServer(settings)
    _say(f"the status page is at {page.url}; stop it with Ctrl-C")
    if not no_browser:
        open_browser(page.url)
    page.run()


@app.command("web-password")
def web_password(name: Annotated[str, typer.Argument(help="Who logs in to the status page.")]) -> None:
    """Print a line for the file that web.users names; asks for the password, or reads it from a pipe."""
    from venturalitica_agent.web.access import user_line

    if sys.stdin.isatty():
        password = typer.prompt("password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    _say(user_line(name, password))


@app.command()
def doctor(config: Config = None, as_json: AsJson = False) -> None:
    """What works here, and what to do where it doesn't.

    Exit codes: 0 when everything works, else 2.
    """
    our_logging.configure()
    from venturalitica_agent.checkup import check_up

    checks = check_up(_settings(config))
    if as_json:
        _print_json([{"name": c.name, "ok": c.ok, "detail": c.detail, "remedy": c.remedy} for c in checks])
    else:
        for check in checks:
            mark = Text("ok   ", style="green") if check.ok else Text("FAIL ", style="red")
            _say(mark, f"{clean(check.name)}: {clean(check.detail)}")
            if check.remedy and not check.ok:
                _say(f"     what to do: {clean(check.remedy)}")
    raise typer.Exit(0 if all(c.ok for c in checks) else 2)


@app.command()
def verify(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH|RUN]...", help="Folders of evidence, run ids or their links.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every run that has a verdict.")] = False,
    keys: Annotated[
        list[Path] | None,
        typer.Option("--key", exists=True, dir_okay=False, help="A public key that you trust; default: the service's."),
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Check evidence: offline from a folder, or on the runs that carry it.

    Exit codes: 0 all is ok, 1 something is not what was attested, 2 usage or configuration error, 3 something that is
    needed can't be checked.
    """
    our_logging.configure()
    from venturalitica_agent.once import run_named
    from venturalitica_agent.verification import known_keys, verify_folder, verify_runs
    from venturalitica_verify.outcome import document, exit_code, line

    folders = [Path(target) for target in targets or () if Path(target).is_dir()]
    runs = [run_named(target, words=True)[0] for target in targets or () if not Path(target).is_dir()]
    if not (folders or runs or every):
        raise ConfigError("nothing was named to verify", remedy="name a folder of evidence or a run, or give --all")
    offline = not (runs or every) and config is None and not Path("agent.yaml").exists()
    settings = None if offline else _settings(config)
    trusted = [path.read_bytes() for path in keys or ()] or (known_keys(settings) if settings else [])
    found = {name: checks for folder in folders for name, checks in verify_folder(folder, trusted).items()}
    if settings is not None and (runs or every):
        found |= verify_runs(settings, None if every else runs, trusted)
    code = exit_code(check for checks in found.values() for check in checks)
    if as_json:
        _print_json(document(found, code))
    else:
        for name, checks in found.items():
            _say("\n".join([clean(name), *map(line, checks)]))
    raise typer.Exit(code)


@key_app.command("show")
def key_show(config: Config = None, as_json: AsJson = False) -> None:
    """The key that signs now, those before it, and the name of the log."""
    from venturalitica_agent.signing import key_document

    document = key_document(_settings(config))
    if as_json:
        _print_json(document)
        return
    _say(f"log: {document['log'] or 'no entry yet'}")
    for row in document["keys"]:
        _say(f"{row['id']}  {'signs now' if row['signs'] else 'replaced'}")


@key_app.command("export")
def key_export(
    every: Annotated[bool, typer.Option("--all", help="Also the keys that were replaced.")] = False,
    config: Config = None,
) -> None:
    """Print the public key, for whoever checks evidence."""
    from venturalitica_agent.signing import key_document

    for row in key_document(_settings(config))["keys"]:
        if row["signs"] or every:
            sys.stdout.write(row["public_key"])


@key_app.command("rotate")
def key_rotate(config: Config = None) -> None:
    """Sign with a new key from now on. Old evidence stays verifiable; the old private key is destroyed."""
    from venturalitica_agent.signing import rotate_key

    old, new = rotate_key(_settings(config))
    _say(f"{old} is replaced by {new}; the log's entry that says so is signed by the old one")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write them.")] = Path(),
    policy: Annotated[str, typer.Option("--policy", help="Which of the shipped policies.")] = "credit-scoring",
) -> None:
    """Write a commented agent.yaml and a first policy; never overwrites."""
    from venturalitica_agent.starter import write_starter

    for path in write_starter(folder, default_agent_yaml(), policy=policy):
        _say(f"wrote {path}")
    _say("Next: put your experiment's name and columns into agent.yaml, then `venturalitica-agent doctor`.")


@app.command()
def demo(
    folder: Annotated[
        Path | None,
        typer.Option("--dir", envvar="VENTURALITICA_DEMO_DIR", help="Keep the demo here; default: a temporary folder."),
    ] = None,
    wandb: Annotated[
        bool, typer.Option("--wandb", help="On Weights & Biases: a stand-in for its server, on this machine.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Real models on real data in fresh stores, audited."""
    from venturalitica_agent.demo.mlflow_scene import MlflowScene
    from venturalitica_agent.demo.run import run_demo
    from venturalitica_agent.demo.wandb_scene import WandbScene

    with closing(WandbScene() if wandb else MlflowScene()) as scene:
        result = run_demo(scene, folder, say=lambda words: err.print(Text(words)))
        if as_json:
            _print_json(result.document())
        else:
            result.show(out)
    raise typer.Exit(0 if result.complete else 3)
