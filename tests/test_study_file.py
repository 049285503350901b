import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.errors import BadInput
from pipeline.study_file import PACKAGE, _collect, load_study, source_of

STUDY = '''\
"""The question."""

from functools import partial

from optuna.distributions import FloatDistribution

from pipeline import Budget, OneStandardError, StudySpec


def load_data():
    """Rows."""
    return [[0.0], [1.0]], [0, 1]


def build_model(params):
    # A comment.
    units = 32
    return units


study = StudySpec(
    load_data=load_data,
    build_model=build_model,
    space={"learning_rate": FloatDistribution(1e-4, 1e-1, log=True), "max_epochs": 10},
)
'''

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _imports_are_undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a changed file within one second
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(("/tmp", "/var")):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of a project and return its path; a study unless told otherwise."""

    def _write(text: str = STUDY, path: str = "studies/one.py") -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    return _write


def changed(old: str, new: str) -> str:
    assert STUDY.count(old) == 1
    return STUDY.replace(old, new)


def signature(file: Path) -> str:
    return load_study(file).signature(data_fingerprint="data", splits_hash="splits")


# Loading


def test_a_study_is_found_by_path_or_by_name(write, tmp_path, monkeypatch):
    file = write()
    monkeypatch.chdir(tmp_path)
    assert load_study(file).name == load_study("one").name == load_study("studies/one.py").name
    assert load_study("digits").name == "digits"  # this project's own, from any folder


def test_a_mistyped_study_name_is_answered_with_the_nearest(write, tmp_path, monkeypatch):
    write()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        BadInput, match=r"unknown study 'digist'; did you mean 'digits'\? Allowed: "
    ):
        load_study("digist")
    with pytest.raises(BadInput, match=r"unknown study 'zzz'\. Allowed: .*digits.*one"):
        load_study("zzz")


def test_a_missing_file_is_named_with_the_nearest_beside_it(write):
    file = write()
    with pytest.raises(BadInput, match=r"'.*on\.py' does not exist .*did you mean 'one\.py'\?"):
        load_study(file.with_name("on.py"))
    with pytest.raises(BadInput, match=r"none/one\.py' does not exist"):
        load_study(file.parent / "none" / "one.py")


def test_a_study_is_a_python_file(write):
    with pytest.raises(BadInput, match=r"a study is a Python file, got .*one\.txt"):
        load_study(write(path="studies/one.txt"))


@pytest.mark.parametrize(
    ("last_line", "says"),
    [
        ("", "must end in `study = StudySpec.*`, got nothing of that name"),
        ("study = 3", "must end in `study = StudySpec.*`, got 3"),
        ("study = 1 / 0", r"one\.py, line 19, raised ZeroDivisionError: division by zero"),
        ("study = (", r"one\.py, line 19, raised SyntaxError"),
        ("study = load_data().x", r"one\.py, line 19, raised AttributeError"),
        ("study = StudySpec(spcae={})", "line 19, raised TypeError.*keyword argument 'spcae'"),
        ("import not_there_at_all", "line 19, raised ModuleNotFoundError"),
        ("import broken", "line 19, raised SyntaxError"),
        (
            "study = StudySpec(load_data=3, build_model=3, space={})",
            r"one\.py: load_data must be a function",
        ),
    ],
)
def test_a_study_that_cannot_be_used_says_where(write, last_line, says):
    write("\n\n\nx = (", "studies/broken.py")
    functions, _ = STUDY.split("\n\nstudy = ")
    with pytest.raises(BadInput, match=says):
        load_study(write(f"{functions}{last_line}\n"))


def test_a_study_may_import_what_lies_beside_it_also_when_it_is_called(write):
    write("UNITS = 7\n", "studies/beside_me.py")
    lazily = changed("    units = 32\n", "    from beside_me import UNITS as units\n")
    assert load_study(write(lazily)).build_model({}) == 7


def test_studies_that_share_a_builder_are_named_after_their_own_files(write):
    write("def build_model(params):\n    return 0\n", "studies/shared_builder.py")
    body = STUDY.replace("def build_model", "def unused")
    text = "from shared_builder import build_model\n" + body.split('"""The question."""')[1]
    names = [load_study(write(text, f"studies/{name}.py")).name for name in ("one", "two")]
    assert names == ["one", "two"]
    named = text.replace("space=", 'name="mine", space=')
    assert load_study(write(named, "studies/three.py")).name == "mine"


def test_home_is_the_project_of_the_study(write, tmp_path):
    assert source_of(load_study(write()).build_model).home == tmp_path
    elsewhere = write(path="project/deep/er/two.py")
    assert source_of(load_study(elsewhere).build_model).home == elsewhere.parent
    write("", "project/pyproject.toml")
    assert source_of(load_study(elsewhere).build_model).home == tmp_path / "project"


# Signature


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# A comment.", "# Another."),
        ('"""The question."""', '"""Another question."""'),
        ('    """Rows."""\n', ""),
        ("    return units", "\n    return (units)"),
        ("10},\n", "10},\n    budget=Budget(n_trials=7),\n"),
        ("10},\n", "10},\n    rule=OneStandardError(),\n"),
        ("study = ", "study: StudySpec = "),
    ],
)
def test_signature_survives(write, old, new):
    assert signature(write()) == signature(write(changed(old, new)))


@pytest.mark.parametrize("study_is_annotated", [False, True])
def test_signature_survives_another_budget(write, study_is_annotated):
    text = changed("study = ", "study: StudySpec = ") if study_is_annotated else STUDY
    more = text.replace("10},\n", "10},\n    budget=Budget(n_trials=7),\n")
    assert signature(write(text)) == signature(write(more))


def test_signature_survives_another_budget_of_a_replaced_study(write):
    text = "from dataclasses import replace\n" + changed("study = ", "base = ")
    signatures = [
        signature(write(f"{text}study = replace(base, budget=Budget(n_trials={n}))\n"))
        for n in (3, 4)
    ]
    assert signatures[0] == signatures[1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[0, 1]\n", "[1, 0]\n"),
        ("units = 32", "units = 64"),
        ("1e-1", "1e-2"),
        ('"max_epochs": 10', '"max_epochs": 11'),
        ("10},\n", "10},\n    seed=1,\n"),
        ("10},\n", "10},\n    batch_size=64,\n"),
        ("build_model=build_model", "build_model=lambda params: 3"),
        ("build_model=build_model", "build_model=partial(build_model)"),
    ],
)
def test_signature_changes(write, old, new):
    assert signature(write()) != signature(write(changed(old, new)))


@pytest.mark.parametrize(
    ("field", "one", "other"),
    [
        ("build_model=build_model", "build_model=lambda p: 3", "build_model=lambda p: 4"),
        (
            "build_model=build_model",
            "build_model=partial(lambda a, p: a, 3)",
            "build_model=partial(lambda a, p: a, 4)",
        ),
        (
            "10},\n",
            "10},\n preprocess=FunctionTransformer(lambda x: x / 255),\n",
            "10},\n preprocess=FunctionTransformer(lambda x: x / 128),\n",
        ),
        ("10},\n", "10},\n callbacks=lambda: [3],\n", "10},\n callbacks=lambda: [4],\n"),
        (
            "10},\n",
            "10},\n augment=lambda x, y, seed: (x, y),\n",
            "10},\n augment=lambda x, y, seed: (-x, y),\n",
        ),
    ],
)
def test_signature_changes_with_code_inside_the_study_statement(write, field, one, other):
    head = "from sklearn.preprocessing import FunctionTransformer\n"
    signatures = [signature(write(head + changed(field, each))) for each in (one, one, other)]
    assert signatures[0] == signatures[1] != signatures[2]


def test_signature_survives_moving_the_folder(write, tmp_path):
    write("SIZE = 1\n", "studies/parts_a/sizes.py")
    file = write("import parts_a.sizes\n" + STUDY)
    before = signature(file)
    moved = tmp_path / "elsewhere" / "deeper"
    shutil.copytree(file.parent, moved / "studies")
    assert signature(moved / "studies" / "one.py") == before


@pytest.mark.parametrize(
    ("statement", "module", "needs"),
    [
        ("import helper_b", "studies/helper_b.py", {}),
        ("from helper_c import SIZE", "studies/helper_c.py", {}),
        ("import package_d.deep.sizes", "studies/package_d/deep/sizes.py", {}),
        (
            "import package_e.deep",
            "studies/package_e/__init__.py",
            {"studies/package_e/deep.py": ""},
        ),
        ("from package_f import sizes", "studies/package_f/sizes.py", {}),
        ("import first_g", "studies/second_g.py", {"studies/first_g.py": "import second_g\n"}),
        (
            "import package_h.first",
            "studies/package_h/second.py",
            {"studies/package_h/first.py": "from . import second\n"},
        ),
        (
            "import package_i.first",
            "studies/package_i/second.py",
            {"studies/package_i/first.py": "from .second import SIZE\n"},
        ),
        (
            "import package_j.deep.first",
            "studies/package_j/second.py",
            {"studies/package_j/deep/first.py": "from ..second import SIZE\n"},
        ),
        (
            "import package_k.first",
            "studies/package_k/second.py",
            {"studies/package_k/first.py": "from package_k.second import SIZE\n"},
        ),
        ("def later():\n    import helper_l", "studies/helper_l.py", {}),
        ("import package_m.sizes", "package_m/sizes.py", {}),  # at the root of the project
    ],
)
def test_signature_changes_with_the_code_of_a_local_module(
    write, tmp_path, monkeypatch, statement, module, needs
):
    monkeypatch.syspath_prepend(tmp_path)
    for path, text in needs.items():
        write(text, path)
    write("SIZE = 1\n", module)
    file = write(f"{statement}\n{STUDY}")
    before = signature(file)
    write("# A comment.\nSIZE = 1\n", module)
    assert signature(file) == before
    write("SIZE = 2\n", module)
    assert signature(file) != before


def test_signature_survives_a_change_of_a_module_that_is_not_imported(write):
    write("SIZE = 1\n", "studies/stranger.py")
    before = signature(write())
    write("SIZE = 2\n", "studies/stranger.py")
    assert signature(write()) == before


def test_modules_that_import_each_other_are_read_once(write):
    write("import cycle_b\n", "studies/cycle_a.py")
    write("import cycle_a\n", "studies/cycle_b.py")
    assert signature(write("import cycle_a\n" + STUDY))


def test_a_broken_local_module_is_named(write):
    write("x = (", "studies/broken_later.py")
    spec = "def later():\n    import broken_later\n"
    with pytest.raises(BadInput, match=r"broken_later\.py must be valid Python"):
        load_study(write(spec + STUDY))


def test_functions_without_a_file_are_told_apart_by_their_code():
    def typed(code: str) -> Callable[..., int]:
        names: dict[str, Callable[..., int]] = {}
        exec(compile(code, "<cell>", "exec"), names)
        return names["f"]

    sources = [source_of(typed(f"def f(): return {n}")) for n in (1, 1, 2)]
    assert sources[0].hash == sources[1].hash != sources[2].hash
    assert (sources[0].name, sources[0].home) == ("study", Path.cwd())


def test_signature_leaves_this_package_itself_out():
    digits = PACKAGE.parent / "studies" / "digits.py"
    modules: dict[Path, str] = {}
    _collect(digits, modules, (digits.parent, PACKAGE.parent))
    assert set(modules) == {digits}
