"""Which worker's device has room for a trial, by what the study declares that it needs.

A worker whose device is too small leaves a trial to one with a larger device. It is begun then, and
nobody's, as a trial that was interrupted is: whoever has room for it goes on with it. Where no
device that is known of has room, or none has taken it up for a while, it fails. A worker of Ray's
may have room as long as it has no place yet.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pipeline import optimization, training
from pipeline.errors import BadInput
from pipeline.machine import Place, ceiling_mb, places
from pipeline.meeting import Claims
from pipeline.space import is_number
from pipeline.spec import StudySpec

DEVICES = "devices"
"""Note on a study: megabytes of its workers' devices, by the workers' names."""

DEVICE_MB = "device_mb"
"""Note on a trial: megabytes of the device of the worker that was last at it."""

PATIENCE_SECS = 60.0
"""Nobody has taken up a trial for so long: nobody will. A process that begins loads its libraries
and its data first."""

COMING_SECS = 300.0
"""The same as long as a worker of Ray's has not told what it has: its node may be on its way, which
takes an autoscaler minutes."""

ON_RAY = "worker on Ray "
"""What the names of Ray's workers begin with, before their numbers."""

LOOK_SECS = 5.0
"""Between two looks at a trial, after which somebody may have been at it meanwhile."""


def need_mb(spec: StudySpec, params: Mapping[str, Any]) -> float:
    """Return what the study declares that a trial needs of a device; 0 where it declares nothing.

    Raises BadInput where that is no number of megabytes.
    """
    if spec.device_memory_mb is None:
        return 0.0
    try:
        needed = spec.device_memory_mb(dict(params))
    except Exception as error:  # the study's own code
        raise BadInput(
            f"device_memory_mb({dict(params)}) raised {type(error).__name__}: {error}"
        ) from error
    if not (is_number(needed) and math.isfinite(needed) and needed >= 0):
        raise BadInput(f"device_memory_mb must return megabytes ≥ 0, got {needed!r}")
    return float(needed)


def place_mb(place: Place, n_workers: int) -> float:
    """Return the megabytes of its device that a worker may take; infinite where nobody says.

    n_workers: that share the processor's memory with the process that answers; 0 if this is it
    """
    mb = ceiling_mb(n_workers) if place.gpu is None else training.gpu_capacity_mb(place)
    return math.inf if mb is None else mb


def devices_mb(spec: StudySpec, n_workers: int) -> list[float]:
    """Return the megabytes of its device that a trial of each of so many workers here may take.

    Infinite where the study does not ask.
    """
    if spec.device_memory_mb is None:
        return [math.inf] * n_workers
    n_beside = n_workers if n_workers > 1 else 0
    return [place_mb(each, n_beside) for each in places(n_workers, len(training.GPUS))]


def own_mb(spec: StudySpec, limit_mb: float | None) -> float:
    """Return the megabytes of its device that a trial may take in this process, as it was set up.

    limit_mb: of this process's memory; None where it is alone on its machine
    Infinite where nobody says, or the study does not ask.
    """
    if spec.device_memory_mb is None:
        return math.inf
    alone_mb = ceiling_mb(0) if limit_mb is None else limit_mb
    mb = training.own_gpu_mb() if training.GPUS else alone_mb
    return math.inf if mb is None else mb


def check_need(spec: StudySpec, n_workers: int) -> None:
    """Raise BadInput where no trial can be trained here, or what one needs is no number.

    n_workers: on this machine; 0 where they are elsewhere
    """
    if spec.device_memory_mb is None:
        return
    needed = need_mb(spec, training.typical_params(spec))
    largest = max(devices_mb(spec, n_workers), default=math.inf)
    if training.n_architectures(spec) == 1 and needed > largest:
        raise BadInput(
            f"device_memory_mb must be within the largest device's {largest:.0f} MB, got "
            f"{needed:.0f} MB, which every trial needs"
        )


