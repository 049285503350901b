import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution

from pipeline.changes import SETTABLE, with_field, with_options
from pipeline.choice import OneStandardError
from pipeline.cli import search_options
from pipeline.errors import BadInput, ExitCode
from pipeline.objective import Objective
from pipeline.registry import Registry
from pipeline.spec import EarlyStopping, StudySpec
from pipeline.strategy import FinishBest, Ladder

ROOT = Path(__file__).parents[1]


def spec(**fields: Any) -> StudySpec:
    return StudySpec(
        **{
            "name": "named",
            "load_data": lambda: None,
            "build_model": lambda params: params,
            "space": {"learning_rate": FloatDistribution(1e-4, 1e-1, log=True), "max_epochs": 10},
            "early_stopping": EarlyStopping(patience=3),
            **fields,
        }
    )


def given(*arguments: str, **fields: Any) -> StudySpec:
    return with_options(spec(**fields), search_options(arguments))


def value_of(changed: StudySpec, name: str) -> Any:
    if name.startswith("space."):
        return changed.space[name.removeprefix("space.")]
    value: Any = changed
    for part in name.split("."):
        value = getattr(value, part)
    return value


VALUES = [
    ("name", "other", "other"),
    ("batch_size", "64", 64),
    ("validation_batch_size", "256", 256),
    ("class_weight", "balanced", "balanced"),
    ("class_weight", "{0: 1.0, 1: 2.5}", {0: 1.0, 1: 2.5}),
    ("rule", "one-standard-error", OneStandardError()),
    ("test_size", "0.2", 0.2),
    ("test_size", "50", 50),
    ("seed", "7", 7),
    ("engine", "xla", "xla"),
    ("threads", "2", 2),
    ("threads", "None", None),
    ("operation_threads", "1", 1),
    ("dtype_policy", "mixed_float16", "mixed_float16"),
    ("deterministic", "False", False),
    ("objective.metric", "val_other_loss", "val_other_loss"),
    ("objective.direction", "maximize", "maximize"),
    ("objective.mean", "rows", "rows"),
    ("scorers", "roc_auc, f1", {"roc_auc": "roc_auc", "f1": "f1"}),
    ("scorers", "{'area': 'roc_auc'}", {"area": "roc_auc"}),
    ("early_stopping.patience", "9", 9),
    ("early_stopping.min_delta", "1e-3", 1e-3),
    ("budget.n_trials", "4", 4),
    ("budget.timeout_secs", "1.5", 1.5),
    ("budget.max_failures_in_a_row", "2", 2),
    ("budget.max_fold_epochs", "500", 500),
    ("budget.max_updates", "9000", 9000),
    ("budget.unchanged_fold_epochs", "300", 300),
    ("choose_within_schedule", "True", True),
    ("range_test", "True", True),
    ("refit.enabled", "False", False),
    ("refit.policy", "updates", "updates"),
    ("refit.n_seeds", "3", 3),
    ("refit.keep_folds", "True", True),
    ("registry.name", "other", "other"),
    ("registry.margin", "0.01", 0.01),
    ("registry.on", "test", "test"),
    ("keep_checkpoints", "3", 3),
    ("keep_checkpoints", "all", "all"),
    ("strategy", "ladder", Ladder()),
    ("strategy", "finish-best", FinishBest()),
    ("strategy", "auto", "auto"),
    ("strategy", "None", None),
    ("space.max_epochs", "40", 40),
    ("space.learning_rate", "0.01", 0.01),
]


@pytest.mark.parametrize(("name", "text", "value"), VALUES)
def test_set_changes_a_field(name, text, value):
    fields = {"registry": Registry(), "test_size": 9} if name.startswith("registry.") else {}
    assert value_of(given("--set", f" {name} = {text} ", **fields), name) == value


