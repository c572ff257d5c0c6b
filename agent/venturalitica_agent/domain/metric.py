"""What each metric is called, means, needs and ranges over. `evaluate.metrics` computes them; policies are checked
against these declarations before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Need(StrEnum):
    """What a metric must be given."""

    LABELS = "labels"  # the true classes
    PREDICTIONS = "predictions"  # the predicted classes
    OUTCOME = "outcome"  # labels or predictions, as the control's `of` says
    SCORES = "scores"  # the probability (or score) of the positive class
    PROBABILITIES = "probabilities"  # the probability of every class
    TRUTH = "true quantities"  # the target of a regression
    ESTIMATES = "predicted quantities"  # the answer of a regression
    GROUPS = "groups"  # a group role
    CELLS = "cells"  # which cells of the table are missing
    ROWS = "rows"  # the rows of the table themselves
    SPLITS = "both splits"  # the rows of the evaluation and of the training data
    COLUMNS = "quasi-identifiers"  # the control's `columns`
    SENSITIVE = "sensitive column"  # the control's `sensitive`
    SHARES = "declared shares"  # the control's `shares`
    LOGGED = "logged value"  # a number that the training run logged, and the metric that it is of
    SIGNATURE = "signature"  # the input columns that the model was logged with
    NOISE = "answers under noise"  # what the model says of rows with noise on their numbers
    GAPS = "answers with missing values"  # what the model says of rows some of whose numbers are missing
    RECORD = "record of versions"  # when which version of the policy was in force
    EVIDENCE = "parts of the audit"  # what the policy's other controls look at, and what became of it


class Form(StrEnum):
    """What kind of number a metric is, which decides how it is told."""

    VALUE = "value"  # one number of the whole table
    DIFFERENCE = "difference"  # between groups; 0 = equal
    RATIO = "ratio"  # between groups; 1 = equal
    WORST = "worst"  # the value of the group that is worst off


_OF_MODEL = {Need.PREDICTIONS, Need.SCORES, Need.PROBABILITIES, Need.ESTIMATES, Need.NOISE, Need.GAPS}


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """Declaration of one metric.

    Attributes:
        low, high: the range of possible values, both inclusive.
        better: "higher" or "lower": the direction in which a requirement makes sense.
        positive: True when the metric needs to know which class is the positive one.
        of_counts: True when it is a function of the group x label x prediction counts.
        source: where the formula comes from.
        origin: the package that brings it, with version and digest; empty for those of the agent.
    """

    name: str
    title: str
    low: float
    high: float
    better: str
    needs: frozenset[Need]
    positive: bool
    of_counts: bool
    form: Form
    source: str
    origin: str = ""

    @property
    def of_model(self) -> bool:
        """True when it can't do without what a model answers."""
        return bool(self.needs & _OF_MODEL)

    @property
    def of_audit(self) -> bool:
        """True when it looks at the audit as a whole, not at a table of its own."""
        return bool(self.needs & {Need.EVIDENCE, Need.RECORD})


_LABELLED = (Need.LABELS, Need.PREDICTIONS)
_SCORED = (Need.LABELS, Need.SCORES)
_CHANCES = (Need.LABELS, Need.PROBABILITIES)
_QUANTITIES = (Need.TRUTH, Need.ESTIMATES)
_UNIT = (0.0, 1.0)
_INF = float("inf")
_OVER_0 = (0.0, _INF)
_SK = "sklearn.metrics."
_FL = "fairlearn.metrics."
_FRAME = "fairlearn.metrics.MetricFrame"


def _value(
    name: str,
    title: str,
    needs: tuple[Need, ...],
    source: str,
    *,
    span: tuple[float, float] = _UNIT,
    better: str = "higher",
    positive: bool = False,
    of_counts: bool = False,
) -> MetricSpec:
    """A number of the whole table."""
    return MetricSpec(name, title, *span, better, frozenset(needs), positive, of_counts, Form.VALUE, source)


def _between(
    form: Form,
    name: str,
    title: str,
    needs: tuple[Need, ...],
    source: str,
    *,
    span: tuple[float, float] = _UNIT,
    better: str = "",
    positive: bool = True,
    of_counts: bool = True,
) -> MetricSpec:
    """A number that groups make. Differences are better low and the others high, unless it says otherwise."""
    way = better or ("lower" if form is Form.DIFFERENCE else "higher")
    return MetricSpec(name, title, *span, way, frozenset({*needs, Need.GROUPS}), positive, of_counts, form, source)


