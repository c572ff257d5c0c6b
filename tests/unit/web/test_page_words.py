"""Every text of the pages is in the Spanish catalogue, with the same places, and the catalogue holds nothing else."""

from __future__ import annotations

import string
from pathlib import Path

from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po

import venturalitica_agent
from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.web import page_words
from venturalitica_agent.web.model import Light

PACKAGE = Path(venturalitica_agent.__file__).parent
WEB = PACKAGE / "web"


def spoken() -> set[str]:
    """Every message of the templates and of the pages' Python."""
    found: set[str] = set()
    for path in sorted(WEB.glob("templates/*.html")):
        messages = extract_from_file("jinja2", path, keywords={"t": None}, options={"trim_blocks": "true"})
        found |= {message for _, message, *_ in messages if isinstance(message, str)}
    for file in ("pages.py", "page_words.py", "templating.py"):
        messages = extract_from_file("python", WEB / file, keywords={"_": None, "text": None, "said": None})
        found |= {message for _, message, *_ in messages if isinstance(message, str)}
    return found


def catalogue() -> dict[str, str]:
    with (PACKAGE / "language" / "es" / "web.po").open("rb") as file:
        return {str(m.id): str(m.string) for m in read_po(file, locale="es", abort_invalid=True) if m.id}


def places(text: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(text) if field}


def test_every_text_of_the_pages_is_in_spanish_and_nothing_else_is() -> None:
    messages = spoken()
    assert len(messages) > 150
    assert set(catalogue()) == messages


def test_no_translation_is_empty_or_loses_a_place() -> None:
    for message, spanish in catalogue().items():
        assert spanish.strip(), message
        assert places(spanish) == places(message), message


def test_no_text_stands_in_a_template_without_being_translated() -> None:
    import re

    for path in sorted(WEB.glob("templates/*.html")):
        source = re.sub(r"\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}", "", path.read_text(), flags=re.DOTALL)
        bare = re.findall(r">([^<>]*[A-Za-z]{2}[^<>]*)<", source)
        assert not [text for text in bare if text.strip() not in ("Venturalítica", "· Venturalítica", "SHA-256")
                    and "venturalitica-agent" not in text], path  # fmt: skip


def test_every_status_and_every_light_has_a_word() -> None:
    assert set(Status) <= set(page_words.STATUSES)
    assert set(page_words.MEANINGS) == set(page_words.STATUSES) - {"done"}
    assert set(Light) == set(page_words.LIGHTS)
