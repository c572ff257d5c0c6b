"""Whether predictions speak the coding of the labels, and which class is the positive one. Never guessed."""

from __future__ import annotations

from venturalitica_agent.domain.subject import Problem
from venturalitica_agent.evaluate.coding import Coded, find, find_all, listing

Scalar = str | int | float | bool


def positive_class(declared: Scalar | None, coded: Coded, what: str) -> tuple[object, str] | Problem:
    """The positive class among the values of `coded`, and a note (empty when there is nothing to say).

    Without a declaration only 0/1, False/True and "0"/"1" have one: a 1/2 coding could mean either.

    Args:
        what: what the values are, for people: "labels" or "predictions".
    """
    if declared is None:
        for canon, positive in (({0, 1}, 1), ({"0", "1"}, "1")):
            if set(coded.values) == canon:
                return next(v for v in coded.values if v == positive), ""
        return Problem(
            f"positive class not declared; the {what} are {listing(coded.values)}",
            "add `positive:` to columns.target in agent.yaml",
        )
    index, as_text = find(declared, coded.values)
    if index is None:
        return Problem(
            f"the declared positive class {listing([declared])} does not occur; the {what} are {listing(coded.values)}",
            "correct `positive:` of columns.target in agent.yaml",
        )
    found = coded.values[index]
    return found, f"the positive class {listing([declared])} was read as {listing([found])}" if as_text else ""


def align(labels: Coded, predictions: Coded) -> tuple[Coded, Coded, str] | Problem:
    """Both columns on one tuple of values (the labels' come first), and a note; or why they can't be compared.

    The predictions' classes must all be labels. A class that this table happens not to hold is accepted only when
    at least two of the labels' classes, and all of them, are known to the model: then the coding is the same.

    Args:
        predictions: `values` holds every class that the model knows, where it says so.
    """
    index, as_text = find_all(predictions.values, labels.values)
    extra = [v for v, i in zip(predictions.values, index, strict=True) if i is None]
    known = len(predictions.values) - len(extra)
    if extra and (as_text or known < len(labels.values) or known < 2):
        return Problem(
            f"the classes of the predictions are {listing(predictions.values)}, "
            f"those of the labels are {listing(labels.values)}",
            "bind `target` to labels in the coding that the model was trained with",
        )
    values = (*labels.values, *extra)
    fresh = iter(range(len(labels.values), len(values)))
    shared = predictions.recode(values, [next(fresh) if i is None else i for i in index])
    note = f"predictions {listing(predictions.values)} were read as {listing(labels.values)}" if as_text else ""
    return Coded(labels.codes, values), shared, note


def translate(labels: Coded, positive: object | None, predictions: Coded, theirs: Scalar) -> Coded | None:
    """Predictions in another coding of two classes, as labels; None unless both declared positives make it certain.

    Args:
        positive: the labels' positive class, None when not known. theirs: the predictions' own, as declared.
    """
    if positive is None:
        return None
    negative = [i for i, v in enumerate(labels.values) if v != positive]
    other = [i for i, v in enumerate(predictions.values) if i != find(theirs, predictions.values)[0]]
    if len(negative) != 1 or len(other) > 1:
        return None
    ours = labels.values.index(positive)
    return predictions.recode(
        labels.values, [negative[0] if i in other else ours for i in range(len(predictions.values))]
    )
