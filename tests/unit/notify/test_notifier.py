"""The outbox on a real state and a real webhook: each thing once, in spite of failures and new starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa
from support.webhook import Webhook, webhook

from venturalitica_agent.attest.keys import Keys
from venturalitica_agent.attest.notary import Notary
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.notify.apprise_channel import NotSent, kind_of, send
from venturalitica_agent.notify.notifier import Channel
from venturalitica_agent.policy.waivers import Waiver
from venturalitica_agent.settings.model import ChannelSettings, Event
from venturalitica_agent.state.log import Log
from venturalitica_agent.state.notices import channels_now
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.records import Records
from venturalitica_agent.state.tables import audits

NOW = 1_800_000_000.0
DAY = 86_400.0


class Scene:
    def __init__(self, folder: Path, hook: Webhook) -> None:
        self.engine = open_state(f"sqlite:///{folder}/state.db")
        self.notary = Notary(Keys(folder / "keys"), Log(self.engine), clock=lambda: self.now)
        self.now = NOW
        self.hook = hook
        self.waivers: list[Waiver] = []

    def channel(self, **fields: object) -> Channel:
        given = replace(ChannelSettings("team", self.hook.url), **fields)  # type: ignore[arg-type]
        channel = Channel(given, self.engine, lambda: self.waivers, send, lambda: self.now)
        channel.open()
        return channel

    def verdict(self, run_id: str, status: str = "fail", *, published: bool = True) -> None:
        facts = {"audit_id": "a", "run_id": run_id, "store": "s", "status": status, "policy": "p@1", "evidence": "e"}
        self.notary._append("verdict", f"{run_id}{status}", facts, self.notary.keys.signer())
        if published:
            self.publish(run_id)

    def publish(self, run_id: str) -> None:
        row = {c.name: "x" if isinstance(c.type, sa.String | sa.Text) else 0 for c in audits.c if not c.nullable}
        row |= {"store": "s", "run_id": run_id, "audit_id": "a", "run_name": f"name of {run_id}", "decision": {}}
        with self.engine.begin() as db:
            db.execute(audits.insert().values(**row))

    def lines(self) -> list[str]:
        return [line for message in self.hook.messages for line in message["message"].splitlines()]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with webhook() as hook:
        yield Scene(tmp_path, hook)


def test_what_happens_after_the_channel_is_known_is_told_once(scene: Scene) -> None:
    scene.verdict("before")
    channel = scene.channel()
    channel.turn()
    assert scene.hook.messages == []
    for run, status in (("one", "fail"), ("two", "pass"), ("three", "error")):
        scene.verdict(run, status)
    scene.notary.note_drift("s", "one", "the tag venturalitica.status was changed")
    channel.turn()
    (message,) = scene.hook.messages
    assert message["title"] == "venturalitica: 1 fail, 1 error, 1 drift"
    assert [line.split(": ")[0] for line in scene.lines()] == ["fail", "error", "drift"]
    assert "name of one" in scene.lines()[0]
    scene.now += DAY
    channel.turn()
    scene.channel().turn()
    assert len(scene.hook.messages) == 1


def test_a_verdict_waits_for_its_run_and_not_for_ever(scene: Scene) -> None:
    channel = scene.channel()
    scene.verdict("slow", published=False)
    scene.verdict("gone", published=False)
    channel.turn()
    assert scene.hook.messages == []
    scene.publish("slow")
    channel.turn()
    assert len(scene.lines()) == 1
    assert "name of slow" in scene.lines()[0]
    scene.now += 3600
    channel.turn()
    assert scene.lines()[1:] == ["fail: run gone under p＠1"]


def test_a_channel_that_refuses_gets_everything_when_it_takes_messages_again(scene: Scene) -> None:
    channel = scene.channel()
    scene.hook.status = 500
    scene.verdict("one")
    channel.turn()
    (state,) = channels_now(scene.engine)
    assert (state["waiting"], state["failures"]) == (1, 1)
    assert scene.hook.url not in str(state)
    scene.hook.status = 200
    channel.turn()  # it rests
    assert scene.hook.messages == []
    scene.now += 60
    scene.verdict("two")
    channel.turn()
    assert len(scene.lines()) == 2
    (state,) = channels_now(scene.engine)
    assert (state["waiting"], state["failures"], state["error"]) == (0, 0, "")


def test_what_could_not_be_told_for_a_week_is_given_up_and_counted(scene: Scene) -> None:
    channel = scene.channel()
    scene.hook.status = 500
    scene.verdict("one")
    channel.turn()
    scene.now += 8 * DAY
    channel.turn()
    (state,) = channels_now(scene.engine)
    assert (state["waiting"], state["given_up"]) == (0, 1)


def test_a_digest_is_one_message_in_its_time_and_others_are_no_flood(scene: Scene) -> None:
    daily, at_once = scene.channel(digest=DAY), scene.channel(name="other")
    for n in range(5):
        scene.verdict(f"run{n}")
        daily.turn()
        at_once.turn()
        scene.now += 7
    assert [len(m["message"].splitlines()) for m in scene.hook.messages] == [1]
    scene.now += DAY
    daily.turn()
    at_once.turn()
    assert sorted(len(m["message"].splitlines()) for m in scene.hook.messages) == [1, 4, 5]


def test_a_store_is_told_when_it_stays_away_and_when_it_is_back(scene: Scene) -> None:
    records, channel = Records(scene.engine), scene.channel()

    def turns(ok: bool, *rests: float) -> None:
        if ok:
            records.store_up("abc", "/x/mlruns", now=scene.now)
        else:
            records.store_down("abc", "/x/mlruns", "gone", "", now=scene.now)
        for rest in rests:
            scene.now += rest
            channel.turn()

    turns(True, 1)
    turns(False, 30)
    turns(True, 100)
    assert scene.lines() == []
    turns(False, 30, 40, 1000)
    turns(True, 40, 40)
    turns(False, 100)
    assert scene.lines() == [
        "store: mlruns does not answer",
        "store: mlruns answers again",
        "store: mlruns does not answer",
    ]


def test_a_waiver_is_told_before_it_ends_and_when_it_is_over(scene: Scene) -> None:
    day = date.fromtimestamp(NOW)
    scene.waivers = [
        Waiver("p", "c", "r", "o", date.fromordinal(day.toordinal() + n), (), "*", n) for n in (-30, 3, 100)
    ]
    channel = scene.channel()
    for _ in range(6):
        channel.turn()
        scene.now += DAY
    assert [line.partition("p/c ")[2].split()[0] for line in scene.lines()] == ["ends", "is"]


def test_only_what_was_asked_for_is_told(scene: Scene) -> None:
    channel = scene.channel(events=(Event.PASS,))
    scene.verdict("one")
    scene.verdict("two", "pass")
    scene.notary.note_drift("s", "one", "x")
    channel.turn()
    assert [line.split(": ")[0] for line in scene.lines()] == ["pass"]


def test_a_url_that_no_service_has_is_told_without_it(scene: Scene) -> None:
    assert kind_of(scene.hook.url) == "JSON"
    with pytest.raises(ConfigError) as caught:
        send("nonsense://a-secret", "t", "b")
    assert "a-secret" not in str(caught.value.diagnostics())
    scene.hook.status = 403
    with pytest.raises(NotSent) as refused:
        send(scene.hook.url, "t", "b")
    assert "a-secret" not in str(refused.value.diagnostics())
