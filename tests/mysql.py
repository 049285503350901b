"""A real MariaDB server of a test's own; see `postgres.py`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress

from sqlalchemy.exc import OperationalError

from tests.postgres import PASSWORD, Database, Mode


class MySQL(Database):
    scheme = "mysql"
    driver = "pymysql"
    programs = ("mariadb-install-db", "mariadbd")
    user = "mysql"
    own = "mysql"

    def _make(self) -> None:
        (self._folder / "init").write_text(
            f"CREATE USER IF NOT EXISTS search@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
            "GRANT ALL ON *.* TO search@'127.0.0.1' WITH GRANT OPTION;\n"
        )
        self._run(
            "mariadb-install-db", "--no-defaults", f"--datadir={self._data}", "--skip-test-db"
        )

    def start(self, *options: str) -> None:
        log = self._folder / "log"
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                self._as_user(
                    "mariadbd", "--no-defaults", f"--datadir={self._data}", f"--port={self.port}",
                    "--bind-address=127.0.0.1", f"--socket={self._folder / 'socket'}",
                    f"--pid-file={self._folder / 'pid'}", f"--init-file={self._folder / 'init'}",
                    "--innodb-flush-log-at-trx-commit=2", "--skip-name-resolve", *options,
                ),
                cwd=self._folder, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)

    def stop(self, mode: Mode = "fast") -> None:
        # The process that was started may be that of `runuser`.
        pid = self._folder / "pid"
        with suppress(ProcessLookupError, FileNotFoundError):
            number = signal.SIGKILL if mode == "immediate" else signal.SIGTERM
            os.kill(int(pid.read_text()), number)
        self._process.wait(timeout=60)
        pid.unlink(missing_ok=True)

    def cut_locks(self) -> None:
        for (name,) in self.execute("SHOW DATABASES LIKE 'study%'"):
            held = f"SELECT IS_USED_LOCK(study_lock) FROM {name}.pipeline_holders"
            for (connection,) in self.execute(held):
                if connection is not None:
                    self.execute(f"KILL {connection}")

    def let_read(self, name: str, user: str) -> None:
        self.execute(f"CREATE USER {user}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
        self.execute(f"GRANT SELECT ON {name}.* TO {user}@'127.0.0.1'")

    def _answers(self) -> bool:
        with suppress(OperationalError):
            return bool(self.execute("SELECT 1"))
        return False
