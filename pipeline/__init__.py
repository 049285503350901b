"""Which learning rate, and for how many epochs, should I train this Keras model?

    from pipeline import StudySpec, search
    result = search(spec)

Read `search.py` first: it is the story of a search, in running order. `README.md` beside this file
explains the architecture. The public names below load when they are first used, so that `--help`
needs none of TensorFlow, MLflow, Optuna and scikit-learn.
"""

import importlib
from typing import Any

_HOMES = {
    "search": "pipeline.search",
    "nested_search": "pipeline.search",
    "StudySpec": "pipeline.spec",
    "Budget": "pipeline.budget",
    "EarlyStopping": "pipeline.early_stopping",
    "Refit": "pipeline.refit_length",
    "Registry": "pipeline.registry",
    "When": "pipeline.space",
    "Ladder": "pipeline.strategy",
    "FinishBest": "pipeline.strategy",
    "Objective": "pipeline.objective",
    "Dataset": "pipeline.data",
    "BestOfMean": "pipeline.choice",
    "OneStandardError": "pipeline.choice",
    "PairedOneStandardError": "pipeline.choice",
    "SmoothedMean": "pipeline.choice",
    "PatientBest": "pipeline.choice",
    "Plateau": "pipeline.choice",
    "Fixed": "pipeline.choice",
    "Grid": "pipeline.choice",
    "MedianOfFoldBests": "pipeline.choice",
    "EpochChoice": "pipeline.choice",
    "Constant": "pipeline.schedules",
    "Step": "pipeline.schedules",
    "Exponential": "pipeline.schedules",
    "Linear": "pipeline.schedules",
    "Cosine": "pipeline.schedules",
    "OneCycle": "pipeline.schedules",
    "WarmUp": "pipeline.schedules",
    "ReduceOnPlateau": "pipeline.schedules",
    "ByEpoch": "pipeline.schedules",
    "StudyResult": "pipeline.results",
    "TrialResult": "pipeline.results",
    "Outcome": "pipeline.results",
    "load_study": "pipeline.study_file",
    "read_table": "pipeline.data_file.reading",
    "read_arrays": "pipeline.data_file.reading",
    "read_images": "pipeline.data_file.images",
    "read_files": "pipeline.decoded",
    "class_numbers": "pipeline.data_file.reading",
    "saved_model": "pipeline.training.saved_model",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
