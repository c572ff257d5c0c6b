"""What the status page costs on a state with 100,000 runs: every filter, the first page and one deep inside."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from venturalitica_agent.settings import Settings, load_settings
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.tables import audits, runs, stores, verdict_controls, verdicts
from venturalitica_agent.stores.naming import store_id
from venturalitica_agent.web.model import RunFilter
from venturalitica_agent.web.reader import Reader

_STATUSES = ("pass", "pass", "pass", "fail", "inconclusive", "warn", "error")
_CONTROLS = tuple(f"control-{n}" for n in range(20))
_TIMES = 5
_AT_ONCE = 2_000
_WEIGHT = "x" * 20_000  # a decision is so large


def web(count: int) -> None:
    """Print the median and the worst of some looks at each page."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = place(Path(folder))
        began = time.perf_counter()
        fill(settings, count)
        print(f"web: a state of {count} runs, made in {time.perf_counter() - began:.0f} s")
        measure(settings)


def place(folder: Path, state: str = "") -> Settings:
    """Settings with one store, in an empty folder."""
    (folder / "mlruns").mkdir()
    (folder / "policies").mkdir()
    (folder / "policies" / "p.yaml").write_text(
        'policy: p0\nversion: "1"\ncontrols: [{id: a, metric: accuracy, require: ">= 0.5"}]\n'
    )
    text = "stores: [{mlflow: ./mlruns, ui: 'http://localhost:5000'}]\npolicies: ./policies\n"
    (folder / "agent.yaml").write_text(text + (f"state: {state}\n" if state else ""))
    return load_settings(folder / "agent.yaml", env={}, cwd=folder)


def fill(settings: Settings, count: int) -> None:
    """A state with so many runs, of which one in twenty waits or is ignored."""
    rng = random.Random(1)
    store = store_id(settings.stores[0].uri)
    engine = open_state(settings.state)
    with engine.begin() as db:
        db.execute(stores.insert().values(id=store, uri=settings.stores[0].uri, ok=True, since=0.0))
    rows = _rows(rng, store, count)
    while part := list(islice(rows, _AT_ONCE)):
        with engine.begin() as db:
            for table in (runs, audits, verdicts, verdict_controls):
                found = [row for given in part for row in given.get(table, ())]
                if found:
                    db.execute(sa.insert(table), found)
    engine.dispose()


def _rows(rng: random.Random, store: str, count: int) -> Iterator[dict[sa.Table, list[dict[str, Any]]]]:
    now = time.time()
    for n in range(count):
        run_id, ended = f"{rng.getrandbits(128):032x}", now - n * 60
        experiment, waiting = n % 40, n % 20 == 0
        phase = ("due", "ignored", "running", "stuck")[n // 20 % 4] if waiting else "done"
        key = {"store": store, "run_id": run_id}
        found: dict[sa.Table, list[dict[str, Any]]] = {
            runs: [
                key
                | {"experiment_id": str(experiment), "status": "FINISHED", "start_time": int(ended * 1000) - 60_000}
                | {"end_time": int(ended * 1000), "revision": "FINISHED@1#", "phase": phase, "reason": ""}
                | {"seen_at": ended, "changed_at": ended}
            ]
        }
        if not waiting:
            policy, status = f"p{experiment % 3}", rng.choice(_STATUSES)
            common = key | {"policy": policy, "audit_id": run_id, "version": "1.0.0", "status": status}
            common |= {"experiment": f"experiment-{experiment}", "run_name": f"run-{n}"}
            found[audits] = [
                common
                | {"policy_digest": "0" * 64, "link": "", "counts": "p6 f1 i0 w0 e0 s0 x0", "failed": _CONTROLS[0]}
                | {"evidence": "e", "evidence_digest": "0" * 64, "end_time": int(ended * 1000), "audited_at": ended}
                | {"tagged_at": ended, "decision": {"weight": _WEIGHT}}
            ]
            found[verdicts] = [
                common
                | {"experiment_id": str(experiment), "folded_name": f"run-{n}", "ended": int(ended * 1000)}
                | {"decided_at": ended, "model_digest": run_id * 2, "data_digest": f"{n % 500:064x}"}
            ]
            unmet = rng.sample(_CONTROLS, 3) if status != "pass" else ()
            found[verdict_controls] = [key | {"policy": policy, "control": control} for control in unmet]
        yield found


def measure(settings: Settings) -> None:
    reader = Reader(settings)
    store = store_id(settings.stores[0].uri)
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 20 * 86_400))
    looks: dict[str, Callable[[], object]] = {"overview": reader.overview, "integrations": reader.integrations}
    asked = ({}, {"status": "fail"}, {"status": "error", "policy": "p2"}, {"status": "pending"}, {"policy": "p1"})
    asked += (
        {"store": store},
        {"experiment": "experiment-7"},
        {"control": "control-3"},
        {"text": "999"},
        {"text": "no"},
    )
    asked += ({"since": day, "until": day}, {"until": day}, {"status": "fail", "control": "control-9", "text": "77"})
    for filters in asked:
        wanted = RunFilter(**filters)
        words = ", ".join(f"{key}={value}" for key, value in filters.items()) or "all"
        looks[f"runs, {words}"] = lambda wanted=wanted: reader.runs(wanted)
        deep = _deep(reader, wanted)
        if deep:
            looks[f"runs, {words}, deep"] = lambda wanted=wanted, deep=deep: reader.runs(wanted, after=deep)
            looks[f"runs, {words}, back"] = lambda wanted=wanted, deep=deep: reader.runs(wanted, before=deep)
    for name, look in looks.items():
        took = [_timed(look) for _ in range(_TIMES)]
        wall, processor = (1000 * statistics.median(times) for times in zip(*took, strict=True))
        worst = 1000 * max(seconds for seconds, _ in took)
        print(f"web: {name}: median {wall:.0f} ms (of a processor {processor:.0f} ms), worst {worst:.0f} ms")
    reader.close()


def _deep(reader: Reader, wanted: RunFilter) -> str:
    """A cursor some pages into the list."""
    cursor = ""
    for _ in range(6):
        page = reader.runs(wanted, after=cursor, size=500)
        if not page.after:
            break
        cursor = page.after
    return cursor


def _timed(look: Callable[[], object]) -> tuple[float, float]:
    """Seconds that it took, and seconds of processor time of this process."""
    began, used = time.perf_counter(), time.process_time()
    look()
    return time.perf_counter() - began, time.process_time() - used
