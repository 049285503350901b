"""What a command line asks of a data file or folder, checked before it is read."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.data_file.reading import ARRAYS, TABLES
from pipeline.errors import BadInput
from pipeline.study_file import is_study

NOT_GIVEN = {
    "target": None, "task": None, "groups": None, "time": None, "drop": None, "model": None,
    "keep_weights": False, "trust_model": False, "write_study": None, "image_size": None,
}  # fmt: skip
"""Options that a data file has and a study file has not, and what they are when not given."""


@dataclass(frozen=True)
class Asked:
    """A data file, or a folder of images, and what is to be learned from it.

    file: the data
    targets: columns to predict; none for arrays, whose y it is, and for images, whose folder
    task: said by the user, or None
    groups, time: a column (or an array's name): rows of one group stay together; earlier rows come
        before later ones
    drop: columns to leave out
    model: a saved model to search instead of the default one
    image_size: height and width that images are read in; None is decided from theirs
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
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        of_tables = {"--target": self.targets, "--drop": self.drop, "--time": self.time}
        if self.is_images:
            of_tables |= {"--groups": self.groups, "--task": self.task}
        given = next((name for name, value in of_tables.items() if value), None)
        if given and not self.is_table:
            told = "each folder's name is a class" if self.is_images else "its y is read"
            raise BadInput(f"{given} names columns of a table, got {self.file.name}: {told}")
        if self.image_size is not None and not self.is_images:
            raise BadInput(f"--image-size needs a folder of images, got {self.file.name}")
        if self.is_table and not self.targets:
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
    def is_images(self) -> bool:
        """Whether it is a folder, of images."""
        return self.file.is_dir()

    @property
    def is_table(self) -> bool:
        """Whether the file holds a table."""
        return not (self.is_arrays or self.is_images)

    @property
    def name(self) -> str:
        """The study's name: the file's, with what is predicted."""
        stem = "_".join([self.file.absolute().stem, *self.targets])
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
                    f"{shown} must come with a data file ({', '.join((*TABLES, *ARRAYS))}) or a "
                    f"folder of images, got study {options.study!r}, whose file says all that"
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
            image_size=_size(options.image_size) if options.image_size else None,
        )


def is_data_file(study: str) -> bool:
    """Whether what stands where a study does is a data file, by its suffix, or a folder.

    Of a study and a folder of one bare name it is the study; ./name is the folder.
    """
    path = Path(study)
    if path.suffix.lower() in (*TABLES, *ARRAYS):
        return True
    return path.is_dir() and (study != path.name or not is_study(study))


def _size(text: str) -> tuple[int, int]:
    """Return height and width from "64" or "48x64"."""
    height, _, width = text.lower().partition("x")
    sides = [side for side in (height, width or height) if side.isdecimal() and int(side) >= 4]
    if len(sides) != 2:
        raise BadInput(f"--image-size must be SIDE or HEIGHTxWIDTH, each ≥ 4, got {text!r}")
    return int(sides[0]), int(sides[1])


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()
