import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import decision, wording
from pipeline.choice import BestOfMean, EpochChoice
from pipeline.curves import FoldCurves
from pipeline.objective import Objective
from pipeline.refit_length import Refit
from pipeline.results import Evidence, Outcome, RefitResult, StudyResult, TrialResult, ranked
from pipeline.schedules import Cosine
from pipeline.spec import StudySpec
from pipeline.uncertainty import Interval

KEPT = Refit(policy="epochs")
REFIT = RefitResult(
    policy="epochs", n_seeds=1, n_epochs=2, horizon=5, n_updates=20, n_rows=100,
    batch_size=10, model_uri="models:/m-1",
    test_metrics={"loss": 0.25},
)  # fmt: skip

EVIDENCE = Evidence(
    equivalent_epochs=(2, 3),
    equivalent_trials=(3, 0),
    score=Interval(0.25, 1.75, 0.95),
    resampled_epochs=Interval(1, 3, 0.95),
    epochs_optimism=0.125,
    corrected_score=1.25,
    n_training_rows=80,
)


def trial(number: int, best: float, outcome: Outcome = Outcome.COMPLETED) -> TrialResult:
    """Return a trial of two folds and three epochs, best after the second."""
    values = [[best + 2, best - 0.5, best + 1], [best + 2, best + 0.5, best + 1]]
    params = {"learning_rate": 0.01 * (number + 1), "max_epochs": 5, "batch_size": 32}
    return TrialResult(number, params, outcome, FoldCurves(np.array(values), Objective()), 2.0, 30)


def study(
    *trials: TrialResult,
    refit: RefitResult | None = REFIT,
    path: Path = Path("decision.json"),
    open_end: str = "",
    evidence: Evidence = EVIDENCE,
    **fields: Any,
) -> StudyResult:
    best = trials[0]
    assert best.curves is not None
    spec = StudySpec(
        name="named",
        load_data=lambda: None,
        build_model=lambda params: params,
        space={"learning_rate": 0.1, "max_epochs": 5},
        **fields,
    )
    choice = BestOfMean().choose(best.curves, best.horizon)
    return StudyResult(
        spec=spec, signature="0" * 12, trials=trials, best=best, choice=choice, evidence=evidence,
        open_end=open_end, n_extra_fold_epochs=4, n_extra_updates=6, refit=refit,
        fold_models="runs:/1/folds", decision_path=path,
        run_url="#/runs/1", ui_command="mlflow ui",
    )  # fmt: skip


def test_a_decision_is_plain_json_and_holds_what_was_decided():
    values = decision.decision(
        study(trial(3, 1.0), trial(0, 2.0), trial(1, 9.0, Outcome.PRUNED)), {"seed": 7}
    )
    values = json.loads(json.dumps(values, allow_nan=False))
    expected = {
        "study": "named",
        "signature": "0" * 12,
        "learning_rate": 0.04,
        "n_epochs": 2,
        "horizon": 5,
        "score": 1.0,
        "standard_error": pytest.approx(0.5),
        "objective": {"metric": "val_loss", "direction": "minimize", "mean": "folds"},
        "rule": "best",
        "params": {"learning_rate": 0.04, "max_epochs": 5, "batch_size": 32},
        "trial": 3,
        "n_folds": 2,
        # 30 updates in 2 folds × 3 epochs, of which 2 are chosen
        "search": {"n_epochs": 2, "n_updates": 10.0, "n_rows": 80, "batch_size": 32},
        "determined": True,
        "fold_epochs": 18 + 4,
        "updates": 90 + 6,
        "fold_models": "runs:/1/folds",
        "seconds": 6.0,
        "mlflow_run": "#/runs/1",
        "seed": 7,
    }
    assert {key: values[key] for key in expected} == expected
    assert values["refit"] == {**vars(REFIT)}
    assert values["evidence"]["equivalent_epochs"] == [2, 3]
    assert values["evidence"]["score"] == {"low": 0.25, "high": 1.75, "confidence": 0.95}
    assert "best after 2 of 3" in values["reason"]


def test_every_outcome_is_counted():
    counts = decision.decision(
        study(trial(0, 1.0), trial(1, 2.0, Outcome.PRUNED), trial(2, 3.0, Outcome.PRUNED)), {}
    )["trials"]
    assert counts == {
        "completed": 1, "stopped early": 0, "pruned": 2, "failed": 0, "interrupted": 0,
        "paused": 0,
    }  # fmt: skip


