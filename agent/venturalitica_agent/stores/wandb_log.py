"""The framing and the wire format of a `.wandb` transaction log, which W&B writes for every run.

Read without W&B: importing its protobuf module costs 50 MiB and half a second, its command line two seconds. A log is
untrusted and may be torn at any byte, so that every step here is bounded and stops at the first thing that isn't whole.

Framing: LevelDB's log format in blocks of 32 KiB, but with zlib's CRC-32 instead of CRC-32C, after seven bytes of magic
(source: wandb's core/pkg/leveldb/record and, before version 0.24, wandb.sdk.internal.datastore).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO

Fields = dict[int, list[int | bytes]]  # number -> values in order: int for varints, bytes for everything else

BLOCK = 1 << 15
MAGIC = b":W&B\xe1\xbe\x00"
MAX_LOG = 2 << 30
MAX_RECORD = 64 << 20
_HEADER = struct.Struct("<IHB")  # CRC-32 of type and data, length of the data, type
_LOST, _FULL, _FIRST, _LAST = 0, 1, 2, 4  # 3 is a fragment between the first and the last


class Kind(IntEnum):
    """Kinds of record that tell something of a run (source: wandb_internal.proto, message Record)."""

    SUMMARY = 3
    CONFIG = 5
    ARTIFACT = 8
    RUN = 17
    EXIT = 18


_BOOKKEEPING = frozenset((1, 16, 19, 200))  # num, control, uuid, _info: fields of every kind of record


class Malformed(ValueError):
    """Bytes that are no record, or no protobuf message."""


class CutOff(Malformed):
    """A message that ends too early."""


@dataclass(slots=True)
class LogReader:
    """Reads records from `source` one after the other.

    Attributes:
        start: where to begin: 0, or a multiple of `BLOCK`; then the first record is the first that begins there.
        until: offset that is not read beyond.
        lenient: go on behind what isn't whole, instead of stopping there.
        end: after reading, the offset behind the last record that was whole.
        stopped: what was not whole first; empty when everything was.
    """

    source: BinaryIO
    start: int = 0
    until: int = MAX_LOG
    lenient: bool = False
    end: int = 0
    stopped: str = ""

    def records(self, wanted: Collection[Kind]) -> Iterator[tuple[Kind, Fields]]:
        """Kind and fields of each wanted record. It ends, without an error, where the log is not whole."""
        try:
            for kind, record in self._records(frozenset(wanted)):
                try:
                    found = fields(b"".join(messages(fields(record), kind)))
                except Malformed as error:
                    self._hole(str(error))
                else:
                    yield Kind(kind), found
        except Malformed:
            return

    def _hole(self, why: str) -> None:
        self.stopped = self.stopped or why
        if not self.lenient:
            raise Malformed(why)

    def _records(self, wanted: Collection[int]) -> Iterator[tuple[int, bytes]]:
        kind, parts, size, inside = 0, [b""], 0, False
        for form, chunk, after in self._fragments():
            if form in (_FULL, _FIRST):
                if inside:
                    self._hole("a record begins inside another one")
                kind, parts, size, inside = 0, [], 0, True
            elif form == _LOST:
                inside = False
            if not inside:
                if not self.lenient:
                    self._hole("a record has no beginning")
                continue  # the rest of a record that began before `start` or in a hole
            if not kind or kind in wanted:
                parts.append(chunk)
                size += len(chunk)
                kind = kind or _kind(b"".join(parts))
            if size > (MAX_RECORD if kind else 2 * BLOCK):
                self._hole(f"a record is larger than {MAX_RECORD:,} bytes, or of no kind")
                inside = False
            elif form in (_FULL, _LAST):
                if kind in wanted:
                    yield kind, b"".join(parts)
                inside, self.end = False, after
        if inside:
            self._hole("the last record is cut off")

    def _fragments(self) -> Iterator[tuple[int, bytes, int]]:
        """Type, data and the offset behind it, of each fragment of a record."""
        offset = self.start
        self.source.seek(offset)
        while block := self.source.read(BLOCK):
            if offset >= self.until:
                self._hole(f"it is longer than {self.until:,} bytes")
                return
            position = 0
            if offset == 0:
                position = len(MAGIC)
                if block.startswith(MAGIC):
                    self.end = position
                else:
                    self._hole("it doesn't begin like a W&B log")
            while len(block) - position >= _HEADER.size:
                crc, length, form = _HEADER.unpack_from(block, position)
                data = position + _HEADER.size
                after = data + length
                if after > len(block) or not _FULL <= form <= _LAST:
                    self._hole("a record is cut off, or its header is damaged")
                    yield _LOST, b"", 0
                    break
                if zlib.crc32(memoryview(block)[data - 1 : after]) == crc:
                    yield form, block[data:after], offset + after
                else:
                    self._hole("a record's checksum is wrong")
                    yield _LOST, b"", 0
                position = after
            else:
                if any(block[position:]):
                    self._hole("the last record is cut off")
            if len(block) < BLOCK:
                return
            offset += BLOCK


def _kind(head: bytes) -> int:
    """The number of the record's one telling field; 0 while too little of the record is there to know it."""
    position = 0
    try:
        while position < len(head):
            tag, position = _varint(head, position)
            if tag >> 3 not in _BOOKKEEPING:
                return tag >> 3
            _, position = _value(head, position, tag & 7)
    except CutOff:
        pass
    return 0


# -- protobuf's wire format (source: protobuf.dev/programming-guides/encoding) ----------------------------------------
def fields(message: bytes) -> Fields:
    """The fields of a protobuf message, one level deep. Raises Malformed."""
    found: Fields = {}
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        value, position = _value(message, position, tag & 7)
        if tag >> 3 in found:
            found[tag >> 3].append(value)
        else:
            found[tag >> 3] = [value]
    return found


def messages(found: Fields, number: int) -> list[bytes]:
    """The messages, texts or bytes in a repeated field."""
    return [value for value in found.get(number, ()) if isinstance(value, bytes)]


def texts(found: Fields, number: int) -> list[str]:
    """The texts in a repeated field; what is no UTF-8 in them is replaced."""
    return [value.decode("utf-8", "replace") for value in messages(found, number)]


def text(found: Fields, number: int) -> str:
    """The text in a field; empty where there is none."""
    return "".join(texts(found, number)[-1:])


def number(found: Fields, field: int) -> int:
    """The int64 (or int32, bool) in a field; 0 where there is none."""
    value = next((v for v in reversed(found.get(field, ())) if isinstance(v, int)), 0)
    return value - (1 << 64) if value >= 1 << 63 else value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    try:
        byte = data[position]
        if byte < 0x80:  # nearly always
            return byte, position + 1
        value = byte & 0x7F
        for shift in range(7, 70, 7):
            position += 1
            byte = data[position]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & (1 << 64) - 1, position + 1
    except IndexError:
        raise CutOff("a number in a record is cut off") from None
    raise Malformed("a number in a record is too long")


def _value(data: bytes, position: int, wire: int) -> tuple[int | bytes, int]:
    if wire == 2:
        size, position = _varint(data, position)
    elif wire == 0:
        return _varint(data, position)
    elif wire in (1, 5):
        size = 8 if wire == 1 else 4
    else:
        raise Malformed("a record is no protobuf message")
    after = position + size
    if after > len(data):
        raise CutOff("a field of a record is cut off")
    return data[position:after], after
