"""Study files: found, run, and reduced to the source that defines their search."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadInput, PipelineError, unknown_name

if TYPE_CHECKING:
    from pipeline.spec import StudySpec

PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Source:
    """Where a study's functions come from.

    name: the study's default name
    home: the project that holds it: its stores lie under `home / "mlruns"`
    hash: SHA-256 of the code that defines the search; comments, layout and the
        `study = …` statement itself do not count
    """

    name: str
    home: Path
    hash: str


def load_study(study: str | Path) -> StudySpec:
    """Run a study file and return its `study`.

    study: a path, or a name under `studies/` of the working directory or of this project
    Raises BadInput when it is missing, raises, or declares no `study`.
    """
    from pipeline.spec import StudySpec

    path = _find(study)
    module_name = f"study_{path.stem}"
    module_spec = importlib.util.spec_from_file_location(module_name, path)
    if module_spec is None or module_spec.loader is None:
        raise BadInput(f"a study is a Python file, got {path}")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_name] = module
    # A study may import modules that lie beside it, as any script may.
    sys.path.insert(0, str(path.parent))
    try:
        module_spec.loader.exec_module(module)
    except PipelineError as error:
        raise type(error)(f"{path.name}: {error}") from error
    except Exception as error:
        line = _line_in(path, error)
        raise BadInput(f"{path.name}{line} raised {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
    spec = getattr(module, "study", None)
    if not isinstance(spec, StudySpec):
        got = "nothing of that name" if spec is None else repr(spec)
        raise BadInput(f"{path.name} must end in `study = StudySpec(...)`, got {got}")
    return spec


def source_of(*functions: Callable[..., Any]) -> Source:
    """Return the source of the modules that hold these functions."""
    files = dict.fromkeys(filter(None, (_file_of(function) for function in functions)))
    if not files:
        digest = hashlib.sha256()
        for function in functions:
            digest.update(_source_without_file(function).encode())
        return Source("study", Path.cwd(), digest.hexdigest())
    first = next(iter(files))
    modules: dict[Path, str] = {}
    for file in files:
        _collect(file, modules)
    text = "\n".join(f"{name}\n{code}" for name, code in sorted(_named(modules, first.parent)))
    return Source(first.stem, _home_of(first), hashlib.sha256(text.encode()).hexdigest())


def _find(study: str | Path) -> Path:
    path = Path(study)
    if path.suffix == ".py" or path.parent != Path():
        if not path.is_file():
            raise BadInput(f"study file {str(path)!r} does not exist (from {Path.cwd()})")
        return path.resolve()
    folders = [Path.cwd() / "studies", PACKAGE.parent / "studies"]
    for folder in folders:
        if (folder / f"{path.name}.py").is_file():
            return (folder / f"{path.name}.py").resolve()
    raise unknown_name("study", path.name, {f.stem for d in folders for f in d.glob("*.py")})


def _line_in(path: Path, error: Exception) -> str:
    """Return ", line N" for the innermost line of the study file that the error passed through."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f", line {line}," if line else ""


def _file_of(function: Callable[..., Any]) -> Path | None:
    code = getattr(inspect.unwrap(function), "__code__", None)
    path = Path(code.co_filename) if code else None
    return path.resolve() if path and path.is_file() else None


def _source_without_file(function: Callable[..., Any]) -> str:
    """Return a function's text where there is no file: a notebook's cell, or an interpreter."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        return repr((code.co_code, code.co_consts, code.co_names)) if code else repr(function)


def _home_of(file: Path) -> Path:
    if file.parent.name == "studies":
        return file.parent.parent
    for folder in file.parents:
        if (folder / "pyproject.toml").exists() or (folder / ".git").exists():
            return folder
    return file.parent


def _collect(file: Path, modules: dict[Path, str]) -> None:
    """Add a file and the local modules that it imports to `modules`: file -> normalised code."""
    if file in modules:
        return
    tree = ast.parse(file.read_text(encoding="utf-8"))
    modules[file] = ast.unparse(_without_study(tree))
    for name in _imported_names(tree):
        imported = file.parent.joinpath(*name.split(".")).with_suffix(".py")
        package = file.parent.joinpath(*name.split("."), "__init__.py")
        for candidate in (imported, package):
            if candidate.is_file() and PACKAGE not in candidate.resolve().parents:
                _collect(candidate.resolve(), modules)


def _without_study(tree: ast.Module) -> ast.Module:
    """Return the module without docstrings and without `study = …`: its fields count themselves."""
    body = [node for node in tree.body if not _assigns_study(node)]
    stripped = ast.Module(body=body, type_ignores=[])
    for node in ast.walk(stripped):
        inner = getattr(node, "body", None)
        if isinstance(inner, list) and inner and _is_docstring(inner[0]):
            node.body = inner[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    return stripped


def _assigns_study(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "study" for target in node.targets
    )


def _is_docstring(node: Any) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imported_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def _named(modules: dict[Path, str], root: Path) -> Iterator[tuple[str, str]]:
    """Yield (name relative to the study's folder, code): the same wherever the project lies."""
    for file, code in modules.items():
        relative = file.relative_to(root) if root in file.parents else Path(file.name)
        yield relative.as_posix(), code
