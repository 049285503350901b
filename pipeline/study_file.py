"""Study files: found, run, and reduced to the source that defines their search."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadInput, PipelineError, did_you_mean, unknown_name

if TYPE_CHECKING:
    from pipeline.spec import StudySpec

PACKAGE = Path(__file__).resolve().parent

GENERATED = Path("mlruns", "generated")
"""Where the studies lie, in folders of their own, that were written for data files."""

WRITTEN_FILE = "written_file"
"""In a study's folder: which of these it is, if it is one."""

# Arguments of StudySpec(...) that may hold code of their own: a lambda, or a partial.
CODE_FIELDS = (
    "augment", "build_model", "callbacks", "load_data", "preprocess", "schedule", "scorers",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Where a study's functions come from.

    name: the study's default name
    home: the project that holds it: its stores lie under `home / "mlruns"`
    file: of the first function; None in a notebook
    hash: SHA-256 of the code that defines the search. Comments, docstrings and layout do not
        count, and of `study = StudySpec(…)` only the arguments in CODE_FIELDS do
    """

    name: str
    home: Path
    file: Path | None
    hash: str


def load_study(study: str | Path) -> StudySpec:
    """Run a study file and return its `study`.

    study: a path, or a name under `studies/` of the working directory or of this project
    Raises BadInput when it is missing, raises, or declares no `study`.
    """
    from pipeline.spec import StudySpec

    path = find_study(study)
    module_name = f"study_{path.stem}"
    module_spec = importlib.util.spec_from_file_location(module_name, path)
    if module_spec is None or module_spec.loader is None:
        raise BadInput(f"a study is a Python file, got {path}")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_name] = module
    # A study may import modules that lie beside it, as any script may; also later, in a function.
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    try:
        module_spec.loader.exec_module(module)
    except PipelineError as error:
        raise type(error)(f"{path.name}: {error}") from error
    except Exception as error:
        line = _line_in(path, error)
        raise BadInput(f"{path.name}{line} raised {type(error).__name__}: {error}") from error
    spec = getattr(module, "study", None)
    if not isinstance(spec, StudySpec):
        got = "nothing of that name" if spec is None else repr(spec)
        raise BadInput(f"{path.name} must end in `study = StudySpec(...)`, got {got}")
    # Two studies may import the same builder: the default name is that of the study's own file.
    if spec.name == source_of(spec.build_model).name != path.stem:
        spec = replace(spec, name=path.stem)
    return spec


def find_study(study: str | Path) -> Path:
    """Return where a study file lies, whole: a path, or a name under `studies/`.

    Raises BadInput when there is none.
    """
    path = Path(study)
    if path.suffix == ".py" or path.parent != Path():
        if not path.is_file():
            near = did_you_mean(path.name, {file.name for file in path.parent.glob("*.py")})
            raise BadInput(f"study file {str(path)!r} does not exist (from {Path.cwd()}){near}")
        return path.resolve()
    folders = _study_folders()
    for folder in folders:
        if (folder / f"{path.name}.py").is_file():
            return (folder / f"{path.name}.py").resolve()
    raise unknown_name("study", path.name, {f.stem for d in folders for f in d.glob("*.py")})


def is_study(name: str) -> bool:
    """Whether there is a study of this name."""
    return any((folder / f"{name}.py").is_file() for folder in _study_folders())


def _study_folders() -> list[Path]:
    return [Path.cwd() / "studies", PACKAGE.parent / "studies"]


def source_of(*functions: Callable[..., Any]) -> Source:
    """Return the source of the modules that hold these functions, and of what these import.

    Raises BadInput when a local module that they import is not valid Python.
    """
    files = dict.fromkeys(filter(None, (_file_of(function) for function in functions)))
    texts = [_which(function) for function in functions]
    if not files:
        texts += [_source_without_file(function) for function in functions]
        return Source("study", Path.cwd(), None, _sha256(texts))
    first = next(iter(files))
    home = home_of(first)
    modules: dict[Path, str] = {}
    for file in files:
        _collect(file, modules, (first.parent, home))
    texts += [f"{name}\n{code}" for name, code in sorted(_named(modules, (first.parent, home)))]
    return Source(first.stem, home, first, _sha256(texts))


def source_in(text: str) -> str:
    """Return what of a study file's text defines its search, as for `Source.hash`."""
    return ast.unparse(_without_study(ast.parse(text)))


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
    code = getattr(_plain(function), "__code__", None)
    path = Path(code.co_filename) if code else None
    return path.resolve() if path and path.is_file() else None


def _plain(function: Callable[..., Any]) -> Any:
    """Return the function beneath decorators and partials; of a callable object its `__call__`."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    if hasattr(function, "__code__"):
        return function
    return getattr(function, "__init__" if isinstance(function, type) else "__call__", function)


def _which(function: Callable[..., Any]) -> str:
    """Return which function of its file this is, with the arguments that a partial brings along."""
    name = getattr(_plain(function), "__qualname__", type(function).__qualname__)
    if not isinstance(function, functools.partial):
        return name
    bound = (function.args, sorted(function.keywords.items()))
    return name + without_addresses(repr(bound))


def without_addresses(text: str) -> str:
    """Return a repr without memory addresses, which differ from process to process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _sha256(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _source_without_file(function: Callable[..., Any]) -> str:
    """Return a function's code where there is no file: a notebook's cell, or an interpreter."""
    plain = _plain(function)
    try:
        text = textwrap.dedent(inspect.getsource(plain))
    except (OSError, TypeError):
        code = getattr(plain, "__code__", None)
        what = (code.co_code, code.co_consts, code.co_names) if code else function
        return without_addresses(repr(what))
    try:
        return ast.unparse(_without_study(ast.parse(text)))
    except SyntaxError:  # a lambda in the middle of a statement
        return text


def home_of(file: Path) -> Path:
    """Return the project that holds a study file: its stores lie under `mlruns` there."""
    if file.parent.name == "studies":
        return file.parent.parent
    if is_generated(file):
        return file.parents[3]
    for folder in file.parents:
        if (folder / "pyproject.toml").exists() or (folder / ".git").exists():
            return folder
    return file.parent


def is_generated(file: Path) -> bool:
    """Whether a study file lies where those are that were written for data files."""
    return len(file.parents) > 3 and file.parents[1].parts[-2:] == GENERATED.parts


def located(path: str | Path, project_of: str | Path, kind: str) -> Path:
    """Return where a file lies that a study names.

    project_of: a study file; a relative path begins at the project that holds it
    kind: of file, for the message
    Raises BadInput when it does not exist.
    """
    file = home_of(Path(project_of).resolve()) / path
    if not file.is_file():
        raise BadInput(f"{kind} file {str(path)!r} does not exist (looked for {file})")
    return file


def _collect(file: Path, modules: dict[Path, str], roots: tuple[Path, ...]) -> None:
    """Add a file and the local modules that it imports to `modules`: file -> normalised code.

    roots: the folders besides the file's own in which an imported module counts as local
    """
    if file in modules:
        return
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise BadInput(f"{file.name} must be valid Python: {error}") from error
    modules[file] = ""  # before descending: modules may import each other
    for candidate in _imported_files(tree, file, roots):
        if candidate.is_file() and PACKAGE not in candidate.resolve().parents:
            _collect(candidate.resolve(), modules, roots)
    modules[file] = ast.unparse(_without_study(tree))


def _without_study(tree: ast.Module) -> ast.Module:
    """Return the module without docstrings, and with only the code in `study = StudySpec(…)`."""
    body = [part for node in tree.body for part in _code_of_study(node) or [node]]
    stripped = ast.Module(body=body, type_ignores=[])
    for node in ast.walk(stripped):
        inner = getattr(node, "body", None)
        if isinstance(inner, list) and inner and _is_docstring(inner[0]):
            node.body = inner[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    return stripped


def _code_of_study(node: ast.stmt) -> list[ast.stmt]:
    """Return the CODE_FIELDS of a `study = StudySpec(…)` statement; nothing for any other one."""
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return []
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    if not any(isinstance(target, ast.Name) and target.id == "study" for target in targets):
        return []
    keywords = node.value.keywords if isinstance(node.value, ast.Call) else []
    fields = sorted((k.arg, k.value) for k in keywords if k.arg in CODE_FIELDS)
    return [ast.Expr(value) for _, value in fields] or [ast.Pass()]


def _is_docstring(node: Any) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imported_files(tree: ast.Module, file: Path, roots: tuple[Path, ...]) -> Iterator[Path]:
    """Yield where the modules that a file imports would lie, the packages they are in included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            folders = {file.parent, *roots}
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = [node.module] if node.module else []
            names = [".".join([*start, alias.name]) for alias in node.names]
            folders = {file.parents[node.level - 1]} if node.level else {file.parent, *roots}
        else:
            continue
        for folder in sorted(folders):
            for name in names:
                path = folder
                for part in name.split("."):
                    path = path / part
                    yield from (path.with_name(f"{part}.py"), path / "__init__.py")


def _named(modules: dict[Path, str], roots: tuple[Path, ...]) -> Iterator[tuple[str, str]]:
    """Yield (name relative to the study's folder, code): the same wherever the project lies."""
    for file, code in modules.items():
        root = next((root for root in roots if root in file.parents), file.parent)
        yield file.relative_to(root).as_posix(), code
