"""The unit file as data, for the tests beside this file."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[3]
UNIT = ROOT / "systemd" / "venturalitica-agent.service"


def service_section() -> dict[str, str]:
    """Directive to value, of [Service]; a directive that is given twice is an error."""
    parser = ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # directives are case-sensitive
    parser.read_string(UNIT.read_text(encoding="utf-8"))
    return dict(parser["Service"])
