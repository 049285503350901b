"""Who may import whom, read from the source: imports inside functions count as well."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pipeline

PACKAGE = Path(pipeline.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = {"pipeline": 350, "studies": 350, "tests": 400}

# What each of the lower modules may import of this package; a folder may import within itself.
LEAVES: dict[str, set[str]] = {
    "errors": set(),
    "addresses": set(),
    "objective": {"errors"},
    "curves": {"objective"},
    "schedules": {"errors"},
    "diagnosis": {"curves", "objective"},
    "nest": {"errors"},
    "lazy_rows": {"errors", "nest"},
    "tf_data": {"errors", "machine", "nest", "placement"},
    "identities": {"data", "lazy_rows", "nest"},
    "data": {"errors", "lazy_rows", "nest", "tf_data"},
    "folds": {"data", "errors", "lazy_rows", "nest"},
    "preprocessing": {"data", "errors", "folds", "lazy_rows", "nest"},
    "set_aside": {"data", "errors", "folds"},
    "choice": {"curves", "errors"},
    "uncertainty": {"errors"},
    "confirmation": {"curves", "errors", "objective", "uncertainty"},
    "scoring": {"errors", "nest"},
    "units": {"addresses", "errors"},
}
LOWER = LEAVES | {
    # A study file makes a StudySpec; a StudySpec is signed with its file's source.
    "study_file": {"errors", "spec"},
    "space": {"errors"},
    "fields": {"errors", "space"},
    "strategy": {"errors", "fields", "space"},
    "pausing": {"errors", "strategy"},
    "budget": {"errors", "fields", "space"},
    "signature": {"fields", "space", "study_file"},
    "early_end": set(),
    "early_stopping": {"choice", "curves", "errors", "fields", "space"},
    "registry": {"errors", "space"},
    "spec": {
        *LEAVES,
        "budget",
        "early_stopping",
        "fields",
        "pausing",
        "refit_length",
        "registry",
        "signature",
        "space",
        "strategy",
        "study_file",
    },
    "results": {*LEAVES, "early_end", "refit_length", "registry", "spec"},
    "files": {"errors"},
    "decoded": {"errors", "files", "machine", "study_file"},
    "machine": set(),
    "placement": set(),
    "retry": {"errors"},
    # What tells a command's end loads nothing but itself until it must.
    "log_file": {"errors"},
    "ending": {"errors", "files", "log_file"},
    "refit_length": {"errors", "fields", "folds", "schedules"},
}
STEPS = ("training", "optimization", "tracking")
ABOVE_STEPS = {
    "answers", "champion", "changes", "checkpoints", "child", "cli", "cli_data", "cli_jobs",
    "conclusion", "confirm", "crew", "data_file", "decision", "dry_run", "evaluation",
    "evidence", "handover", "holdout", "maintain", "meeting", "nested", "nodes", "observers",
    "on_ray", "out_of_fold", "progress", "question", "range_test", "recording", "recovery",
    "refit", "retention", "review", "room", "schedule", "search", "session", "snapshots",
    "spending", "trial_log", "unseen", "unwritten", "warm_start", "watch", "winner", "wording",
    "work", "worker", "workers",
}  # fmt: skip

HEAVY = {"keras", "tensorflow", "mlflow", "optuna"}
# MLflow stores this file with the model and runs it where the model is served: it stands alone, so
# it loads the Keras model itself.
SERVED = PACKAGE / "tracking" / "served_model.py"
LIBRARY_HOMES = {
    "keras": "training",
    "tensorflow": "training",
    "mlflow": "tracking",
    "bokeh": "review",
    "jinja2": "review",
    "optuna": "optimization",
    "yaml": "units",
    "PIL": "data_file",
    "ray": "on_ray",
}


def imports(source: str, package: str) -> Iterator[str]:
    """Yield the full names that a module imports; `package` is the one it lies in."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{start}.{alias.name}" for alias in node.names)


def imported(file: Path) -> set[str]:
    package = ".".join(file.relative_to(ROOT).parent.parts)
    return set(imports(file.read_text(encoding="utf-8"), package))


def part(file: Path) -> str:
    """Return the part of the house that a file is: `choice` for pipeline/choice/best.py."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def own_parts(file: Path) -> set[str]:
    """Return the parts that a file imports; a public name stands for its home."""
    names = (name.split(".")[1] for name in imported(file) if name.startswith("pipeline."))
    homes = (pipeline._HOMES.get(name, f"pipeline.{name}") for name in names)
    return {home.split(".")[1] for home in homes} - {part(file)}


def libraries(file: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(file)}


def named(files: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("file", files, ids=[str(f.relative_to(ROOT)) for f in files])


def test_every_way_to_import_is_seen():
    source = "import a.b\nfrom c import d\ndef f():\n    from . import e\n    from .g import h\n"
    source += "    from ..i import j\n    from .. import k\n"
    assert set(imports(source, "top.sub")) == {
        *("a.b", "c.d", "top.sub.e", "top.sub.g.h", "top.i.j", "top.k")
    }


def test_the_lower_parts_are_all_there():
    assert set(LOWER) <= {part(file) for file in FILES}


@named([file for file in FILES if part(file) in LOWER])
def test_a_leaf_imports_nothing_above_it(file):
    assert own_parts(file) <= LOWER[part(file)]


@named([file for file in FILES if part(file) in LEAVES])
def test_a_leaf_needs_no_heavy_library(file):
    assert not libraries(file) & HEAVY


@named(FILES)
def test_a_library_is_used_in_its_own_folder_only(file):
    for library in libraries(file) & LIBRARY_HOMES.keys():
        if part(file) in ("range_test", "space", "spec", "data_file") and library == "optuna":
            used = {name for name in imported(file) if name.split(".")[0] == "optuna"}
            assert all(name.startswith("optuna.distributions.") for name in used)
        elif file == SERVED and library == "keras":
            assert not any(name.startswith("pipeline") for name in imported(file))
        else:
            assert part(file) == LIBRARY_HOMES[library]
            assert file.parent != PACKAGE


@named([file for file in FILES if part(file) in STEPS])
def test_a_step_imports_no_other_step_and_nothing_above_the_steps(file):
    assert not own_parts(file) & ({*STEPS} | ABOVE_STEPS)


@named(
    [file for folder in ("pipeline", "studies", "tests") for file in (ROOT / folder).rglob("*.py")]
)
def test_a_file_stays_short(file):
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_LINES[file.relative_to(ROOT).parts[0]]


def test_public_names_are_where_they_are_said_to_be():
    """Read, not imported: `search` loads TensorFlow."""
    for name, home in pipeline._HOMES.items():
        path = ROOT.joinpath(*home.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if home == "pipeline.search" and not file.exists():
            continue  # still to be written
        assert name in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("module", "later"),
    [
        ("pipeline", ("numpy", "tensorflow", "mlflow", "optuna", "sklearn", "pandas")),
        # What is for the end: drawing, the page, the forest behind importances. MLflow is for when
        # the study has been checked.
        *(
            (module, ("mlflow", "bokeh", "jinja2", "ray", "sklearn.ensemble"))
            for module in ("pipeline.search", "pipeline.worker")
        ),
    ],
)
def test_a_library_loads_where_it_is_needed(module, later):
    code = f"import sys, {module}; print([n for n in {later!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'pipeline' has no attribute 'Serach'"):
        _ = pipeline.Serach
