"""Every page in Spanish on a state in which all that can be told is told: no English sentence is left."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support.audited import NOW, AuditedState, audited_state

from venturalitica_agent.domain.ledger import Phase
from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.policy.load import parse_policy
from venturalitica_agent.state.policies import PolicyRecord
from venturalitica_agent.state.records import Records
from venturalitica_agent.web.app import create_app
from venturalitica_agent.web.reader import Reader

ENGLISH = r"\b(?:the|is|was|are|were|and|of|not|with|that|this|which|there|must|can't|doesn't|until|from|by|to|it)\b"
"""Words that English can't do without and Spanish doesn't have."""
_MADE_UP = {"no training data was logged"}  # the note of the hand-made decisions, which the agent itself never writes
_THEIRS = (
    r"<(nav class=\"tongues\"|script|style|head)\b.*?</(?:nav|script|style|head)>"
    r"|<(bdi|code)\b.*?</(?:bdi|code)>"
)


def english_in(page: str) -> list[str]:
    """Texts of a page that read as English; names, paths and what is quoted in backticks are nobody's language."""
    texts = re.split(r"<[^>]*>", re.sub(_THEIRS, "", page, flags=re.DOTALL))
    bare = (re.sub(r"`[^`]*`|\S*/\S*", "", " ".join(text.split())) for text in texts)
    return [text for text in bare if re.search(ENGLISH, text)]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuditedState]:
    made = audited_state(tmp_path_factory.mktemp("spanish") / "agent")
    folder = Path(made.settings.policies)
    policy = made.policy
    control = policy.controls[0].id
    soon = (datetime.now(UTC) + timedelta(days=3)).date()
    (folder / "waivers.yaml").write_text(
        f"waivers:\n- {{policy: {policy.id}, control: {control}, reason: en revisión, owner: Ana, expires: {soon}, "
        'experiment: "loan*"}\n'
        f"- {{policy: {policy.id}, control: {control}, reason: en revisión, owner: Ana, expires: 2026-01-01, "
        "run: [logistic-1]}\n"
    )
    raised = re.sub(rb"(?m)^(version: *)\S+", rb"\g<1>9.0.0", policy.content)
    raised = raised.replace(b"enforcement: block", b"enforcement: warn").replace(b">= 0.80", b">= 0.90")
    record = PolicyRecord(made.engine)
    record.put_in_force([(parse_policy(raised, policy.file_name), "", None)], folder=str(folder), now=NOW - 400)
    record.note_mistake(
        str(folder),
        f"{policy.file_name}: {policy.ref} is on record with other bytes: SHA-256 aa there, bb in this file\n"
        "  what to do: raise the version of the changed policy, or put the file back as it was",
        now=NOW,
    )
    made.audit(1, *Status, name="logistic-1")
    made.audit(2, Status.PASS)
    made.see(Phase.STUCK, range(3, 4), "the store returned other bytes than were written")
    made.see(Phase.IGNORED, range(4, 6), "no entry of `audits` selects this experiment")
    made.see(Phase.IGNORED, range(6, 7), "FAILED runs are not audited unless an entry's `runs: status` says so")
    Records(made.engine).store_down(
        made.store,
        made.uri,
        f"{made.uri}: the folder can't be read: Permission denied",
        "check its permissions",
        now=NOW,
    )
    yield made
    made.engine.dispose()


def test_no_page_has_an_english_sentence_left(state: AuditedState) -> None:
    reader = Reader(replace(state.settings, web=replace(state.settings.web, host="127.0.0.1")))
    client = TestClient(create_app(reader.settings, reader), "http://127.0.0.1:8321", headers={"accept-language": "es"})
    try:
        run = f"/runs/{state.store}/"
        paths = ["/", "/runs", "/policies", *(f"{run}{number:032x}" for number in (1, 3, 4)), "/runs/none/none"]
        found = {path: client.get(path).text for path in paths}
        deadline = time.monotonic() + 100
        while "Las comprobaciones están en curso" in (page := client.get("/integrations").text):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        found["/integrations"] = page
    finally:
        reader.close()
    left = {path: set(english_in(page)) - _MADE_UP for path, page in found.items()}
    assert {path: texts for path, texts in left.items() if texts} == {}
    assert "caduca en 3 días" in found["/"]
    assert "endurecido: " in found["/policies"]
    assert "relajado: " in found["/policies"]
    assert "permiso denegado" in found["/integrations"]
    assert "comprobación: sin red" in found["/integrations"]


def test_the_list_of_english_words_finds_english() -> None:
    assert english_in("<p>the folder can't be read</p><bdi>the name</bdi><code>is</code>") == [
        "the folder can't be read"
    ]
    assert english_in("<p>no se puede leer</p>") == []
