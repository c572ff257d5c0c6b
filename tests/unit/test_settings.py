"""agent.yaml, the environment, `.env`, and the bare folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.domain.policy import Selector
from venturalitica_agent.domain.subject import ColumnBinding, DataPlan, DataRef
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.settings import Settings, default_agent_yaml, load_settings
from venturalitica_agent.settings.values import duration, size
from venturalitica_agent.strict_yaml import BadValue, InvalidDocument, Scalar

MINIMAL = "stores: [{mlflow: ./mlruns}]\npolicies: ./policies\n"
AUDIT = MINIMAL + "audits:\n- {name: a, runs: {}, policy: p,\n"


def load(folder: Path, text: str | None = None, **env: str) -> Settings:
    if text is not None:
        (folder / "agent.yaml").write_text(text)
    return load_settings(None, env=env, cwd=folder)


def refused(folder: Path, text: str, **env: str) -> InvalidDocument:
    with pytest.raises(InvalidDocument) as caught:
        load(folder, text, **env)
    return caught.value


def test_the_example_of_the_design_loads(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        """
stores:
  - mlflow: ./mlruns
    ui: http://localhost:5000
    artifacts: [./data, /srv/data]
  - wandb: acme/credit
    poll: 30s
  - wandb_offline: ./wandb
policies: ./policies
audits:
  - name: loan
    runs: {experiment: "loan*", tags: {team: risk, version: 1.10}}
    policy: credit-scoring
    data:
      evaluation: {artifact: "data/test.*"}
      training: {dataset: train}
    columns:
      target: {column: class, positive: 1}
      gender: {column: Attribute9, groups: {male: [A91, A93, A94], female: [A92, A95]}}
      age: {column: Attribute13, bins: [25]}
      income: salary
  - name: rest
    runs: {status: [FINISHED, FAILED]}
    policy: [a, b]
    data: {evaluation: {file: data/test.csv}}
    auto: true
