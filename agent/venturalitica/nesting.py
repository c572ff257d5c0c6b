"""Whether a fit is one that the user asked for, or one of many that a search, a fold or an ensemble makes of copies.

Copies of a wrapped model are wrapped too, so that the one that a search keeps is. But the fit of a fold is no training
run, and ten thousand of them would bury the run that they belong to.
"""

from __future__ import annotations

import sys
from types import FrameType

_LIBRARIES = ("sklearn", "joblib", "mlflow", "venturalitica", "contextlib", "functools", "xgboost", "lightgbm")
# A pipeline fits its last step itself, and a search fits its choice once more on all rows.
_OUTER = ("sklearn.base", "sklearn.pipeline", "sklearn.model_selection._search")


def within_another_fit(model: object) -> bool:
    """True when the caller's fit of `model` is made by a library, as a part of fitting something else."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        library = module.partition(".")[0]
        if library not in _LIBRARIES:
            return False
        own = frame.f_locals.get("self") is model  # such as KMeans.fit_predict, which calls fit
        if library in ("sklearn", "joblib") and not own and not module.startswith((*_OUTER, "sklearn.utils")):
            return True
        frame = frame.f_back
    return False
