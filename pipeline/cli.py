"""Options of the commands. Nothing heavy is imported here: `--help` answers at once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Literal, NoReturn

from pipeline import ending
from pipeline.cli_data import add_data
from pipeline.errors import BadInput, ExitCode
from pipeline.retry import DEFAULT_PATIENCE_SECS

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


class _Parser(argparse.ArgumentParser):
    """Tells a mistyped option as every other end is told."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"error: {message}", file=sys.stderr)
        module = self.prog.rpartition(" ")[2]
        end = ending.Ending(ExitCode.BAD_INPUT, error=message)
        ending.tell(end, module, _ending_options_in(self._given), seconds=0.0)
        raise SystemExit(end.exit_code)


def search_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the options of `python -m pipeline.search`; exits with 2 where they are off."""
    parser = _Parser(
        prog="python -m pipeline.search",
        description="Find the learning rate and the number of epochs to train a Keras model with.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_study(parser)
    add_data(parser, writes=True)
    add_budget(parser)
    parser.add_argument(
        "--workers", type=_workers, metavar="N", default=1,
        help="train trials in N processes, or as many as suit this machine: auto (default: 1, "
        "this one)",
    )  # fmt: skip
    parser.add_argument(
        "--ray", nargs="?", const="", metavar="ADDRESS",
        help="the workers are actors in the Ray cluster at HOST:PORT, auto (the one that this "
        "machine runs) or local (one for this search) (default: RAY_ADDRESS, or else local)",
    )  # fmt: skip
    parser.add_argument(
        "--ray-resources", type=_resources, metavar="NAME=N,…",
        help="of each worker on Ray, as CPU=4,GPU=0.5 (default: CPUs for its folds, and an equal "
        "share of the GPUs)",
    )  # fmt: skip
    parser.add_argument(
        "--if-running", choices=("skip", "wait", "join"), default="skip",
        help="another process is running this study: leave with exit code 5, wait for it, or join "
        "it, train trials beside it and then wait",
    )  # fmt: skip
    add_tracking(parser)
    _add_choices(parser)
    parser.add_argument(
        "--warm-start", type=n_trials, nargs="?", const=5, default=0, metavar="N",
        help="begin a new study with the N best trials (5) of the latest earlier one of its name",
    )  # fmt: skip
    parser.add_argument(
        "--keep-checkpoints", type=_checkpoints, metavar="N",
        help="keep the fold models of the N best trials in MLflow, or of all",
    )  # fmt: skip
    parser.add_argument(
        "--register", action="store_true",
        help="register the refit model in MLflow: as champion if its configuration is better than "
        "the standing one's on the same splits, else as challenger",
    )  # fmt: skip
    parser.add_argument(
        "--range-test", action="store_true",
        help="sweep the learning rate over the folds, draw the loss, propose the range to search",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, time an epoch, print the cost"
    )
    add_ending(parser)
    return parser.parse_args(arguments)


def report_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the options of `python -m pipeline.report`; exits with 2 where they are off."""
    parser = _Parser(
        prog="python -m pipeline.report",
        description="Answer a finished search again and compare the ways of choosing epochs, or "
        "compare two answers.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_study(parser)
    parser.add_argument(
        "other", nargs="?", metavar="OTHER",
        help="compare STUDY's answer with this later one: each a study (its latest answer; STUDY~1 "
        "is the one before), a study's folder, or its run's id in MLflow",
    )  # fmt: skip
    add_data(parser, writes=False)
    _add_choices(parser)
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
    parser.set_defaults(
        trials=None,
        timeout=None,
        max_fold_epochs=None,
        max_updates=None,
        register=False,
        keep_checkpoints=None,
    )
    add_ending(parser)
    return parser.parse_args(arguments)


def add_study_name(parser: argparse.ArgumentParser) -> None:
    """Add the study, a file or a name."""
    parser.add_argument(
        "study",
        nargs="?",
        default=DEFAULT_STUDY,
        metavar="STUDY",
        help="a study file, a name under studies/, a data file, or a folder of images "
        f"(default: {DEFAULT_STUDY})",
    )


def add_budget(parser: argparse.ArgumentParser) -> None:
    """Add what ends a search."""
    parser.add_argument(
        "--trials", type=int, metavar="N", help="trials in all, over every session of this study"
    )
    parser.add_argument(
        "--timeout", type=seconds, metavar="TIME", help="end after TIME: 90, 90s, 15m or 2h"
    )
    parser.add_argument(
        "--max-fold-epochs", type=int, metavar="N", help="epochs in all, summed over folds"
    )
    parser.add_argument(
        "--max-updates", type=int, metavar="N", help="optimizer steps in all, summed over folds"
    )


def add_tracking(parser: argparse.ArgumentParser) -> None:
    """Add where runs are logged."""
    parser.add_argument(
        "--tracking-uri", metavar="URI",
        help="MLflow's store (default: that of MLFLOW_TRACKING_URI, or else mlruns/mlflow.db)",
    )  # fmt: skip


def _add_choices(parser: argparse.ArgumentParser) -> None:
    """Add what is done with the trials once there are enough."""
    parser.add_argument(
        "--confirm",
        type=int,
        metavar="N",
        help="train the best N trials again, on other seeds and splits, before naming the winner",
    )
    parser.add_argument(
        "--nested",
        type=int,
        metavar="K",
        help="measure what searching like this is worth: a whole search inside each of K folds, "
        "each scored on rows that it never saw",
    )


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add what says which study: its file, changes of its fields, where it is stored."""
    add_study_name(parser)
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
        "--storage", metavar="URI",
        help="Optuna's: a journal file or a database URL (default: that of OPTUNA_STORAGE, or else "
        "a journal in the study's folder)",
    )  # fmt: skip
    add_store_patience(parser)


def add_store_patience(parser: argparse.ArgumentParser) -> None:
    """Add how long a store is waited for."""
    parser.add_argument(
        "--store-patience", type=seconds, metavar="TIME", default=DEFAULT_PATIENCE_SECS,
        help="how long a store that is locked or away is tried again: 90, 90s, 15m or 2h "
        f"(default: {DEFAULT_PATIENCE_SECS:g}s)",
    )  # fmt: skip


def add_ending(parser: argparse.ArgumentParser) -> None:
    """Add what says how the command tells what it does and how it ended."""
    parser.add_argument(
        "--json", action="store_true",
        help="print one JSON object on standard output, whatever the end, and nothing else",
    )  # fmt: skip
    silent = "say nothing on standard error but errors"
    parser.add_argument("--quiet", action="store_true", help=silent)
    parser.add_argument(
        "--log-file", metavar="FILE", help="also log to FILE: 10 MB each, five older ones are kept"
    )
    parser.add_argument(
        "--on-finish", metavar="COMMAND",
        help="at every end, run COMMAND in a shell with the JSON object on its standard input, for "
        f"{ending.ON_FINISH_TIMEOUT_SECS:g} seconds at most; it changes no exit code",
    )  # fmt: skip


def _ending_options_in(arguments: Sequence[str]) -> argparse.Namespace:
    """Return those options as far as they can be read beside one that cannot."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    add_ending(parser)
    try:
        return parser.parse_known_args(arguments)[0]
    except argparse.ArgumentError:  # an option without its value
        return argparse.Namespace(json="--json" in arguments, on_finish=None)


def arguments_of(options: argparse.Namespace) -> list[str]:
    """Return what another process must be given to work at the same study, but for its time."""
    values = {
        "--seed": options.seed,
        "--trials": options.trials,
        "--max-fold-epochs": options.max_fold_epochs,
        "--max-updates": options.max_updates,
        "--storage": options.storage,
        "--tracking-uri": options.tracking_uri,
        "--store-patience": options.store_patience,
    }
    given = [f"{name}={value}" for name, value in values.items() if value is not None]
    return [options.study, *given, *(f"--set={change}" for change in options.set)]


def _workers(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number ≥ 1, or auto, got {text!r}")
    return int(text)


def _resources(text: str) -> dict[str, float]:
    """Return Ray's resources by name: a part of one, or a whole number."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, amount = part.strip().partition("=")
        try:
            number = float(amount)
        except ValueError:
            number = 0.0
        if not (name and (0.0001 <= number < 1 or (number >= 1 and number.is_integer()))):
            raise argparse.ArgumentTypeError(
                "must be names with amounts, a part of one from 0.0001 on or a whole number, as "
                f"CPU=4,GPU=0.5, got {text!r}"
            )
        found[name] = number
    return found


def _checkpoints(text: str) -> int | Literal["all"]:
    return "all" if text == "all" else n_trials(text)


def seconds(text: str) -> float:
    """Return a duration in seconds from "90", "90s", "15m", "2h" or "30d"."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1.0)
    try:
        return float(number) * unit
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be seconds, or a number with s, m, h or d, got {text!r}"
        ) from None


def n_trials(text: str) -> int:
    """Return a number of trials; what follows its option may also be the study."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be a number of trials, got {text!r}; a study stands before the options"
        ) from None


def check_together(options: argparse.Namespace) -> None:
    """Raise BadInput for options that do not go together."""
    names = {"--confirm": options.confirm, "--nested": options.nested}
    given = [name for name, value in names.items() if value is not None]
    given += ["--dry-run"] * options.dry_run + ["--range-test"] * options.range_test
    if len(given) > 1:
        raise BadInput(
            "of --confirm, --nested, --dry-run and --range-test one at a time, got "
            f"{' and '.join(given)}"
        )
    if options.nested is not None and (options.workers != 1 or options.ray is not None):
        raise BadInput("--nested searches in one process, got --workers or --ray: leave it out")
    if options.ray_resources is not None and options.ray is None:
        raise BadInput("--ray-resources are of workers on Ray: give --ray, too")
