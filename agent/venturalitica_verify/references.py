"""References inside the evidence's documents: each leads to something that is there, and to the right bytes."""

from __future__ import annotations

import re
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

from venturalitica_verify.outcome import Broken
from venturalitica_verify.strict import read_json

_LOADS = {"src", "srcset", "data", "poster", "background", "action", "formaction", "ping", "manifest"}
_REQUESTS = re.compile(r"url\((?!\s*['\"]?(?:data:|#))|@import", re.IGNORECASE)
_OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def check_references(files: Mapping[str, bytes], outside: Mapping[str, str]) -> int:
    """How many references of OSCAL and HTML files were followed; raises Broken at the first that leads nowhere.

    Args:
        outside: SHA-256 of what the evidence is about and doesn't hold, by name.
    """
    documents = {n: read_json(c, n) for n, c in files.items() if n.endswith(".oscal.json")}
    followed = _check_oscal(documents, files, outside)
    for name, content in files.items():
        if name.endswith((".html", ".htm")):
            followed += _check_page(name, content.decode("utf-8"), files)
    return followed


def _check_oscal(documents: Mapping[str, Any], files: Mapping[str, bytes], outside: Mapping[str, str]) -> int:
    nodes = [(name, node) for name, document in documents.items() for node in _objects(document)]
    followed = 0
    for name in documents:
        own = Counter(node["uuid"] for of, node in nodes if of == name and "uuid" in node)
        if twice := [uuid for uuid, times in own.items() if times > 1]:
            raise Broken(f"{name} gives the UUID {twice[0]} to two things")
    known = {node["uuid"] for _, node in nodes if "uuid" in node}
    for name, node in nodes:
        for key, value in node.items():
            if key.endswith("-uuid") and isinstance(value, str):
                followed += 1
                if value not in known:
                    raise Broken(f"{name} refers to the UUID {value}, which nothing has")
        if isinstance(node.get("href"), str):
            followed += _check_href(name, node, known, files, outside)
        if isinstance(node.get("base64"), dict):
            b64decode(node["base64"]["value"], validate=True)
    return followed


def _check_href(
    name: str, node: Mapping[str, Any], known: set[str], files: Mapping[str, bytes], outside: Mapping[str, str]
) -> int:
    href, hashes = node["href"], node.get("hashes", [])
    if href.startswith("#"):
        if href[1:] not in known:
            raise Broken(f"{name} refers to {href}, which nothing is")
        return 1
    if _OUTSIDE.match(href):
        return 0
    path = unquote(href.removeprefix("./"))
    digest = sha256(files[path]).hexdigest() if path in files else outside.get(path)
    if digest is None:
        raise Broken(f"{name} refers to the file {path}, which is not there")
    for given in hashes:
        if given["algorithm"].upper() == "SHA-256" and given["value"] != digest:
            raise Broken(f"{name} has another SHA-256 for {path} than it has")
    return 1


def _objects(document: Any) -> Iterator[Mapping[str, Any]]:
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


class _Page(HTMLParser):
    """Collects where a page leads, and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        for key, given in attrs:
            value = (given or "").strip()
            if key in ("id", "name"):
                self.ids.add(value)
            elif key in ("href", "xlink:href"):
                (self.links if tag == "a" else self.loads).append(value)
            elif key in _LOADS or (key == "style" and _REQUESTS.search(value)):
                self.loads.append(value)

    def handle_data(self, data: str) -> None:
        if self._in_style and _REQUESTS.search(data):
            self.loads.append("a style sheet's url()")


def _check_page(name: str, text: str, files: Mapping[str, bytes]) -> int:
    page = _Page()
    page.feed(text)
    page.close()
    for load in page.loads:
        if not load.startswith(("data:", "#")):
            raise Broken(f"{name} loads {load[:80]!r}, and evidence must stand alone")
    for link in page.links:
        if link.startswith("#"):
            if link[1:] not in page.ids:
                raise Broken(f"{name} leads to {link}, which is not on it")
        elif not _OUTSIDE.match(link) and unquote(link.partition("#")[0].removeprefix("./")) not in files:
            raise Broken(f"{name} leads to the file {link[:80]}, which is not there")
    return len(page.loads) + len(page.links)
