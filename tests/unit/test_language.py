"""What is stored is English; what a Spanish reader sees is all Spanish, with every name and number in its place."""

from __future__ import annotations

import ast
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import chain, cycle, islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from babel.messages.pofile import read_po
from hypothesis import example, given, settings
from hypothesis import strategies as st

import venturalitica_agent
from venturalitica_agent.attest.limits import cannot_claim
from venturalitica_agent.domain.metric import METRICS
from venturalitica_agent.domain.policy import Control, DecideOn, Enforcement, Op, Outcome, Policy, Requirement
from venturalitica_agent.domain.subject import ColumnBinding, Predictions, Problem, Subject
from venturalitica_agent.domain.verdict import Finding, Status, Waived
from venturalitica_agent.evaluate.background import Background
from venturalitica_agent.evaluate.families import measure_all
from venturalitica_agent.evaluate.judge import judge
from venturalitica_agent.evaluate.sample import Sample, build_sample
from venturalitica_agent.evaluate.stress import AskedAgain, disturb, stress_of, taken
from venturalitica_agent.language import LANGUAGES, language, preferred
from venturalitica_agent.language.catalogue import LONGEST

AGENT = Path(venturalitica_agent.__file__).parent
CATALOGUES = sorted((AGENT / "language" / "es").glob("*.po"))
SPANISH = language("es")


@cache
def sample(rows: int = 400, seed: int = 1) -> Sample:
    """A table on which every metric of labels, groups, scores, columns and quantities has something to say."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    scores = np.clip(y * 0.4 + rng.random(rows) * 0.6, 0.01, 0.99)
    frame = pd.DataFrame(
        {
            "target": y,
            "prediction": (scores > 0.45).astype(int),
            "score": scores,
            "gender": rng.choice(["women, all. of them", "men"], rows),
            "age": np.array(["young", "old", None])[rng.choice(3, rows, p=[0.6, 0.35, 0.05])],
            "income": rng.normal(30, 9, rows).round(),
            "disease": rng.choice(["none", "some"], rows),
        }
    )
    subject = Subject(binding={name: ColumnBinding(name, name, "declared") for name in frame.columns})
    made = build_sample(frame, replace(subject, binding={**subject.binding, "target": _positive()}))
    return replace(made, background=replace(made.background, logged={"auc": 0.91, "accuracy": 0.7}))


def _positive() -> ColumnBinding:
    return ColumnBinding("target", "target", "declared", positive=1)


def controls(metric: str) -> Iterator[Control]:
    """The metric asked in every way that gives it another status or another sentence."""
    spec = METRICS[metric]
    grouped = "groups" in {need.value for need in spec.needs}
    thresholds = cycle((0.0, 0.5, 0.97, 0.1, 40.0))
    ways = zip(thresholds, cycle((Op.GE, Op.LE, Op.GT, Op.LT)), cycle((*DecideOn, DecideOn.INTERVAL)), strict=False)
    for place, (threshold, op, decide_on) in enumerate(islice(ways, 15)):
        least, of = (1, 30)[place // 2 % 2], (Outcome.LABELS, Outcome.PREDICTIONS)[place // 4 % 2]
        yield Control(
            f"c{place}",
            metric,
            Requirement(op, threshold),
            article="10(2)(f)" if place % 2 else "",
            role=("age" if place % 3 else "gender") if grouped else None,
            of=of,
            decide_on=decide_on,
            min_group=least,
            enforcement=Enforcement.WARN if place % 5 == 0 else Enforcement.BLOCK,
            columns=("gender", "age") if metric in ("k_anonymity", "l_diversity", "t_closeness") else (),
            sensitive="disease",
            shares={"women, all. of them": 0.5, "men": 0.5} if place % 3 == 0 else {"young": 0.6, "old": 0.4},
            logged="auc" if place % 2 else "missing",
            of_metric="roc_auc" if metric == "declared_difference" else "",
            noise=0.05,
            missing=0.05,
            tolerance=0.1,
            skip="",
        )


def disturbed(asked: list[Control], on: Sample) -> Sample:
    """The sample with what a model said once its numbers were disturbed: the same, but for a few rows."""
    found: dict[Any, AskedAgain | Problem] = {}
    for stress in {stress_of(control) for control in asked} - {None}:
        assert stress is not None
        stressed = disturb(on.background.frame[["income"]], stress)
        codes = on.background.frame["prediction"].to_numpy()
        before = Predictions(len(codes), (0, 1), codes)
        after = replace(before, codes=np.where(np.arange(len(codes)) < 9, 1 - codes, codes))
        found[stress] = AskedAgain(stressed, taken(before, stressed.rows), taken(after, stressed.rows))
    return replace(on, asked_again=found)


def findings(metric: str) -> tuple[Finding, ...]:
    asked = list(controls(metric))
    found: list[Finding] = []
    for on in (sample(), sample(40, 2), sample(3, 3), Sample(0, None, None, None, None, {}, background=Background())):
        policy = Policy("p", "1", "0" * 64, "p.yaml", b"", tuple(asked))
        results = measure_all(asked, disturbed(asked, on) if on.n > 3 else on)
        waivers = {"c2": Waived("a. reason; of theirs", "Ana Ruiz", "2026-12-31")}
        found += judge(policy, list(results.values()), waivers=waivers).findings
    return tuple(found)


def untranslated(finding: Finding) -> Iterator[str]:
    measured = finding.measurement
    texts = [finding.sentence, finding.remedy, finding.status.value, finding.require]
    if measured is not None:
        texts += [measured.interval.method, measured.rate, *measured.notes]
        texts += [group.reason for group in measured.groups]
        texts += [group.interval.method for group in measured.groups if group.interval]
    yield from (text for text in texts if text and not SPANISH.knows(text))


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_every_finding_of_every_metric_is_told_in_spanish(metric: str) -> None:
    found = findings(metric)
    assert {text for finding in found for text in untranslated(finding)} == set()
    assert len({finding.status for finding in found}) > 1 or METRICS[metric].of_audit
    assert SPANISH.knows(METRICS[metric].title)


def test_every_status_and_decision_occurred_in_the_findings_above() -> None:
    seen = {finding.status for metric in ("disparate_impact", "accuracy") for finding in findings(metric)}
    assert seen == set(Status) - {Status.SKIP}


_CALLS = {"Problem", "Undefined", "UntrustedInput", "PermanentError", "SandboxError", "SandboxUnavailable", "Unfit"}
_FILLERS = (
    "7", "evaluation", "labels", "the model", "the metric", "mean residual", "rows with a label", "no", "a: no rows",
    "dataset 'x'", "call mlflow.sklearn.log_model (or autolog) in the training run", "exact count of this table",
    "call mlflow.sklearn.log_model (or autolog) in the training run, or correct agent.yaml", "", "6 GiB", ": x",
    ", it looks like a zip file", " (there is no model)",
)  # fmt: skip
_INTERNAL = ("judge a policy on", "these results are not one for each control")
"""Errors of a caller of ours, which never reach evidence."""


def templates(node: ast.expr, filler: str, last: str) -> list[str]:
    """The texts that an expression of literals may have, with `filler` for what is put in, and `last` at last."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            put_in = [v for v in values if isinstance(v, ast.FormattedValue)]
            parts = [
                templates(v.value, last if v is put_in[-1] else filler, last)
                if isinstance(v, ast.FormattedValue)
                else templates(v, "", "")
                for v in values
            ]
            return ["".join(chosen) for chosen in product(*parts)]
        case ast.IfExp(body=one, orelse=other):
            return [*templates(one, filler, last), *templates(other, filler, last)]
        case ast.BinOp(left=one, op=ast.Add(), right=other):
            return ["".join(pair) for pair in product(templates(one, filler, last), templates(other, filler, last))]
    return [filler]


