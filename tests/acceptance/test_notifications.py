"""The real service tells a real webhook, and a channel that hangs holds up nothing."""

from __future__ import annotations

import training
from support.webhook import silent_server, webhook
from workplace import Workplace, eventually

CHANNELS = """
notify:
  - {name: team}
  - {name: hanging, on: [fail, pass]}
"""


def test_a_failing_run_is_told_beside_a_channel_that_hangs(place: Workplace, new_database) -> None:  # type: ignore[no-untyped-def]
    uri = new_database(place.folder)
    place.configure([uri])
    with (place.folder / "agent.yaml").open("a") as file:
        file.write(CHANNELS)
    with webhook() as hook, silent_server() as silent:
        assert "VENTURALITICA_NOTIFY_TEAM" in place.run("run", check=2).stderr
        assert place.run("status").returncode == 0
        urls = {"VENTURALITICA_NOTIFY_TEAM": hook.url, "VENTURALITICA_NOTIFY_HANGING": silent}
        said = place.run("notify", "test", "team", **urls).stdout
        assert "took the message" in said
        assert hook.messages.pop()["title"] == "venturalitica: test"
        with place.service(**urls):
            place.await_log("service.started")
            good, bad = training.train(uri), training.train(uri, good=False)
            eventually(lambda: training.status(uri, bad) == "fail", workplace=place)
            eventually(lambda: training.status(uri, good) == "pass", workplace=place)
            eventually(lambda: hook.messages, workplace=place)
            place.await_log("notify.waits")
        (message,) = hook.messages
        assert message["title"] == "venturalitica: 1 fail"
        assert bad in message["message"]
        channels = {row["name"]: row for row in place.json_with(("status",), **urls)["notify"]}
        assert channels["team"]["waiting"] == 0
        assert channels["hanging"]["waiting"] >= 1
        assert "a-secret" not in place.log()
