"""The report of a search: what is in its page and its summary, and that it costs no answer."""

import dataclasses
import json
from datetime import datetime, timedelta
from html.parser import HTMLParser

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline import decision, review, wording
from pipeline.choice import BestOfMean
from pipeline.curves import FoldCurves
from pipeline.objective import Objective
from pipeline.results import Evidence, Outcome, StudyResult, TrialResult
from pipeline.review import Account
from pipeline.review.page import html
from pipeline.review.summary import headline, markdown
from pipeline.review.tables import trials_table, ways_table
from pipeline.review.times import Clock, Savings, duration, savings_in_words
from pipeline.spec import StudySpec
from pipeline.uncertainty import Interval

EVIL = "</script><script>alert('owned')</script>"
START = datetime(2026, 1, 1, 2, 30)
SPACE = {
    "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "max_epochs": IntDistribution(3, 20),
    "units": CategoricalDistribution([32, 64]),
}


def trial(number, learning_rate, mean, *, objective=None, n_folds=3, **fields):
    """Return a trial whose folds lie 0.1 apart about its mean curve; None: it has no curves."""
    curves = training = None
    objective = objective or Objective()
    if mean is not None:
        spread = 0.1 * (np.arange(n_folds) - (n_folds - 1) / 2)[:, np.newaxis]
        curves = FoldCurves(np.array(mean) + spread, objective)
        training = np.array(mean) - 0.5
    params = {"learning_rate": learning_rate, "max_epochs": 20, "units": 32, "batch_size": 32}
    given = {"outcome": Outcome.COMPLETED, "training": training, "params": params, **fields}
    return TrialResult(number, curves=curves, seconds=2.0, n_updates=30, **given)


MEAN = [3.0, 2.0, 1.0, 2.0, 2.5]


def study(*trials, folder, space=None, **fields):
    """Return the answer of a study; the first trial is the best."""
    best = trials[0]
    spec = StudySpec(
        name="named", load_data=lambda: None, build_model=lambda params: params,
        space=space or SPACE, objective=best.curves.objective,
    )  # fmt: skip
    evidence = Evidence((2, 3), (0, 1), Interval(0.8, 1.2, 0.95), None, None, None, 80)
    given = {
        "evidence": evidence,
        "open_end": "",
        "refit": None,
        "fold_models": "",
        "n_extra_fold_epochs": 6,
        "n_extra_updates": 12,
    }
    return StudyResult(
        spec=spec, signature="0" * 12, trials=trials, best=best,
        choice=BestOfMean().choose(best.curves, 20), run_url="#/runs/1", ui_command="mlflow ui",
        decision_path=folder / "decision.json", **{**given, **fields},
    )  # fmt: skip


def some_study(folder):
    """Return the answer of a search with a trial of each outcome."""
    trials = (
        trial(0, 0.01, MEAN, outcome=Outcome.STOPPED_EARLY),
        trial(1, 0.002, [3.0, 1.5]),
        trial(2, 0.05, [4.0, 3.0], outcome=Outcome.PRUNED),
        trial(3, 0.09, None, outcome=Outcome.FAILED, diverged=True, reason="loss is nan"),
    )
    return study(*trials, folder=folder)


@pytest.fixture
def some(tmp_path):
    return some_study(tmp_path)


def account_of(result, **fields):
    begun = {t.number: START + timedelta(seconds=3 * t.number) for t in result.trials}
    times = {number: (begin, begin + timedelta(seconds=2)) for number, begin in begun.items()}
    record = {"seed": 7, "command": "python -m pipeline.search named", "version.python": "3.11"}
    given = {"record": record, "spans": times, "importances": {"learning_rate": 0.9, "units": 0.1}}
    return Account(**{**given, "ways": decision.ways_of(result), **fields})


