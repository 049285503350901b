"""Options of the commands. Nothing heavy is imported here: `--help` answers at once."""

from __future__ import annotations

import argparse
import ast
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadInput, ExitCode, unknown_name

if TYPE_CHECKING:
    from pipeline.spec import StudySpec

DEFAULT_STUDY = "digits"

EXIT_CODES = "exit codes:\n" + "\n".join(
    f"  {code.value:>3}  {text}"
    for code, text in (
        (ExitCode.SUCCESS, "an answer was found"),
        (ExitCode.FAILED, "the study failed, or this program did"),
        (ExitCode.BAD_INPUT, "something you gave cannot be used; nothing was trained"),
        (ExitCode.NO_RESULT, "the budget ended, or every trial failed, before there was a value"),
        (ExitCode.UNDETERMINED, "an answer, but more epochs than were trained may be better"),
        (ExitCode.ANOTHER_RUN_ACTIVE, "another process is running the same study"),
        (ExitCode.STORE_UNAVAILABLE, "a store cannot be reached, read or written"),
        (ExitCode.INTERRUPTED, "a signal stopped the search; the same command continues it"),
    )
)

SETTABLE = {
    "name", "batch_size", "class_weight", "rule", "test_size", "seed", "engine", "threads",
    "objective.metric", "objective.direction", "early_stopping.patience",
    "early_stopping.min_delta", "budget.n_trials", "budget.timeout_secs",
    "budget.max_failures_in_a_row", "choose_within_schedule", "refit.enabled", "refit.policy",
    "refit.n_seeds", "refit.keep_folds",
}  # fmt: skip
"""Fields whose values can be written on a command line; the others are Python objects."""


def search_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the options of `python -m pipeline.search`; exits with 2 where they are off."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.search",
        description="Find the learning rate and the number of epochs to train a Keras model with.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_study(parser)
    parser.add_argument(
        "--trials", type=int, metavar="N", help="trials in all, over every session of this study"
    )
    parser.add_argument(
        "--timeout", type=seconds, metavar="TIME", help="end after TIME: 90, 90s, 15m or 2h"
    )
    parser.add_argument(
        "--tracking-uri", metavar="URI", help="MLflow's store (default: mlruns/mlflow.db)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, time an epoch, print the cost"
    )
    return parser.parse_args(arguments)


def report_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the options of `python -m pipeline.report`; exits with 2 where they are off."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.report",
        description="Answer a finished search again, and compare the ways of choosing epochs.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_study(parser)
    parser.add_argument(
        "--compare", action="store_true", help="the five ways of choosing epochs, side by side"
    )
    parser.add_argument(
        "--fixed", type=int, metavar="N",
        help="the number that you would have trained for (default: the middle of the range)",
    )  # fmt: skip
    parser.add_argument(
        "--refit-each", action="store_true",
        help="train on all rows for each way's number of epochs, and score the test rows",
    )  # fmt: skip
    parser.set_defaults(trials=None, timeout=None)
    return parser.parse_args(arguments)


def _add_study(parser: argparse.ArgumentParser) -> None:
    """Add what says which study: its file, changes of its fields, where it is stored."""
    parser.add_argument(
        "study",
        nargs="?",
        default=DEFAULT_STUDY,
        metavar="STUDY",
        help=f"a study file, or a name under studies/ (default: {DEFAULT_STUDY})",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of splits, weights, row orders")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of the study, e.g. space.max_epochs=40, rule='fixed(n_epochs=40)'; "
        "may be repeated",
    )
    parser.add_argument(
        "--storage", metavar="URI", help="Optuna's: a journal file or a database URL"
    )


def seconds(text: str) -> float:
    """Return a duration in seconds from "90", "90s", "15m" or "2h"."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1.0)
    try:
        return float(number) * unit
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be seconds, or a number with s, m or h, got {text!r}"
        ) from None


def with_options(spec: StudySpec, options: argparse.Namespace) -> StudySpec:
    """Return the study with the command line's changes, checked anew.

    Raises BadInput for an unknown field, naming the nearest, or a value that is not allowed.
    """
    from pipeline.objective import Objective

    changes: dict[str, Any] = {}
    for assignment in options.set:
        name, separator, text = assignment.partition("=")
        if not separator:
            raise BadInput(f"--set must be FIELD=VALUE, got {assignment!r}")
        changes[name.strip()] = _value(text)
    if "objective.metric" in changes:
        # Another metric must not inherit the direction of the one before it.
        metric, direction = (
            changes.pop("objective.metric"),
            changes.pop("objective.direction", None),
        )
        spec = dataclasses.replace(spec, objective=Objective(metric, direction))
    for name, value in changes.items():
        spec = with_field(spec, name, value)
    named = {
        "budget.n_trials": options.trials,
        "budget.timeout_secs": options.timeout,
        "seed": options.seed,
    }
    for name, value in named.items():
        if value is not None:
            spec = with_field(spec, name, value)
    return spec


def with_field(spec: StudySpec, name: str, value: Any) -> StudySpec:
    """Return the study with one field changed: `seed`, `budget.n_trials`, `space.max_epochs`, …."""
    outer, _, inner = name.partition(".")
    if outer == "space" and inner:
        if inner not in spec.space:
            raise unknown_name("field", name, (f"space.{key}" for key in spec.space))
        return dataclasses.replace(spec, space={**spec.space, inner: value})
    if name not in SETTABLE:
        raise unknown_name("field", name, SETTABLE | {f"space.{key}" for key in spec.space})
    if name == "rule":
        from pipeline.choice import rule_named

        value = rule_named(str(value))
    if inner:
        group = getattr(spec, outer)
        if group is None:
            raise BadInput(f"the study has no {outer}: add it to the study file first")
        value = dataclasses.replace(group, **{inner: value})
    return dataclasses.replace(spec, **{outer: value})


def _value(text: str) -> Any:
    """Return a Python literal, or the text itself."""
    try:
        return ast.literal_eval(text.strip())
    except (SyntaxError, TypeError, ValueError):
        return text.strip()
