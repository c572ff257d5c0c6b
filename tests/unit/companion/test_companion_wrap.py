"""`vl.wrap` gives back the model: same class, same parameters, same predictions, same files."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest
import skops.io
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import check_estimator
from support.companion import Workplace, encoded, people

import venturalitica as vl

FRAME = people()
X, Y = encoded(FRAME), FRAME["class"]
WEIGHTS = np.linspace(0.1, 2.0, len(Y))
ROLES = {"audit_data": FRAME, "gender": "Attribute9", "age": {"column": "Attribute13", "bins": [40]}}


def tree(**more: Any) -> DecisionTreeClassifier:
    return DecisionTreeClassifier(random_state=0, max_depth=4, **more)


CHECKED = [
    tree(),
    RandomForestClassifier(n_estimators=2, random_state=0),
    KNeighborsClassifier(),
    GaussianNB(),
    Ridge(),
    LinearSVC(),
    StandardScaler(),
    NearestCentroid(),
]


@pytest.mark.parametrize("bare", CHECKED, ids=lambda model: type(model).__name__)
def test_scikit_learns_own_checks_say_of_a_wrapped_model_what_they_say_of_the_bare_one(
    bare: Any, workplace: Workplace
) -> None:
    def outcomes(model: Any) -> set[tuple[str, str]]:  # how often each check runs is a table by exact class
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {(c["check_name"], c["status"]) for c in check_estimator(model, on_fail=None, on_skip=None)}

    of_wrapped = outcomes(vl.wrap(bare))
    assert of_wrapped == outcomes(bare)
    assert sum(status == "passed" for _, status in of_wrapped) > 40
    assert workplace.runs, "the checks went through the governed fit"


def test_a_wrapped_model_is_an_instance_of_its_class_with_its_words_and_parameters(workplace: Workplace) -> None:
    bare = RandomForestClassifier(n_estimators=3, random_state=0)
    wrapped = vl.wrap(bare, policy="model_policy.yaml")
    assert isinstance(wrapped, RandomForestClassifier)
    assert repr(wrapped) == repr(bare)
    assert wrapped.get_params() == bare.get_params()
    assert vars(wrapped) == vars(bare)
    assert type(wrapped).__module__ == type(bare).__module__
    assert type(wrapped).__qualname__ == type(bare).__qualname__
    wrapped.set_params(n_estimators=5)
    assert bare.n_estimators == 3, "the model that was given stays as it is"


def test_predictions_are_bit_for_bit_the_bare_models_and_fit_gives_the_wrapped_one_back(workplace: Workplace) -> None:
    model = RandomForestClassifier(n_estimators=5, random_state=0)
    wrapped = vl.wrap(model)
    assert wrapped.fit(X, Y, sample_weight=WEIGHTS, **ROLES) is wrapped
    bare = clone(model).fit(X, Y, sample_weight=WEIGHTS)
    assert np.array_equal(wrapped.predict_proba(X), bare.predict_proba(X))
    assert list(wrapped.feature_names_in_) == list(X.columns)
    assert not hasattr(model, "classes_")


def test_a_step_s_sample_weight_reaches_it_through_a_wrapped_pipeline(workplace: Workplace) -> None:
    def pipe() -> Pipeline:
        return make_pipeline(StandardScaler(), LogisticRegression())

    wrapped = vl.wrap(pipe()).fit(X, Y, logisticregression__sample_weight=WEIGHTS, **ROLES)
    weighted = pipe().fit(X, Y, logisticregression__sample_weight=WEIGHTS)
    assert np.array_equal(wrapped[-1].coef_, weighted[-1].coef_)
    assert not np.array_equal(wrapped[-1].coef_, pipe().fit(X, Y)[-1].coef_)
    assert np.array_equal(wrapped.predict_proba(X), weighted.predict_proba(X))


def test_metadata_routing_asks_a_wrapped_model_as_it_asks_the_bare_one(workplace: Workplace) -> None:
    with config_context(enable_metadata_routing=True):
        step = vl.wrap(LogisticRegression()).set_fit_request(sample_weight=True)
        routed = Pipeline([("scale", StandardScaler().set_fit_request(sample_weight=False)), ("model", step)])
        routed.fit(X, Y, sample_weight=WEIGHTS)
    weighted = make_pipeline(StandardScaler(), LogisticRegression())
    weighted.fit(X, Y, logisticregression__sample_weight=WEIGHTS)
    assert np.array_equal(routed[-1].coef_, weighted[-1].coef_)


@pytest.mark.parametrize("again", [clone, copy.copy, copy.deepcopy], ids=["clone", "copy", "deepcopy"])
def test_copies_are_governed_too(again: Callable[[Any], Any], workplace: Workplace) -> None:
    copied = again(vl.wrap(tree()))
    copied.fit(X, Y, **ROLES)
    assert workplace.left.declaration["policy"]["id"] == "tiny"


def through_file(dump: Callable[[Any, Any], Any], load: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def there_and_back(model: Any) -> Any:
        dump(model, "written")
        return load("written")

    return there_and_back


@pytest.mark.parametrize(
    "there_and_back",
    [
        *(lambda m, p=p: pickle.loads(pickle.dumps(m, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1)),
        lambda m: cloudpickle.loads(cloudpickle.dumps(m)),
        lambda m: skops.io.loads(skops.io.dumps(m), trusted=skops.io.get_untrusted_types(data=skops.io.dumps(m))),
        through_file(joblib.dump, joblib.load),
    ],
)
@pytest.mark.parametrize("model", [tree(), make_pipeline(StandardScaler(), LogisticRegression())], ids=["tree", "pipe"])
def test_what_is_written_is_the_bare_model(
    model: Any, there_and_back: Callable[[Any], Any], workplace: Workplace
) -> None:
    wrapped = vl.wrap(clone(model)).fit(X, Y)
    loaded = there_and_back(wrapped)
    assert type(loaded) is type(model)
    assert np.array_equal(loaded.predict_proba(X), wrapped.predict_proba(X))


def test_a_written_model_loads_where_this_package_is_not_installed(workplace: Workplace) -> None:
    file = workplace.folder / "model.pkl"
    file.write_bytes(pickle.dumps(vl.wrap(tree()).fit(X, Y)))
    script = (
        "import sys, pickle\n"
        "sys.modules['venturalitica'] = None\n"  # importing it fails
        f"model = pickle.load(open({str(file)!r}, 'rb'))\n"
        "print(type(model).__module__, model.get_depth())"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["sklearn.tree._classes", str(tree().fit(X, Y).get_depth())]


class Counting(ClassifierMixin, BaseEstimator):
    """A model of the house: its fit has a parameter that the policy also has as a role."""

    def fit(self, features: Any, labels: Any, *, age: float = 0.0) -> Counting:
        self.age_, self.classes_ = age, np.unique(labels)
        return self

    def predict(self, features: Any) -> Any:
        return np.full(len(features), self.classes_[0])


def test_the_models_own_parameters_come_before_roles_of_the_same_name(workplace: Workplace) -> None:
    assert vl.wrap(Counting()).fit(X, Y, age=7.0).age_ == 7.0
    assert "age" not in workplace.left.declaration["columns"]


def test_a_keyword_that_nobody_knows_is_an_error_that_names_the_nearest(workplace: Workplace) -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'gendr'.*did you mean 'gender'\?"):
        vl.wrap(tree()).fit(X, Y, audit_data=FRAME, gendr="Attribute9")
    with pytest.raises(TypeError, match="did you mean 'sample_weight'"):
        vl.wrap(tree()).fit(X, Y, sample_weights=WEIGHTS)
    assert workplace.runs == []


def test_the_models_own_errors_pass_through_untouched(workplace: Workplace) -> None:
    with pytest.raises(ValueError, match="does not match number of samples") as of_bare:
        tree().fit(X, Y[:10])
    with pytest.raises(ValueError, match="does not match number of samples") as of_wrapped:
        vl.wrap(tree()).fit(X, Y[:10], **ROLES)
    assert str(of_wrapped.value) == str(of_bare.value)
    assert workplace.runs == []


@pytest.mark.parametrize("thing", [RandomForestClassifier, "a text", object()])
def test_only_models_can_be_wrapped(thing: Any) -> None:
    with pytest.raises(TypeError, match="takes a model"):
        vl.wrap(thing)


def test_wrapping_twice_is_wrapping_once_under_the_last_policy(workplace: Workplace) -> None:
    (workplace.folder / "other.yaml").write_text(
        (workplace.folder / "model_policy.yaml").read_text().replace("policy: tiny", "policy: other")
    )
    vl.wrap(vl.wrap(tree()), policy="other.yaml").fit(X, Y)
    assert workplace.left.declaration["policy"]["id"] == "other"


# -- searches, folds, ensembles -----------------------------------------------------------------------------------
def test_a_search_over_a_wrapped_model_leaves_its_choice_and_no_fold(workplace: Workplace) -> None:
    search = GridSearchCV(vl.wrap(tree()), {"max_depth": [1, 2]}, cv=3).fit(X, Y, **ROLES)
    left = workplace.left
    assert len(left.table) == len(FRAME)
    kept = joblib.load(left.file("venturalitica_model/model.pkl"))
    assert kept.get_params() == search.best_estimator_.get_params()


def test_a_wrapped_search_is_a_search(workplace: Workplace) -> None:
    bare = GridSearchCV(tree(), {"max_depth": [1, 2]}, cv=3).fit(X, Y)
    wrapped = vl.wrap(GridSearchCV(tree(), {"max_depth": [1, 2]}, cv=3)).fit(X, Y, **ROLES)
    assert wrapped.best_params_ == bare.best_params_
    assert workplace.left.declaration["error"] is None


def test_folds_and_parts_of_ensembles_are_no_runs(workplace: Workplace) -> None:
    scores = cross_val_score(vl.wrap(tree()), X, Y, cv=3)
    assert np.array_equal(scores, cross_val_score(tree(), X, Y, cv=3))
    StackingClassifier([("part", vl.wrap(tree()))], cv=2).fit(X, Y)
    assert workplace.runs == []


def test_a_model_that_fits_itself_is_governed_once(workplace: Workplace) -> None:
    vl.wrap(KMeans(2, n_init=1, random_state=0)).fit_predict(X)
    assert workplace.left.declaration["model"]["path"] == "venturalitica_model"


def test_a_wrapped_last_step_of_a_pipeline_is_governed(workplace: Workplace) -> None:
    pipe = Pipeline([("scale", StandardScaler()), ("model", vl.wrap(LogisticRegression()))])
    pipe.fit(X, Y, model__audit_data=FRAME, model__gender="Attribute9")
    declared = workplace.left.declaration
    assert declared["columns"] == {"gender": {"column": "Attribute9"}, "target": {"column": "class"}}
    assert {"x0", "x1"} <= set(workplace.left.table.columns), "the scaler hands over numbers without names"


# -- other libraries ----------------------------------------------------------------------------------------------
def booster(name: str) -> Any:
    module = pytest.importorskip(name) if name == "lightgbm" else __import__(name)
    made = {"lightgbm": "LGBMClassifier", "xgboost": "XGBClassifier"}
    quiet = {"verbose": -1} if name == "lightgbm" else {"verbosity": 0}
    return getattr(module, made[name])(n_estimators=4, n_jobs=1, **quiet)


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_boosters_with_scikit_learns_manners_are_wrapped_too(name: str, workplace: Workplace) -> None:
    labels = (Y == "good").astype(int)
    wrapped, bare = vl.wrap(booster(name)), booster(name).fit(X, labels)
    assert wrapped.get_params() == bare.get_params()
    wrapped.fit(X, labels, **ROLES)
    assert np.array_equal(wrapped.predict_proba(X), bare.predict_proba(X))
    assert type(pickle.loads(pickle.dumps(wrapped))) is type(bare)
    assert workplace.left.declaration["error"] is None


# -- manners ------------------------------------------------------------------------------------------------------
def test_importing_is_quick_and_imports_no_tracker_and_no_table_library() -> None:
    script = "import sys, venturalitica; print(*{'mlflow', 'wandb', 'pandas', 'sklearn', 'numpy'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == ""


SILENT = """
import numpy as np
from sklearn.tree import DecisionTreeClassifier
from support.companion import encoded, people
import venturalitica as vl

frame = people()
X, y = encoded(frame), frame["class"]
np.random.seed(0)
vl.wrap(DecisionTreeClassifier(random_state=0)).fit(X, y, audit_data=frame, gender="Attribute9")
after = np.random.random()
np.random.seed(0)
assert after == np.random.random(), "a random number was drawn"
"""


def test_nothing_is_printed_and_no_random_number_is_drawn(workplace: Workplace) -> None:
    # In a process of its own: only there is what is written surely the fit's.
    tests = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SILENT],
        env={**os.environ, "PYTHONPATH": str(tests)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert workplace.runs


def test_written_files_are_whole(workplace: Workplace) -> None:
    vl.wrap(tree()).fit(X, Y, **ROLES)
    files = [p for p in Path(".venturalitica").rglob("*") if p.is_file()]
    assert sorted(f.name for f in files) == sorted(
        [
            "run.json",
            "model_policy.yaml",
            "audit.parquet",
            "declaration.json",
            "MLmodel",
            "model.pkl",
            "requirements.txt",
        ]
    )
