"""Canaries in every place that holds a secret; then a real service on PostgreSQL that audits, fails and is refused by
servers that quote what they were shown; then a search of everything that was written, served or printed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import cloudpickle
import mlflow
import pytest
import training
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from support.odd_server import Handler, odd_server
from support.postgres import Postgres, program
from workplace import AUDITS, Workplace, eventually

pytestmark = pytest.mark.xdist_group("machines")

WORDS = (
    "environment", "dotenv", "tracking-user", "tracking-password", "tracking-token", "login", "database", "web-token",
    "channel", "channel-path", "storage", )  # fmt: skip
CANARY = {word: f"canary+{word}/of-mine" for word in WORDS} | {"wandb": "c0ffee" * 6 + "cafe"}
PAGES = (
    "/", "/runs", "/policies", "/integrations", "/metrics", "/healthz", "/readyz", "/api/v1/overview", "/api/v1/runs",
    "/api/v1/policies", "/api/v1/integrations", "/api/v1/openapi.json", "/login", "/nowhere", "/api/v1/runs?after=zzz",
)  # fmt: skip
COMMANDS = (
    ("status",), ("status", "--json"), ("doctor", "--json"), ("notify", "test"), ("audit", "--run", "f" * 32, "-v"),
)  # fmt: skip


def test_no_secret_comes_out(place: Workplace, postgres_server: Postgres) -> None:
    with odd_server() as refusing:
        refusing.answer = quoting
        env = planted(place, refusing.url, postgres_server.database())
        uri = str(place.folder / "mlruns")
        good, telling = training.train(uri), train_telling(uri)
        hostile = [train_hostile(uri, how) for how in ("deep", "pipe")]
        said: dict[str, str] = {}
        with place.service(**env) as service:
            eventually(lambda: training.status(uri, good) == "pass", workplace=place)
            eventually(lambda: training.status(uri, telling) == "error", workplace=place)
            place.await_log("store.down", count=2)
            place.await_log("notify.waits")
            said |= {f"process {key}": text for key, text in of_processes(service.pid)}
            said |= {url: asked(env, url) for url in PAGES}
            store = json.loads(said["/api/v1/runs"])["rows"][0]["store"]
            for run in (good, telling, *hostile):
                said[run] = asked(env, f"/runs/{store}/{run}") + asked(env, f"/api/v1/runs/{store}/{run}")
            for words in COMMANDS:
                done = place.run(*words, check=None, **env)
                said[" ".join(words)] = done.stdout + done.stderr
        broken = f"postgresql://agent:{CANARY['database']}@127.0.0.1:1/none"
        for words, changed in ((("status",), broken), (("status",), f"mysql://u:{CANARY['database']}@h/x")):
            done = place.run(*words, check=None, **env | {"VENTURALITICA_STATE": changed})
            assert done.returncode, done.stdout
            said[f"{words} with {changed.partition(':')[0]}"] = done.stdout + done.stderr
        assert any("Authorization" in headers for _, headers in refusing.seen), "no secret was shown to the server"
    said["database"] = dumped(env["VENTURALITICA_STATE"])
    said |= {str(path.relative_to(place.folder)): text for path, text in written(place.folder)}

    assert "no-secret-here" in said[telling], "what the model printed is told, so that its secrets would be"
    assert "canary" not in said[telling].replace("canary failed", "")
    assert good in said["database"]
    assert good in said["status --json"]
    leaks = {f"{word} in {where}" for where, text in said.items() for word, form in forms(place) if form in text}
    assert sorted(leaks) == []


def forms(place: Workplace) -> Iterator[tuple[str, str]]:
    """Each canary as it is, in a URL and in the header of a login; and the private keys that the service made."""
    for word, value in CANARY.items():
        yield word, value
        yield word, quote(value, safe="")
        yield word, quote(value)
        yield word, f"of-mine@{word}"
    pairs = [("api", CANARY["wandb"]), (CANARY["tracking-user"], CANARY["tracking-password"])]
    pairs += [("user", CANARY["login"]), ("user", CANARY["channel"])]
    for name, value in pairs:
        yield "login", base64.b64encode(f"{name}:{value}".encode()).decode()
    for key in (place.folder / ".venturalitica").rglob("*"):
        if key.is_file() and "keys" in key.parts and "PRIVATE" in key.read_text(errors="replace"):
            yield key.name, key.read_text().splitlines()[1]


def planted(place: Workplace, server: str, database: str) -> dict[str, str]:
    """agent.yaml, .env and the files that they name, with a canary each; returns the environment with the others."""
    host = urlsplit(server).netloc
    uri = str(place.folder / "mlruns")
    MlflowClient(uri).create_experiment(training.EXPERIMENT)
    login = f"http://user:{quote(CANARY['login'], safe='')}@{host}"
    extra = f"  - wandb: acme/credit\nnotify:\n  - {{{{name: team, on: [pass, fail, error, store]}}}}\n{AUDITS}"
    place.configure([uri, login], audits=extra)
    (place.folder / ".env").write_text(
        f"MLFLOW_TRACKING_TOKEN={CANARY['tracking-token']}\nWANDB_API_KEY={CANARY['wandb']}\nMORE={CANARY['dotenv']}\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = place.folder / "token"
    token.write_text(quote(CANARY["web-token"], safe=""))
    parts = urlsplit(database)
    state = f"postgresql://agent:{quote(CANARY['database'], safe='')}@{parts.hostname}:{parts.port}{parts.path}"
    return {
        "SOME_PASSWORD": CANARY["environment"],
        "AWS_SECRET_ACCESS_KEY": CANARY["storage"],
        "MLFLOW_TRACKING_USERNAME": CANARY["tracking-user"],
        "MLFLOW_TRACKING_PASSWORD": CANARY["tracking-password"],
        "WANDB_BASE_URL": server,
        "VENTURALITICA_STATE": state,
        "VENTURALITICA_WEB_SERVE": "true",
        "VENTURALITICA_WEB_PORT": str(port),
        "VENTURALITICA_WEB_TOKEN_FILE": str(token),
        "VENTURALITICA_NOTIFY_TEAM": f"json://user:{quote(CANARY['channel'], safe='')}@{host}/"
        + quote(CANARY["channel-path"], safe=""),
    }


def quoting(handler: Handler) -> None:
    """A server that refuses, and says which credentials it refuses."""
    quoted = f"no entry for {handler.headers.get('Authorization')} at http://user:x@host{handler.path}"
    body = {"error_code": "PERMISSION_DENIED", "message": quoted, "errors": [{"message": quoted}]}
    handler.say(403, json.dumps(body).encode(), Content_Type="application/json")


def train_telling(uri: str) -> str:
    """A run whose model prints and raises everything that its environment holds, when it predicts."""

    class Telling:
        feature_names_in_ = ("income",)

        def predict(self, _: object) -> None:
            found = [dict(os.environ), Path("/proc/1/environ").read_bytes() if os.access("/proc/1/environ", 4) else b""]
            raise RuntimeError(f"no-secret-here {found}")

    run = training.train(uri, model=False, name="telling")
    folder = Path(shutil.copytree(training.saved(True), training.saved(True).parent / run))
    (folder / "model.pkl").write_bytes(cloudpickle.dumps(Telling()))
    client = MlflowClient(uri)
    model = client.create_logged_model(client.get_run(run).info.experiment_id, name="model", source_run_id=run)
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run, [LoggedModelOutput(model.model_id, 0)])
    return run


def train_hostile(uri: str, how: str) -> str:
    """A run whose record ends or holds up whoever reads it without care."""
    run = training.train(uri, model=False, data=False, name=how)
    folder = Path(mlflow.get_run(run).info.artifact_uri.removeprefix("file://")).parent
    if how == "pipe":
        os.mkfifo(folder / "tags" / "pipe")
    else:
        with (folder / "meta.yaml").open("a") as file:
            file.write("more: " + "[" * 60_000)
    return run


def asked(env: dict[str, str], path: str) -> str:
    """An answer of the page with its headers, whatever its status."""
    url = f"http://127.0.0.1:{env['VENTURALITICA_WEB_PORT']}{path}"
    token = Path(env["VENTURALITICA_WEB_TOKEN_FILE"]).read_text()
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"}))
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        body: str = answer.read().decode()
        return body if body.startswith(("{", "[")) else f"{answer.headers}{body}"


def of_processes(agent: int) -> Iterator[tuple[str, str]]:
    """The command line of every process of the agent, and the environment of those in the sandbox."""
    parents = {agent}
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        with suppress(OSError):
            parent = int(process.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            if int(process.name) in parents or parent in parents:
                parents.add(int(process.name))
                line = process.joinpath("cmdline").read_bytes().decode(errors="replace")
                yield f"{process.name} command", line
                if "bwrap" in line or "worker.py" in line:
                    yield f"{process.name} environment", process.joinpath("environ").read_bytes().decode()


def dumped(state: str) -> str:
    """The whole database of the state, the engine's tables too, as text."""
    done = subprocess.run([program("pg_dump"), "--inserts", state], capture_output=True, text=True, check=True)
    return done.stdout


def written(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file below the folder, but those that we put the canaries into, and private keys."""
    for path in folder.rglob("*"):
        own = path.parent == folder and path.name in ("agent.yaml", ".env", "token")
        if path.is_file() and not own and "keys" not in path.parts:
            yield path, path.read_bytes().decode(errors="replace")