def test_runners_up_are_the_next_best_with_a_value():
    others = [trial(n, 10.0 - n) for n in range(1, 8)]
    result = study(trial(0, 1.0), *others, trial(8, 0.1, Outcome.PRUNED))
    runners_up = decision.decision(result, {})["runners_up"]
    assert [each["trial"] for each in runners_up] == [7, 6, 5, 4, 3]
    assert runners_up[0]["value"] == pytest.approx(3.0)
    assert (runners_up[0]["n_epochs"], runners_up[0]["params"]["learning_rate"]) == (2, 0.08)


def test_trials_are_ranked_in_the_objectives_direction_and_equals_by_number():
    curves = FoldCurves(np.array([[0.5]]), Objective("val_accuracy", "maximize"))
    params = {"learning_rate": 0.1, "max_epochs": 1}
    trials = [TrialResult(n, params, Outcome.COMPLETED, curves, 1.0, 1) for n in range(3)]
    better = FoldCurves(np.array([[0.9]]), Objective("val_accuracy", "maximize"))
    trials.append(TrialResult(3, params, Outcome.COMPLETED, better, 1.0, 1))
    result = study(*trials, objective=Objective("val_accuracy", "maximize"))
    assert [each.number for each in ranked(result.trials, result.spec.objective)] == [3, 0, 1, 2]


def test_the_best_trials_fit_is_in_the_decision_and_in_the_answer():
    curves = FoldCurves(np.array([[3.0, 0.5, 2.0], [3.0, 1.5, 3.0]]), Objective())
    training = np.array([2.0, 0.75, 0.5])
    best = dataclasses.replace(trial(0, 1.0), curves=curves, training=training)
    diagnosis = decision.decision(study(best), {})["diagnosis"]
    assert diagnosis["kind"] == "overfitting"
    assert (diagnosis["from_epoch"], diagnosis["gap"], diagnosis["gap_at_end"]) == (3, 0.25, 2.0)
    line = f"  {'fit':<23}overfitting from epoch 3 on: validation gets worse while training"
    assert line in wording.answer(study(best))


def test_without_a_refit_there_is_none():
    assert decision.decision(study(trial(0, 1.0), refit=None), {})["refit"] is None


def test_the_answer_is_read_by_a_person():
    text = wording.answer(study(trial(3, 1.0), trial(0, 2.0), trial(1, 9.0, Outcome.PRUNED)))
    assert text.startswith("Train with learning rate 0.04 for 2 epochs.\n")
    for part in (
        "1 ± 0.5  over 2 fold(s), lower is better",
        "batch_size=32",
        "95% interval 0.25 to 1.75",
        "2–3 cannot be told from the best of 3 trained; on resampled rows 'best' chooses 1–3",
        "3 is the best of 3 (2 completed, 1 pruned); cannot be told from it: 0",
        "training on 80 rows",
        "0.12 for the choice of the epoch, 0.25 for that of trial and epoch: expect 1.25",
        "cannot tell 67% of the 3 trained epochs apart",
        "100 rows, 2 epochs, 20 updates → models:/m-1",
        "loss 0.25",
        "decision.json",
        "#/runs/1",
    ):
        assert part in text
    assert "UNDETERMINED" not in text


def test_of_a_confirmed_trial_that_is_not_the_searchs_best_nothing_is_said_that_is_the_bests():
    text = wording.answer(study(trial(3, 1.5), trial(0, 1.0), trial(4, 2.0)))
    assert "cannot be told from 0, the best on the search's folds: 3\n" in text
    # 1.25 is expected of taking the best of all, which had 1, not of trial 3, which had 1.5.
    assert "0.25 for that of trial and epoch (trial 0, not confirmed): expect 1.25" in text


def test_the_answer_names_the_horizon_where_the_schedule_depends_on_it():
    annealed = dataclasses.replace(trial(0, 1.0), horizon_free=False)
    text = wording.answer(study(annealed, schedule=Cosine()))
    assert "for 2 epochs of a 5-epoch schedule." in text


