"""From bytes to a tree of values that remember their place and their source text.

The tree is built from libyaml's events with a stack of our own, so that depth and size are known before anything is
built: a deep document can't exhaust the interpreter's stack, and an alias costs what it would expand to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import yaml

from venturalitica_agent.errors import ConfigError
from venturalitica_agent.strict_yaml.mistakes import Mistake, Mistakes, shown

MAX_BYTES = 1 << 20
MAX_DEPTH = 50
MAX_NODES = 50_000  # after aliases are expanded

Plain: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value: `text` as it is written (without quotes), `value` as it is meant (dates stay text)."""

    text: str
    value: Plain
    line: int = 0
    column: int = 0
    path: str = ""


@dataclass(frozen=True, slots=True)
class ListNode:
    items: tuple[Node, ...]
    line: int
    column: int
    path: str


@dataclass(frozen=True, slots=True)
class MapNode:
    """Pairs in the order of the file; keys are text as written and unique."""

    pairs: tuple[tuple[Scalar, Node], ...]
    line: int
    column: int
    path: str


Node: TypeAlias = Scalar | ListNode | MapNode

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
NUMBER = f"{_INT.pattern}|{_FLOAT.pattern}"  # pattern of a number as people write it
_WORDS: dict[str, Plain] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_TRAPS = tuple(
    (re.compile(pattern), why)
    for pattern, why in (
        (r"(?i:yes|no|on|off)", "is a boolean to some readers, text to others; quote it, or write true or false"),
        (r"[-+]?0[0-9_]+|[-+]?0(?i:[xob])[0-9a-fA-F_]+", "is not a decimal number to every reader; quote it"),
        (r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?", "is read in base 60 by some readers; quote it"),
        (r"[-+]?\.(?i:inf|nan)", "is not a finite number"),
        (r"[-+]?[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?", "is not a number to every reader; drop the underscores"),
        (r"[-+]?[0-9]{19,}", "is a number with too many digits; quote it if it is a name"),
    )
)
_LONGEST_NUMBER = 64  # characters; longer text is text, and the patterns above stay cheap


def parse(content: bytes, mistakes: Mistakes) -> Node:
    """The tree of a document (YAML 1.2's core, JSON included), or `InvalidDocument` where nothing can be read on.

    Refused, each with line and column: more than 1 MiB, 50 levels or 50,000 values after aliases are expanded, two
    equal keys, tags, merge keys, several documents, and unquoted values that readers of YAML disagree about (`NO`,
    `010`, `12:30:45`, `1_000`, `.nan`). What doesn't stop the reading is added to `mistakes`: the caller adds its
    own and raises them together. Keys are always text.
    """
    text = _decode(content, mistakes)
    try:
        return _Builder(mistakes).build(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        mistakes.stop(Mistake(line, column, "", "", _explain(error, text, line)))


def read_file(path: Path) -> bytes:
    """At most one byte more than `MAX_BYTES` of a regular file.

    Raises:
        ConfigError: it is missing, unreadable, or not a regular file.
    """
    try:
        if not path.is_file():
            what = "is not a regular file" if path.exists() else "no such file"
            raise ConfigError(what, subject=str(path), remedy="check the path, or create the file")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        remedy = "check the path and that this user may read it"
        raise ConfigError(f"can't be read: {error.strerror}", subject=str(path), remedy=remedy) from error


def plain(node: Node) -> Any:
    """The values alone, as dicts, lists and scalars."""
    match node:
        case Scalar():
            return node.value
        case ListNode():
            return [plain(item) for item in node.items]
        case MapNode():
            return {key.text: plain(value) for key, value in node.pairs}


def understand(text: str) -> tuple[Plain, str]:
    """What unquoted text means, and why it must not be written so (else "")."""
    if text in _WORDS:
        return _WORDS[text], ""
    if len(text) > _LONGEST_NUMBER:
        return text, ""
    for pattern, why in _TRAPS:
        if pattern.fullmatch(text):
            return text, f"unquoted {shown(text)} {why}"
    if _INT.fullmatch(text):
        return int(text), ""
    if _FLOAT.fullmatch(text):
        number = float(text)
        finite = number - number == 0
        return (number, "") if finite else (text, f"{shown(text)} is not a finite number")
    return text, ""


def _decode(content: bytes, mistakes: Mistakes) -> str:
    if len(content) > MAX_BYTES:
        mistakes.stop(Mistake(0, 0, "", "", f"larger than {MAX_BYTES:,} bytes"))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _place(content[: error.start].decode("utf-8", "replace"))
        mistakes.stop(Mistake(line, column, "", "", "not UTF-8 text"))
    if found := _UNPRINTABLE.search(text):
        line, column = _place(text[: found.start()])
        mistakes.stop(Mistake(line, column, "", found[0], f"the character {shown(found[0])} is not allowed in YAML"))
    return text


def _place(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _explain(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    what = ", ".join(part for part in (error.problem, error.context) if part)
    source = text.split("\n")[line - 1] if line <= text.count("\n") + 1 else ""
    if re.search(r":\s+>=?\s*[-+.0-9]", source):
        return (
            f'not YAML: an unquoted ">" starts a block of text; quote the requirement, e.g. require: ">= 0.80" ({what})'
        )
    return f"not YAML: {what}"


@dataclass(slots=True)
class _Frame:
    """A list or map that is still open. A map's children alternate: key, value, key, ..."""

    mapping: bool
    line: int
    column: int
    path: str
    anchor: str | None
    children: list[Node] = field(default_factory=list)
    size: int = 1
    height: int = 1

    def at_key(self) -> bool:
        return self.mapping and len(self.children) % 2 == 0

    def child_path(self) -> str:
        if not self.mapping:
            return f"{self.path}[{len(self.children)}]"
        key = self.children[-1] if len(self.children) % 2 else None
        name = key.text if isinstance(key, Scalar) else ""
        return f"{self.path}.{name}" if self.path and name else self.path or name


class _Builder:
    def __init__(self, mistakes: Mistakes) -> None:
        self._mistakes = mistakes
        self._open: list[_Frame] = []
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        self._total = 0
        self._root: Node | None = None

    def build(self, events: Iterable[Any]) -> Node:
        documents = 0
        for event in events:
            line, column = event.start_mark.line + 1, event.start_mark.column + 1
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        self._stop(line, column, "a second document starts here; write one document per file")
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    self._refuse_tag(event, line, column)
                    mapping = isinstance(event, yaml.MappingStartEvent)
                    self._open.append(_Frame(mapping, line, column, self._path(), event.anchor))
                    self._check_depth(len(self._open), line, column)
                case yaml.ScalarEvent():
                    self._refuse_tag(event, line, column)
                    self._add(self._scalar(event, line, column), 1, 0, event.anchor)
                case yaml.AliasEvent():
                    self._alias(str(event.anchor), line, column)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    frame = self._open.pop()
                    self._add(self._closed(frame), frame.size, frame.height, frame.anchor, counted=frame.size - 1)
        if self._root is None:
            self._stop(1, 1, "the file is empty")
        return self._root

    def _path(self) -> str:
        return self._open[-1].child_path() if self._open else ""

    def _scalar(self, event: Any, line: int, column: int) -> Scalar:
        text, path = event.value, self._path()
        at_key = bool(self._open) and self._open[-1].at_key()
        quoted = event.style not in ("", None)
        if at_key or quoted:
            if text == "<<" and not quoted:
                self._note(line, column, path, text, "merge keys (<<) are not supported; write the values out")
            return Scalar(text, text, line, column, path)
        value, trap = understand(text)
        if trap:
            self._note(line, column, path, text, trap)
        return Scalar(text, value, line, column, path)

    def _alias(self, name: str, line: int, column: int) -> None:
        if name not in self._anchors:
            self._stop(line, column, f"*{name} names nothing that is finished above it")
        node, size, height = self._anchors[name]
        self._check_depth(len(self._open) + height, line, column)
        self._add(node, size, height, None)

    def _add(self, node: Node, size: int, height: int, anchor: str | None, *, counted: int = 0) -> None:
        self._total += size - counted
        if self._total > MAX_NODES:
            self._stop(node.line, node.column, f"more than {MAX_NODES:,} values once aliases are expanded")
        if anchor is not None:
            self._anchors[anchor] = (node, size, height)
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        parent.children.append(node)
        parent.size += size
        parent.height = max(parent.height, height + 1)

    def _closed(self, frame: _Frame) -> Node:
        if not frame.mapping:
            return ListNode(tuple(frame.children), frame.line, frame.column, frame.path)
        pairs: dict[str, tuple[Scalar, Node]] = {}
        for key, value in zip(frame.children[::2], frame.children[1::2], strict=True):
            if not isinstance(key, Scalar):
                self._note(key.line, key.column, frame.path, "", "a key must be text")
            elif key.text in pairs:
                first = pairs[key.text][0].line
                what = f"the key {shown(key.text)} is given twice (first on line {first})"
                self._note(key.line, key.column, frame.path, key.text, what)
            else:
                pairs[key.text] = (key, value)
        return MapNode(tuple(pairs.values()), frame.line, frame.column, frame.path)

    def _refuse_tag(self, event: Any, line: int, column: int) -> None:
        if event.tag is not None:
            hint = "; quote the requirement" if event.tag.startswith("!=") else ""
            self._note(line, column, self._path(), event.tag, f"the tag {shown(event.tag)} is not supported{hint}")

    def _check_depth(self, depth: int, line: int, column: int) -> None:
        if depth > MAX_DEPTH:
            self._stop(line, column, f"nested more than {MAX_DEPTH} levels deep")

    def _note(self, line: int, column: int, path: str, text: str, what: str) -> None:
        self._mistakes.add(Mistake(line, column, path, text, what))

    def _stop(self, line: int, column: int, what: str) -> NoReturn:
        self._mistakes.stop(Mistake(line, column, self._path(), "", what))