settle: 500ms
state: postgresql://agent:secret@db/audits
web: {host: 0.0.0.0, port: 80}
""",
    )
    mlflow, wandb, offline = found.stores
    assert (mlflow.kind, mlflow.uri, mlflow.ui) == ("mlflow", str(tmp_path / "mlruns"), "http://localhost:5000")
    assert mlflow.artifacts == (tmp_path / "data", Path("/srv/data"))
    assert (wandb.kind, wandb.uri, wandb.poll) == ("wandb", "acme/credit", 30.0)
    assert (offline.kind, offline.uri) == ("wandb_offline", str(tmp_path / "wandb"))
    loan, rest = found.audits
    assert loan.selector == Selector("loan*", {"team": "risk", "version": "1.10"}, ("FINISHED",))
    assert loan.policies == ("credit-scoring",)
    assert loan.plan == DataPlan(
        {"evaluation": DataRef("artifact", "data/test.*"), "training": DataRef("dataset", "train")},
        {
            "target": ColumnBinding("target", "class", "declared", positive=1),
            "gender": ColumnBinding(
                "gender", "Attribute9", "declared", groups={"male": ("A91", "A93", "A94"), "female": ("A92", "A95")}
            ),
            "age": ColumnBinding("age", "Attribute13", "declared", bins=(25.0,)),
            "income": ColumnBinding("income", "salary", "declared"),
        },
    )
    assert rest.selector == Selector(status=("FINISHED", "FAILED"))
    assert rest.policies == ("a", "b")
    assert rest.auto is True
    assert rest.data == {"evaluation": DataRef("file", str(tmp_path / "data/test.csv"))}
    assert (found.settle, found.web.host, found.web.port) == (0.5, "0.0.0.0", 80)
    assert found.state == "postgresql://agent:secret@db/audits"


def test_the_template_of_init_loads_with_the_defaults(tmp_path: Path) -> None:
    template, minimal = load(tmp_path, default_agent_yaml()), load(tmp_path, MINIMAL)
    assert template.stores[0].uri == f"sqlite:///{tmp_path}/mlflow.db"
    for name in ("settle", "reconcile", "stale_running", "concurrency", "state", "cache", "sandbox", "web", "policies"):
        assert getattr(template, name) == getattr(minimal, name), name
    assert [audit.name for audit in template.audits] == ["loan"]


def test_the_commented_lines_of_the_template_show_the_defaults(tmp_path: Path) -> None:
    """Uncommenting a single-line setting changes nothing."""
    lines = default_agent_yaml().splitlines()
    live = [line.removeprefix("# ") if line.startswith("# ") and ": " in line[:20] else line for line in lines]
    uncommented = "\n".join(live)
    assert uncommented.count("\nsandbox:") == 1
    assert load(tmp_path, uncommented) == load(tmp_path, default_agent_yaml())


BAD: list[tuple[str, int, int, str, str]] = [
    (MINIMAL + "setle: 5s\n", 3, 1, "unknown key 'setle'", "settle"),
    ("stors: []\n" + MINIMAL, 1, 1, "unknown key 'stors'", "stores"),
    ("stores: [{mlflw: ./mlruns}]\npolicies: p\n", 1, 11, "unknown key 'mlflw'", "mlflow"),
    ("stores: [{mlflow: a, wandb: b/c}]\npolicies: p\n", 1, 10, "exactly one of", ""),
    ("stores: [{mlflow: a}, {mlflow: ./a}]\npolicies: p\n", 1, 23, "named twice", ""),
    ("stores: {mlflow: a}\npolicies: p\n", 1, 9, "must be a list", ""),
    ("stores: [{mlflow: 'postgres://h/x'}]\npolicies: p\n", 1, 19, "not a kind of store", "postgresql"),
    ("stores: [{mlflow: 'sqlite://'}]\npolicies: p\n", 1, 19, "must name a file", ""),
    ("stores: [{mlflow: 'file://nas/share'}]\npolicies: p\n", 1, 19, "another machine", ""),
    ("stores: [{mlflow: 'http://[::1'}]\npolicies: p\n", 1, 19, "must be an http(s) URL", ""),
    ("stores: [{mlflow: m, ui: 'http://me:pw@h'}]\npolicies: p\n", 1, 26, "must not hold credentials", ""),
    ("stores: [{wandb: credit}]\npolicies: p\n", 1, 18, "must be entity/project", ""),
    ("stores: [{mlflow: ~nobody-at-all/runs}]\npolicies: p\n", 1, 19, "home folder that is not known", ""),
    (MINIMAL + "settle: 5 parsecs\n", 3, 9, "must be a time", ""),
    (MINIMAL + "settle: -5s\n", 3, 9, "must be a time", ""),
    (MINIMAL + "settle: 10:30\n", 3, 9, "base 60", ""),
    (MINIMAL + "reconcile: 0\n", 3, 12, "longer than zero", ""),
    (MINIMAL + "concurrency: 0\n", 3, 14, "between 1 and 64", ""),
    (MINIMAL + "cache: {size: 3 bytes}\n", 3, 15, "must be a size", ""),
    (MINIMAL + "web: {prot: 1}\n", 3, 7, "unknown key 'prot'", "port"),
    (MINIMAL + "web: {port: '8321'}\n", 3, 13, "whole number", ""),
    (MINIMAL + "web: {port: 70000}\n", 3, 13, "between 1 and 65535", ""),
    (MINIMAL + "state: mysql://h/x\n", 3, 8, "path or a postgresql:// URL", ""),
    (MINIMAL + "policies: other\n", 3, 1, "given twice (first on line 2)", ""),
    (MINIMAL + "state:\n", 3, 7, "is empty", ""),
    (MINIMAL + "audits: [{name: a, runs: {}}]\n", 3, 10, "'policy' is missing", ""),
    (MINIMAL + "audits: [{name: a, runs: {experimnt: x}, policy: p}]\n", 3, 27, "unknown key", "experiment"),
    (MINIMAL + "audits: [{name: a, runs: {status: [finished]}, policy: p}]\n", 3, 36, "must be FINISHED", "FINISHED"),
    (MINIMAL + "audits: [{name: a, runs: {status: [RUNNING]}, policy: p}]\n", 3, 36, "must be FINISHED", ""),
    (MINIMAL + "audits: [{name: a, runs: {}, policy: []}]\n", 3, 38, "empty list", ""),
    (MINIMAL + "audits: [{name: a, runs: {}, policy: p}, {name: a, runs: {}, policy: p}]\n", 3, 49, "named twice", ""),
    (AUDIT + "  data: {eval: {file: x}}}\n", 5, 10, "unknown key", "evaluation"),
    (AUDIT + "  data: {training: {file: x, dataset: y}}}\n", 5, 20, "exactly one", ""),
    (AUDIT + "  data: {training: {}}}\n", 5, 20, "exactly one", ""),
    (AUDIT + "  data: {training: {artifact: ../../etc/passwd}}}\n", 5, 31, "inside", ""),
    (AUDIT + "  data: {training: {file: 'http://x/y'}}}\n", 5, 27, "local path", ""),
    (AUDIT + "  columns: {age: {column: x, bins: [25, 20]}}}\n", 5, 36, "ascend", ""),
    (AUDIT + "  columns: {age: {colum: x}}}\n", 5, 19, "unknown key", "column"),
    (AUDIT + "  columns: {g: {column: x, groups: {a: [NO]}}}}\n", 5, 41, "boolean", ""),
    (AUDIT + "  columns: {g: {column: x, groups: {a: [1], b: [1]}}}}\n", 5, 48, "two groups", ""),
    (AUDIT + "  columns: {g: {column: x, groups: {a: [1]}, bins: [2]}}}\n", 5, 52, "not both", ""),
    ("- a list\n", 1, 1, "must be a map", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column", "what", "near"), BAD)
def test_bad_agent_yaml_names_file_line_and_nearest_key(
    tmp_path: Path, text: str, line: int, column: int, what: str, near: str
) -> None:
    error = refused(tmp_path, text)
    there = [m for m in error.mistakes if (m.line, m.column) == (line, column)]
    assert [m.nearest for m in there if what in m.message] == [near]
    assert f"{tmp_path}/agent.yaml:{line}:{column}: " in str(error)


def test_all_mistakes_of_the_file_and_the_environment_come_at_once(tmp_path: Path) -> None:
    error = refused(tmp_path, MINIMAL + "setle: 1\nweb: {port: x}\n", VENTURALITICA_CONCURRENCY="many")
    assert [(m.line, m.path) for m in error.mistakes] == [(0, "VENTURALITICA_CONCURRENCY"), (3, ""), (4, "web.port")]


def test_uris_are_made_absolute(tmp_path: Path) -> None:
    text = """
