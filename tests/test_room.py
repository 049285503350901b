"""Which worker trains which trial, by what it needs: played by hand on a real journal and locks."""

import math
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import RandomSampler

from pipeline import asking, room
from pipeline.budget import Budget
from pipeline.curves import FoldCurves
from pipeline.errors import BadInput, ExitCode
from pipeline.machine import Place
from pipeline.optimization import Claims, Climbs, open_study
from pipeline.results import Outcome, TrialResult
from pipeline.room import COMING_SECS, DEVICES, PATIENCE_SECS, Room, check_need, need_mb
from pipeline.spec import StudySpec
from pipeline.strategy import Ladder
from tests.crew import ended, searching, stored
from tests.test_workers import study_in
from tests.tiny_study import Heard

SMALL, LARGE = 24.0, 80.0


def spec_of(need: Any = lambda params: params["need"], needs: Any = (5, 50), **fields) -> StudySpec:
    return StudySpec(
        load_data=lambda: None,
        build_model=lambda params: params,
        space={
            "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
            "need": CategoricalDistribution(needs) if isinstance(needs, tuple) else needs,
            "max_epochs": 9,
        },
        name="by_hand",
        sampler=lambda seed: RandomSampler(seed=seed),
        device_memory_mb=need,
        **{"budget": Budget(n_trials=20), "strategy": None, **fields},
    )


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Worker:
    """One process that asks, and is at a trial until it ends it."""

    def __init__(self, folder, spec: StudySpec, mb: float, clock: Clock) -> None:
        study, claims = open_study(folder / "journal.log", "study", spec), Claims(folder / "claims")
        self.room = Room(study, spec, claims, clock=clock)
        self.room.mb = mb
        self.study, self.claims, self.spec = study, claims, spec
        self.climbs = Climbs(study, spec, spec.pausing, 2) if spec.pausing else None
        self.said = Heard()
        self.session = SimpleNamespace(
            study=study, spec=spec, claims=claims, room=self.room, climbs=self.climbs,
            display=self.said,
            spending=SimpleNamespace(count_underway=lambda n: None, left=lambda trials: math.inf),
            finished=SimpleNamespace(all=tuple),
        )  # fmt: skip

    def ask(self) -> Any:
        self.proposal = asking.next_proposal(cast(Any, self.session))
        return self.proposal

    def end(self, outcome: Outcome = Outcome.COMPLETED) -> None:
        values = np.full((2, 9), float(self.proposal.number))
        curves = FoldCurves(values, self.spec.objective)
        result = TrialResult(self.proposal.number, self.proposal.params, outcome, curves, 1.0, 9)
        (self.proposal.pause if outcome is Outcome.PAUSED else self.proposal.tell)(result)
        self.claims.release(self.proposal.number)


@pytest.fixture
def crew(tmp_path, monkeypatch) -> Callable[..., tuple[Worker, Worker, Clock]]:
    """Return a function that makes a worker on a small device, and one on a large one."""
    monkeypatch.setattr("os.fsync", lambda file: None)
    monkeypatch.setattr(room, "devices_mb", lambda spec, n: [SMALL, *[LARGE] * 9][:n])

    def make(**fields) -> tuple[Worker, Worker, Clock]:
        clock = Clock()
        spec = spec_of(**fields)
        small, large = (Worker(tmp_path, spec, mb, clock) for mb in (SMALL, LARGE))
        small.room.tell_of_crew(2)
        return small, large, clock

    return make


@pytest.mark.parametrize("strategy", [None, Ladder(rungs=(0.3, 1.0))])
def test_each_trial_is_trained_where_it_has_room_and_none_twice(crew, strategy):
    small, large, _ = crew(strategy=strategy)
    trained: dict[int, list[float]] = {}
    for _ in range(60):
        for worker in (small, large):
            if worker.ask() is not None:
                number, needed = worker.proposal.number, worker.proposal.params["need"]
                assert needed <= worker.room.mb
                trained.setdefault(number, []).append(worker.room.mb)
                is_last = strategy is None or worker.proposal.rung == len(strategy.rungs)
                worker.end(Outcome.COMPLETED if is_last else Outcome.PAUSED)
    assert sorted(trained) == list(range(20))
    assert {SMALL, LARGE} == {mb for mbs in trained.values() for mb in mbs}
    assert strategy is not None or all(len(mbs) == 1 for mbs in trained.values())
    assert any("is left to a worker with a larger device" in line for line in small.said.lines)


@pytest.mark.parametrize("strategy", [None, Ladder(rungs=(0.3, 1.0))])
def test_no_more_trials_wait_than_there_are_larger_devices(crew, strategy):
    small, large, _ = crew(needs=50, strategy=strategy)
    for _ in range(3):
        assert small.ask() is None
    assert len(small.study.trials) == 1
    assert large.ask().number == 0
    for _ in range(3):
        assert small.ask() is None
    assert len(small.study.trials) == 2
    large.end()
    assert large.ask().number == 1


