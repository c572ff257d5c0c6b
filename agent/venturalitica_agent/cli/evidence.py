"""What the auditor runs: check evidence, take it away; the keys that it is signed with; the log."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from venturalitica_agent import logging as our_logging
from venturalitica_agent.cli.root import app
from venturalitica_agent.cli.terminal import (
    AsJson,
    Config,
    print_json,
    progress,
    read_settings,
    say,
)
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.logging import clean

key_app = typer.Typer(help="The keys that evidence is signed with.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(key_app, name="key")
log_app = typer.Typer(help="The log of everything that was decided.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(log_app, name="log")

_DAY = 86_400.0


@app.command()
def verify(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH|RUN]...", help="Folders of evidence, exported archives, run ids or their links."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every run that has a verdict.")] = False,
    keys: Annotated[
        list[Path] | None,
        typer.Option("--key", exists=True, dir_okay=False, help="A public key that you trust; default: the service's."),
    ] = None,
    tsa: Annotated[
        list[Path] | None,
        typer.Option("--tsa", exists=True, dir_okay=False, help="Certificates that you trust for the time."),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", exists=True, file_okay=False, help="A copy of the log that the service published."),
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
    from venturalitica_agent.verification import known_keys, verify_given, verify_runs
    from venturalitica_verify.outcome import document, exit_code, line
    from venturalitica_verify.paths import verify_log

    paths = [Path(target) for target in targets or () if Path(target).exists()]
    runs = [run_named(target, words=True)[0] for target in targets or () if not Path(target).exists()]
    if not (paths or runs or every or log):
        raise ConfigError("nothing was named to verify", remedy="name evidence or a run, or give --all")
    offline = not (runs or every) and config is None and not Path("agent.yaml").exists()
    settings = None if offline else read_settings(config)
    trusted = [path.read_bytes() for path in keys or ()] or (known_keys(settings) if settings else [])
    clocks = [path.read_bytes() for path in tsa or ()]
    found = {name: each for path in paths for name, each in verify_given(path, trusted, log, clocks).items()}
    if log is not None and not paths:
        found |= verify_log(log, trusted)
    if settings is not None and (runs or every):
        found |= verify_runs(settings, None if every else runs, trusted, clocks)
    code = exit_code(check for checks in found.values() for check in checks)
    if as_json:
        print_json(document(found, code))
    else:
        for name, checks in found.items():
            say("\n".join([clean(name), *map(line, checks)]))
    raise typer.Exit(code)


@app.command()
def export(
    archive: Annotated[Path, typer.Argument(help="The .zip file to write.")],
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Run ids, or links to them.")] = None,
    experiment: Annotated[str, typer.Option(help="Only of experiments whose name this pattern fits.")] = "",
    since: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="Only verdicts from this day on (UTC).")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Only verdicts until this day, which is in.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Everything, with the runs that have no verdict.")] = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write the evidence of runs, of an experiment or of a period, and the log, into one archive for an auditor.

    Exit codes: 0 all of it is in the archive, 2 usage or configuration error, 3 some evidence could not be had; the
    archive's index says which.
    """
    our_logging.configure()
    from venturalitica_agent.export import Scope
    from venturalitica_agent.export import export as write
    from venturalitica_agent.once import run_named

    named = frozenset(run_named(run, words=True)[0] for run in runs or ())
    if every == bool(named or experiment or since or until):
        raise ConfigError(
            "it must be said what to export: either --all, or runs, --experiment, --from or --to",
            remedy="for example `venturalitica-agent export evidence.zip --from 2026-01-01`",
        )
    first, last = (day.replace(tzinfo=UTC).timestamp() if day else None for day in (since, until))
    scope = Scope(named, experiment, first, None if last is None else last + _DAY)
    with progress("runs") as on_run:
        done = write(read_settings(config), archive.absolute(), scope, on_run=on_run)
    if as_json:
        print_json({"archive": str(archive), "runs": done.runs, "verdicts": done.verdicts, "problems": done.problems})
    else:
        say(f"{archive} has {done.verdicts} verdicts about {done.runs} runs, and the log")
        for words in done.problems:
            say(clean(f"missing: {words}"))
    raise typer.Exit(3 if done.problems else 0)


@key_app.command("show")
def key_show(config: Config = None, as_json: AsJson = False) -> None:
    """The key that signs now, those before it, and the name of the log."""
    from venturalitica_agent.signing import key_document

    document = key_document(read_settings(config))
    if as_json:
        print_json(document)
        return
    say(f"log: {document['log'] or 'no entry yet'}")
    for row in document["keys"]:
        say(f"{row['id']}  {'signs now' if row['signs'] else 'replaced'}")


@key_app.command("export")
def key_export(
    every: Annotated[bool, typer.Option("--all", help="Also the keys that were replaced.")] = False,
    config: Config = None,
) -> None:
    """Print the public key, for whoever checks evidence."""
    from venturalitica_agent.signing import key_document

    for row in key_document(read_settings(config))["keys"]:
        if row["signs"] or every:
            sys.stdout.write(row["public_key"])


@key_app.command("rotate")
def key_rotate(config: Config = None) -> None:
    """Sign with a new key from now on. Old evidence stays verifiable; the old private key is destroyed."""
    from venturalitica_agent.signing import rotate_key

    old, new = rotate_key(read_settings(config))
    say(f"{old} is replaced by {new}; the log's entry that says so is signed by the old one")


@log_app.command("export")
def log_export(
    folder: Annotated[Path, typer.Argument(help="Where to; what is there already must be the beginning of the log.")],
    commit: Annotated[bool, typer.Option("--commit", help="Record it in the Git repository of the folder.")] = False,
    config: Config = None,
) -> None:
    """Publish the log as files (C2SP tlog-tiles), for whoever wants to hold this service to it."""
    from venturalitica_agent.log_export import export_log

    before, now = export_log(read_settings(config), folder.absolute(), commit=commit)
    say(f"{folder} has {now} entries of the log" + (f", {before} of them as before" if before else ""))


@log_app.command("publish")
def log_publish(
    experiment: Annotated[str, typer.Option(help="The experiment's name.")] = "venturalitica-log",
    config: Config = None,
) -> None:
    """Set the log's signed head as a tag of an MLflow experiment, beside the earlier ones, which are checked first."""
    from venturalitica_agent.log_export import publish_head

    our_logging.configure()
    for uri, earlier in publish_head(read_settings(config), experiment).items():
        say(clean(f"{uri}: published; {earlier} earlier heads there are of this log"))
