"""The engine of each mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.data import Dataset
from pipeline.folds import Fold
from pipeline.spec import StudySpec
from pipeline.training.devices import Device
from pipeline.training.engine import Setup
from pipeline.training.keras_engine import KerasEngine
from pipeline.training.resident import ResidentEngine
from pipeline.training.streaming import StreamingEngine


def engine_for(
    setup: Setup,
    spec: StudySpec,
    data: Dataset,
    folds: Sequence[Fold],
    *,
    say: Callable[[str], None] = lambda line: None,
    devices: Sequence[Device] = (),
) -> KerasEngine:
    """Return a new engine, as it was recorded with the study.

    devices: where to train; none are those of this process: its GPUs, or else the processor
    Raises NotResident when the rows do not fit on a device, and the mode wants them there.
    """
    kind = StreamingEngine if setup.mode == "stream" else ResidentEngine
    return kind(spec, data, folds, setup, say=say, devices=devices)