class Reader(HTMLParser):
    """Collects the tags, what they refer to, and the text that is read."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.ids, self.words, self._open = [], [], set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._open.append(tag)
        attributes = dict(attrs)
        self.ids.add(attributes.get("id"))
        self.addresses += [attributes[name] for name in ("src", "href") if name in attributes]

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self._open):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def figures_in(page):
    start = page.index('<script type="application/json" id="figures">')
    return json.loads(page[page.index(">", start) + 1 : page.index("</script>", start)])


def test_the_answer_is_one_sentence_with_how_sure_it_is(some):
    assert headline(some) == (
        "Train with learning rate 0.01 for 3 epochs: val_loss 1 ± 0.058 (95% interval 0.8 to 1.2); "
        "2 of its 5 trained epochs and 1 other trial cannot be told from the best."
    )


def test_the_page_has_every_part(some):
    page = Reader(html(some, account_of(some)))
    assert headline(some) in page.text
    for part in (
        "unstable: it jumps", "fixed number", "paired-one-standard-error", "loss is nan",
        "python -m pipeline.search named", "seed 7", "0" * 12, "python 3.11", "space.units",
        "pruning 1 trial left out 54 fold-epochs",
    ):  # fmt: skip
        assert part in page.text
    drawn = {item["target_id"] for item in figures_in(html(some, account_of(some)))}
    assert drawn == {"curves", "map", "importances", "timeline", "slice-0", "slice-1", "slice-2"}
    assert drawn <= page.ids


def test_the_page_asks_nobody_for_anything(some):
    page = html(some, account_of(some))
    assert not {"link", "img", "iframe", "object"} & set(Reader(page).tags)
    assert all(address.startswith("#") for address in Reader(page).addresses)
    assert "default-src 'none'" in page
    assert "@import" not in page


def test_what_a_user_wrote_is_text(tmp_path):
    name = f"units {EVIL}"
    space = {**SPACE, name: CategoricalDistribution([EVIL, "b"])}
    params = {"learning_rate": 0.01, "max_epochs": 20, "units": 32, name: EVIL}
    best = trial(0, 0.01, MEAN, params=params, reason=EVIL)
    other = trial(1, 0.02, [4.0, 3.0], params={**params, "learning_rate": 0.02})
    result = study(best, other, folder=tmp_path, space=space, open_end=EVIL)
    account = account_of(result, record={"command": EVIL}, importances={name: 1.0}, remarks=[EVIL])
    page = html(result, account)
    assert EVIL not in page
    assert Reader(page).text.count(EVIL) >= 5
    assert Reader(page).tags.count("script") == 3
    assert f"units {EVIL}" in json.dumps(figures_in(page), ensure_ascii=False)
    assert "<script>" not in markdown(result, account).replace("\\<", "")


def test_the_file_is_small_however_long_the_search(tmp_path):
    random = np.random.default_rng(0)
    trials = [trial(n, rate, random.random(100)) for n, rate in
              enumerate(np.geomspace(1e-4, 1e-1, 1000))]  # fmt: skip
    result = study(*trials, folder=tmp_path)
    assert len(html(result, account_of(result)).encode()) < 5e6


@pytest.mark.parametrize(
    ("objective", "n_folds", "mean"),
    [
        (Objective(), 1, MEAN),
        (Objective(), 1, [1.0]),
        (Objective(), 3, [1.0, 1.0]),
        (Objective("val_accuracy", "maximize"), 3, [0.2, 0.5]),
    ],
)
def test_odd_studies_have_a_page(objective, n_folds, mean, tmp_path):
    result = study(trial(0, 0.1, mean, objective=objective, n_folds=n_folds), folder=tmp_path)
    alone = Evidence((1,), None, None, None, None, None, 80)
    result = dataclasses.replace(result, evidence=alone)
    drawn = {each["target_id"] for each in figures_in(html(result, account_of(result)))}
    assert "map" not in drawn
    page = Reader(html(result, account_of(result, spans={}, importances={}))).text
    assert "takes two parameters and at least 30 trials with a value, and 1 of these" in page
    assert headline(result) in page


def test_trials_without_a_value_do_not_compete_in_the_table(some):
    table = trials_table(some)
    names = [name for name, _ in table.columns]
    assert names == [
        "trial", "outcome", "learning rate", "max epochs", "units", "best epoch", "val_loss",
        "± se", "seconds", "reason",
    ]  # fmt: skip
    score = names.index("val_loss")
    assert [row[score].text for row in table.rows] == ["1", "1.5", "3", "–"]
    assert [row[score].kind for row in table.rows] == ["number", "number", "quiet", "text"]
    assert [row[score].key for row in table.rows] == [1.0, 1.5, 3.0, None]
    assert table.rows[1][-1].text.endswith("cannot be told from the best")
    assert table.marked == 0


def test_the_ways_have_the_scores_of_their_refits(some):
    account = account_of(some)
    plain = ways_table(some, account)
    assert [row[1].text for row in plain.rows].index("best") == plain.marked
    scores = {way.n_epochs: {"loss": float(way.n_epochs)} for way in account.ways if way.n_epochs}
    table = ways_table(some, dataclasses.replace(account, scores=scores))
    column = [name for name, _ in table.columns].index("test loss")
    assert table.rows[plain.marked][column].key == 3.0


def test_what_was_left_out_is_counted_to_max_epochs(some):
    # 3 folds × (20 − 2) epochs, at 2 seconds for 6 fold-epochs
    assert Savings.of(Outcome.PRUNED, some.trials) == Savings(1, 54, 18.0)
    assert Savings.of(Outcome.FAILED, some.trials) == Savings(0, 0, 0)
    assert savings_in_words(some) == (
        "The trials trained 27 fold-epochs. To their max_epochs, pruning 1 trial left out 54 "
        "fold-epochs, about 18 s and early stopping 1 trial left out 45 fold-epochs, about 6.0 s, "
        "at their own speed. The answer took 6 fold-epochs more."
    )


def test_long_pauses_are_left_out_of_the_clock():
    def at(seconds):
        return START + timedelta(seconds=seconds)

    clock = Clock.of([(at(0), at(10)), (at(11), at(20)), (at(1020), at(1030))])
    assert clock.pauses == [(20.0, 1000.0)]
    assert clock.length == pytest.approx(30.0)
    assert [clock.at(at(s)) for s in (0, 15, 1020, 1030)] == [0.0, 15.0, 20.0, 30.0]
    overlapping = Clock.of([(at(0), at(50)), (at(1), at(2)), (at(40), at(60))])
    assert (overlapping.pauses, overlapping.length) == ([], 60.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.71, "0.7 s"), (9.99, "10 s"), (60, "1 min"), (200, "3 min 20 s"), (18720, "5 h 12 min"),
     (183600, "2 d 3 h")],
)  # fmt: skip
def test_durations_are_read_by_a_person(seconds, text):
    assert duration(seconds) == text


def test_the_summary_is_markdown_of_the_answer_and_the_top_trials(some):
    text = markdown(some, account_of(some))
    assert text.startswith("**Train with learning rate 0.01 for 3 epochs: val\\_loss 1")
    assert "| 0 | stopped early | 0.01 | 20 | 32 | 3 | 1 ± 0.058 |" in text
    assert "| cross-validation | best | 3 |" in text
    assert "decision.json" in text.partition("## To repeat it")[2]
    assert len(text) < 8000


def test_the_summary_shows_the_curves_of_the_answer_that_they_are_of(some):
    (some.decision_path.parent / "curves_small.png").write_bytes(b"")
    for stem, shown in (("report", True), ("report-plateau-3", False)):
        text = review.reported(some, lambda: account_of(some), stem=stem, say=pytest.fail).summary
        assert ("![Learning curves](curves_small.png)" in text) is shown


def test_what_cannot_be_drawn_costs_no_answer(some, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no fonts")

    monkeypatch.setattr("pipeline.review.page.html", broken)
    heard: list[str] = []
    written = review.reported(some, lambda: account_of(some), say=heard.append)
    assert heard == ["the answer stands, but the report could not be made: RuntimeError: no fonts"]
    assert written.page is None
    assert [path.name for path in written.files] == ["report.md"]
    monkeypatch.setattr("pipeline.plots.draw", broken)
    heard.clear()
    assert review.illustrated(some, None, {}, say=heard.append).files == []
    assert [line.split("could")[0] for line in heard] == [
        "the answer stands, but the pictures ", "the answer stands, but the report ",
    ]  # fmt: skip


def test_the_page_and_the_summary_lie_beside_the_decision(some, tmp_path):
    written = review.reported(some, lambda: account_of(some), say=pytest.fail)
    assert written.page == tmp_path / "report.html"
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == written.summary
    told = dict(wording.findings(dataclasses.replace(some, report_path=written.page)))
    assert told["report"].endswith("report.html")


def test_the_command_is_shown_without_what_is_secret():
    shown = review.typed(
        ["/p/pipeline/search.py", "digits", "--storage", "postgresql://me:pass@host/db",
         "--on-finish", "curl -H token", "--on-finish=curl x", "--set", "rule=fixed(n_epochs=3)"]
    )  # fmt: skip
    assert shown == (
        "python -m pipeline.search digits --storage 'postgresql://me:***@host/db' "
        "--set 'rule=fixed(n_epochs=3)'"
    )
    assert review.typed(["/usr/bin/pytest", "tests"]) == ""