def test_a_scorer_and_the_search_on_it_are_set_together_and_the_mean_stays():
    objective = Objective(mean="rows")
    changed = given("--set", "objective.metric=val_f1", "--set", "scorers=f1", objective=objective)
    assert changed.objective == Objective("val_f1", "maximize", "rows")


def test_a_study_without_a_registry_is_given_one():
    assert given().registry is None
    assert given("--register", "--set", "registry.margin=0.01").registry == Registry(margin=0.01)
    own = Registry(name="own")
    assert given("--register", registry=own).registry == own


def test_every_settable_field_is_tried_here():
    assert {name for name, _, _ in VALUES if not name.startswith("space.")} == SETTABLE


def test_set_leaves_the_rest_alone():
    before, after = spec(), given("--set", "budget.n_trials=4", "--set", "seed=2")
    assert (after.budget.n_trials, after.seed) == (4, 2)
    assert after.budget.max_failures_in_a_row == before.budget.max_failures_in_a_row
    assert after.early_stopping == before.early_stopping
    assert given().described() == before.described()


def test_a_value_may_hold_an_equals_sign_and_the_last_one_counts():
    with pytest.raises(BadInput, match="got 'a=b'"):
        given("--set", "name=a=b")
    assert given("--set", "seed=1", "--set", "seed=2").seed == 2


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sed", "unknown field 'sed'; did you mean 'seed'"),
        ("budget.trials", "did you mean 'budget.n_trials'"),
        ("space.max_epoch", "unknown field 'space.max_epoch'; did you mean 'space.max_epochs'"),
        ("early_stoping.patience", "did you mean 'early_stopping.patience'"),
        ("", "unknown field ''"),
        ("space", "unknown field 'space'"),
        ("budget", "unknown field 'budget'"),
        ("load_data", "unknown field 'load_data'"),
        ("sampler", "unknown field 'sampler'"),
    ],
)
def test_an_unknown_field_names_the_nearest(name, says):
    with pytest.raises(BadInput, match=says):
        given("--set", f"{name}=1")


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("seed", "--set must be FIELD=VALUE, got 'seed'"),
        ("seed=one", "seed must be a whole number .*, got 'one'"),
        ("batch_size=0", "batch_size must be .*, got 0"),
        ("budget.n_trials=2.5", "budget.n_trials must be .*, got 2.5"),
        ("early_stopping.patience=", "early_stopping.patience must be .*, got ''"),
        ("objective.direction=up", "objective.direction must be .*, got 'up'"),
        ("objective.metric=accuracy", "did you mean 'val_accuracy'"),
        ("refit.enabled=no", "refit.enabled must be True or False, got 'no'"),
        ("refit.keep_folds=1", "refit.keep_folds must be True or False, got 1"),
        ("refit.policy=rows", "refit.policy must be one of 'auto', 'epochs', .*, got 'rows'"),
        ("objective.mean=row", "objective.mean must be 'folds' or 'rows', got 'row'"),
        ("objective.metric=val_mine", "objective.direction must be stated for 'val_mine'"),
        ("scorers=roc", r"unknown scorer in scorers\['roc'\] 'roc'; did you mean 'roc_auc'"),
        ("scorers=3", "scorers must be names of scikit-learn's scorers, or a dict"),
        ("scorers={'a': 3}", r"scorers\['a'\] must be a scikit-learn scorer's name, or what"),
        ("refit.n_seeds=0", "refit.n_seeds must be a whole number ≥ 1, got 0"),
        ("engine=[1]", r"engine must be .*, got \[1\]"),
        ("space.learning_rate=FloatDistribution(0, 1)", "learning_rate.* must be .*'FloatDist"),
        ("space.max_epochs=[1, 2]", r"space\['max_epochs'\] must be"),
        ("rule=bst", "unknown rule 'bst'; did you mean 'best'"),
        ("rule=[1]", r"unknown rule '\[1\]'"),
        ("class_weight={[]: 1}", "class_weight must be .*, got '{"),
    ],
)
def test_a_bad_value_is_refused_in_words(assignment, says):
    with pytest.raises(BadInput, match=says):
        given("--set", assignment)


