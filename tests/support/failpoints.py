"""The agent's own program, which kills itself with SIGKILL at the moment that `FAIL_AT` names.

Usage: FAIL_AT=put_files.after:2 python failpoints.py run -v; without FAIL_AT it is the program as it is. The moments
are before and after the calls between which something lasting was written; the program itself knows nothing of them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import count
from typing import Any

# Name of a step -> module, owner in it ("" for the module itself), function.
STEPS = {
    "seen": ("venturalitica_agent.state.ledger", "Ledger", "swap"),
    "submit": ("venturalitica_agent.claim.engine", "Engine", "submit"),
    "move": ("venturalitica_agent.state.ledger", "Ledger", "move"),
    "decide": ("venturalitica_agent.pipeline", "", "_decide"),
    "attest": ("venturalitica_agent.attest.notary", "Notary", "attest"),
    "append": ("venturalitica_agent.state.log", "Log", "append"),
    "publish": ("venturalitica_agent.pipeline", "", "publish"),
    "put_files": ("venturalitica_agent.stores.mlflow_client", "MlflowAccess", "put_files"),
    "one_file": ("venturalitica_agent.stores.local_files", "", "write_regular"),
    "tag_models": ("venturalitica_agent.stores.mlflow_client", "MlflowAccess", "tag_models"),
    "set_tags": ("venturalitica_agent.stores.mlflow_client", "MlflowAccess", "set_tags"),
    "keep_audit": ("venturalitica_agent.state.records", "Records", "keep_audit"),
}
POINTS = tuple(f"{step}.{when}" for step in STEPS for when in ("before", "after"))


def arm(point: str) -> None:
    """Die at the n-th passing of `step.before:n` or `step.after:n`."""
    name, _, number = point.partition(":")
    step, _, when = name.partition(".")
    module, owner, function = STEPS[step]
    there = __import__(module, fromlist=["_"])
    holder = getattr(there, owner) if owner else there
    original: Callable[..., Any] = getattr(holder, function)
    passing = count(1)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        fatal = next(passing) == int(number)
        if fatal and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(holder, function, deadly)


if __name__ == "__main__":
    if given := os.environ.pop("FAIL_AT", ""):
        arm(given)
    from venturalitica_agent.cli import main

    main()
