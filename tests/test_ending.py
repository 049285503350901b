"""How a command ends: one object, one exit code, and somebody who waits for them."""

import gc
import json
import logging
import os
import re
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import ending, log_file
from pipeline.cli import EXIT_CODES, report_options, search_options
from pipeline.ending import Ending, main
from pipeline.errors import BadInput, ExitCode, Interrupted, NoResult, StoreUnavailable
from pipeline.log_file import LOG

ROOT = Path(__file__).parents[1]
KEYS = {
    "format", "command", "outcome", "exit_code", "error", "seconds", "study", "run_url",
    "decision", "report", "costs", "unsent",
}  # fmt: skip


@pytest.fixture
def end(monkeypatch, capfd):
    """Run a command that does what it is told; return (exit code, standard output and error)."""

    def run(answered, **options):
        monkeypatch.setitem(sys.modules, "pipeline.fake", SimpleNamespace(answered=answered))
        given = {"json": True, "log_file": None, "on_finish": None, **options}
        code = main("pipeline.fake", Namespace(**given))
        return code, capfd.readouterr()

    return run


def raising(error):
    def answered(options, facts):
        raise error

    return answered


def test_an_answer_is_one_line_of_json(end):
    facts = {"decision": {"n_epochs": 3, "score": float("nan")}, "run_url": "http://a"}
    code, printed = end(lambda *_: Ending(ExitCode.SUCCESS, "Train.", facts=facts))
    (line,) = printed.out.splitlines()
    told = json.loads(line)
    assert set(told) == KEYS
    assert (told["outcome"], told["exit_code"], code) == ("success", 0, 0)
    assert told["decision"] == {"n_epochs": 3, "score": None}
    assert told["command"] == "fake"
    assert told["error"] is told["costs"] is None


def test_without_json_the_answer_is_for_a_person(end):
    _, printed = end(lambda *_: Ending(ExitCode.SUCCESS, "Train."), json=False)
    assert printed.out == "Train.\n"


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (BadInput("no"), "bad_input", 2),
        (NoResult("no"), "no_result", 3),
        (StoreUnavailable("no"), "store_unavailable", 6),
        (Interrupted("no"), "interrupted", 130),
        (KeyboardInterrupt(), "interrupted", 130),
        (RuntimeError("no"), "failed", 1),
        (SystemExit(7), "failed", 1),
    ],
)
def test_every_failure_is_one_object_too(end, error, outcome, code):
    got, printed = end(raising(error))
    told = json.loads(printed.out)
    assert set(told) == KEYS
    assert (told["outcome"], told["exit_code"], got) == (outcome, code, code)
    assert told["error"]
    assert f"error: {told['error']}" in printed.err
    assert ("Traceback" in printed.err) is (outcome == "failed")


@pytest.mark.parametrize("error", [BadInput("no"), StoreUnavailable("no"), RuntimeError("no")])
def test_what_is_wrong_with_a_search_that_joins_others_says_on_which_node(end, error, monkeypatch):
    monkeypatch.setattr("platform.node", lambda: "node-7")
    _, printed = end(raising(error), if_running="join")
    assert json.loads(printed.out)["error"].startswith("node-7: ")
    assert "\nerror: node-7: " in f"\n{printed.err}"
    _, printed = end(raising(error), if_running="wait")
    assert "node-7" not in printed.out + printed.err


def test_what_was_known_before_a_failure_is_told(end):
    def answered(options, facts):
        facts["costs"] = {"updates": 3}
        raise Interrupted("SIGTERM")

    _, printed = end(answered)
    assert json.loads(printed.out)["costs"] == {"updates": 3}


def test_a_module_that_does_not_load_is_an_end_like_any_other(capfd):
    options = Namespace(json=True, log_file=None, on_finish=None)
    assert main("pipeline.no_such_module", options) == ExitCode.FAILED
    assert "No module named" in json.loads(capfd.readouterr().out)["error"]
    assert gc.isenabled()