class Room:
    """What has room on this worker's device, and what is left to workers with larger ones.

    mb: of its device, that a trial may take; infinite until it is known
    clock: seconds
    """

    def __init__(
        self,
        study: Any,
        spec: StudySpec,
        claims: Claims,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._study, self._spec, self._claims = study, spec, claims
        self.mb, self._clock = math.inf, clock
        self._seen: dict[int, tuple[float, float]] = {}

    def lacks(self, params: Mapping[str, Any]) -> str:
        """Return why a trial cannot be trained on this device, in words; "" where it can."""
        try:
            needed = need_mb(self._spec, params)
        except BadInput as error:
            return str(error)
        if needed <= self.mb:
            return ""
        return (
            f"it needs {needed:.0f} MB of a device, this worker's has {self.mb:.0f} MB, and none "
            "with a larger one was there to train it"
        )

    def tell_of_crew(self, n_here: int, n_on_ray: int = 0) -> None:
        """Tell others which devices the workers have that this process starts.

        n_here: on this machine; the first one's device is this process's
        n_on_ray: elsewhere. Until they tell what they have, they may have anything
        """
        devices, here = devices_mb(self._spec, n_here), f"{platform.node()}, worker "
        self.mb = next(iter(devices), math.inf)
        self._tell(
            {
                **{f"{here}{number}": mb for number, mb in enumerate(devices, start=1)},
                **{f"{ON_RAY}{number}": math.inf for number in range(1, n_on_ray + 1)},
            },
            instead_of=(here, ON_RAY),
        )

    def tell_own(self, mb: float, number: int | None = None) -> None:
        """Tell others which device this process has that has joined.

        number: of a worker of Ray's, which may have had another device before it died
        """
        self.mb = mb
        name = (
            f"{platform.node()}, process {os.getpid()}" if number is None else f"{ON_RAY}{number}"
        )
        self._tell({name: mb})

    def _tell(self, devices: Mapping[str, float], instead_of: tuple[str, ...] = ()) -> None:
        """Note devices by their names.

        instead_of: beginnings of the names that are no longer there
        """
        if self._spec.device_memory_mb is None:
            return
        with self._claims.asking():
            known = self._known().items()
            others = {name: mb for name, mb in known if not name.startswith(instead_of)}
            self._write({**others, **devices})

    def takes(self, proposal: optimization.Proposal) -> bool:
        """Whether this worker trains a trial that it has claimed; with which device is noted."""
        if self._spec.device_memory_mb is None:
            return True
        with self._claims.asking():
            if self.is_left(proposal.number, proposal.params):
                return False
            proposal.write_note(DEVICE_MB, _plain(self.mb))
            return True

    def is_left(self, number: int, params: Mapping[str, Any] | None = None) -> bool:
        """Whether this worker leaves a trial that nobody is at to another one. Only while asking.

        params: None are those that are stored with it
        """
        if self._spec.device_memory_mb is None:
            return False
        begun = {each.number: each for each in optimization.begun(self._study)}
        if params is None:
            params = self._spec.params_of(begun[number].params)
        try:
            needed = need_mb(self._spec, params)
        except BadInput:  # of one that is still being asked for, or the study's own code is wrong
            return False
        known = self._known()
        if needed <= self.mb or not any(mb >= needed for mb in known.values()):
            return False
        now = self._clock()
        first, last = self._seen.get(number, (now, now))
        at_work = [each for each in begun.values() if self._claims.is_taken(each.number)]
        if now - last > LOOK_SECS or any(
            _of_plain(each.user_attrs.get(DEVICE_MB)) >= needed for each in at_work
        ):
            first = now
        self._seen[number] = first, now
        comes = any(name.startswith(ON_RAY) and mb == math.inf for name, mb in known.items())
        if now - first < (COMING_SECS if comes else PATIENCE_SECS):
            return True
        self._write({name: mb for name, mb in known.items() if mb < needed})
        return False

    def enough_left(self, left: Collection[int]) -> bool:
        """Whether as many trials wait for larger devices as there are: more would only wait."""
        return bool(left) and len(left) >= sum(mb > self.mb for mb in self._known().values())

    def _known(self) -> dict[str, float]:
        note = self._study.user_attrs.get(DEVICES, {})
        return {name: _of_plain(mb) for name, mb in note.items()}

    def _write(self, known: Mapping[str, float]) -> None:
        self._study.set_user_attr(DEVICES, {name: _plain(mb) for name, mb in known.items()})


def _plain(mb: float) -> float | None:
    return mb if math.isfinite(mb) else None


def _of_plain(mb: float | None) -> float:
    return math.inf if mb is None else mb
