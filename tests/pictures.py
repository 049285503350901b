"""Take the README's pictures of MLflow's UI and of the report.

    python -m pipeline.search digits
    python tests/pictures.py [ANSWER]

ANSWER is one that `pipeline.report` knows, the latest of `digits` by default; in MLflow the latest
search is shown, whichever that is.
Needs Chromium. Look at them before they are committed.
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from pipeline.answers import found
from tests.browser import CHROMIUM, Browser
from tests.server import Server

PICTURES = Path(__file__).parents[1] / "studies" / "pictures"
CHARTS = "document.querySelectorAll('.js-plotly-plot:has(.scatterlayer .trace)').length"
NO_ASSISTANT = """if (location.protocol.startsWith("http")) {
  localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
  localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
}"""


def save(browser: Browser, name: str) -> None:
    """Write what the browser shows, in 128 colours: a third of the bytes."""
    picture = Image.open(io.BytesIO(browser.picture())).convert("RGB")
    picture.quantize(128, dither=Image.Dither.NONE).save(PICTURES / name, optimize=True)
    print(f"{name}: {(PICTURES / name).stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Take them."""
    if CHROMIUM is None:
        raise SystemExit("Chromium must be installed to take pictures")
    answer = found(sys.argv[1] if len(sys.argv) > 1 else "digits")
    server = Server(answer.folder.parents[2])
    server.start()
    try:
        with tempfile.TemporaryDirectory() as profile, Browser(Path(profile)) as browser:
            browser.resize(1480, 760)
            browser.ask("Page.addScriptToEvaluateOnNewDocument", source=NO_ASSISTANT)
            page = answer.values["mlflow_trials"].partition("/#")[2]
            browser.open(f"{server.url}/#{page}")
            browser.wait_for("document.body.innerText.includes('stopped early')")
            save(browser, "ui_trials.png")
            browser.open("about:blank")
            browser.open(f"{server.url}/#{page}&compareRunsMode=CHART")
            browser.wait_for(f"{CHARTS} > 2")
            save(browser, "ui_curves.png")
            browser.resize(1100, 620)
            browser.open((answer.folder / "report.html").as_uri())
            browser.wait_for("typeof views !== 'undefined' && views.length > 5")
            browser.value("document.getElementById('curves-section').scrollIntoView()")
            save(browser, "report.png")
    finally:
        server.stop()


if __name__ == "__main__":
    main()
