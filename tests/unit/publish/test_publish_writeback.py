"""Writing a verdict back: in which order, how often, over what, and when not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.verdicts import decision, policy, subject

from venturalitica_agent.attest.bundle import build_bundle
from venturalitica_agent.domain.evidence import Decision, EvidenceBundle
from venturalitica_agent.domain.run import LoggedModel, Run
from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.errors import RetryableError, RunChanged, RunGone
from venturalitica_agent.publish.writeback import cut_at_id, publish, rfc3339, verdict_tags
from venturalitica_agent.stores.memory import MemoryStore, finished

Decided = list[tuple[Decision, EvidenceBundle]]


def decided(*statuses: Status, ids: Sequence[str] = ("credit",)) -> Decided:
    """One decision a policy; with several policies, one status each."""
    found = []
    for i, id_ in enumerate(ids):
        mine = statuses if len(ids) == 1 else (statuses[i],)
        given_ = decision(policy(id_), *mine)
        found.append((given_, build_bundle(given_, policy(id_))))
    return found


class Noting(MemoryStore):
    """Notes every write, and can tamper with what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.tamper_file = ""
        self.tamper_tag = ""

    def put_files(self, run_id: str, files: Mapping[str, bytes]) -> None:
        self.calls.append("files")
        super().put_files(run_id, files)

    def read_file(self, run_id: str, path: str) -> bytes:
        self.calls.append("read")
        content = super().read_file(run_id, path)
        return content + b" " if self.tamper_file and path.endswith(self.tamper_file) else content

    def set_tags(self, run_id: str, tags: Mapping[str, str], remove: Sequence[str] = ()) -> None:
        self.calls.append("tags")
        self.last_tag = list(tags)[-1]
        super().set_tags(run_id, {k: v for k, v in tags.items() if k != self.tamper_tag}, remove)

    def tag_models(self, run_id: str, models: Sequence[LoggedModel], tags: Mapping[str, str]) -> None:
        self.calls.append("models")
        super().tag_models(run_id, models, tags)


MODEL = LoggedModel("classifier", "memory:/m", model_id="m-1")
OTHER = LoggedModel("other", "memory:/o", model_id="m-2")


@pytest.fixture
def store() -> Noting:
    return Noting()


@pytest.fixture
def run(store: Noting) -> Run:
    return store.add(finished("r", tags={"team": "risk", "mlflow.user": "ana"}, models=(MODEL, OTHER)))


def test_the_runs_tags_are_last_and_the_status_is_the_last_of_them(store: Noting, run: Run) -> None:
    bundle = decided(Status.PASS)
    publish(store, run, bundle)
    order = list(dict.fromkeys(store.calls))
    assert order == ["files", "read", "models", "tags"]
    assert store.calls.count("read") == len(bundle[0][1].files)
    assert store.last_tag == "venturalitica.status"


def test_the_tags_say_what_the_contract_promises(store: Noting, run: Run) -> None:
    ((given_, bundle),) = decided(Status.PASS, Status.FAIL, Status.ERROR, Status.WARN)
    tags = publish(store, run, [(given_, bundle)])
    assert tags == {
        "venturalitica.status": "error",
        "venturalitica.policy": "credit@1.0.0",
        "venturalitica.policy_digest": policy().digest,
        "venturalitica.counts": "p1 f1 i0 w1 e1 s0 x0",
        "venturalitica.failed": "control-1,control-2,control-3",
        "venturalitica.evidence": bundle.evidence,
        "venturalitica.evidence_digest": bundle.digest,
        "venturalitica.audited_at": "2026-01-02T03:04:05Z",
        "venturalitica.agent_version": tags["venturalitica.agent_version"],
    }
    assert {k: v for k, v in store.get_tags("r").items() if k.startswith("venturalitica.")} == tags


def test_doing_it_again_changes_nothing(store: Noting, run: Run) -> None:
    bundle = decided(Status.FAIL)
    first = publish(store, run, bundle)
    state = (store.get_run("r"), store.list_files("r"), store.model_tags)
    assert publish(store, store.get_run("r"), bundle) == first
    assert (store.get_run("r"), store.list_files("r"), store.model_tags) == state


def test_old_tags_of_ours_go_and_everybody_elses_stay(store: Noting, run: Run) -> None:
    publish(store, run, decided(Status.PASS, Status.FAIL, ids=("a", "b")))
    assert store.get_tags("r")["venturalitica.b.status"] == "fail"
    store.set_tags("r", {"venturalitica.gone": "x", "venturaliticaX": "not ours"})
    publish(store, store.get_run("r"), decided(Status.PASS, ids=("a",)))
    tags = store.get_tags("r")
    assert {"team": "risk", "mlflow.user": "ana", "venturaliticaX": "not ours"}.items() <= tags.items()
    assert not [t for t in tags if t.startswith(("venturalitica.a.", "venturalitica.b.", "venturalitica.gone"))]
    assert tags["venturalitica.status"] == "pass"