stores:
  - mlflow: sqlite:///mlflow.db
  - mlflow: runs/mlflow.db
  - mlflow: sqlite:////srv/other.db
  - mlflow: file:///srv/my%20runs
  - mlflow: file:./local
  - mlflow: https://tracking.example/mlflow/
policies: p
"""
    assert [store.uri for store in load(tmp_path, text).stores] == [
        f"sqlite:///{tmp_path}/mlflow.db",
        f"sqlite:///{tmp_path}/runs/mlflow.db",
        "sqlite:////srv/other.db",
        "/srv/my runs",
        f"{tmp_path}/local",
        "https://tracking.example/mlflow",
    ]


def test_relative_paths_start_from_agent_yaml_not_from_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "agent.yaml").write_text(MINIMAL)
    found = load_settings(Path("conf/agent.yaml"), env={}, cwd=tmp_path)
    assert found.stores[0].uri == str(tmp_path / "conf/mlruns")
    assert found.state == f"sqlite:///{tmp_path}/conf/.venturalitica/agent.db"
    assert found.file == tmp_path / "conf/agent.yaml"


def test_credentials_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("AWS_SECRET_ACCESS_KEY=hunter2\n")
    text = (
        "stores:\n- mlflow: https://me:hunter2@h/x?token=hunter2\n- mlflow: postgresql://me:hunter2@db/x\n"
        "policies: p\nstate: postgresql://me:hunter2@db/y\n"
    )
    found = load(tmp_path, text)
    assert found.stores[0].ui == "https://h/x"
    assert "hunter2" in found.stores[0].uri
    seen = f"{found!r} {found} {[str(s) + s.shown for s in found.stores]}"
    assert "hunter2" not in seen
    error = refused(tmp_path, "stores: [{mlflow: 'postgre://me:hunter2@db/x'}]\npolicies: p")
    assert "hunter2" not in f"{error} {error.mistakes!r}"


def test_variables_override_the_file_and_the_real_environment_wins_over_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "VENTURALITICA_SETTLE=7s\nVENTURALITICA_WEB_HOST=10.0.0.1\nVENTURALITICA_SANDBOX_MEMORY=1GiB\n"
        "MLFLOW_TRACKING_TOKEN=pa$$word\nWANDB_API_KEY=from-dotenv\nOTHER=x\nEMPTY=\n"
    )
    found = load(
        tmp_path, MINIMAL + "settle: 1s\n", VENTURALITICA_SETTLE="9s", WANDB_API_KEY="real", VENTURALITICA_STATE=""
    )
    assert found.settle == 9.0
    assert found.web.host == "10.0.0.1"
    assert found.sandbox.memory == 2**30
    assert found.environment == {"MLFLOW_TRACKING_TOKEN": "pa$$word"}
    assert found.state == f"sqlite:///{tmp_path}/.venturalitica/agent.db"


def test_paths_in_real_variables_start_from_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "agent.yaml").write_text("policies: p\n")
    env = {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "VENTURALITICA_POLICIES": "rules"}
    found = load_settings(tmp_path / "conf/agent.yaml", env=env, cwd=tmp_path)
    assert found.stores[0].uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert found.policies == tmp_path / "rules"


def test_a_misspelt_variable_is_told_and_foreign_ones_are_left_alone(tmp_path: Path) -> None:
    error = refused(tmp_path, MINIMAL, VENTURALITICA_SETLE="1s", VENTURALITICA_DEMO_DIR="/tmp/x")
    assert [(m.path, m.nearest) for m in error.mistakes] == [("VENTURALITICA_SETLE", "VENTURALITICA_SETTLE")]


def test_without_agent_yaml_the_tracking_uri_is_the_store(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "mlflow.db").touch()
    found = load(tmp_path, MLFLOW_TRACKING_URI="http://tracker:5000/")
    assert [(s.kind, s.uri, s.ui) for s in found.stores] == [("mlflow", "http://tracker:5000", "http://tracker:5000")]
    assert (found.policies, found.audits, found.file) == (tmp_path / "policies", (), None)


@pytest.mark.parametrize(
    ("env", "dotenv", "uris"),
    [
        ({"WANDB_ENTITY": "acme", "WANDB_PROJECT": "credit"}, "", ["acme/credit"]),
        ({"WANDB_ENTITY": "acme"}, "", ["acme/*"]),
        ({"WANDB_PROJECT": "credit"}, "", ["/credit"]),
        ({}, "WANDB_API_KEY=k\n", ["/*"]),
        ({"WANDB_API_KEY": "k"}, "", []),
    ],
)
def test_without_agent_yaml_wandbs_own_variables_name_its_store(
    tmp_path: Path, env: dict[str, str], dotenv: str, uris: list[str]
) -> None:
    """A key in the folder's own .env is meant for the folder; one in the environment may be there for anything."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "mlflow.db").touch()
    (tmp_path / ".env").write_text(dotenv)
    found = load_settings(None, env=env, cwd=tmp_path)
    assert [s.uri for s in found.stores if s.kind == "wandb"] == uris
    assert [s.poll for s in found.stores if s.kind == "wandb"] == [30.0] * len(uris)


