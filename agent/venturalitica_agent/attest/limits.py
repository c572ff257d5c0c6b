"""What a verdict can't claim, by the article of Regulation (EU) 2024/1689 that its controls serve. Pure.

A measurement says something about one model, on one set of data, on one day. Each sentence names the step from there to
the article's own words that nobody can take by measuring.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_SENTENCES = {
    "9(2)": "A risk named on a control does not show that a risk management system exists or is kept up to date.",
    "9(5)": "A risk named on a control does not show that a risk management system exists or is kept up to date.",
    "9(6)": "A policy that is older than the run shows that its thresholds were set before, not that they fit the use.",
    "9(8)": "A policy that is older than the run shows that its thresholds were set before, not that they fit the use.",
    "9": "Testing against a policy is one part of risk management; that the rest of it exists can't be seen from here.",
    "10(2)(f)": "Gaps between the groups that were compared say nothing of groups that the data don't "
    "name, and neither that bias is absent nor that a difference is lawful.",
    "10(2)(g)": "A change against an earlier run shows what moved, not that the measures against bias are adequate.",
    "10(3)": "Counts in these data don't show that they represent people whom nobody has sampled.",
    "10": "Properties of these tables don't show how the data were collected, prepared and governed.",
    "4a": "That columns are flagged and only sums leave the agent is no legal basis for special categories of data.",
    "11": "Digests, metrics and dated reports are parts of the documentation; a key that signs is not a person.",
    "12": "Evidence of a test is not the log of the system in operation, which is what this article asks for.",
    "13": "Values for the instructions for use don't show that instructions were issued, or that they are understood.",
    "14": "Metadata on oversight don't show that people can and do oversee the system.",
    "15(1)": "Performance on these data, on this day, does not show that it stays so over the system's life.",
    "15(3)": "Performance on these data, on this day, does not show that it stays so over the system's life.",
    "15(4)": "Answers under noise and missing values that are made up don't show how the system bears faults in use.",
    "15(5)": "Equal digests show that files are the same as before; they say nothing of attacks on the system in use.",
    "15": "Tests of a model on data don't show the accuracy, robustness and security of the whole system in use.",
    "17": "Regular audits are one part of quality management; that the rest of it exists can't be seen from here.",
    "18": "How long documents must be kept follows from the day of placing on the market, which the provider knows.",
    "19": "Logs of the system in operation are kept elsewhere: none of them is part of this evidence.",
    "26(6)": "Logs of the system in operation are kept elsewhere: none of them is part of this evidence.",
    "72": "A measurement before the market is a baseline for monitoring after it, not that monitoring.",
}
_NUMBER = re.compile(r"\d+[a-z]?(?:\([0-9a-z]+\))*")
_STEP = re.compile(r"\([^)]*\)$")


def cannot_claim(articles: Iterable[str]) -> dict[str, str]:
    """A sentence for each provision that the articles of some controls fall under, in the order of the articles.

    Args:
        articles: as policies write them: "10(2)(f)", "Art. 15(1),(3)", or anything else, of which nothing is said.
    """
    found = {place: _SENTENCES[place] for article in articles for place in _provisions(article)}
    return {place: found[place] for place in sorted(found, key=_in_order)}


def _provisions(article: str) -> Iterable[str]:
    """The most special provisions with a sentence that a reference names; `15(1),(3)` names two."""
    for named in _NUMBER.findall(re.sub(r"[,;]\s*(?=\()", " @", article).replace("@", _base(article))):
        place = named
        while place not in _SENTENCES and (shorter := _STEP.sub("", place)) != place:
            place = shorter
        if place in _SENTENCES:
            yield place


def _base(article: str) -> str:
    """The number that a list of paragraphs begins with: `15` of `15(1),(3)`."""
    first = re.search(r"\d+[a-z]?", article)
    return first[0] if first else ""


def _in_order(place: str) -> tuple[int, str]:
    return int(re.match(r"\d+", place)[0]), place  # type: ignore[index]  # every key begins with its number