def test_a_small_device_goes_on_with_others_while_fewer_wait_than_there_are_larger_ones(crew):
    small, _, _ = crew()
    small.room.tell_of_crew(10)
    for _ in range(6):
        assert small.ask().params["need"] == 5
        small.end()
    waiting = [trial for trial in small.study.trials if not trial.state.is_finished()]
    assert {trial.params["need"] for trial in waiting} == {50}


def polled(worker: Worker, clock: Clock, secs: float) -> Any:
    """Return what a worker gets in so many seconds."""
    until = clock.now + secs
    while clock.now < until and worker.ask() is None:
        clock.now += 2.0
    return worker.proposal


def test_what_nobody_takes_up_fails_with_a_reason_and_later_ones_at_once(crew):
    small, _, clock = crew(needs=50)
    assert polled(small, clock, PATIENCE_SECS - 4) is None
    proposal = polled(small, clock, 10)
    assert proposal.number == 0
    reason = small.room.lacks(proposal.params)
    assert reason.startswith("it needs 50 MB of a device, this worker's has 24 MB")
    small.end(Outcome.FAILED)
    assert list(small.study.user_attrs[DEVICES].values()) == [SMALL]
    assert small.ask().number == 1


def test_what_waits_while_a_larger_device_is_at_work_or_nobody_looks_does_not_fail(crew):
    small, large, clock = crew(needs=50)
    large.ask()
    assert polled(small, clock, 10 * PATIENCE_SECS) is None
    large.end()
    clock.now += PATIENCE_SECS - 2  # this worker may be training meanwhile
    assert small.ask() is None
    clock.now += PATIENCE_SECS - 2
    assert small.ask() is None
    assert large.ask().number == 1


def test_a_crew_that_is_another_one_now_has_other_devices(crew):
    small, large, _ = crew(needs=50)
    large.room.tell_own(LARGE)
    small.room.tell_of_crew(1)
    assert sorted(small.study.user_attrs[DEVICES].values()) == [SMALL, LARGE]
    assert len(small.study.user_attrs[DEVICES]) == 2


def test_what_only_a_worker_without_a_place_may_hold_waits_for_it(crew):
    small, large, clock = crew(needs=50)
    small.room.tell_of_crew(0, n_on_ray=2)
    small.room.tell_own(SMALL, 1)
    assert polled(small, clock, COMING_SECS - 4) is None
    large.room.tell_own(LARGE, 2)
    assert large.ask().number == 0
    large.end()
    large.room.tell_own(SMALL, 2)  # started again, elsewhere
    assert small.ask().number == 1
    assert list(small.study.user_attrs[DEVICES].values()) == [SMALL, SMALL]


def test_what_waits_for_a_worker_that_gets_no_place_fails_in_the_end(crew):
    small, _, clock = crew(needs=50)
    small.room.tell_of_crew(0, n_on_ray=12)
    for number in range(2, 13):
        small.room.tell_own(SMALL, number)
    assert polled(small, clock, PATIENCE_SECS + 4) is None
    assert polled(small, clock, COMING_SECS).number == 0
    assert small.room.lacks(small.proposal.params)
    small.end(Outcome.FAILED)
    assert small.ask().number == 1  # at once


def test_what_no_device_that_is_known_holds_is_left_to_nobody(crew):
    small, large, _ = crew(needs=81)
    assert small.ask().number == 0
    assert small.room.lacks(small.proposal.params)
    assert large.ask().number == 1
    assert large.room.lacks(large.proposal.params)


def test_a_trial_that_a_larger_device_left_is_not_taken_by_a_small_one(crew):
    small, large, _ = crew()
    while large.ask().params["need"] == 5:
        large.end()
    large.end(Outcome.INTERRUPTED)
    number = large.proposal.number
    assert small.ask() is None
    assert large.ask().number == number


def test_without_a_declared_need_nothing_is_noted_or_left(crew):
    small, large, _ = crew(need=None)
    assert [small.ask().number, large.ask().number] == [0, 1]
    assert DEVICES not in small.study.user_attrs
    assert small.room.lacks(small.proposal.params) == ""


def test_a_device_of_unknown_memory_holds_everything(crew):
    small, _, _ = crew(needs=50)
    small.room.mb = math.inf
    assert small.ask().number == 0
    assert small.study.trials[0].user_attrs["device_mb"] is None


def wrong(params):
    raise KeyError("units")


