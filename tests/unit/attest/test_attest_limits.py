"""What a verdict can't claim is said for each article that a control serves."""

from __future__ import annotations

import pytest

from venturalitica_agent.attest.limits import _SENTENCES, cannot_claim


@pytest.mark.parametrize(
    ("article", "expected"),
    [
        ("10(2)(f)", ["10(2)(f)"]),
        ("10(2)(h)", ["10"]),
        ("10(3)", ["10(3)"]),
        ("Art. 9(8)", ["9(8)"]),
        ("9(4)", ["9"]),
        ("15(1), 15(3)", ["15(1)", "15(3)"]),
        ("15(1),(3)", ["15(1)", "15(3)"]),
        ("Article 15 (4)", ["15"]),
        ("11, Annex IV 2(d), 2(g)", ["11"]),
        ("4a(1)", ["4a"]),
        ("", []),
        ("29 CFR 1607.4(D)", []),
        ("house rule", []),
    ],
)
def test_a_reference_finds_the_most_special_sentence(article: str, expected: list[str]) -> None:
    assert list(cannot_claim([article])) == expected


def test_each_article_is_told_once_in_their_order() -> None:
    assert list(cannot_claim(["15(4)", "10(3)", "9(8)", "10(3)", "10(2)(f)"])) == ["9(8)", "10(2)(f)", "10(3)", "15(4)"]


def test_no_sentence_promises_what_nobody_can() -> None:
    for sentence in _SENTENCES.values():
        assert not any(word in sentence.lower() for word in ("compliant", "compliance", "certif"))
        assert sentence.endswith(".")