def test_the_answer_says_what_one_fold_and_an_open_end_leave_out():
    curves = FoldCurves(np.array([[3.0, 2.0, 1.0]]), Objective())
    params = {"learning_rate": 0.1, "max_epochs": 3, "batch_size": 32}
    nothing = Evidence((3,), None, None, None, None, None, 80)
    best = TrialResult(0, params, Outcome.COMPLETED, curves, 1.0, 3)
    text = wording.answer(study(best, refit=None, open_end="epoch 3 is the last", evidence=nothing))
    assert "UNDETERMINED           epoch 3 is the last: more epochs may be better" in text
    assert "one fold cannot say how sure this is" in text
    for part in ("±", "interval", "resampled", "too good", "refit"):
        assert part not in text


def test_a_decision_is_written_whole(tmp_path):
    path = tmp_path / "decision.json"
    decision.write(path, {"n_epochs": 1})
    decision.write(path, {"n_epochs": 2, "path": tmp_path})
    assert json.loads(path.read_text()) == {"n_epochs": 2, "path": str(tmp_path)}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["decision.json.tmp", "decision.json"])
def test_whichever_file_fills_the_disk_the_decision_stays_whole(name, tmp_path, monkeypatch):
    path = tmp_path / "decision.json"
    decision.write(path, {"n_epochs": 1})
    write_bytes = Path.write_bytes

    def write_half(self: Path, content: bytes) -> int:
        if self.name != name:
            return write_bytes(self, content)
        write_bytes(self, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with contextlib.suppress(OSError):
        decision.write(path, {"n_epochs": 2})
    assert json.loads(path.read_text())["n_epochs"] in (1, 2)


def choice(n_epochs: int) -> EpochChoice:
    return EpochChoice(n_epochs, 5, 1.0, None, "best", "")


def test_a_refit_is_found_again_for_the_same_decision_only(tmp_path):
    path, best = tmp_path / "decision.json", trial(3, 1.0)
    assert decision.refit_in(path, best, choice(2), KEPT, "run") is None
    decision.write(path, decision.decision(study(best), {"run_id": "run"}))
    assert decision.refit_in(path, best, choice(2), KEPT, "run") == REFIT
    assert decision.refit_in(path, best, choice(2), KEPT, "another run") is None
    assert decision.refit_in(path, best, choice(3), KEPT, "run") is None
    assert decision.refit_in(path, trial(4, 1.0), choice(2), KEPT, "run") is None
    for changes in ({"policy": "updates"}, {"n_seeds": 2}, {"keep_folds": True}):
        changed = dataclasses.replace(KEPT, **changes)
        assert decision.refit_in(path, best, choice(2), changed, "run") is None
    other = dataclasses.replace(best, params={**best.params, "learning_rate": 0.5})
    assert decision.refit_in(path, other, choice(2), KEPT, "run") is None


def test_a_decision_is_valid_json_when_a_score_is_not_a_number(tmp_path):
    decision.write(tmp_path / "decision.json", {"scores": [{"loss": float("nan")}]})
    assert json.loads((tmp_path / "decision.json").read_text()) == {"scores": [{"loss": None}]}


def test_a_test_score_that_was_not_a_number_is_read_and_can_be_shown(tmp_path):
    path, best = tmp_path / "decision.json", trial(3, 1.0)
    refit = dataclasses.replace(REFIT, test_metrics={"loss": float("nan")})
    result = study(best, refit=refit)
    decision.write(path, decision.decision(result, {"run_id": "run"}))
    again = decision.refit_in(path, best, choice(2), KEPT, "run")
    assert "loss nan" in wording.answer(dataclasses.replace(result, refit=again))


def test_a_decision_without_a_refit_has_none_to_find(tmp_path):
    path, best = tmp_path / "decision.json", trial(3, 1.0)
    decision.write(path, decision.decision(study(best, refit=None), {"run_id": "run"}))
    assert decision.refit_in(path, best, choice(2), KEPT, "run") is None


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ((4,), "4"),
        ((4, 5), "4–5"),
        ((12, 13, 14, 20), "12–14, 20"),
        ((1, 3, 5, 6), "1, 3, 5–6"),
        ((1, 3, 5, 6, 9), "1–9 (5 of them)"),
    ],
)
def test_epochs_are_shown_as_runs(counts, text):
    assert wording.span(counts) == text


def test_a_score_is_shown_with_its_error_if_it_has_one():
    assert wording.with_error(0.09123456, 0.00831) == "0.09123 ± 0.0083"
    assert wording.with_error(0.09123456, None) == "0.09123"
