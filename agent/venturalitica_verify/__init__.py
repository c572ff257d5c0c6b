"""Checks evidence that an agent wrote, years later and without the agent: this package stands on Python's standard
library and `cryptography` alone, shares no code with what it checks, and needs no network.

    python -m venturalitica_verify FOLDER --key audit.pub
"""

from venturalitica_verify.bundle import verify_bundle
from venturalitica_verify.outcome import Check, Outcome, exit_code
from venturalitica_verify.paths import verify_path

__all__ = ["Check", "Outcome", "exit_code", "verify_bundle", "verify_path"]
