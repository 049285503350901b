"""MLflow's own UI in a real browser, on the store of a real search: what a person is shown."""

import json
import shutil

import pytest

from pipeline import tracking
from pipeline.search import search
from tests.browser import CHROMIUM, Browser
from tests.server import Server
from tests.tiny_study import runs_of, tiny

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

FIELDS = "dict(test_size=0.2, budget=Budget(n_trials=6), registry=Registry())"
COLUMNS = {
    "attributes.`Run Name`": "Run Name",
    "tags.`outcome`": "outcome",
    "params.`learning_rate`": "learning_rate",
    "params.`max_epochs`": "max_epochs",
    "metrics.`best_n_epochs`": "best_n_epochs",
    "metrics.`best_val_loss`": "best_val_loss",
    "metrics.`best_val_loss_standard_error`": "best_val_loss_standard_error",
    "metrics.`seconds`": "seconds",
}

TEXT = "document.body.innerText"
# Of the first chart; a short run has a second trace, of its points.
LINES = "(document.querySelector('.js-plotly-plot:has(.scatterlayer .trace)')?.data ?? [])"
N_RUNS_DRAWN = f"new Set({LINES}.filter((line) => line.x.length > 2).map((line) => line.name)).size"
PICTURE = "document.querySelector('img[src*=curves_small]')"


@pytest.fixture(scope="module")
def result(tmp_path_factory, migrated_database):
    home = tmp_path_factory.mktemp("ui")
    (home / "mlruns").mkdir()
    shutil.copy(migrated_database, home / "mlruns" / "mlflow.db")
    return search(tiny(home, fields=FIELDS))


@pytest.fixture(scope="module")
def home(result):
    return result.decision_path.parents[3]


@pytest.fixture(scope="module")
def server(home):
    server = Server(home)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        browser.resize(1900)  # the assistant takes a fifth of it
        yield browser


@pytest.fixture
def browse(chromium, server):
    """Open a page of the UI; addresses are as the search prints them."""

    def open_(address):
        chromium.open("about:blank")  # of two pages that differ behind "#" one is not opened anew
        chromium.open(f"{server.url}/#{address.partition('/#')[2]}")
        return chromium

    return open_


def cells(browser, column):
    """Return a column's title and its values, from the top."""
    there = f"[...document.querySelectorAll('[col-id={json.dumps(column)}]')]"
    by_row = "sort((a, b) => a.closest('[row-index]')?.getAttribute('row-index') - "
    by_row += "b.closest('[row-index]')?.getAttribute('row-index'))"
    browser.wait_for(f"{there}.filter((cell) => cell.closest('.ag-row')).length === 6")
    title = browser.value(f"{there}.find((cell) => cell.closest('.ag-header'))?.innerText.trim()")
    rows = f"{there}.filter((cell) => cell.closest('.ag-row')).{by_row}"
    # A run's name stands behind its colour, which is a text that nobody sees.
    last_line = "cell.innerText.trim().split('\\n').at(-1)"
    return title, browser.value(f"{rows}.map((cell) => {last_line})")


def test_the_address_that_a_search_prints_has_its_trials_best_first(browse, result):
    browser = browse(result.trials_url)
    shown = {column: cells(browser, column) for column in COLUMNS}
    assert {column: title for column, (title, _) in shown.items()} == COLUMNS
    names, outcomes, rates, horizons, epochs, values, errors, seconds = (
        values for _, values in shown.values()
    )
    # The best trial went on after the search, and its run has what it came to.
    trials = {trial.number: trial for trial in (*result.trials, result.best)}
    in_order = sorted(trials.values(), key=lambda trial: trial.value)
    assert names == [f"trial {trial.number:03d}" for trial in in_order]
    assert outcomes == [trial.outcome.label for trial in in_order]
    assert [float(rate) for rate in rates] == [t.params["learning_rate"] for t in in_order]
    assert [int(each) for each in horizons] == [trial.params["max_epochs"] for trial in in_order]
    assert [int(each) for each in epochs] == [trial.best_n_epochs for trial in in_order]
    assert [float(value) for value in values] == [trial.value for trial in in_order]
    scatter = [t.curves.standard_error_after(t.best_n_epochs) for t in in_order]
    assert [float(error) for error in errors] == pytest.approx(scatter)
    assert all(float(each) > 0 for each in seconds)
    places = [
        f"document.querySelector('.ag-header [col-id={json.dumps(column)}]').offsetLeft"
        for column in [*COLUMNS][1:]
    ]
    lefts = browser.value(f"[{', '.join(places)}]")
    assert lefts == sorted(lefts)


