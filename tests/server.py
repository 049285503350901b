"""MLflow's own server, started and stopped as tests want."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

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
    """

    def __init__(self, home: Path, backend: str = "") -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._command = [
            sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port),
            "--backend-store-uri", backend or f"sqlite:///{home / 'mlruns' / 'mlflow.db'}",
            "--artifacts-destination", str(home / "server_artifacts"),
        ]  # fmt: skip
        self._home = home

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            cwd=self._home,
            env=ENVIRONMENT,
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
