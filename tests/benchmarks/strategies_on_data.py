"""Do trials that pause find the same loss with a third of the fold-epochs? On real data.

    python tests/benchmarks/strategies_on_data.py
    python tests/benchmarks/strategies_on_data.py --seeds 5 --data digits mnist --json out.json

On each data set of `strategies_studies.py`, with each seed, the program searches several times:
with TPE and its median pruning on all folds, then with each strategy, which is given a share of the
fold-epochs that the first search spent. What is compared is the mean over five folds of the trial
that each answers with, at its best epoch. `pruning, as few` is what the first search had when it
had spent that share: where it was as good by then, strategies save nothing. `pruning, again`, where
it is asked for, is a second whole search: what is as near as that is as good as the first.

It uses one core, for about an hour. A data set whose package is not installed is left out, and said
to be.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from optuna.samplers import TPESampler

from pipeline import Budget, FinishBest, Ladder, StudyResult, StudySpec
from pipeline.batch import StopRequest
from pipeline.progress import Display
from pipeline.question import pose
from pipeline.recording import Stores
from pipeline.results import ranked
from pipeline.retry import DEFAULT_PATIENCE_SECS
from pipeline.search import search_on
from pipeline.strategy import Strategy
from tests.benchmarks.rules_studies import NotInstalled
from tests.benchmarks.strategies_report import WHOLE, Compared, Score, in_words
from tests.benchmarks.strategies_studies import STUDIES

STRATEGIES: Mapping[str, Strategy] = {
    "ladder": Ladder(),
    "ladder, folds at a third": Ladder(rungs=(1 / 9, 1 / 3, 1 / 3, 1.0), n_finalists=3),
    "finish the best": FinishBest(),
}

AGAIN = f"{WHOLE}, again"
"""The first search once more, with other proposals on the same folds: how far chance goes."""

MANY = 1000
"""Trials that a strategy may begin: its fold-epochs end it before."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Search every data set with every seed in all ways and print what came of it."""
    options = parsed(arguments)
    done = written_in(options.json)
    left_out: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            for name in options.data:
                if name in left_out:
                    continue
                spec = replace(STUDIES[name], seed=seed, budget=Budget(n_trials=options.trials))
                known = done.get((name, seed), {})
                try:
                    scores = compared(spec, options.share, options.strategies, known, Path(folder))
                except NotInstalled as reason:
                    say(f"{name} is left out: {reason}")
                    left_out.add(name)
                    continue
                done[name, seed] = scores
                say(Compared(name, seed, scores).line)
                if options.json:
                    text = json.dumps([asdict(each) for each in in_order(done)])
                    options.json.write_text(text, encoding="utf-8")
    if not done:
        return 1
    print(in_words(in_order(done)))
    return 0


Scores = Mapping[str, Score | None]


def written_in(file: Path | None) -> dict[tuple[str, int], Scores]:
    """Return the scores that an earlier command has written, by data set and seed."""
    if file is None or not file.exists():
        return {}
    return {
        (each["data"], each["seed"]): {
            way: score and Score(**score) for way, score in each["scores"].items()
        }
        for each in json.loads(file.read_text(encoding="utf-8"))
    }


def in_order(done: Mapping[tuple[str, int], Scores]) -> list[Compared]:
    """Return what is done, data set by data set."""
    rank = {name: number for number, name in enumerate(STUDIES)}
    keys = sorted(done, key=lambda key: (rank[key[0]], key[1]))
    return [Compared(*key, done[key]) for key in keys]


def compared(
    spec: StudySpec, share: float, ways: Sequence[str], known: Scores, home: Path
) -> Scores:
    """Search a study in all ways but those whose scores are known, in a project of its own."""
    scores = dict(known)
    if WHOLE not in known:
        pruned = searched(replace(spec, name=f"{spec.name}-pruned", strategy=None), home)
        scores[WHOLE] = whole = score_of(pruned)
        assert whole is not None  # it would have raised NoResult
        scores[f"{WHOLE}, as few"] = score_of(pruned, within=int(share * whole.fold_epochs))
    most = int(share * Compared(spec.name, spec.seed, scores).whole.fold_epochs)
    budget = Budget(n_trials=MANY, max_fold_epochs=most)
    for way in (way for way in ways if way not in known):
        if way == AGAIN:
            other = replace(spec, name=f"{spec.name}-again", strategy=None, sampler=with_other_seed)
            scores[way] = score_of(searched(other, home))
            continue
        name = f"{spec.name}-{list(STRATEGIES).index(way)}"
        paused = replace(spec, name=name, strategy=STRATEGIES[way], budget=budget)
        scores[way] = score_of(searched(paused, home))
    return scores


def with_other_seed(seed: int) -> TPESampler:
    """Return the default sampler, of another seed."""
    return TPESampler(seed=(seed + 1) % 2**32)


def searched(spec: StudySpec, home: Path) -> StudyResult:
    """Search a study, whose stores lie in this project."""
    question = replace(pose(spec), home=home)
    stores, stop = Stores(None, None, DEFAULT_PATIENCE_SECS), StopRequest()
    return search_on(question, Display(), stop, stores, stores.meeting_for(question, stop))


def score_of(result: StudyResult, *, within: float = float("inf")) -> Score | None:
    """Return the best of a search's trials, as the search left it; None if there is none.

    within: so many fold-epochs of the search
    """
    spent, trials = 0, []
    for trial in result.trials:
        spent += trial.n_fold_epochs
        if spent > within:
            spent -= trial.n_fold_epochs
            break
        trials.append(trial)
    best = next(iter(ranked(trials, result.spec.objective)), None)
    if best is None or best.curves is None or best.best_n_epochs is None:
        return None
    curves, n_epochs = best.curves, best.best_n_epochs
    return Score(
        curves.loss_after(n_epochs),
        curves.standard_error_after(n_epochs) or 0.0,
        spent,
        len(trials),
        n_epochs,
        dict(best.params),
    )


def say(line: str) -> None:
    """Write a line of progress."""
    print(line, file=sys.stderr, flush=True)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=30, help="of the search that prunes")
    parser.add_argument("--share", type=float, default=1 / 3, help="of its fold-epochs")
    parser.add_argument("--strategies", nargs="*", default=list(STRATEGIES),
                        choices=(*STRATEGIES, AGAIN),
                        metavar="NAME", help=", ".join((*STRATEGIES, AGAIN)))  # fmt: skip
    parser.add_argument("--data", nargs="+", default=list(STUDIES), choices=STUDIES, metavar="NAME",
                        help=", ".join(STUDIES))  # fmt: skip
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write every search there; what it holds already is not searched again",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
