"""A headless Chromium, driven through its DevTools pipe: no library, no port.

with Browser(profile) as browser:
    browser.open(path.as_uri())
    browser.value("document.title")
"""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
OPTIONS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-pipe",
]  # fmt: skip
TIMEOUT_SECS = 120.0


class Browser:
    """One page of a Chromium of its own.

    requests: the URLs that the open page asked for; errors: what its scripts raised
    """

    def __init__(self, profile: Path, *options: str) -> None:
        from_us, to_browser = os.pipe()
        from_browser, to_us = os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4.
        redirected = f'exec "$@" 3<&{from_us} 4>&{to_us}'
        self._process = subprocess.Popen(
            ["bash", "-c", redirected, "bash", str(CHROMIUM), *OPTIONS, *options,
             f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(from_us, to_us), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(from_us)
        os.close(to_us)
        self._out, self._in = os.fdopen(to_browser, "wb"), os.fdopen(from_browser, "rb")
        self._number, self._session, self._rest = 0, "", b""
        self.requests: list[str] = []
        self.errors: list[str] = []

    def __enter__(self) -> "Browser":
        targets = self.ask("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self.ask("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.ask(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._out.close()
        self._in.close()

    def open(self, url: str) -> None:
        """Open a page, and forget what the one before it asked for."""
        self.requests.clear()
        self.errors.clear()
        self.ask("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def picture(self, *, whole: bool = False) -> bytes:
        """Return what is in the window as a PNG; whole: with what lies below it."""
        answer = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(answer["data"])

    def resize(self, width: int, height: int = 900, **options: Any) -> None:
        """Give the window a size in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **{**size, **options})

    def value(self, expression: str) -> Any:
        """Return a JavaScript expression's value."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until a JavaScript expression holds."""
        deadline = time.monotonic() + TIMEOUT_SECS
        while not self.value(expression):
            assert time.monotonic() < deadline, f"never came true: {expression}"
            time.sleep(0.05)

    def point_at(self, x: float, y: float) -> None:
        """Move the pointer to a place in the window."""
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Return the answer to a DevTools command."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while (answer := self._next_message()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(event["params"]["request"]["url"])
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(event["params"]["exceptionDetails"]["exception"]["description"])

    def _next_message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            read = os.read(self._in.fileno(), 1 << 16)
            assert read, "Chromium ended"
            self._rest += read
        text, _, self._rest = self._rest.partition(b"\0")
        return json.loads(text)