def reasons(source: Path) -> Iterator[tuple[str, Iterator[set[str]]]]:
    """Where a problem is worded, and its words, with one choice of what is put in after the other."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS:
            worded = [*node.args[:2], *(k.value for k in node.keywords if k.arg == "remedy")]
            for words in worded:
                if isinstance(words, ast.Constant | ast.JoinedStr | ast.IfExp | ast.BinOp):
                    pairs = product(_FILLERS, _FILLERS)
                    yield f"{source.name}:{node.lineno}", (set(templates(words, *pair)) for pair in pairs)


@pytest.mark.parametrize("part", ["evaluate", "fetch", "sandbox", "measuring.py"])
def test_every_problem_that_can_reach_a_finding_has_spanish_words(part: str) -> None:
    """For a sentence that fails here: add it to language/es/findings.po or problems.po."""
    place = AGENT / part
    missing = []
    for source in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
        for where, worded in reasons(source):
            first = next(worded)
            told = any(all(map(SPANISH.knows, texts)) for texts in chain([first], worded))
            if not told and not any(text.startswith(_INTERNAL) for text in first):
                missing.append((where, sorted(first)[0]))
    assert missing == []


def test_every_limit_has_spanish_words() -> None:
    articles = ["9", "9(2)", "9(6)", "10", "10(2)(f)", "10(2)(g)", "10(3)", "4a", "11", "12", "13", "14", "15"]
    articles += ["15(1)", "15(4)", "15(5)", "17", "18", "19", "26(6)", "72"]
    told = cannot_claim(articles)
    assert len(told) == len(articles)
    assert [sentence for sentence in told.values() if not SPANISH.knows(sentence)] == []


def test_a_sentence_is_spanish_with_decimal_commas_and_names_as_they_are() -> None:
    told = SPANISH.told(
        "Selection rate of ≤ 2.5 is 0.121 (n=66), of Mrs. O'Hara, Dr. 0.641 (n=234): ratio 0.189, 97.5 % interval "
        "0.09–0.40; required >= 0.8: fail. Not compared: x. y (n=3 < 30). With Mrs. O'Hara, Dr. as it is, the "
        "selection rate of ≤ 2.5 would have to be at least 0.513."
    )
    assert told == (
        "Tasa de selección de ≤ 2.5: 0,121 (n=66); de Mrs. O'Hara, Dr.: 0,641 (n=234): cociente 0,189, intervalo del "
        "97,5 % de 0,09 a 0,40; se exige >= 0,8: no superado. Sin comparar: x. y (n=3 < 30). Con Mrs. O'Hara, Dr. como "
        "está, la tasa de selección de ≤ 2.5 tendría que ser al menos 0,513."
    )


def test_what_is_not_ours_stays_and_is_marked() -> None:
    assert SPANISH.told("segmentation fault") == "segmentation fault"
    assert not SPANISH.knows("segmentation fault")
    pieces = SPANISH.pieces("Accuracy was not evaluated: the evaluation data can't be used: disk on fire.")
    assert [(piece.text, piece.lang) for piece in pieces] == [
        ("Exactitud: no se evaluó, porque los datos de evaluación no se pueden usar: ", "es"),
        ("disk on fire", "en"),
        (".", "es"),
    ]
    assert language("en").told("Accuracy is 0.5") == "Accuracy is 0.5"
    assert language("en").knows("anything at all")


_OURS = st.sampled_from(
    [
        "). ",
        ", ",
        " is 0.5 (n=5), of ",
        "; required >= 1: pass.",
        " and ",
        "{x}",
        " as it is, the ",
        "Not compared: ",
        ": ",
    ]
)
hostile = st.lists(st.one_of(st.text(max_size=8), _OURS), max_size=6).map("".join).filter(str.strip)


@settings(max_examples=50, deadline=None)
@given(hostile, hostile)
@example("a (n=1 < 2), b", "'")
def test_hostile_names_pass_through_whole_or_the_sentence_stays(low: str, high: str) -> None:
    sentence = (
        f"Selection rate of {low} is 0.121 (n=66), of {high} 0.641 (n=234): ratio 0.189, 97.5 % interval 0.09–0.40; "
        "required >= 0.8: pass."
    )
    told = SPANISH.told(sentence)
    alone = [name for name in (low, high) if not re.search(r"\d|required|compared|interval|fail|pass", name)]
    assert told == sentence or all(name in told for name in alone)


@pytest.mark.parametrize(
    "text",
    [
        "Selection rate of " + " is 0.1 (n=1), of " * 200,
        "the evaluation data can't be used: " * 100,
        ": " * 1990,
        "Not compared: " + "x (n=1 < 2), " * 280,
        "fewer than two groups can be compared (" + "a: no rows; " * 300 + ")",
        "Accuracy is 1 (n=1: " * 150,
        " of " * 300 + " is " * 200,
        "Not compared: a. " * 23 + "(" * 3000,
        "x" * LONGEST * 10,
        "rows are compared by 3 columns, without " + "'a', " * 700 + "and",
    ],
)
def test_no_name_can_make_telling_slow(text: str) -> None:
    began = time.process_time()
    SPANISH.told(text)
    assert time.process_time() - began < 2


def test_catalogues_agree_and_keep_their_places() -> None:
    """A translation that drops a place loses a number; two files that translate one text otherwise confuse readers."""
    said: dict[Any, set[str]] = defaultdict(set)
    for path in CATALOGUES:
        with path.open("rb") as file:
            for message in read_po(file, locale="es", abort_invalid=True):
                if message.id:
                    assert message.string, (path.name, message.id)
                    texts = [str(message.id), str(message.string)]
                    one, other = (set(re.findall(r"(?<!\{)\{(\w+)[^{}]*\}", text)) for text in texts)
                    assert one == other, (path.name, message.id)
                    said[message.context, texts[0]].add(texts[1])
    assert {key: texts for key, texts in said.items() if len(texts) > 1} == {}


def test_numbers_and_times_are_written_as_their_readers_write_them() -> None:
    english = language("en")
    assert (english.number(0.12345, 3), SPANISH.number(0.12345, 3)) == ("0.123", "0,123")
    assert (english.number(None), SPANISH.number(float("inf")), SPANISH.number(12)) == ("–", "∞", "12")
    assert (english.percent(0.955, 1), SPANISH.percent(0.955, 1)) == ("95.5 %", "95,5 %")
    assert english.moment(1795469820) == "23 Nov 2026, 21:37 UTC"
    assert SPANISH.moment(1795469820) == "23 nov 2026, 21:37 UTC"
    assert (english.ago(190), SPANISH.ago(190)) == ("3 min ago", "hace 3 min")
    assert SPANISH.text("required {require}", require="≥ 1 {x}") == "se exige ≥ 1 {x}"


@pytest.mark.parametrize(
    ("accept", "code"),
    [
        ("es-ES,es;q=0.9,en;q=0.8", "es"),
        ("de, en;q=0.5, es;q=0.4", "en"),
        ("fr;q=1, es;q=0.1", "es"),
        ("es;q=0", "en"),
        ("es;q=x", "en"),
        ("", "en"),
        ("," * 5000, "en"),
    ],
)
def test_the_browser_says_which_language_it_wants(accept: str, code: str) -> None:
    assert preferred(accept) == code
    assert language(code).code in LANGUAGES