def test_without_agent_yaml_offline_runs_in_the_folder_are_a_store(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "wandb" / "offline-run-20260101_000000-abc").mkdir(parents=True)
    found = load_settings(None, env={}, cwd=tmp_path)
    assert [(s.kind, s.uri) for s in found.stores] == [("wandb_offline", str(tmp_path / "wandb"))]


def test_without_agent_yaml_the_folder_is_looked_at(tmp_path: Path) -> None:
    """An mlruns folder without experiments of its own holds only the artifacts of mlflow.db."""
    (tmp_path / "model_policy.yaml").touch()
    (tmp_path / "mlflow.db").touch()
    (tmp_path / "mlruns/1/0123456789abcdef/artifacts").mkdir(parents=True)
    found = load(tmp_path)
    assert [s.uri for s in found.stores] == [f"sqlite:///{tmp_path}/mlflow.db"]
    assert found.policies == tmp_path / "model_policy.yaml"
    (tmp_path / "mlruns/0").mkdir()
    (tmp_path / "mlruns/0/meta.yaml").touch()
    assert [s.uri for s in load(tmp_path).stores] == [f"sqlite:///{tmp_path}/mlflow.db", f"{tmp_path}/mlruns"]


def test_an_empty_folder_says_what_is_missing_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    told = str(caught.value.diagnostics())
    for word in ("no store", "no policy", "MLFLOW_TRACKING_URI", "venturalitica-agent init", str(tmp_path)):
        assert word in told


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_settings(Path("agent.yml"), env={}, cwd=tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 31_000_000_000))
def test_durations_mean_the_same_in_every_unit(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    for text in (f"{milliseconds}ms", f"{seconds:.3f}s", f"{seconds:.3f}", f" {seconds:.3f} s "):
        assert duration(Scalar(text, text)) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("5s", 5), ("500ms", 0.5), ("30m", 1800), ("1h", 3600), ("1.5h", 5400), ("2d", 172_800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(Scalar(text, text)) == seconds


@pytest.mark.parametrize("text", ["", "s", "5 seconds", "-1s", "1h30m", "1e3s", "nan", "inf", "5S", "400d", "٥s"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        duration(Scalar(text, text))


@pytest.mark.parametrize(
    ("text", "count"), [("2GiB", 2**31), ("500MB", 500_000_000), ("1048576", 2**20), ("1.5 GiB", 3 * 2**29)]
)
def test_sizes(text: str, count: int) -> None:
    assert size(Scalar(text, text)) == count


@pytest.mark.parametrize("text", ["1", "2gb", "GiB", "-1GiB", "9999999TiB", "1e9"])
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        size(Scalar(text, text))


def test_what_systemd_hands_over_wins_over_the_file_and_loses_to_the_environment(tmp_path: Path) -> None:
    handed = tmp_path / "handed"
    handed.mkdir()
    for name, value in {
        "WANDB_API_KEY": "key\n",
        "MLFLOW_TRACKING_TOKEN": "new",
        "VENTURALITICA_WEB_PORT": "9000",
    }.items():
        (handed / name).write_text(value)
    (handed / "another-service.pem").write_bytes(b"\xff")
    (tmp_path / ".env").write_text("MLFLOW_TRACKING_TOKEN=old\nMLFLOW_TRACKING_USERNAME=ana\n")
    (tmp_path / "agent.yaml").write_text("stores: [{mlflow: ./mlruns}]\npolicies: ./policies\n")
    env = {"CREDENTIALS_DIRECTORY": str(handed), "WANDB_API_KEY": "real"}
    settings = load_settings(None, env=env, cwd=tmp_path)
    assert settings.environment == {"MLFLOW_TRACKING_TOKEN": "new", "MLFLOW_TRACKING_USERNAME": "ana"}
    assert settings.web.port == 9000


def test_a_channel_s_url_is_a_variable_and_nowhere_else(tmp_path: Path) -> None:
    place = "stores: [{mlflow: ./mlruns}]\npolicies: ./policies\nnotify:\n"
    (tmp_path / "agent.yaml").write_text(f"{place}- {{name: team, on: [fail, drift], digest: 1h}}\n- {{name: other}}\n")
    found = load_settings(None, env={"VENTURALITICA_NOTIFY_TEAM": "json://:secret@h/"}, cwd=tmp_path)
    assert [(c.name, c.url, c.events, c.digest) for c in found.notify] == [
        ("team", "json://:secret@h/", ("fail", "drift"), 3600.0),
        ("other", "", ("fail", "error", "drift", "waiver", "store"), 0.0),
    ]
    assert "secret" not in repr(found)
    for wrong, words in (
        ("{name: team, url: 'json://:secret@h/'}", "put it into the variable VENTURALITICA_NOTIFY_TEAM"),
        ("{name: team, on: [fails]}", "fail"),
        ("{name: Team}", "small letters"),
        ("{on: [fail]}", "name"),
    ):
        (tmp_path / "agent.yaml").write_text(f"{place}- {wrong}\n")
        with pytest.raises(InvalidDocument, match=words) as caught:
            load_settings(None, env={}, cwd=tmp_path)
        assert "secret@" not in str(caught.value)