_PERFORMANCE = (
    _value("accuracy", "Accuracy", _LABELLED, _SK + "accuracy_score", of_counts=True),
    _value(
        "balanced_accuracy",
        "Balanced accuracy (mean recall of the classes)",
        _LABELLED,
        _SK + "balanced_accuracy_score",
        of_counts=True,
    ),
    _value("precision", "Precision", _LABELLED, _SK + "precision_score", positive=True, of_counts=True),
    _value("recall", "Recall (true positive rate)", _LABELLED, _SK + "recall_score", positive=True, of_counts=True),
    _value("f1", "F1 score", _LABELLED, _SK + "f1_score", positive=True, of_counts=True),
    _value("f1_macro", "F1 score, mean of the classes", _LABELLED, _SK + 'f1_score(average="macro")', of_counts=True),
    _value(
        "f1_weighted",
        "F1 score, mean of the classes weighted by their labels",
        _LABELLED,
        _SK + 'f1_score(average="weighted")',
        of_counts=True,
    ),
    _value(
        "mcc",
        "Matthews correlation coefficient",
        _LABELLED,
        _SK + "matthews_corrcoef",
        span=(-1.0, 1.0),
        of_counts=True,
    ),
    _value("roc_auc", "Area under the ROC curve", _SCORED, _SK + "roc_auc_score", positive=True),
    _value(
        "roc_auc_ovr",
        "Area under the ROC curve, mean of each class against the rest",
        _CHANCES,
        _SK + 'roc_auc_score(multi_class="ovr", average="macro")',
    ),
    _value(
        "average_precision",
        "Average precision (area under the precision-recall curve)",
        _SCORED,
        _SK + "average_precision_score",
        positive=True,
    ),
    _value("brier", "Brier score", _SCORED, _SK + "brier_score_loss", better="lower", positive=True),
    _value("log_loss", "Log loss", _CHANCES, _SK + "log_loss", span=_OVER_0, better="lower"),
    _value(
        "ece",
        "Expected calibration error",
        _SCORED,
        "mean distance of share positive from mean score over 10 equal-width bins, weighted by rows "
        "(Naeini et al., AAAI 2015; the bins of sklearn.calibration.calibration_curve)",
        better="lower",
        positive=True,
    ),
)
_REGRESSION = (
    _value("mae", "Mean absolute error", _QUANTITIES, _SK + "mean_absolute_error", span=_OVER_0, better="lower"),
    _value(
        "rmse", "Root mean squared error", _QUANTITIES, _SK + "root_mean_squared_error", span=_OVER_0, better="lower"
    ),
    _value("r2", "R² (share of variance explained)", _QUANTITIES, _SK + "r2_score", span=(-_INF, 1.0)),
    _value(
        "abs_mean_residual",
        "Size of the mean residual (bias)",
        _QUANTITIES,
        "absolute value of the mean of prediction − truth",
        span=_OVER_0,
        better="lower",
    ),
    _between(
        Form.DIFFERENCE,
        "mae_diff",
        "Difference of mean absolute errors",
        _QUANTITIES,
        _FRAME + "(mean_absolute_error).difference()",
        span=_OVER_0,
        positive=False,
        of_counts=False,
    ),
    _between(
        Form.RATIO,
        "mae_ratio",
        "Ratio of the lowest to the highest mean absolute error",
        _QUANTITIES,
        _FRAME + "(mean_absolute_error).ratio()",
        positive=False,
        of_counts=False,
    ),
    _between(
        Form.DIFFERENCE,
        "mean_residual_diff",
        "Difference of mean residuals",
        _QUANTITIES,
        "highest − lowest mean of prediction − truth",
        span=_OVER_0,
        positive=False,
        of_counts=False,
    ),
)
_FAIRNESS = (
    _between(
        Form.RATIO,
        "disparate_impact",
        "Ratio of the lowest to the highest selection rate",
        (Need.OUTCOME,),
        _FL + "demographic_parity_ratio",
        span=_OVER_0,
    ),
    _between(
        Form.DIFFERENCE,
        "demographic_parity_diff",
        "Difference of selection rates",
        (Need.OUTCOME,),
        _FL + "demographic_parity_difference",
    ),
    _between(
        Form.DIFFERENCE,
        "equal_opportunity_diff",
        "Difference of true positive rates",
        _LABELLED,
        _FL + "equal_opportunity_difference",
    ),
    _between(
        Form.DIFFERENCE,
        "equalized_odds_diff",
        "Larger of the differences of true and false positive rates",
        _LABELLED,
        _FL + "equalized_odds_difference",
    ),
    _between(
        Form.RATIO,
        "equalized_odds_ratio",
        "Smaller of the ratios of true and false positive rates",
        _LABELLED,
        _FL + "equalized_odds_ratio",
    ),
    _between(
        Form.DIFFERENCE,
        "predictive_parity",
        "Difference of precisions",
        _LABELLED,
        _FRAME + "(precision_score).difference()",
    ),
    _between(
        Form.DIFFERENCE,
        "false_positive_rate_diff",
        "Difference of false positive rates",
        _LABELLED,
        _FL + "false_positive_rate_difference",
    ),
    _between(
        Form.DIFFERENCE,
        "false_negative_rate_diff",
        "Difference of false negative rates",
        _LABELLED,
        _FL + "false_negative_rate_difference",
    ),
    _between(
        Form.DIFFERENCE,
        "demographic_parity_diff_ovr",
        "Widest difference of the shares of a class, over the classes",
        (Need.OUTCOME,),
        _FL + "demographic_parity_difference, the largest of each class against the rest",
        positive=False,
    ),
    _between(
        Form.DIFFERENCE,
        "equal_opportunity_diff_ovr",
        "Widest difference of the recalls of a class, over the classes",
        _LABELLED,
        _FL + "equal_opportunity_difference, the largest of each class against the rest",
        positive=False,
    ),
    _between(
        Form.DIFFERENCE,
        "ece_diff",
        "Difference of expected calibration errors",
        _SCORED,
        "highest − lowest `ece` of the groups",
        of_counts=False,
    ),
    *(
        _between(
            Form.WORST,
            f"worst_group_{rate}",
            f"{'Highest' if better == 'lower' else 'Lowest'} {title} of a group",
            needs,
            f"{_FRAME}({of}).group_{'max' if better == 'lower' else 'min'}()",
            better=better,
            positive=rate != "accuracy",
        )
        for rate, title, needs, of, better in (
            ("accuracy", "accuracy", _LABELLED, "accuracy_score", "higher"),
            ("precision", "precision", _LABELLED, "precision_score", "higher"),
            ("recall", "recall", _LABELLED, "recall_score", "higher"),
            ("f1", "F1 score", _LABELLED, "f1_score", "higher"),
            ("selection_rate", "selection rate", (Need.OUTCOME,), "selection_rate", "higher"),
            ("false_positive_rate", "false positive rate", _LABELLED, "false_positive_rate", "lower"),
            ("false_negative_rate", "false negative rate", _LABELLED, "false_negative_rate", "lower"),
        )
    ),
)
_DATA = (
    _value(
        "class_imbalance",
        "Ratio of the rarest to the commonest class",
        (Need.OUTCOME,),
        "count of the rarest class / count of the commonest class",
        of_counts=True,
    ),
    _value(
        "minority_share",
        "Share of the rarest class",
        (Need.OUTCOME,),
        "count of the rarest class / rows",
        of_counts=True,
    ),
    _value("data_completeness", "Share of cells that hold a value", (Need.CELLS,), "non-missing cells / all cells"),
    _between(
        Form.VALUE,
        "min_group_n",
        "Rows in the smallest group",
        (),
        "count of the smallest group of the role",
        span=_OVER_0,
        positive=False,
    ),
    _between(
        Form.VALUE,
        "representation_gap",
        "Widest gap between a group's share of the rows and its declared share",
        (Need.SHARES,),
        "max over the groups of |rows of the group / rows − declared share|",
        better="lower",
        positive=False,
    ),
    _value(
        "duplicate_rows",
        "Share of rows that repeat an earlier row",
        (Need.ROWS,),
        "pandas.DataFrame.duplicated().mean()",
        better="lower",
    ),
    _value(
        "split_overlap",
        "Share of evaluation rows that are in the training data",
        (Need.SPLITS,),
        "evaluation rows whose row hash is among those of the training rows / evaluation rows",
        better="lower",
    ),
    _value(
        "schema_match",
        "Share of the model's input columns that the data hold, in the right kind",
        (Need.SIGNATURE,),
        "columns of the logged signature that are there with values of its type / columns of the signature",
    ),
)
_ROBUSTNESS = (
    _value(
        "flip_rate_noise",
        "Share of predictions that change under noise on the numbers",
        (Need.NOISE,),
        "rows whose prediction differs from the undisturbed row's / rows asked again",
        better="lower",
    ),
    _value(
        "flip_rate_missing",
        "Share of predictions that change when numbers go missing",
        (Need.GAPS,),
        "rows whose prediction differs from the undisturbed row's / rows asked again",
        better="lower",
    ),
)
_PRIVACY = (
    _value(
        "k_anonymity",
        "Rows in the smallest class of equal quasi-identifiers",
        (Need.COLUMNS,),
        "Sweeney, Int. J. Uncertainty, Fuzziness and Knowledge-Based Systems 10 (2002) 557",
        span=_OVER_0,
    ),
    _value(
        "l_diversity",
        "Fewest distinct sensitive values in a class of equal quasi-identifiers",
        (Need.COLUMNS, Need.SENSITIVE),
        "distinct l-diversity: Machanavajjhala et al., ACM TKDD 1 (2007) article 3",
        span=_OVER_0,
    ),
    _value(
        "t_closeness",
        "Widest distance between the sensitive values of a class of equal quasi-identifiers and of the table",
        (Need.COLUMNS, Need.SENSITIVE),
        "Li, Li & Venkatasubramanian, ICDE 2007, with all values equally far apart: the total variation distance",
        better="lower",
    ),
)
_RUN = (
    _value(
        "declared_difference",
        "Distance between the value that the run logged and the measured one",
        (Need.PREDICTIONS, Need.LOGGED),
        "|logged value − value of the control's `of_metric`|",
        span=_OVER_0,
        better="lower",
    ),
    _value(
        "declared_shortfall",
        "How much worse the measured value is than the one that the run logged",
        (Need.PREDICTIONS, Need.LOGGED),
        "logged value − value of the control's `of_metric`, or the other way round where lower is better",
        span=(-_INF, _INF),
        better="lower",
    ),
    _value(
        "evidence_completeness",
        "Share of the needed parts of the audit that were found and verified",
        (Need.EVIDENCE,),
        "of model, data, digests of the data and columns: those found and verified / those that the controls look at",
    ),
    _value(
        "policy_predates_run",
        "Whether the policy's version was on record before the run started (1) or not (0)",
        (Need.RECORD,),
        "1 if the version first came into force before the run's start by its client's clock, else 0",
    ),
)

METRICS: dict[str, MetricSpec] = {
    spec.name: spec for spec in (*_PERFORMANCE, *_REGRESSION, *_FAIRNESS, *_DATA, *_ROBUSTNESS, *_PRIVACY, *_RUN)
}

# Keys of the SDK, scikit-learn and fairlearn that mean the same thing.
ALIASES: dict[str, str] = {
    "accuracy_score": "accuracy",
    "precision_score": "precision",
    "recall_score": "recall",
    "f1_score": "f1",
    "roc_auc_score": "roc_auc",
    "demographic_parity_difference": "demographic_parity_diff",
    "demographic_parity_ratio": "disparate_impact",
    "equal_opportunity_difference": "equal_opportunity_diff",
    "equalized_odds_difference": "equalized_odds_diff",
    "disparate_impact_ratio": "disparate_impact",
    "balanced_accuracy_score": "balanced_accuracy",
    "matthews_corrcoef": "mcc",
    "average_precision_score": "average_precision",
    "brier_score_loss": "brier",
    "mean_absolute_error": "mae",
    "root_mean_squared_error": "rmse",
    "r2_score": "r2",
    "false_positive_rate_difference": "false_positive_rate_diff",
    "false_negative_rate_difference": "false_negative_rate_diff",
}
