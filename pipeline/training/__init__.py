"""Keras and TensorFlow: one epoch of one fold, and everything made of it.

`engine.py` is the interface, `resident.py` with `compiled_epoch.py` and `streaming.py` the engines,
`lockstep.py` a trial's training, `models.py` the user's model, `measure.py` the choice of engine.
"""

from pipeline.training.devices import (  # first: it quiets TensorFlow's import
    GPUS,
    described_devices,
    device_names,
    gpu_capacity_mb,
    operation_threads,
    own_gpu_mb,
    prepare,
    set_up,
)

from pipeline.training.checks import check_model, check_scorers  # isort: skip
from pipeline.training.apart import runs
from pipeline.training.architectures import n_architectures, typical_params
from pipeline.training.callbacks import check_callbacks, remarks_on_callbacks
from pipeline.training.engine import Engine, Mode, Program, Setup
from pipeline.training.engines import engine_for
from pipeline.training.fitted import FittedModel, as_fitted, fit_on_all_rows, fitted_after
from pipeline.training.judge import Judge
from pipeline.training.learnt import remarks_on_layers
from pipeline.training.lockstep import LockstepTraining, Snapshot
from pipeline.training.measure import Measured, chosen_engine, measured_engine
from pipeline.training.recover import (
    Kept,
    advance_to,
    restore,
    say_if_not_repeated,
    write_fold_models,
)
from pipeline.training.schedule_checks import check_schedules, remarks_on_schedules
from pipeline.training.sweep import Sweep, swept
from pipeline.training.threads import Found, found_apart
from pipeline.training.timing import expected_work

__all__ = [
    "GPUS",
    "Engine",
    "FittedModel",
    "Found",
    "Judge",
    "Kept",
    "LockstepTraining",
    "Measured",
    "Mode",
    "Program",
    "Setup",
    "Snapshot",
    "Sweep",
    "advance_to",
    "as_fitted",
    "check_callbacks",
    "check_model",
    "check_schedules",
    "check_scorers",
    "chosen_engine",
    "described_devices",
    "device_names",
    "engine_for",
    "expected_work",
    "fit_on_all_rows",
    "fitted_after",
    "found_apart",
    "gpu_capacity_mb",
    "measured_engine",
    "n_architectures",
    "operation_threads",
    "own_gpu_mb",
    "prepare",
    "remarks_on_callbacks",
    "remarks_on_layers",
    "remarks_on_schedules",
    "restore",
    "runs",
    "say_if_not_repeated",
    "set_up",
    "swept",
    "typical_params",
    "write_fold_models",
]
