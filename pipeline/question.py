"""A study with its data split: everything that is decided before the first trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import training
from pipeline.curves import FoldCurves
from pipeline.data import Dataset, load
from pipeline.errors import BadInput
from pipeline.files import write_whole
from pipeline.folds import Folds, are_uneven, split, untrained_classes
from pipeline.machine import EVERYTHING, Share
from pipeline.nest import described, is_several
from pipeline.preprocessing import remarks_on_transformers
from pipeline.results import trial_name
from pipeline.set_aside import set_test_rows_aside
from pipeline.spec import StudySpec
from pipeline.study_file import WRITTEN_FILE, is_generated, source_of


@dataclass(frozen=True, eq=False)
class Question:
    """A checked study.

    development, test: the rows to search on, and those set aside, if any
    folds: of the development rows
    data_fingerprint: of all rows
    signature: what makes this the same study, taken once: its file may be edited meanwhile
    source_hash: of the study's code, taken then, too
    home: the project that holds the study
    file: the study's own, where there is one
    found: how the study is best trained, where it is new and this was timed before anything ran
    """

    spec: StudySpec
    development: Dataset
    test: Dataset | None
    folds: Folds
    data_fingerprint: str
    signature: str
    source_hash: str
    home: Path
    file: Path | None = None
    found: training.Found | None = None

    @property
    def name(self) -> str:
        """The study's name and signature: another signature is another study."""
        return f"{self.spec.name}-{self.signature}"

    @property
    def folder(self) -> Path:
        """Where the study keeps its journal, its lock and its decision."""
        return self.home / "mlruns" / "studies" / self.name

    @property
    def winner_file(self) -> Path:
        """Where the study keeps the winner's curves."""
        return self.folder / "winner.json"

    @property
    def answer_files(self) -> tuple[Path, ...]:
        """What the study keeps of its answer, in the order in which it is found."""
        names = ("row_losses/winner.npz", "metrics/winner.npz", "decision.json")
        return (self.winner_file, *(self.folder / name for name in names))

    def trial_files(self, number: int) -> tuple[Path, ...]:
        """Return where a trial that has a value lies, besides what Optuna knows of it."""
        name = f"{trial_name(number)}.npz"
        return tuple(self.folder / folder / name for folder in ("row_losses", "metrics"))

    @property
    def weights(self) -> np.ndarray | None:
        """How much each fold counts in the mean, [n_folds]; None: alike."""
        return self.spec.objective.weights(self.folds.n_validation_rows)

    @property
    def _threads_record(self) -> Path:
        return self.folder / "threads"

    def threads_for(self, threads: int | None) -> int | None:
        """Return the threads that each worker trains with; None is one per core.

        threads: where the study is new and states none
        A convolution's last bits depend on them, so a study keeps those that it began with,
        whatever the number of workers is later.
        """
        if self.spec.threads is None and self.recorded_threads:
            return self.recorded_threads[0] or None
        return self.spec.threads or threads

    @property
    def operation_threads(self) -> int | None:
        """The threads of one operation, of which the same is true; None is as many as above."""
        if self.spec.operation_threads is not None:
            return self.spec.operation_threads
        if len(recorded := self.recorded_threads) > 1:
            return recorded[1] or None
        return self.found.operation_threads if self.found else None

    def record_threads(self, recorded: Sequence[int] = (), *, threads: int | None = None) -> None:
        """Keep the threads of a new study. The caller holds its lock, or takes part in it.

        recorded: that it was begun with on another node; none where it begins here
        threads: as of `threads_for`
        """
        if not self.recorded_threads:
            mine = self.threads_for(threads) or 0, training.operation_threads() or 0
            write_whole(self._threads_record, " ".join(map(str, recorded or mine)).encode())

    def record_file(self) -> None:
        """Keep which file was written for this study's data: `maintain clean` takes it with it.

        Of a file of the user's own nothing is kept. The caller holds the study's lock.
        """
        if self.file is not None and is_generated(self.file):
            name = self.file.relative_to(self.home).as_posix()
            write_whole(self.folder / WRITTEN_FILE, name.encode())

    @property
    def is_new(self) -> bool:
        """Whether no process has begun with the study yet."""
        return not self.recorded_threads

    @property
    def recorded_threads(self) -> tuple[int, ...]:
        """What was recorded: folds at once and, once it was told apart, of one operation.

        0 is one per core; nothing where the study is new.
        """
        if not self._threads_record.exists():
            return ()
        return tuple(map(int, self._threads_record.read_text(encoding="utf-8").split()))

    @property
    def record(self) -> dict[str, Any]:
        """What another night's search is compared with, as values that JSON knows.

        fields: of the study, as text; source: of its code, hashed
        """
        return {
            "seed": self.spec.seed,
            "splits_hash": self.folds.hash,
            "data_fingerprint": self.data_fingerprint,
            "fields": self.spec.described(),
            "source": self.source_hash,
            "rows": {
                "development": self.development.n_rows,
                "test": 0 if self.test is None else self.test.n_rows,
                "validation_to_training": self.folds.validation_to_training,
                "n_repeats": self.folds.n_repeats,
            },
        }

    @property
    def rows(self) -> str:
        """The rows and how they are split, in words."""
        sizes = sorted({len(fold.train) for fold in self.folds})
        size = f"{sizes[0]}–{sizes[-1]}" if len(sizes) > 1 else f"{sizes[0]}"
        text = f"{self.development.n_rows} rows, {len(self.folds)} fold(s) of {size} training rows"
        return text if self.test is None else f"{text}, {self.test.n_rows} test rows set aside"