@pytest.mark.parametrize(
    ("statuses", "worst", "deciding"),
    [
        ((Status.PASS, Status.FAIL), "fail", "b"),
        ((Status.FAIL, Status.PASS), "fail", "a"),
        ((Status.FAIL, Status.ERROR), "error", "b"),
        ((Status.SKIP, Status.PASS), "pass", "b"),
        ((Status.SKIP, Status.SKIP), "skip", "a"),
        ((Status.INCONCLUSIVE, Status.WARN), "inconclusive", "a"),
    ],
)
def test_with_several_policies_the_worst_decides(
    store: Noting, run: Run, statuses: tuple[Status, ...], worst: str, deciding: str
) -> None:
    tags = publish(store, run, decided(*statuses, ids=("a", "b")))
    assert (tags["venturalitica.status"], tags["venturalitica.policy"]) == (worst, f"{deciding}@1.0.0")
    assert [tags[f"venturalitica.{p}.status"] for p in "ab"] == [s.value for s in statuses]
    assert tags["venturalitica.a.evidence"] != tags["venturalitica.b.evidence"]
    assert store.last_tag == "venturalitica.status"


def test_only_the_audited_model_carries_the_status(store: Noting, run: Run) -> None:
    tags = publish(store, run, decided(Status.FAIL))
    names = ("venturalitica.status", "venturalitica.policy", "venturalitica.evidence_digest")
    assert store.model_tags == {"m-1": {n: tags[n] for n in names}}


@pytest.mark.parametrize("change", [{"inputs": "new"}, {"end_time": 2_000}, {"status": "RUNNING"}])
def test_a_run_that_changed_gets_no_tags(store: Noting, run: Run, change: dict[str, object]) -> None:
    store.change("r", **change)
    with pytest.raises(RunChanged):
        publish(store, run, decided(Status.PASS))
    assert "tags" not in store.calls
    assert "models" not in store.calls


def test_a_run_that_was_deleted_gets_no_tags(store: Noting, run: Run) -> None:
    class Accepting(Noting):
        """As the real stores do, it takes artifacts for a deleted run."""

        def _alive(self, run_id: str) -> Run:
            return self._runs[run_id]

    accepting = Accepting()
    accepting.add(run)
    accepting.change("r", deleted=True)
    with pytest.raises(RunGone):
        publish(accepting, run, decided(Status.PASS))
    assert "tags" not in accepting.calls


@pytest.mark.parametrize("path", ["evidence.json", "report.md", "SHA256SUMS", "policy_snapshot/credit.yaml"])
def test_bytes_that_come_back_otherwise_are_an_error_and_no_verdict(store: Noting, run: Run, path: str) -> None:
    store.tamper_file = path
    with pytest.raises(RetryableError, match="other bytes") as caught:
        publish(store, run, decided(Status.PASS))
    assert caught.value.remedy
    assert "tags" not in store.calls


def test_a_tag_that_comes_back_otherwise_is_an_error(store: Noting, run: Run) -> None:
    store.tamper_tag = "venturalitica.counts"
    with pytest.raises(RetryableError, match=r"venturalitica\.counts"):
        publish(store, run, decided(Status.PASS))


def test_findings_that_only_report_are_in_no_tag() -> None:
    ((given_, bundle),) = decided(Status.PASS, Status.FAIL)
    findings = tuple(
        replace(f, enforcement="report") if f.status is Status.FAIL else f for f in given_.verdict.findings
    )
    tags = verdict_tags([(replace(given_, verdict=replace(given_.verdict, findings=findings)), bundle)])
    assert tags["venturalitica.failed"] == ""
    assert tags["venturalitica.counts"] == "p1 f0 i0 w0 e0 s0 x0"


def test_a_model_of_mlflow_2_is_not_confused_with_a_logged_one(store: Noting) -> None:
    old = LoggedModel("model", "memory:/r", path="model")
    run = store.add(finished("r", models=(old, MODEL)))
    given_ = decision(policy(), Status.PASS, about=subject(name="model", model_id=""))
    publish(store, run, [(given_, build_bundle(given_, policy()))])
    assert set(store.model_tags) == {"model"}


@settings(max_examples=100, deadline=None)
@given(ids=st.lists(st.text("abc-é", min_size=1, max_size=8), max_size=30), limit=st.integers(0, 60))
def test_ids_are_cut_between_ids(ids: list[str], limit: int) -> None:
    text = cut_at_id(ids, limit)
    kept = text.split(",") if text else []
    assert len(text) <= limit
    assert kept == ids[: len(kept)]
    if len(kept) < len(ids):
        assert len(",".join(ids[: len(kept) + 1])) > limit


def test_times_are_utc_to_the_second() -> None:
    assert rfc3339(0.9) == "1970-01-01T00:00:00Z"
    assert rfc3339(1_767_323_045) == "2026-01-02T03:04:05Z"