def test_the_experiments_text_leads_there(browse, result):
    page = result.trials_url.partition("/#/")[2]
    browser = browse("/#/experiments/1/runs")
    link = "[...document.querySelectorAll('a')].find((a) => a.innerText === 'trials, best first')"
    browser.wait_for(f"Boolean({link})")
    assert browser.value(f"{link}.getAttribute('href')") == f"#/{page}"


def test_the_first_charts_are_means_then_folds_with_epochs_along_the_axis(browse, result):
    browser = browse(f"{result.trials_url}&compareRunsMode=CHART")
    browser.wait_for(f"{N_RUNS_DRAWN} === 6")
    text = browser.value(TEXT)
    assert 0 < text.index("Mean over folds") < text.index("val_loss by fold")
    drawn = browser.value(f"{LINES}.map((line) => [line.name, [...line.x], [...line.y]])")
    curves = {f"trial {trial.number:03d}": trial.curves for trial in result.trials}
    for name, x, y in drawn:
        mean = curves[name].mean
        assert x[: len(mean)] == list(range(1, len(mean) + 1))
        assert y[: len(mean)] == pytest.approx(list(mean))


def test_comparing_five_trials_overlays_their_curves(browse, home):
    _, trials = runs_of(home)
    ids = json.dumps([trial.info.run_id for trial in trials[:5]], separators=(",", ":"))
    experiment = trials[0].info.experiment_id
    browser = browse(
        f'/#/metric?runs={ids}&metric="val_loss_mean"&experiments=["{experiment}"]'
        '&plot_metric_keys=["val_loss_mean"]&x_axis=step'.replace('"', "%22")
    )
    browser.wait_for(f"{N_RUNS_DRAWN} === 5")
    assert "Step" in browser.value("document.querySelector('.xtitle').textContent")


def test_the_studys_run_has_the_answer_the_best_trials_and_the_picture(browse, result):
    browser = browse(result.run_url)
    browser.wait_for(f"{TEXT}.includes('Train with learning rate')")
    browser.wait_for(f"{PICTURE}?.naturalWidth > 600")
    assert browser.value(f"{PICTURE}.width") < 700
    tables = "[...document.querySelectorAll('table')].map((table) => table.innerText)"
    (top,) = (text for text in browser.value(tables) if text.startswith("trial\toutcome"))
    assert [row.split("\t")[0] for row in top.splitlines()[1:]] == [
        str(trial.number) for trial in sorted(result.trials, key=lambda trial: trial.value)[:5]
    ]


def test_the_report_is_read_among_the_artifacts(browse, result):
    browser = browse(f"{result.run_url.partition('?')[0]}/artifacts/report.html")
    browser.wait_for("Boolean(document.querySelector('iframe'))")
    text = browser.value(TEXT)
    for name in ("folds", "curves.png", "decision.json", "map.png", "report.html", "report.md"):
        assert name in text


@pytest.mark.long
def test_the_artifacts_of_a_project_that_was_moved_open_after_it_was_mended(
    chromium, result, home, tmp_path
):
    moved = shutil.copytree(home, tmp_path / "moved")
    tracking.relocate(tracking.open_store(None, moved))
    server = Server(moved)
    server.start()
    try:
        page = result.run_url.partition("/#")[2].partition("?")[0]
        chromium.open("about:blank")
        chromium.open(f"{server.url}/#{page}/artifacts/report.html")
        chromium.wait_for("Boolean(document.querySelector('iframe'))")
        text = chromium.value(TEXT)
        assert f"{moved}/mlruns/artifacts" in text
        assert f"{home}/" not in text
        chromium.open("about:blank")
        chromium.open(f"{server.url}/#{page}")
        chromium.wait_for(f"{PICTURE}?.naturalWidth > 600")
    finally:
        server.stop()


def test_the_registered_model_says_what_it_is_and_leads_to_its_run(browse, result):
    browser = browse("/#/models/tiny/versions/1")
    browser.wait_for(f"{TEXT}.includes('Train with learning rate')")
    browser.wait_for(f"{TEXT}.includes('champion') && {TEXT}.includes('Inputs (1)')")
    run = result.run_url.partition("/#")[2].partition("?")[0]
    browser.wait_for(f"Boolean(document.querySelector('a[href*={json.dumps(run)}]'))")
    score = f"val_loss {result.choice.score:.4g}"
    assert score in browser.value(TEXT)
    assert json.loads(result.decision_path.read_text())["data_fingerprint"][:12] in browser.value(
        TEXT
    )
