import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.batch import StopRequest, Waiting, only_run_of
from pipeline.errors import AnotherRunActive, Interrupted, StoreUnavailable

ROOT = Path(__file__).parents[1]
HOLD = """
import sys, time
from pathlib import Path
from pipeline.batch import only_run_of
with only_run_of(Path(sys.argv[1])):
    print("holding", flush=True)
    time.sleep(60)
"""
LISTEN = """
import time
from pipeline.batch import StopRequest
stop = StopRequest()
with stop.listening():
    print("listening", flush=True)
    while not stop:
        time.sleep(0.01)
    print(stop.signal.name, flush=True)
    {then}
print("left", flush=True)
"""


@contextmanager
def process(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start Python, wait for its first line, and end it with the block."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as started:
        try:
            line(started)
            yield started
        finally:
            started.kill()


def line(started: subprocess.Popen[str]) -> str:
    assert started.stdout is not None
    return started.stdout.readline().strip()


def test_a_second_process_is_refused_and_told_who_holds_the_study(tmp_path):
    with process(HOLD, str(tmp_path)) as holder:
        with pytest.raises(AnotherRunActive, match=rf"another process .*\"pid\": {holder.pid},"):
            only_run_of(tmp_path).__enter__()
        assert json.loads((tmp_path / "holder.json").read_text())["pid"] == holder.pid


def test_the_lock_goes_with_a_killed_process(tmp_path):
    with process(HOLD, str(tmp_path)) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with only_run_of(tmp_path):
            assert json.loads((tmp_path / "holder.json").read_text())["pid"] == os.getpid()


def test_another_study_is_not_held(tmp_path):
    with process(HOLD, str(tmp_path / "one")), only_run_of(tmp_path / "two"):
        pass


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_the_lock_and_its_note_go_however_the_search_ends(error, tmp_path):
    def run() -> None:
        with only_run_of(tmp_path):
            if error:
                raise error

    if error:
        with pytest.raises(error):
            run()
    else:
        run()
    assert not (tmp_path / "holder.json").exists()
    with only_run_of(tmp_path):
        pass


def test_a_holder_that_left_no_note_is_unknown(tmp_path):
    with process(HOLD, str(tmp_path)):
        (tmp_path / "holder.json").write_text("")
        with pytest.raises(AnotherRunActive, match="study: unknown"):
            only_run_of(tmp_path).__enter__()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match=r"writable folder, got .*file/study: Not a dir"):
        only_run_of(tmp_path / "file" / "study").__enter__()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_to_stop(number):
    with process(LISTEN.format(then="")) as listener:
        listener.send_signal(number)
        assert [line(listener), line(listener)] == [number.name, "left"]
        assert listener.wait() == 0


@pytest.mark.parametrize("then", ["time.sleep(60)", "sum(range(10**11))"], ids=["idle", "busy"])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_at_once(second, then):
    """Also inside a long call of C code, in which Python runs no handler."""
    with process(LISTEN.format(then=then)) as listener:
        listener.send_signal(signal.SIGTERM)
        assert line(listener) == "SIGTERM"
        time.sleep(0.1)  # into the long call
        listener.send_signal(second)
        assert listener.wait(timeout=5) == -second


def test_a_worker_hears_its_supervisor_once_and_its_death_at_once():
    patient = LISTEN.format(then="time.sleep(60)").replace(
        "StopRequest()", "StopRequest(ignored_then=[15])"
    )
    with process(patient) as listener:
        listener.send_signal(signal.SIGTERM)
        assert line(listener) == "SIGTERM"
        listener.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            listener.wait(timeout=0.5)
        listener.send_signal(signal.SIGINT)
        assert listener.wait(timeout=5) == -signal.SIGINT


def test_handlers_are_given_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    stop = StopRequest()
    with stop.listening():
        signal.raise_signal(signal.SIGTERM)
        assert stop
        assert stop.signal is signal.SIGTERM
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_nothing_is_listened_to():
    entered: list[None] = []

    def run() -> None:
        with StopRequest().listening() as nothing:
            entered.append(nothing)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert entered == [None]


def test_a_process_may_wait_for_the_one_that_holds_the_study(tmp_path):
    said: list[str] = []
    with process(HOLD, str(tmp_path)) as holder:
        threading.Timer(1.5, holder.kill).start()
        with only_run_of(tmp_path, waiting=Waiting(said.append, StopRequest())):
            assert holder.poll() is not None
    assert len(said) == 1
    assert f'"pid": {holder.pid}' in said[0]
    with only_run_of(tmp_path):  # it was let go again
        pass


def test_a_signal_ends_the_waiting(tmp_path):
    stop = StopRequest()
    with process(HOLD, str(tmp_path)):
        threading.Timer(1.0, lambda: setattr(stop, "signal", signal.SIGTERM)).start()
        with (
            pytest.raises(Interrupted, match="SIGTERM"),
            only_run_of(tmp_path, waiting=Waiting(lambda line: None, stop)),
        ):
            pass
