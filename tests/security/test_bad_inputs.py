"""One table of bad inputs: each made for real, put where whoever trains (or a store) would put it, and met by the very
code that the service meets it with. The expected reaction is the words that a person reads, or what is made of it."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import socket
import sqlite3
import unicodedata
from collections.abc import Callable
from contextlib import chdir, closing, redirect_stderr
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import structlog
from support.odd_server import odd_server
from support.page_state import PageState

from venturalitica_agent.attest.report import text as in_markdown
from venturalitica_agent.cli.terminal import untrusted
from venturalitica_agent.domain.run import LoggedDataset, Run, RunRef, RunStatus
from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.errors import AgentError
from venturalitica_agent.fetch import tables
from venturalitica_agent.fetch.mlmodel import parse_mlmodel
from venturalitica_agent.fetch.sources import from_dataset
from venturalitica_agent.logging import clean, configure, get_logger
from venturalitica_agent.once import run_named
from venturalitica_agent.policy.load import parse_policy
from venturalitica_agent.settings import load_settings
from venturalitica_agent.state.listing import Listing, Wanted
from venturalitica_agent.stores import local_files
from venturalitica_agent.stores.memory import MemoryStore
from venturalitica_agent.stores.mlflow_artifacts import Artifacts
from venturalitica_agent.stores.mlflow_asking import Asking
from venturalitica_agent.stores.mlflow_file import MlflowFileStore
from venturalitica_agent.stores.mlflow_sqlite import MlflowSqliteStore
from venturalitica_agent.stores.naming import redacted
from venturalitica_agent.web.templating import environment, name, outside

SECRET = "root-of-all"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(c + 1)}: &{chr(c + 1)} [{', '.join([f'*{chr(c)}'] * 9)}]\n" for c in range(ord("a"), ord("i"))
)


# What the agent reads of MLflow's tables.
_DATABASE = """
CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name, lifecycle_stage);
CREATE TABLE runs (run_uuid, experiment_id, status, start_time, end_time, lifecycle_stage);
CREATE TABLE inputs (source_type, source_id, destination_type, destination_id);
INSERT INTO experiments VALUES (1, 'loans', 'active');
INSERT INTO runs VALUES ('good', 1, 'FINISHED', 1000, 2000, 'active'), ('bad', 1, 'FINISHED', 1000, 3000, 'active');
"""


class Lab:
    """A folder with a secret beside it, and a real MLflow file store with one finished run."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.folder = folder
        self.secret = folder / "secret.txt"
        self.secret.write_text(SECRET)
        self.artifacts = folder / "artifacts"
        self.artifacts.mkdir()
        shutil.copytree(template, folder / "mlruns")
        (meta,) = (folder / "mlruns").glob("[1-9]*/*/meta.yaml")
        self.run = meta.parent
        self.store = MlflowFileStore(folder / "mlruns")

    def meta(self, change: Callable[[str], str]) -> Run:
        """The run as the store reads it after its `meta.yaml` was changed."""
        file = self.run / "meta.yaml"
        file.write_bytes(os.fsencode(change(file.read_text())))
        return self.read()

    def read(self) -> Run:
        (ref,) = self.store.scan()
        assert ref.run_id == self.run.name
        return self.store.get_run(ref.run_id)

    def experiment(self, more: str) -> str:
        file = self.run.parent / "meta.yaml"
        kept = "".join(line for line in file.read_text().splitlines(True) if not line.startswith("name:"))
        file.write_text(kept + more)
        return str(dict(self.store.experiments()))

    def plant(self, where: str, how: Callable[[Path], Any]) -> Run:
        path = self.run / where
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        how(path)
        return self.read()

    def written_through(self) -> str:
        (self.run / "tags" / "venturalitica.status").symlink_to(self.secret)
        try:
            self.store.set_tags(self.run.name, {"venturalitica.status": "pass"})
        finally:
            assert self.secret.read_text() == SECRET
        return "written"

    def model_record(self) -> str:
        (model,) = (self.run.parent / "models").iterdir()
        os.mkfifo(model / "tags" / "pipe")
        return str(self.read().models)

    def rows(self, change: str) -> str:
        """The run ids, names and end times that an `mlflow.db` with one run beside a bad one shows."""
        file = self.folder / "mlflow.db"
        with closing(sqlite3.connect(file)) as db:
            db.executescript(_DATABASE + change)
        store = MlflowSqliteStore(file)
        return f"{sorted((ref.run_id, ref.end_time) for ref in store.scan())} {dict(store.experiments())}"

    def dataset_record(self) -> str:
        (record,) = (self.run.parent / "datasets").glob("*/meta.yaml")
        record.unlink()
        os.mkfifo(record)
        return str(self.read().datasets)

    def listed(self, how: Callable[[Path], Any], as_: str = "data.csv") -> str:
        """What a listing and a copy of the artifacts make of a thing among them."""
        path = self.artifacts / as_
        how(path)
        found = [path for path, _ in local_files.list_regular(self.artifacts)]
        return " ".join(found)

    def copied(self, path: str) -> str:
        local_files.copy_regular(self.artifacts, path, self.folder / "copy")
        return (self.folder / "copy").read_text()

    def location(self, uri: str) -> str:
        with odd_server() as tracking:
            artifacts = Artifacts(tracking.url, [self.artifacts], Asking(tracking.url))
            try:
                return str(artifacts.files(uri))
            finally:
                assert tracking.seen == []

    def sent_on(self) -> str:
        """A tracking server that sends whoever asks for artifacts to another address."""
        with odd_server() as tracking, odd_server() as other:
            tracking.answer = lambda handler: handler.say(307, Location=f"{other.url}{handler.path}")
            try:
                return str(Artifacts(tracking.url, [], Asking(tracking.url)).files("mlflow-artifacts:/x"))
            finally:
                assert tracking.seen
                assert other.seen == []

    def dataset(self, uri: str) -> str:
        (self.folder / "data").mkdir()
        run = Run(RunRef("m", "r", "1", RunStatus.FINISHED), "n", "e", "memory:/r")
        logged = LoggedDataset("loan", "d", "eval", "http", json.dumps({"url": uri}), "{}", "{}")
        return from_dataset(MemoryStore(), run, logged, [self.folder / "data"]).origin

    def redirecting(self) -> str:
        """A dataset on an address that would lead on to the machine's metadata."""
        with odd_server() as server:
            server.answer = lambda handler: handler.say(302, Location="http://169.254.169.254/latest/meta-data")
            try:
                return self.dataset(f"{server.url}/test.csv")
            finally:
                assert server.seen == []

    def table(self, content: bytes, format_: str = "csv") -> str:
        path = self.folder / f"table.{format_}"
        path.write_bytes(content)
        return str(tables.describe(path, format_))

    def read_table(self, content: bytes, format_: str) -> str:
        path = self.folder / f"table.{format_}"
        path.write_bytes(content)
        return str(tables.read_table(path, format_).shape)

    def searched(self, text: str) -> str:
        """The names that a search for `text` finds, and those that are still there after it."""
        state = PageState(self.folder / "page")
        try:
            for number, called in enumerate(("100%", "1000", "O'Hara")):
                state.decide(f"run{number}", Status.PASS, at=1_800_000_000.0 + number, name=called)
            page = Listing(state.engine)
            found = [row["run_name"] for row in page.page(Wanted(text=text), size=9).rows]
            return f"{found} of {page.page(Wanted(), size=9).total}"
        finally:
            state.close()

    def logged(self, *, as_json: bool) -> str:
        """What the log says of an error that quotes a login, with its traceback."""
        with redirect_stderr(io.StringIO()) as said:
            configure(as_json=as_json)
            error = ValueError(f"http://u:{SECRET}@host {ESCAPES}")
            get_logger("bad").warning("tracker.odd", names=[ESCAPES, str(error)], exc_info=error)
            structlog.reset_defaults()
        assert "\x1b[2J" not in said.getvalue()
        return said.getvalue().encode("ascii", "replace").decode()

    def configured(self, store: str) -> str:
        (self.folder / "agent.yaml").write_text(f"stores: [{{mlflow: {json.dumps(store)}}}]\npolicies: .\n")
        settings = load_settings(self.folder / "agent.yaml", env={}, cwd=self.folder)
        return settings.stores[0].shown + redacted(settings.stores[0].uri)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real file store: an experiment, a finished run with a tag, a parameter and a logged model."""
    from mlflow import MlflowClient
    from mlflow.entities import Dataset, DatasetInput, LoggedModelOutput, Param, RunTag

    root = tmp_path_factory.mktemp("template") / "mlruns"
    client = MlflowClient(str(root))
    experiment = client.create_experiment("loans")
    run = client.create_run(experiment, run_name="honest").info.run_id
    client.log_batch(run, params=[Param("depth", "3")], tags=[RunTag("team", "risk")])
    model = client.create_logged_model(experiment, name="model", source_run_id=run, tags={"a": "b"})
    client.log_outputs(run, [LoggedModelOutput(model.model_id, 0)])
    client.log_inputs(run, [DatasetInput(Dataset("d", "0123abcd", "local", "{}"), [])])
    client.set_terminated(run)
    return root


@pytest.fixture
def lab(tmp_path: Path, template: Path) -> Lab:
    return Lab(tmp_path, template)


def policy(more: str) -> Callable[[Lab], object]:
    text = f'policy: p\nversion: "1"\ncontrols:\n- {{id: a, metric: accuracy, require: ">= 0.5"}}\n{more}'
    return lambda lab: parse_policy(text.encode(), "p.yaml").id


def mlmodel(text: str) -> Callable[[Lab], object]:
    return lambda lab: parse_mlmodel(text.encode())


def parquet(change: Callable[[bytes], bytes]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2, 3]}), out)
    return change(out.getvalue())


def parquet_bomb() -> bytes:
    """Some kilobytes that unpack to gigabytes: one text of 1 MB, named by each of 6,000 rows."""
    out = io.BytesIO()
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 6000, pa.int32()), pa.array(["x" * (1 << 20)]))
    pq.write_table(pa.table({"a": column}), out, compression="zstd", store_schema=False)
    return out.getvalue()


def twins(path: Path) -> None:
    """Two names that look the same."""
    for form in ("NFC", "NFD"):
        path.with_name(unicodedata.normalize(form, "é.csv")).write_text(form)


def page_of(value: str) -> str:
    return environment().from_string("<a title='{{ x | name }}'>{{ x | name }}</a>").render(x=value)


NOT_REGULAR = "UntrustedInput: * is not a regular file"
NOT_FETCHED = "Unfit: * is not fetched from the network"
REFUSED_PATH = "UntrustedInput: * this artifact path is refused"
MARKUP = "<img src=x onerror=alert(1)>"
ESCAPES = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe"
LINK_LOCAL = ("169.254.169.254", "metadata.google.internal", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376")
LOOPBACK = ("127.0.0.1:22", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0177.1", "0", "10.0.0.1")

# name -> (what is done, what comes of it: words in this order, * for anything between them)
ROWS: dict[str, tuple[Callable[[Lab], object], str]] = {
    # -- MLflow's records, written by whoever trains
    "meta.yaml nests deeply": (
        lambda lab: lab.meta(lambda text: text + "more: " + "[" * 60_000),
        "RecordUnreadable: * nests deeper than 50 levels",
    ),
    "meta.yaml of a deep map": (
        lambda lab: lab.meta(lambda text: text + "more: " + "{a: " * 15_000),
        "RecordUnreadable: * nests deeper than 50 levels",
    ),
    "meta.yaml is a bomb of aliases": (
        lambda lab: lab.meta(lambda text: text.replace("run_name: honest", "run_name: *i") + BOMB),
        "RecordUnreadable: * alias",
    ),
    "meta.yaml asks for a Python object": (
        lambda lab: lab.meta(lambda text: text + "more: !!python/object/apply:os.system [id]"),
        "RecordUnreadable: * could not determine a constructor",
    ),
    "meta.yaml with a number of 5,000 digits": (
        lambda lab: lab.meta(lambda text: text.replace("start_time: ", "start_time: " + "9" * 5000)),
        "RecordUnreadable: * ValueError",
    ),
    "meta.yaml is not UTF-8": (
        lambda lab: lab.meta(lambda text: text.replace("honest", os.fsdecode(b"\xff\xfe"))),
        "RecordUnreadable: * UnicodeDecodeError",
    ),
    "a run's name is a list": (
        lambda lab: repr(lab.meta(lambda text: text.replace("run_name: honest", "run_name: [a, b]")).name),
        "''",
    ),
    "a run's name of 70 kB": (
        lambda lab: len(lab.meta(lambda text: text.replace("honest", "n" * 70_000)).name),
        "500",
    ),
    "a run's name holds a line that says deleted": (
        lambda lab: lab.meta(lambda text: text.replace("honest", '"n\nlifecycle_stage: deleted\nm"')).ref.deleted,
        "False",
    ),
    "a run's name holds a line that says running": (
        lambda lab: lab.meta(lambda text: text.replace("honest", '"n\nstatus: 1\nm"')).ref.status,
        "FINISHED",
    ),
    "a run that ends after the year 9999": (
        lambda lab: lab.meta(lambda text: text.replace("end_time: ", "end_time: 99999")).ref.end_time,
        "None",
    ),
    "a tag of 10 MB": (
        lambda lab: len(lab.plant("tags/big", lambda path: path.write_text("x" * 10_000_000)).tags["big"]),
        "10000000",
    ),
    "a tag is a pipe": (lambda lab: lab.plant("tags/pipe", os.mkfifo), NOT_REGULAR),
    "a tag is a socket": (lambda lab: lab.plant("tags/s", _socket), NOT_REGULAR),
    "a run's name is a link to a secret": (
        lambda lab: lab.plant("tags/mlflow.runName", lambda path: path.symlink_to(lab.secret)),
        NOT_REGULAR,
    ),
    "a parameter is a device": (
        lambda lab: lab.plant("params/zero", lambda path: path.symlink_to("/dev/zero")),
        NOT_REGULAR,
    ),
    "the folder of tags is a link": (
        lambda lab: lab.plant("tags", lambda path: path.symlink_to(lab.folder)),
        NOT_REGULAR,
    ),
    "a tag's name with a line break and escapes": (
        lambda lab: lab.plant("tags/a\n\x1b[31m", lambda path: path.write_text("v")),
        "UntrustedInput: * control characters",
    ),
    "the verdict's tag is a link": (lambda lab: lab.written_through(), NOT_REGULAR),
    "a logged model's record is a pipe": (lambda lab: lab.model_record(), NOT_REGULAR),
    "a logged dataset's record is a pipe": (lambda lab: lab.dataset_record(), NOT_REGULAR),
    "an experiment's name nests deeply": (lambda lab: lab.experiment("name: " + "[" * 60_000), "{'0': 'Default'}"),
    "an experiment's name is a bomb": (lambda lab: lab.experiment(BOMB + "name: *i\n"), "{'0': 'Default'}"),
    "an experiment's name is a map": (lambda lab: lab.experiment("name: {a: b}\n"), "{'0': 'Default'}"),
    "an id that is a path": (lambda lab: lab.store.look("../../secret.txt"), "None"),
    "an id that is SQL": (lambda lab: run_named("1' OR '1'='1", words=False), "ConfigError: * names no run"),
    "an id that is a path, on the command line": (
        lambda lab: run_named("../../etc/passwd", words=False),
        "ConfigError: * names no run",
    ),
    # -- rows of a database
    "a row with a status that is none": (
        lambda lab: lab.rows("UPDATE runs SET status = 'ZOMBIE' WHERE run_uuid = 'bad'"),
        "[('good', 2000)]",
    ),
    "a row without a status": (
        lambda lab: lab.rows("UPDATE runs SET status = NULL WHERE run_uuid = 'bad'"),
        "[('good', 2000)]",
    ),
    "a row whose id is a path": (
        lambda lab: lab.rows("UPDATE runs SET run_uuid = '../../etc' WHERE run_uuid = 'bad'"),
        "[('good', 2000)]",
    ),
    "a row whose id has 5,000 characters": (
        lambda lab: lab.rows(f"UPDATE runs SET run_uuid = '{'a' * 5000}' WHERE run_uuid = 'bad'"),
        "[('good', 2000)]",
    ),
    "a row whose id is bytes": (
        lambda lab: lab.rows("UPDATE runs SET run_uuid = x'ff00' WHERE run_uuid = 'bad'"),
        "[('good', 2000)]",
    ),
    "a row that ends after the year 9999": (
        lambda lab: lab.rows("UPDATE runs SET end_time = 99999999999999999 WHERE run_uuid = 'bad'"),
        "('bad', None), ('good', 2000)",
    ),
    "an experiment whose name is no text": (
        lambda lab: lab.rows("UPDATE experiments SET name = CAST(x'6cff' AS TEXT)"),
        "{'1': 'l\ufffd'}",
    ),
    "an experiment whose name is bytes": (lambda lab: lab.rows("UPDATE experiments SET name = x'ff'"), "{'1': ''}"),
    # -- names and kinds of artifacts
    "an artifact is a link": (lambda lab: lab.listed(lambda p: p.symlink_to(lab.secret)), NOT_REGULAR),
    "an artifact is a link to a folder": (lambda lab: lab.listed(lambda p: p.symlink_to(lab.folder)), NOT_REGULAR),
    "an artifact is a pipe": (lambda lab: lab.listed(os.mkfifo), NOT_REGULAR),
    "an artifact is a socket": (lambda lab: lab.listed(_socket), NOT_REGULAR),
    "an artifact behind a link": (
        lambda lab: (
            (lab.listed(lambda p: None), (lab.artifacts / "up").symlink_to(lab.folder)) and lab.copied("up/secret.txt")
        ),
        "UntrustedInput: * behind one",
    ),
    "an upward path": (lambda lab: lab.copied("data/../../secret.txt"), REFUSED_PATH),
    "an absolute path": (lambda lab: lab.copied(str(lab.secret)), REFUSED_PATH),
    "a path with a NUL": (lambda lab: lab.copied("a\0b"), REFUSED_PATH),
    "a path of another system": (lambda lab: lab.copied("..\\secret.txt"), REFUSED_PATH),
    "a path of 2,000 characters": (lambda lab: lab.copied("a/" * 1000), REFUSED_PATH),
    "a name of 300 bytes": (lambda lab: lab.copied("a" * 300), "PermanentError: * there is no such file"),
    "a name of 255 bytes": (lambda lab: lab.listed(Path.touch, "a" * 255), "a" * 255),
    "a name with a line break": (lambda lab: lab.listed(Path.touch, "a\nb"), REFUSED_PATH),
    "a name that turns the text": (lambda lab: lab.listed(Path.touch, "\u202evsc.atad"), REFUSED_PATH),
    "a name that is no text": (lambda lab: lab.listed(Path.touch, os.fsdecode(b"\xff.csv")), REFUSED_PATH),
    "names that differ in case": (
        lambda lab: (lab.listed(Path.touch, "Model.pkl"), lab.listed(Path.touch, "model.pkl"))[1],
        "Model.pkl model.pkl",
    ),
    "names that look the same": (lambda lab: len(set(lab.listed(twins).split())), "2"),
    # -- where artifacts are said to be
    "artifacts behind http": (lambda lab: lab.location("http://169.254.169.254/x"), "UntrustedInput: * `http:`"),
    "artifacts behind ftp": (lambda lab: lab.location("ftp://host/x"), "UntrustedInput: * `ftp:`"),
    "artifacts of another server": (
        lambda lab: lab.location("mlflow-artifacts://evil.example/x"),
        "UntrustedInput: * another server",
    ),
    "artifacts of another port": (
        lambda lab: lab.location("mlflow-artifacts://127.0.0.1:1/x"),
        "UntrustedInput: * another server",
    ),
    "artifacts with somebody's login": (
        lambda lab: lab.location(f"mlflow-artifacts://u:{SECRET}@evil.example/x"),
        "UntrustedInput: mlflow-artifacts://evil.example/x: * another server",
    ),
    "artifacts behind a redirect": (lambda lab: lab.sent_on(), "StoreUnavailable: http://127.0.0.1"),
    "artifacts of a port that is none": (
        lambda lab: lab.location("mlflow-artifacts://h:99999/x"),
        "UntrustedInput: * another server",
    ),
    "artifacts of another machine": (lambda lab: lab.location("file://evil/etc"), "UntrustedInput: * another machine"),
    "artifacts outside the roots": (lambda lab: lab.location("file:///etc"), "UntrustedInput: * lies outside"),
    "artifacts upward of the roots": (
        lambda lab: lab.location(f"{lab.artifacts}/.."),
        "UntrustedInput: * lies outside",
    ),
    "artifacts nowhere": (lambda lab: lab.location(""), "UntrustedInput: * empty location"),
    # -- where data is said to be
    **{
        f"data on {host}": (lambda lab, host=host: lab.dataset(f"http://{host}/t.csv"), NOT_FETCHED)
        for host in LINK_LOCAL
    },
    **{
        f"data on {host}": (lambda lab, host=host: lab.dataset(f"https://{host}/t.csv"), NOT_FETCHED)
        for host in LOOPBACK
    },
    "data behind a redirect": (lambda lab: lab.redirecting(), NOT_FETCHED),
    "data behind gopher": (lambda lab: lab.dataset("gopher://127.0.0.1:6379/_FLUSHALL"), NOT_FETCHED),
    "data in the URI": (lambda lab: lab.dataset("data:text/csv,a"), NOT_FETCHED),
    "data in a file outside": (lambda lab: lab.dataset("file:///etc/passwd"), "UntrustedInput: * lies outside"),
    "data in a file outside, encoded": (
        lambda lab: lab.dataset("file:///%65tc/%2e%2e/etc/passwd"),
        "UntrustedInput: * is refused",
    ),
    "data on another machine's file": (
        lambda lab: lab.dataset("file://evil/t.csv"),
        "UntrustedInput: * another machine",
    ),
    "data whose URI is none": (lambda lab: lab.dataset("http://[::1/t.csv"), "UntrustedInput: * is no URI"),
    # -- policies
    "a policy of aliases": (policy(BOMB), "InvalidDocument: * once aliases are expanded"),
    "a policy that nests deeply": (policy("x: " + "[" * 5000), "InvalidDocument: * levels"),
    "a policy with two equal keys": (policy("policy: q\n"), "InvalidDocument: * is given twice"),
    "a policy with a tag": (policy("x: !!python/name:os.system ''"), "InvalidDocument: * tag"),
    "a policy with .nan": (policy("x: .nan"), "InvalidDocument: * is not a finite number"),
    "a policy with too many digits": (policy("x: " + "9" * 30), "InvalidDocument: * too many digits"),
    "a policy with a NUL": (policy("x: a\0b"), "InvalidDocument: * is not allowed in YAML"),
    "a policy of 2 MB": (policy("x: " + "y" * (2 << 20)), "InvalidDocument: * larger than 1,048,576 bytes"),
    # -- descriptions of models
    "MLmodel of aliases": (mlmodel(BOMB), "UntrustedInput: * once aliases are expanded"),
    "MLmodel that nests deeply": (mlmodel("flavors: " + "{a: " * 5000), "UntrustedInput: * levels"),
    "MLmodel with two loaders": (
        mlmodel("flavors:\n  python_function: {loader_module: mlflow.sklearn, loader_module: evil}\n"),
        "UntrustedInput: * is given twice",
    ),
    "MLmodel with a loader of its own": (
        mlmodel("flavors: {python_function: {loader_module: evil}}\n"),
        "UntrustedInput: * loader_module is 'evil'",
    ),
    "MLmodel that leads out of the model": (
        mlmodel(
            "flavors:\n  python_function: {loader_module: mlflow.sklearn}\n"
            "  sklearn: {pickled_model: ../../../etc/passwd}\n"
        ),
        "UntrustedInput: * is not a plain relative name",
    ),
    # -- tables
    "CSV that is gzip": (lambda lab: lab.table(gzip.compress(b"a,b\n" * 1000)), "Unfit: line 1: not UTF-8 text"),
    "CSV of an endless line": (lambda lab: lab.table(b"a" * (5 << 20)), "Unfit: line 1: longer than"),
    "CSV of a million columns": (lambda lab: lab.table(b"a," * 1_000_000), "Unfit: line 1: 1,000,001 columns"),
    "CSV with a quote without end": (lambda lab: lab.table(b'a\n"' + b"x\n" * 99_999), "Unfit: * field larger than"),
    "CSV with two equal columns": (lambda lab: lab.table(b"a,a\n1,2\n"), "Unfit: * 'a' occur more than once"),
    "CSV with a row too long": (lambda lab: lab.table(b"a,b\n1,2\n1,2,3\n"), "Unfit: line 3: 3 cells"),
    "CSV with a NUL": (lambda lab: lab.table(b"a,b\n1,\0\n"), "Unfit: line 2: holds a NUL"),
    "an archive by its name": (lambda lab: tables.format_of("data.csv.gz"), "Unfit: * is not a table that we read"),
    "parquet without its end": (lambda lab: lab.table(parquet(lambda b: b[:-9]), "parquet"), "Unfit: * can't be read"),
    "parquet with a footer of 4 GB": (
        lambda lab: lab.table(parquet(lambda b: b[:-8] + b"\xff\xff\xff\xff" + b[-4:]), "parquet"),
        "Unfit: * can't be read",
    ),
    "parquet that unpacks to gigabytes": (
        lambda lab: lab.read_table(parquet_bomb(), "parquet"),
        "Unfit: * unpacks to more than",
    ),
    "JSON that nests deeply": (lambda lab: lab.table(b"[" * 100_000, "json-split"), "Unfit: * not JSON"),
    "JSON with 500 digits": (
        lambda lab: lab.read_table(b'{"columns": ["a"], "data": [[%s]]}' % (b"9" * 500), "json-split"),
        "Unfit: * numbers of more than 64 bits",
    ),
    # -- names that are shown
    "markup on a page": (
        lambda lab: page_of(f"{MARKUP}' onclick='x"),
        "<a title='&lt;img src=x onerror=alert(1)&gt;&#39; onclick=&#39;x'>",
    ),
    "escapes on a page": (lambda lab: page_of(ESCAPES), "\ufffd]0;owned\ufffd\ufffd[2J\ufffdgnp.exe</a>"),
    "a template on a page": (lambda lab: page_of("{{ 7 * 7 }}"), "{{ 7 * 7 }}</a>"),
    "a name of a megabyte on a page": (lambda lab: len(name("x" * (1 << 20))), "80"),
    "a link that is a script": (lambda lab: repr(outside("javascript:alert(1)//http://x")), "''"),
    "a link that turns the text": (lambda lab: repr(outside("https://x/\u202egnp")), "''"),
    "escapes in a table of the terminal": (lambda lab: repr(untrusted(ESCAPES).plain), "\ufffd]0;owned"),
    "a line break in a table of the terminal": (
        lambda lab: repr(untrusted("good\nverdict: pass").plain),
        "'good verdict: pass'",
    ),
    "rich's own markup in the terminal": (lambda lab: repr(untrusted("[red]x[/red]").plain), "'[red]x[/red]'"),
    "markup in a report": (lambda lab: in_markdown(MARKUP), "&lt;img"),
    "invisible text in a log": (lambda lab: clean("a\u2060\ufeff\u061c\U000e0041b"), "a\ufffd\ufffd\ufffd\ufffdb"),
    # -- searches
    "SQL in a search": (lambda lab: lab.searched("'; DROP TABLE verdicts; --"), "[] of 3"),
    "a quote in a search": (lambda lab: lab.searched("o'h"), '["O\'Hara"] of 3'),
    "a wildcard in a search": (lambda lab: lab.searched("0%"), "['100%'] of 3"),
    "an underscore in a search": (lambda lab: lab.searched("1_0"), "[] of 3"),
    # -- logins in what the configuration names
    "a password with a slash": (
        lambda lab: lab.configured(f"https://u:a/{SECRET}@host"),
        "InvalidDocument: * must be an http(s) URL, not 'https://***@host'",
    ),
    "a database's password with a slash": (
        lambda lab: lab.configured(f"postgresql://u:a/{SECRET}@host/db"),
        "postgresql://***@host/dbpostgresql://host/db",
    ),
    "a password with an @": (lambda lab: clean(f"GET https://u:a@{SECRET}@host/x"), "GET https://***@host/x"),
    "a password in a log": (lambda lab: lab.logged(as_json=True), "http://***@host * ValueError: http://***@host"),
    "a password in a terminal's log": (
        lambda lab: lab.logged(as_json=False),
        "http://***@host * ValueError: http://***@host",
    ),
    "a password in a query": (lambda lab: clean(f"https://host/?password={SECRET}&x=1"), "password=***&x=1"),
}


def _socket(path: Path) -> None:
    with chdir(path.parent), socket.socket(socket.AF_UNIX) as made:  # a socket's path must be short
        made.bind(path.name)


def _reaction(meet: Callable[[Lab], object], lab: Lab) -> str:
    """The error as a person reads it, on one line with its kind before it; else what came of the input."""
    try:
        return str(meet(lab))
    except AgentError as error:
        return f"{type(error).__name__}: {error} "


@pytest.mark.parametrize("case", ROWS)
def test_a_bad_input_meets_its_reaction(lab: Lab, case: str) -> None:
    meet, expected = ROWS[case]
    came = _reaction(meet, lab)
    rest = came
    for words in expected.split(" * "):
        assert words in rest, came[:2000]
        rest = rest.partition(words)[2]
    assert SECRET not in came
    if came.partition(":")[0].endswith(("Input", "Unreadable", "Error", "Unfit")):
        assert all(character.isprintable() for character in came.replace("\n", "")), repr(came[:2000])
