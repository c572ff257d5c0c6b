"""What the engineer runs: the service, one pass, what stands where, what works here."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from venturalitica_agent import logging as our_logging
from venturalitica_agent.cli.root import app
from venturalitica_agent.cli.terminal import (
    MOST_ROWS,
    AsJson,
    Config,
    Verbose,
    err,
    out,
    print_json,
    progress,
    read_settings,
    say,
    verdict_table,
)
from venturalitica_agent.logging import clean
from venturalitica_agent.settings import default_agent_yaml, seconds_in


@app.command()
def run(config: Config = None, verbose: Verbose = False) -> None:
    """The service: audit every run that ends, until stopped. SIGHUP has it read its configuration again."""
    our_logging.configure(verbose=verbose)
    settings = read_settings(config)  # a mistake in it is told before the slow imports
    from venturalitica_agent.daemon import serve

    serve(settings, lambda env: read_settings(config, env))


@app.command()
def worker(config: Config = None, verbose: Verbose = False) -> None:
    """Only executes: audits what a `run` on the same PostgreSQL state noticed, until stopped. Serves no page."""
    our_logging.configure(verbose=verbose)
    settings = read_settings(config)  # a mistake in it is told before the slow imports
    from venturalitica_agent.daemon import serve

    serve(settings, lambda env: read_settings(config, env), helps=True)


@app.command()
def audit(
    config: Config = None,
    runs: Annotated[
        list[str] | None,
        typer.Option("--run", metavar="RUN", help="Only this run: an id, runs:/<id> or its link. Repeatable."),
    ] = None,
    retry: Annotated[
        bool,
        typer.Option("--retry", help="Also what was given up, of all runs or of those named with --run."),
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the verdict of each --run; ask nothing again that has one.")
    ] = False,
    timeout: Annotated[str, typer.Option(help="With --wait: how long, such as 90s, 10m or 1h.")] = "10m",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """One pass over what is due, then exit; for CI.

    Exit codes: 0 everything evaluated passes (or warns), 1 a verdict is `fail`, 2 usage or configuration error,
    3 no verdict (error, inconclusive, skip), 4 --timeout was over first. Runs named with --run are audited again even
    if they have a verdict; with --wait they are not, and a running service may do the audit. With --retry a service
    that works on the same state does the work, and this only says how many runs it was given.
    """
    our_logging.configure(verbose=verbose)
    settings = read_settings(config)  # a mistake in it is told before the slow imports
    from venturalitica_agent.agent import Agent
    from venturalitica_agent.once import run_named, run_once
    from venturalitica_agent.overview import audit_row
    from venturalitica_agent.retries import hand_over
    from venturalitica_agent.waiting import wait_for

    if retry and wait:
        raise typer.BadParameter("--retry and --wait are two different questions: ask one after the other")
    named = [run_named(run, words=any(s.kind != "mlflow" for s in settings.stores))[0] for run in runs or ()]
    if retry and (given := hand_over(settings, named)) is not None:
        print_json({"handed_over": given}) if as_json else say(f"the service that is running tries {given} runs again")
        return
    with progress("auditing") as advance:
        if wait:
            done = wait_for(settings, runs or (), timeout=seconds_in(timeout, "--timeout"), on_progress=advance)
        else:
            done = run_once(Agent(settings), runs or (), on_progress=advance)
    rows = [audit_row(record) for record in done.verdicts]
    if as_json:
        print_json(
            {
                "exit_code": done.exit_code,
                "timed_out": done.late,
                "audited": done.audited,
                "verdicts": rows,
                "without_verdict": [{"run_id": r, "reason": why} for r, why in done.without],
                "stores_down": [{"uri": uri, "reason": why} for uri, why in done.down],
            }
        )
    else:
        out.print(verdict_table(rows[:MOST_ROWS]))
        if len(rows) > MOST_ROWS:
            say(f"… and {len(rows) - MOST_ROWS} older ones; --json has them all")
        say(f"{done.audited} verdicts given now, {len(rows)} in all")
        for row in rows if runs else ():
            if row["link"]:
                say(f"{row['status']}: {clean(row['link'])}")
        if done.late:
            say(f"no verdict within {timeout}: exit code {done.exit_code}")
        for run_id, why in done.without:
            say(f"no verdict: {run_id}: {clean(why)}")
        for uri, why in done.down:
            say(f"store down: {uri}: {clean(why)}")
    raise typer.Exit(done.exit_code)


@app.command()
def status(
    config: Config = None,
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(help="How many verdicts to show, newest first.")] = 50,
) -> None:
    """What was audited, what is due, what is stuck."""
    from venturalitica_agent.overview import overview

    document = overview(read_settings(config), limit=limit)
    if as_json:
        print_json(document)
        return
    for store in document["stores"]:
        health = {True: "answers", False: "DOWN", None: "not looked at yet"}[store["ok"]]
        say(f"{store['uri'] or store['id']}: {health}  {clean(store['error'])}")
        say("  runs: " + (", ".join(f"{n} {phase}" for phase, n in sorted(store["runs"].items())) or "none"))
        for reason, count in store["ignored"].items():
            say(f"  {count} not audited: {clean(reason)}")
    if document["machines"]:
        noticing = sum(machine["notices"] for machine in document["machines"])
        say(f"machines: {len(document['machines'])}, of which {noticing or 'NONE'} notices runs")
    verdicts = ", ".join(f"{n} {s}" for s, n in sorted(document["verdicts"].items())) or "none yet"
    say(f"due: {document['due']}   verdicts: {verdicts}")
    for refused in document["config"]["refused"]:
        say(clean(f"the changed configuration is not in force: {refused}"))
    for refused in document["policies"]["refused"]:
        say(clean(f"a changed policy is not in force: {refused}"))
    for channel in document["notify"]:
        if channel["failures"]:
            words = f"channel {channel['name']} does not take messages, {channel['waiting']} wait: {channel['error']}"
            say(clean(words))
    for notice in document["waivers"]:
        say(clean(notice))
    queue = document["queue"]
    if queue["depth"]:
        say(f"queue: {queue['depth']} runs, {queue['retries']} of them again, the oldest for {queue['oldest']:.0f} s")
    for entry in document["retrying"]:
        say(f"retrying: {entry['run_id']}: {clean(entry['reason'])}")
    for entry in document["given_up"]:
        say(f"given up: {entry['run_id']}: {clean(entry['reason'])}")
    if document["given_up"]:
        say("  what to do: put right what the reason says, then `venturalitica-agent audit --retry`")
    for entry in document["drift"]:
        done = "put back" if entry["restored"] else "NOT put back"
        say(f"changed after its audit, {done}: {entry['run_id']}: {clean(entry['words'])}")
    for entry in document["stale"]:
        say(f"stale, to be audited again or audited since: {entry['run_id']}: {clean(entry['words'])}")
    for entry in document["running_too_long"]:
        say(f"RUNNING for too long, never ended: {entry['run_id']}")
    if document["audits"]:
        out.print(verdict_table(document["audits"]))


@app.command()
def doctor(config: Config = None, as_json: AsJson = False) -> None:
    """What works here, and what to do where it doesn't.

    Exit codes: 0 when everything works, else 2.
    """
    our_logging.configure()
    from venturalitica_agent.checkup import check_up

    checks = check_up(read_settings(config))
    if as_json:
        print_json([{"name": c.name, "ok": c.ok, "detail": c.detail, "remedy": c.remedy} for c in checks])
    else:
        for check in checks:
            mark = Text("ok   ", style="green") if check.ok else Text("FAIL ", style="red")
            say(mark, f"{clean(check.name)}: {clean(check.detail)}")
            if check.remedy and not check.ok:
                say(f"     what to do: {clean(check.remedy)}")
    raise typer.Exit(0 if all(c.ok for c in checks) else 2)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write them.")] = Path(),
    policy: Annotated[str, typer.Option("--policy", help="Which of the shipped policies.")] = "credit-scoring",
) -> None:
    """Write a commented agent.yaml and a first policy; never overwrites."""
    from venturalitica_agent.starter import write_starter

    for path in write_starter(folder, default_agent_yaml(), policy=policy):
        say(f"wrote {path}")
    say("Next: put your experiment's name and columns into agent.yaml, then `venturalitica-agent doctor`.")


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
            print_json(result.document())
        else:
            result.show(out)
    raise typer.Exit(0 if result.complete else 3)