def pose(
    spec: StudySpec,
    *,
    share: Share = EVERYTHING,
    gpu_share: float = 1.0,
    measures: bool = False,
    begun: Callable[[Question], None] = lambda question: None,
    say: Callable[[str], None] = lambda line: None,
) -> Question:
    """Load the data, set test rows aside, and check everything that a user can get wrong.

    share: of the machine, for each worker, if the study is new and states no threads
    gpu_share: of a GPU's memory, for this process
    measures: find out how a new study is best trained, as far as that must be known by now
    begun: brings here what another node has recorded of the study, before it is asked for
    Raises BadInput, before anything is trained or written.
    """
    threads = share.threads
    # As many GPUs as each worker has: what is timed here is what they will train.
    placed: Any = {
        "n_gpus": share.n_gpus,
        "gpu_share": gpu_share,
        "deterministic": spec.deterministic,
    }
    # As a new study has them: its data may come from TensorFlow, which keeps what it starts with.
    of_operation = spec.operation_threads
    if of_operation is None and training.runs():  # in a notebook, after another study: they stay
        of_operation = training.operation_threads()
    training.prepare(spec.threads or threads, operation_threads=of_operation, **placed)
    data = load(spec.load_data)
    development, test = set_test_rows_aside(data, spec.test_size, spec.seed, spec.splitter)
    question = pose_on(spec, development, test, data_fingerprint=data.fingerprint)
    begun(question)
    threads = question.threads_for(threads)
    if measures and question.is_new:
        found = training.found_apart(spec, development, question.folds, threads=threads)
        question = replace(question, found=found)
    of_operation = question.operation_threads or threads
    if spec.operation_threads is None and training.runs():
        if not question.is_new and training.operation_threads() != of_operation:
            say(
                "TensorFlow's operations keep the threads that they have in this process, where "
                "the study began with others: last bits of convolutions may differ"
            )
        of_operation = training.operation_threads()
    devices = training.set_up(threads, operation_threads=of_operation, **placed)
    training.check_schedules(spec)
    training.check_callbacks(spec)
    model = training.check_model(spec, development, question.folds[0])
    training.check_scorers(spec, development, question.folds, test)
    say(f"study {question.name}: {question.rows}, on {', '.join(devices)}")
    for remark in (
        *remarks_on_transformers(spec.preprocess),
        *training.remarks_on_layers(model),
        *training.remarks_on_callbacks(spec),
        *training.remarks_on_schedules(spec, model, question.folds[0]),
    ):
        say(remark)
    if spec.strategy == "auto" and spec.pausing is not None:
        say("trials pause, and only the best are trained to their end; strategy=None trains all")
    if spec.splitter is None and data.validation_rows is None and is_several(data.y):
        say(
            f"the folds are not stratified: y is {described(data.y)}; a splitter of your own is "
            "given all of y"
        )
    for sentence in untrained_classes(development, question.folds):
        say(sentence)
    n_rows = question.folds.n_validation_rows
    if are_uneven(n_rows) and spec.objective.mean == "folds":
        say(
            f"the folds validate on {min(n_rows)}–{max(n_rows)} rows, and count alike in the mean; "
            "objective.mean='rows' counts the rows"
        )
    return question


def pose_on(
    spec: StudySpec, development: Dataset, test: Dataset | None, *, data_fingerprint: str
) -> Question:
    """Split the development rows, once. TensorFlow is not used: its threads are not set yet.

    data_fingerprint: of all rows, those set aside included
    Raises BadInput, before anything is trained or written.
    """
    folds = split(development, spec.splitter, spec.seed)
    # A rule that cannot be applied says so now, on a flat curve, not after the search.
    horizon = spec.longest_horizon
    flat = FoldCurves(np.zeros((len(folds), horizon)), spec.objective, n_repeats=folds.n_repeats)
    spec.rule.choose(flat, horizon)
    if spec.registry is not None:
        spec.registry.check_folds(len(folds) // folds.n_repeats)
    if spec.pausing is not None and spec.pausing.fold >= len(folds):
        raise BadInput(
            f"strategy.fold must be one of the {len(folds)} fold(s), counted from 0, got "
            f"{spec.pausing.fold}"
        )
    if (
        spec.budget.unchanged_fold_epochs is not None
        and spec.pausing is None
        and len(folds) == folds.n_repeats
    ):
        raise BadInput(
            "budget.unchanged_fold_epochs must be None with one fold, which cannot tell trials "
            f"apart, got {spec.budget.unchanged_fold_epochs}"
        )
    signature = spec.signature(data_fingerprint=data_fingerprint, splits_hash=folds.hash)
    source = source_of(spec.build_model, spec.load_data)
    return Question(
        spec, development, test, folds, data_fingerprint, signature, spec.source.hash, source.home,
        source.file,
    )  # fmt: skip
