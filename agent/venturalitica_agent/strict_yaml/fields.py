"""Takes a map of the document apart, key by key, and notes what is wrong instead of stopping at it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import TypeVar

from venturalitica_agent.errors import ConfigError
from venturalitica_agent.strict_yaml.mistakes import Mistake, Mistakes, nearest, shown
from venturalitica_agent.strict_yaml.parse import ListNode, MapNode, Node, Scalar

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

_KINDS = {Scalar: "a single value", ListNode: "a list", MapNode: "a map of keys and values"}


class BadValue(ConfigError):
    """A converter refuses a value; `what` completes the sentence "<key> ..."."""

    def __init__(self, what: str, nearest_word: str = "") -> None:
        super().__init__(what)
        self.nearest = nearest_word


class Fields:
    """The keys of one map. Each key that is asked for is thereby known; `close` refuses all others.

    The readers return their default where a value is missing or wrong (the mistake is noted), so that reading goes
    on; the result must not be used before `Mistakes.raise_if_any`.
    """

    def __init__(self, pairs: Iterable[tuple[Scalar, Node]], place: Node, mistakes: Mistakes) -> None:
        self.place = place
        self.mistakes = mistakes
        self._pairs = {key.text: (key, value) for key, value in pairs}
        self._known: dict[str, None] = {}

    def __contains__(self, key: str) -> bool:
        self._known[key] = None
        return key in self._pairs

    def node(self, key: str) -> Node | None:
        """The value of a key as it stands in the document."""
        return self._pairs[key][1] if key in self else None

    def require(self, *keys: str) -> None:
        """Note every key that is missing."""
        for key in keys:
            if key not in self:
                self.complain(key, f"{shown(key)} is missing")

    def read(self, key: str, convert: Callable[[Scalar], T], default: T) -> T:
        """A single value, converted. `convert` raises `BadValue` on what it refuses."""
        node = self.node(key)
        return next(iter(self._converted(key, node, convert)), default) if node else default

    def text(self, key: str, default: str = "") -> str:
        """Text exactly as written: `version: 1.10` is "1.10"."""
        return self.read(key, as_text, default)

    def flag(self, key: str, default: bool) -> bool:
        return self.read(key, _as_flag, default)

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A finite number, both bounds inclusive."""
        return self.read(key, lambda scalar: _within(_as_number(scalar), low, high), default)

    def whole(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number, both bounds inclusive."""
        return self.read(key, lambda scalar: int(_within(_as_whole(scalar), low, high)), default)

    def choice(self, key: str, options: type[E], default: E) -> E:
        return options(self.read(key, one_of([o.value for o in options]), default.value))

    def list_of(self, key: str, convert: Callable[[Scalar], T]) -> tuple[T, ...]:
        """One value or a list of values; a missing key is an empty tuple."""
        node = self.node(key)
        if node is None:
            return ()
        items = node.items if isinstance(node, ListNode) else (node,)
        if not items:
            self.note(node, f"{shown(key)} is an empty list")
        return tuple(value for item in items for value in self._converted(key, item, convert))

    def maps(self, key: str) -> list[Fields]:
        """A list of maps; a missing key is an empty list."""
        node = self.node(key)
        if node is None:
            return []
        if not isinstance(node, ListNode):
            self.note(node, f"{shown(key)} must be a list, not {_kind(node)}")
            return []
        found = (read_fields(item, f"each of {shown(key)}", self.mistakes) for item in node.items)
        return [fields for fields in found if fields is not None]

    def map(self, key: str) -> Fields | None:
        """A map; None when it is missing or is something else."""
        node = self.node(key)
        return None if node is None else read_fields(node, shown(key), self.mistakes)

    def pairs(self) -> list[tuple[Scalar, Node]]:
        """Every key with its value, for maps whose keys are the writer's own; marks them all as known."""
        self._known.update(dict.fromkeys(self._pairs))
        return list(self._pairs.values())

    def close(self, *, also: Sequence[str] = (), noun: str = "key") -> None:
        """Note every key that nobody asked for, with the nearest of those that could be meant."""
        for name, (key, _) in self._pairs.items():
            if name not in self._known:
                near = nearest(name, [*self._known, *also])
                self.mistakes.add(
                    Mistake(
                        key.line, key.column, key.path or self.place.path, name, f"unknown {noun} {shown(name)}", near
                    )
                )

    def complain(self, key: str, message: str, near: str = "") -> None:
        """Note a mistake about a key: at its value, or at the map where the key is missing."""
        node = self.node(key)
        if node is not None:
            self.note(node, message, near)
        else:
            place = self.place
            path = f"{place.path}.{key}" if place.path else key
            self.mistakes.add(Mistake(place.line, place.column, path, "", message, near))

    def note(self, node: Node, message: str, near: str = "") -> None:
        text = node.text if isinstance(node, Scalar) else ""
        self.mistakes.add(Mistake(node.line, node.column, node.path, text, message, near))

    def _converted(self, key: str, node: Node, convert: Callable[[Scalar], T]) -> tuple[T] | tuple[()]:
        """The converted value, or nothing when it is refused (and noted)."""
        if not isinstance(node, Scalar):
            self.note(node, f"{shown(key)} must be a single value, not {_KINDS[type(node)]}")
            return ()
        if node.value is None:
            self.note(node, f"{shown(key)} is empty; give it a value or remove it")
            return ()
        try:
            return (convert(node),)
        except BadValue as error:
            self.note(node, f"{shown(key)} {error.what}", error.nearest)
            return ()


def read_fields(node: Node, name: str, mistakes: Mistakes) -> Fields | None:
    """The fields of a map; None, with a mistake noted, when the node is something else."""
    if isinstance(node, MapNode):
        return Fields(node.pairs, node, mistakes)
    text = node.text if isinstance(node, Scalar) else ""
    what = f"{name} must be a map of keys and values, not {_kind(node)}"
    mistakes.add(Mistake(node.line, node.column, node.path, text, what))
    return None


def as_text(scalar: Scalar) -> str:
    if not scalar.text.strip():
        raise BadValue("is empty")
    return scalar.text


def printable(longest: int) -> Callable[[Scalar], str]:
    """A converter for one line of printable text of at most `longest` characters."""

    def convert(scalar: Scalar) -> str:
        text = as_text(scalar)
        odd = next((character for character in text if not character.isprintable()), "")
        if odd:
            kind = "a space that only looks like one" if odd.isspace() and odd > "\x7f" else "control characters"
            raise BadValue(f"holds {kind} (U+{ord(odd):04X})")
        if len(text) > longest:
            raise BadValue(f"is longer than {longest} characters")
        return text

    return convert


def one_of(options: Sequence[str]) -> Callable[[Scalar], str]:
    """A converter that accepts one of a few words."""

    def convert(scalar: Scalar) -> str:
        if scalar.text not in options:
            listed = ", ".join(options[:-1]) + " or " + options[-1] if len(options) > 1 else options[0]
            raise BadValue(f"must be {listed}, not {shown(scalar.text)}", nearest(scalar.text, options))
        return scalar.text

    return convert


def _kind(node: Node) -> str:
    return "empty" if isinstance(node, Scalar) and node.value is None else _KINDS[type(node)]


def _as_flag(scalar: Scalar) -> bool:
    if not isinstance(scalar.value, bool):
        raise BadValue(f"must be true or false, not {shown(scalar.text)}")
    return scalar.value


def _as_number(scalar: Scalar) -> float:
    if isinstance(scalar.value, bool) or not isinstance(scalar.value, int | float):
        raise BadValue(f"must be a number, not {shown(scalar.text)}")
    return float(scalar.value)


def _as_whole(scalar: Scalar) -> int:
    if isinstance(scalar.value, bool) or not isinstance(scalar.value, int):
        raise BadValue(f"must be a whole number, not {shown(scalar.text)}")
    return scalar.value


def _within(value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise BadValue(f"must be between {low:g} and {high:g}, not {value:g}")
    return value
