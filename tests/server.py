"""MLflow's own server, started and stopped as tests want."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.postgres import free_port

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class Server:
    """MLflow's own server on a folder of this machine.

    backend: the URL of its database; SQLite in the folder where there is none
    artifacts: the options that say where it keeps files; in the folder where there are none
    environment: its variables, besides those of `ENVIRONMENT`
    """

    def __init__(
        self,
        home: Path,
        backend: str = "",
        artifacts: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._command = [
            sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port),
            "--backend-store-uri", backend or f"sqlite:///{home / 'mlruns' / 'mlflow.db'}",
            *(artifacts or ("--artifacts-destination", str(home / "server_artifacts"))),
        ]  # fmt: skip
        self._home, self._environment = home, {**ENVIRONMENT, **(environment or {})}

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            cwd=self._home,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=1)
                return
            except OSError:
                time.sleep(0.2)
        raise TimeoutError("the server did not start")

    def stop(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