def test_the_collector_rests_only_while_a_module_loads(tmp_path, monkeypatch):
    (tmp_path / "loading.py").write_text(
        "import gc\nfrom pipeline.ending import Ending, ExitCode\nwas_on = gc.isenabled()\n"
        "def answered(options, facts):\n"
        "    return Ending(ExitCode.SUCCESS, facts={'then': was_on, 'now': gc.isenabled()})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    options = Namespace(json=True, log_file=None, on_finish=None)
    ending_ = ending.ending_of(
        lambda facts: ending._loaded("loading").answered(options, facts), options
    )
    assert ending_.facts == {"then": False, "now": True}


def test_what_others_print_goes_to_standard_error(end):
    def answered(options, facts):
        print("by Python")
        os.write(1, b"by a library\n")
        subprocess.run(["echo", "by a child"], check=True)
        return Ending(ExitCode.SUCCESS)

    _, printed = end(answered)
    json.loads(printed.out)
    for text in ("by Python", "by a library", "by a child"):
        assert text in printed.err


def test_what_c_keeps_and_what_is_printed_at_exit_do_not_follow_the_object(tmp_path):
    (tmp_path / "printing.py").write_text("""
import atexit, ctypes, sys
from argparse import Namespace
from pipeline.ending import Ending, ExitCode, end_process

def answered(options, facts):
    ctypes.CDLL(None).printf(b"kept by C\\n")
    atexit.register(print, "printed at exit")
    return Ending(ExitCode.UNDETERMINED)

if __name__ == "__main__":
    end_process("printing", Namespace(json=True, log_file=None, on_finish=None))
""")
    done = subprocess.run(
        [sys.executable, "printing.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
    )
    assert done.returncode == ExitCode.UNDETERMINED
    assert json.loads(done.stdout)["outcome"] == "undetermined"
    assert "kept by C" in done.stderr
    assert "printed at exit" in done.stderr


@pytest.mark.parametrize("error", [None, NoResult("nothing"), RuntimeError("broken")])
def test_whoever_waits_gets_the_object_at_every_end(end, tmp_path, error):
    answered = raising(error) if error else lambda *_: Ending(ExitCode.SUCCESS)
    command = f"cat > {tmp_path}/got.json; echo said by it"
    _, printed = end(answered, on_finish=command)
    assert (tmp_path / "got.json").read_text() == printed.out
    assert "said by it" in printed.err


def test_a_waiting_command_that_fails_is_said_and_changes_nothing(end):
    code, printed = end(lambda *_: Ending(ExitCode.SUCCESS), on_finish="exit 3")
    assert code == 0
    assert "--on-finish ended with 3: exit 3" in printed.err


def test_a_waiting_command_that_hangs_is_ended_with_what_it_started(end, monkeypatch, tmp_path):
    monkeypatch.setattr(ending, "ON_FINISH_TIMEOUT_SECS", 0.3)
    start = time.monotonic()
    hangs = f"(sleep 60; touch {tmp_path}/late) & echo $! > {tmp_path}/pid; wait"
    code, printed = end(lambda *_: Ending(ExitCode.SUCCESS), on_finish=hangs)
    assert code == 0
    assert "killed after 0.3 s" in printed.err
    assert time.monotonic() - start < 10
    state = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_what_is_said_is_in_the_log_file_with_warnings_and_tracebacks(end, tmp_path, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])  # pytest has some, a process has none
    path = tmp_path / "logs" / "search.log"

    def answered(options, facts):
        LOG.info("trial 0")
        logging.getLogger("some.library").warning("careful")
        raise RuntimeError("broken")

    _, printed = end(answered, log_file=str(path))
    text = path.read_text()
    for part in ("trial 0", "careful", "Traceback", "RuntimeError: broken", "ended: failed"):
        assert part in text
    assert "careful" in printed.err
    assert text.count("careful") == 1


def test_the_log_file_turns_over(end, tmp_path, monkeypatch):
    monkeypatch.setattr(log_file, "MAX_BYTES", 1000)

    def answered(options, facts):
        for number in range(200):
            LOG.info("trial %d, and some more text to fill the line", number)
        return Ending(ExitCode.SUCCESS)

    end(answered, log_file=str(tmp_path / "a.log"))
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["a.log", *(f"a.log.{n}" for n in range(1, 6))]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())


def test_a_log_file_that_cannot_be_written_is_bad_input(end, tmp_path):
    (tmp_path / "file").write_text("")
    code, printed = end(lambda *_: Ending(ExitCode.SUCCESS), log_file=f"{tmp_path}/file/a.log")
    assert code == ExitCode.BAD_INPUT
    assert "--log-file must be a file that can be written" in json.loads(printed.out)["error"]


@pytest.mark.parametrize("parse", [search_options, report_options])
def test_a_mistyped_option_is_told_as_well(parse, capfd, tmp_path):
    command = f"cat > {tmp_path}/got.json"
    with pytest.raises(SystemExit) as exit_:
        parse(["--json", "--sed", "1", "--on-finish", command])
    assert exit_.value.code == 2
    told = json.loads(capfd.readouterr().out)
    assert (told["outcome"], told["exit_code"]) == ("bad_input", 2)
    assert "--sed" in told["error"]
    assert json.loads((tmp_path / "got.json").read_text()) == told


def test_an_option_without_its_value_is_told_as_well(capfd):
    with pytest.raises(SystemExit):
        search_options(["--json", "--on-finish"])
    assert "expected one argument" in json.loads(capfd.readouterr().out)["error"]


def test_nobody_reading_changes_no_exit_code(tmp_path):
    code = "import sys; sys.path.insert(0, '.'); from pipeline.ending import *; "
    code += "from argparse import Namespace; "
    code += "end_process('no.such', Namespace(json=True, log_file=None, on_finish=None))"
    piped = f'({sys.executable} -c "{code}" 2>/dev/null; echo $? >&2) | true'
    done = subprocess.run(piped, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.strip() == "1"


def test_the_table_in_the_readme_and_the_help_have_every_exit_code_once():
    codes = [str(code.value) for code in ExitCode]
    table = re.findall(r"^\| (\d+) \| `(\w+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert table == [(str(code.value), code.name.lower()) for code in ExitCode]
    assert re.findall(r"^ +(\d+)  ", EXIT_CODES, re.MULTILINE) == codes
