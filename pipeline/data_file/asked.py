"""What a command line asks of a data file, checked before the file is read."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.data_file.reading import ARRAYS, TABLES
from pipeline.errors import BadInput

NOT_GIVEN = {
    "target": None, "task": None, "groups": None, "time": None, "drop": None, "model": None,
    "keep_weights": False, "trust_model": False, "write_study": None,
}  # fmt: skip
"""Options that a data file has and a study file has not, and what they are when not given."""


@dataclass(frozen=True)
class Asked:
    """A data file, and what is to be learned from it.

    file: the data
    targets: columns to predict; none for arrays, whose y it is
    task: said by the user, or None
    groups, time: a column (or an array's name): rows of one group stay together; earlier rows come
        before later ones
    drop: columns to leave out
    model: a saved model to search instead of the default one
    """

    file: Path
    targets: tuple[str, ...] = ()
    task: Literal["classification", "regression"] | None = None
    groups: str | None = None
    time: str | None = None
    drop: tuple[str, ...] = ()
    model: Path | None = None
    keep_weights: bool = False
    trust_model: bool = False

    def __post_init__(self) -> None:
        if self.is_arrays and (self.targets or self.drop or self.time):
            given = "--target" if self.targets else "--drop" if self.drop else "--time"
            raise BadInput(f"{given} names columns of a table, got {self.file.name}: its y is read")
        if not self.is_arrays and not self.targets:
            raise BadInput(
                f"--target must name the column of {self.file.name} to predict, or several with "
                "commas between"
            )
        of_a_model = {"--keep-weights": self.keep_weights, "--trust-model": self.trust_model}
        for name, is_given in of_a_model.items():
            if is_given and self.model is None:
                raise BadInput(f"{name} needs --model FILE.keras, got it without")
        if self.groups is not None and self.time is not None:
            raise BadInput("folds are of whole groups or ordered by time, got --groups and --time")
        roles = [*self.targets, *filter(None, (self.groups, self.time)), *self.drop]
        if twice := [name for name in dict.fromkeys(roles) if roles.count(name) > 1]:
            raise BadInput(
                "a column must be one of target, groups, time and dropped, got "
                f"{', '.join(map(repr, twice))} twice"
            )

    @property
    def is_arrays(self) -> bool:
        """Whether the file holds arrays, not a table."""
        return self.file.suffix.lower() in ARRAYS

    @property
    def name(self) -> str:
        """The study's name: the file's, with what is predicted."""
        stem = "_".join([self.file.stem, *self.targets])
        name = "".join(each if each.isalnum() or each in "_-" else "_" for each in stem)
        return name[:60].lstrip("-") or "data"

    @classmethod
    def of(cls, options: argparse.Namespace) -> Asked | None:
        """Return what the options ask, or None where their study is not a data file.

        Raises BadInput for options that do not go together.
        """
        if not is_data_file(options.study):
            given = [
                name for name, default in NOT_GIVEN.items() if getattr(options, name) != default
            ]
            if given:
                shown = ", ".join(f"--{name.replace('_', '-')}" for name in given)
                raise BadInput(
                    f"{shown} must come with a data file ({', '.join((*TABLES, *ARRAYS))}), got "
                    f"study {options.study!r}, whose file says all that"
                )
            return None
        return cls(
            file=Path(options.study),
            targets=_names(options.target),
            task=options.task,
            groups=options.groups,
            time=options.time,
            drop=_names(options.drop),
            model=Path(options.model) if options.model else None,
            keep_weights=options.keep_weights,
            trust_model=options.trust_model,
        )


def is_data_file(study: str) -> bool:
    """Whether what stands where a study does is a data file, by its suffix."""
    return Path(study).suffix.lower() in (*TABLES, *ARRAYS)


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()