@pytest.mark.parametrize(
    ("need", "message"),
    [
        (lambda params: -1, "device_memory_mb must return megabytes ≥ 0, got -1"),
        (lambda params: math.nan, "must return megabytes ≥ 0, got nan"),
        (lambda params: "8 GB", "must return megabytes ≥ 0, got '8 GB'"),
        (wrong, r"device_memory_mb\(\{'need': 5\}\) raised KeyError: 'units'"),
    ],
)
def test_a_need_that_is_no_number_of_megabytes_is_refused_and_fails_a_trial(need, message, crew):
    with pytest.raises(BadInput, match=message):
        need_mb(spec_of(need), {"need": 5})
    with pytest.raises(BadInput, match="device_memory_mb"):
        check_need(spec_of(need), 2)
    small, _, _ = crew(need=need)
    assert "device_memory_mb" in small.room.lacks(small.ask().params)


def test_a_need_is_a_function_of_the_parameters():
    with pytest.raises(BadInput, match="device_memory_mb must be a function params -> megabytes"):
        spec_of(8000)
    with pytest.raises(BadInput, match="device_memory_mb must be a function params -> megabytes"):
        spec_of(lambda: 8000)


@pytest.mark.usefixtures("crew")
def test_what_every_trial_needs_is_refused_where_no_worker_has_it():
    check_need(spec_of(needs=80), 2)
    message = r"within the largest device's 80 MB, got 81 MB, which every trial needs"
    with pytest.raises(BadInput, match=message):
        check_need(spec_of(needs=81), 2)
    with pytest.raises(BadInput, match="largest device's 24 MB, got 80"):
        check_need(spec_of(needs=80), 1)
    check_need(spec_of(needs=(81, 82)), 2)  # another proposal may need less


def test_a_workers_device_is_its_gpu_or_its_part_of_the_processors_memory(monkeypatch):
    from pipeline.training import devices

    monkeypatch.setattr(devices, "GPUS", ["gpu", "gpu"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,3")
    monkeypatch.setattr(devices, "gpu_memory_mb", lambda number: [80_000.0, 24_000.0][number])
    monkeypatch.setattr(room, "ceiling_mb", lambda n_workers: 9000.0 / (n_workers + 1))
    assert room.place_mb(Place("3"), 2) == 24_000.0
    assert room.place_mb(Place("7,3"), 0) == 80_000.0
    assert room.place_mb(Place("7", 1 / 3), 4) == pytest.approx(24_000.0)
    assert room.place_mb(Place(), 2) == 3000.0

    def nobody_says(number: int) -> float:
        raise BadInput("nvidia-smi is missing")

    monkeypatch.setattr(devices, "gpu_memory_mb", nobody_says)
    monkeypatch.setattr(room, "ceiling_mb", lambda n_workers: None)
    assert room.place_mb(Place("3"), 2) == room.place_mb(Place(), 2) == math.inf


# --- in real processes, on devices that are made up ---

NEEDS = """ | dict(
    space={
        "learning_rate": FloatDistribution(1e-3, 1e-1, log=True),
        "max_epochs": 40,
        "large": CategoricalDistribution([False, True]),
    },
    device_memory_mb=lambda params: 50 if params["large"] else 5,
)"""

# The same command on a machine whose workers have devices of 24 and of 80 MB.
UNEQUAL = (
    "-c",
    "from pipeline import cli, ending, room; "
    "room.places = lambda n, n_gpus: list(range(n)); "
    "room.place_mb = lambda number, n_workers: [24, 80][number]; "
    "ending.end_process('pipeline.search', cli.search_options())",
)


@pytest.mark.long
def test_large_trials_are_trained_by_the_worker_that_has_room(home):
    study = study_in(home, NEEDS)
    with searching(study, "--workers", "2", start=UNEQUAL) as search:
        told, said = ended(search)
    assert told["exit_code"] in (ExitCode.SUCCESS, ExitCode.UNDETERMINED), said
    assert told["costs"]["trials"]["completed"] == 10
    trials = stored(study, lambda found: found.trials)()
    trained = Counter((t.params["large"], t.user_attrs["device_mb"]) for t in trials)
    assert trained[True, 24] == 0
    assert trained[True, 80] > 0
    logs = [path.read_text() for path in home.glob("mlruns/studies/*/workers/*.log")]
    assert all("trial  " in log for log in logs)


@pytest.mark.long
def test_one_worker_fails_what_has_no_room_and_goes_on(home):
    with searching(study_in(home, NEEDS), start=UNEQUAL) as search:
        told, said = ended(search)
    counts = told["costs"]["trials"]
    assert counts["completed"] + counts["failed"] == 10
    assert counts["failed"] > 0
    assert said.count("it needs 50 MB of a device, this worker's has 24 MB") == counts["failed"]


@pytest.mark.long
def test_what_every_trial_needs_ends_the_search_before_training(home):
    study = study_in(home, NEEDS.replace("CategoricalDistribution([False, True])", "True"))
    with searching(study, start=UNEQUAL) as search:
        told, said = ended(search)
    assert told["exit_code"] == ExitCode.BAD_INPUT
    assert "within the largest device's 24 MB, got 50 MB, which every trial needs" in told["error"]
    assert "trial  " not in said