def test_a_group_that_the_study_lacks_is_named():
    with pytest.raises(BadInput, match="the study has no early_stopping: add it"):
        given("--set", "early_stopping.patience=3", early_stopping=None)


def test_another_metric_does_not_inherit_a_direction():
    """The lowest accuracy would win."""
    metric = ("--set", "objective.metric=val_mine")
    with pytest.raises(BadInput, match=r"objective\.direction must be stated for 'val_mine'"):
        given(*metric)
    direction = ("--set", "objective.direction=maximize")
    for arguments in ((*metric, *direction), (*direction, *metric)):
        objective = given(*arguments).objective
        assert (objective.metric, objective.direction) == ("val_mine", "maximize")
    known = given("--set", "objective.metric=val_accuracy").objective
    assert known == Objective("val_accuracy", "maximize")


def test_trials_timeout_and_seed_have_options_of_their_own():
    changed = given("--trials", "5", "--timeout", "15m", "--seed", "9", "--set", "seed=1")
    assert (changed.budget.n_trials, changed.budget.timeout_secs, changed.seed) == (5, 900, 9)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("30d", 2592000), ("0.5", 0.5)],
)
def test_a_duration_has_a_unit(text, seconds):
    assert search_options(["--timeout", text]).timeout == seconds


@pytest.mark.parametrize("option", ["--trials", "--seed", "--timeout"])
@pytest.mark.parametrize("value", ["-1", "0"])
def test_the_study_checks_what_an_option_says(option, value):
    if (option, value) == ("--seed", "0"):
        assert given(option, value).seed == 0
        return
    with pytest.raises(BadInput, match=f"must be .*, got {value}"):
        given(option, value)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--trails"],
        ["--trials", "many"],
        ["--timeout", "soon"],
        ["--timeout", "m"],
        ["--timeout", "1w"],
        ["--seed"],
        ["one", "two"],
    ],
)
def test_a_mistyped_option_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        search_options(arguments)
    assert exit_.value.code == 2
    assert arguments[-1] in capsys.readouterr().err


def test_without_options_the_first_study_is_searched():
    options = search_options([])
    assert (options.study, options.set, options.dry_run) == ("digits", [], False)
    assert (options.tracking_uri, options.storage) == (None, None)


def test_one_field_can_be_changed_from_python():
    assert with_field(spec(), "budget.n_trials", 3).budget.n_trials == 3


HEAVY = ("tensorflow", "keras", "mlflow", "optuna", "sklearn", "numpy", "pandas")


def command(*arguments: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run the search with these arguments; return it and the CPU seconds that it took."""
    code = (
        "import atexit, json, runpy, sys\n"
        f"atexit.register(lambda: print(json.dumps([m for m in {HEAVY!r} if m in sys.modules])))\n"
        f"sys.argv = ['search', *{arguments!r}]\n"
        "runpy.run_module('pipeline.search', run_name='__main__')\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_answers_at_once_and_loads_nothing_heavy():
    done, cpu_secs = command("--help")
    assert done.returncode == 0
    assert "exit codes:" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert cpu_secs < 0.5


def test_the_command_refuses_a_mistyped_option_before_it_loads_anything():
    done, _ = command("--trails", "5")
    assert done.returncode == 2
    assert "--trails" in done.stderr
    assert json.loads(done.stdout) == []


def test_a_study_behind_warm_start_is_told_where_it_stands(capsys):
    with pytest.raises(SystemExit) as left:
        search_options(["--warm-start", "digits"])
    assert left.value.code == ExitCode.BAD_INPUT
    assert "got 'digits'; a study stands before the options" in capsys.readouterr().err
    assert search_options(["digits", "--warm-start"]).warm_start == 5
    assert search_options(["--warm-start", "3", "digits"]).study == "digits"
