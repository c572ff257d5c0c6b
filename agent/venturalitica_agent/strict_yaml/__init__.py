"""Reads the YAML (and JSON) that people write for us: agent.yaml, policies, waivers.

Ordinary YAML readers forgive: the last of two equal keys wins, `NO` is a boolean, `010` is eight, a 420-byte file grows
to gigabytes. In a file that decides whether a model is blocked, each of these is a wrong verdict. So everything
ambiguous is refused, with its place, and all the mistakes of a document are told at once.
"""

from venturalitica_agent.strict_yaml.fields import BadValue, Fields, as_text, one_of, printable, read_fields
from venturalitica_agent.strict_yaml.mistakes import InvalidDocument, Mistake, Mistakes, nearest, redacted, shown
from venturalitica_agent.strict_yaml.parse import (
    MAX_BYTES,
    NUMBER,
    ListNode,
    MapNode,
    Node,
    Plain,
    Scalar,
    parse,
    plain,
    read_file,
    understand,
)

__all__ = [
    "MAX_BYTES",
    "NUMBER",
    "BadValue",
    "Fields",
    "InvalidDocument",
    "ListNode",
    "MapNode",
    "Mistake",
    "Mistakes",
    "Node",
    "Plain",
    "Scalar",
    "as_text",
    "nearest",
    "one_of",
    "parse",
    "plain",
    "printable",
    "read_fields",
    "read_file",
    "redacted",
    "shown",
    "understand",
]
