"""One error root: every error tells a person what happened, to what, and what to do now."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """What a person needs to act on an error.

    Attributes:
        what: what happened, one sentence.
        subject: to what it happened (a path, a run id, a URI); may be empty.
        remedy: what to do now; empty only where nothing can be done.
    """

    what: str
    subject: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        head = f"{self.subject}: {self.what}" if self.subject else self.what
        return f"{head}\n  what to do: {self.remedy}" if self.remedy else head


class AgentError(Exception):
    """Root of every error that this project raises on purpose."""

    def __init__(self, what: str, *, subject: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.subject = subject
        self.remedy = remedy

    def diagnostics(self) -> Diagnostics:
        return Diagnostics(self.what, self.subject, self.remedy)

    def __str__(self) -> str:
        return f"{self.subject}: {self.what}" if self.subject else self.what


class RetryableError(AgentError):
    """The same call may succeed later: a network, a lock, a store that is away.

    Attributes:
        pause: seconds that the other side asked us to wait before the next call; 0 when it didn't.
    """

    def __init__(self, what: str, *, subject: str = "", remedy: str = "", pause: float = 0.0) -> None:
        super().__init__(what, subject=subject, remedy=remedy)
        self.pause = pause


class PermanentError(AgentError):
    """The same call on the same input fails again: it becomes an `error` finding or an exit."""


class Away(RetryableError):
    """Something outside doesn't answer. Only waiting helps, so it counts as no failure of an audit."""


class StoreUnavailable(Away):
    """A tracking store does not answer."""


class StateUnavailable(Away):
    """The agent's own state can't be read or written now: it is locked, its disk is full, its server is away."""

    @classmethod
    def because(cls, error: BaseException, subject: str = "") -> StateUnavailable:
        """With the words of the database in one line."""
        words = " ".join(str(error).split())[:300]
        remedy = "free its disk, or see who locks it; it is tried again"
        return cls(f"the state can't be used: {words}", subject=subject, remedy=remedy)


class RecordUnreadable(RetryableError):
    """A store's record of a run can't be read: it is being rewritten, or it is broken."""


class RunGone(PermanentError):
    """The run was deleted or never existed."""


class RunChanged(PermanentError):
    """The run got a new revision while it was being audited; the newer revision is audited instead."""


class UntrustedInput(PermanentError):
    """Something that we read (a path, a file, a model description) is refused before use."""


class ConfigError(PermanentError):
    """agent.yaml, a policy or an option is wrong. Exit code 2."""


class SandboxUnavailable(PermanentError):
    """No sandbox can be made here; no model is ever loaded without one."""


class SandboxClosed(Away):
    """The agent is stopping and takes the sandbox with it: this says nothing of the model."""


class SandboxError(PermanentError):
    """The sandboxed model failed, overran a limit, or answered with something that is not a prediction."""


class SandboxKilled(SandboxError):
    """What ran in the sandbox was ended because it overran a limit or was ended by a signal.

    Attributes:
        limit: one word for which: "output", "messages", "time", "processor", "memory", or the signal's name.
    """

    def __init__(self, what: str, *, limit: str, subject: str = "", remedy: str) -> None:
        super().__init__(what, subject=subject, remedy=remedy)
        self.limit = limit
