"""The engine of each mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.data import Dataset
from pipeline.folds import Fold
from pipeline.spec import StudySpec
from pipeline.training.devices import Device
from pipeline.training.engine import Mode
from pipeline.training.keras_engine import KerasEngine
from pipeline.training.lanes import Lanes
from pipeline.training.resident import ResidentEngine
from pipeline.training.streaming import StreamingEngine


def engine_for(
    mode: Mode,
    spec: StudySpec,
    data: Dataset,
    folds: Sequence[Fold],
    *,
    in_turn: bool = False,
    say: Callable[[str], None] = lambda line: None,
    device: Device | None = None,
) -> KerasEngine:
    """Return a new engine of this mode, as it was recorded with the study.

    in_turn: train one fold after the other, and not as many at once as there are cores
    device: where to train; None is the first GPU, or else the processor
    Raises NotResident when the rows do not fit on the device, and the mode wants them there.
    """
    if mode == "stream":
        return StreamingEngine(spec, data, folds, say=say, device=device)
    engine = ResidentEngine(spec, data, folds, jit=mode == "xla", say=say, device=device)
    if in_turn:
        engine.lanes, engine.in_turn = Lanes(1), True
    return engine
