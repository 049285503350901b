"""Options of a search without a study file. Nothing heavy is imported here, as in `cli.py`."""

from __future__ import annotations

import argparse


def add_data(parser: argparse.ArgumentParser, *, writes: bool) -> None:
    """Add what is said of a data file. writes: also where its study is written."""
    data = parser.add_argument_group(
        "data file instead of a study",
        "DATA.csv or DATA.parquet with --target, DATA.npz with the arrays x and y, or a folder of "
        "images, FOLDER/CLASS/IMAGE",
    )
    data.add_argument(
        "--target", metavar="NAMES", help="column to predict, or several with commas between"
    )
    data.add_argument(
        "--task", choices=("classification", "regression"),
        help="what it is, where it is not what its values look like",
    )  # fmt: skip
    data.add_argument("--drop", metavar="NAMES", help="columns to leave out, commas between")
    data.add_argument(
        "--groups", metavar="NAME", help="column whose equal values stay on one side of each fold"
    )
    data.add_argument(
        "--time", metavar="NAME", help="column to order rows by: folds validate on later rows"
    )
    data.add_argument(
        "--image-size", metavar="SIZE", help="of a folder's images: height, or HEIGHTxWIDTH"
    )
    data.add_argument(
        "--model", metavar="FILE", help="saved Keras model (.keras) to search, with fresh weights"
    )
    data.add_argument(
        "--keep-weights", action="store_true", help="start from the saved model's own weights"
    )
    data.add_argument(
        "--trust-model", action="store_true", help="run the Python code that the model's file holds"
    )
    if writes:
        data.add_argument(
            "--write-study", metavar="FILE",
            help="write the study that this is to FILE, to read and to edit, and search that",
        )  # fmt: skip
    else:
        parser.set_defaults(write_study=None)
