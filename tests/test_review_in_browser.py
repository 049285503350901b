"""The page in a real browser: figures drawn, values on hover, columns sorted, nothing fetched."""

import base64
import dataclasses

import pytest

from pipeline import review
from tests.browser import CHROMIUM, Browser
from tests.test_review import account_of, some_study

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

DRAWN = "typeof views !== 'undefined' && views.length === 7"
MIDDLE = """(() => {{
  const box = document.getElementById({name!r}).getBoundingClientRect();
  return [box.x + box.width * {x}, box.y + box.height * {y}];
}})()"""
TOOLTIPS = """(() => {
  const inside = (root) => [...root.querySelectorAll("*")].flatMap((each) =>
    each.shadowRoot ? [each, ...inside(each.shadowRoot)] : [each]);
  return inside(document).filter((each) => each.classList.contains("bk-Tooltip"))
    .map((each) => each.shadowRoot.textContent).join(" ");
})()"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    result = some_study(tmp_path_factory.mktemp("page"))
    worse = [dataclasses.replace(result.trials[1], number=n) for n in (10, 9)]
    result = dataclasses.replace(result, trials=(*result.trials, *worse))
    return review.reported(result, lambda: account_of(result), say=pytest.fail).page


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(chromium, page):
    chromium.resize(1000)
    chromium.ask("Emulation.setEmulatedMedia", features=[])
    chromium.open(page.as_uri())
    chromium.wait_for(DRAWN)
    return chromium


def column(browser, index):
    cells = f"[...document.querySelectorAll('#trials ~ .scroll tr td:nth-child({index + 1})')]"
    return browser.value(f"{cells}.map((cell) => cell.textContent.trim())")


def test_the_page_draws_itself_and_fetches_nothing(browser, page):
    assert browser.errors == []
    assert browser.requests == [page.as_uri()]


@pytest.mark.parametrize(("name", "words"), [("curves", "training"), ("map", "learning rate")])
def test_values_are_shown_under_the_pointer(browser, name, words):
    browser.value(f"document.getElementById({name!r}).scrollIntoView({{block: 'center'}})")
    browser.point_at(*browser.value(MIDDLE.format(name=name, x=0.55, y=0.6)))
    browser.wait_for(f"{TOOLTIPS}.includes({words!r})")


def test_a_click_on_a_title_sorts_by_numbers_and_leaves_what_has_none_last(browser):
    assert column(browser, 0) == ["0", "1", "2", "3", "10", "9"]
    click = "document.querySelectorAll('#trials ~ .scroll th button')[{}].click()"
    browser.value(click.format(0))
    assert column(browser, 0) == ["0", "1", "2", "3", "9", "10"]
    browser.value(click.format(6))
    assert column(browser, 6) == ["1", "1.5", "1.5", "1.5", "3", "–"]
    browser.value(click.format(6))
    assert column(browser, 6) == ["3", "1.5", "1.5", "1.5", "1", "–"]
    sorted_by = "document.querySelector('#trials ~ .scroll th[aria-sort]').textContent.trim()"
    assert browser.value(sorted_by) == "val_loss"


def test_on_a_phone_nothing_but_tables_is_wider_than_the_page(browser):
    browser.resize(390, mobile=True)
    browser.wait_for("views.every((view) => view.el.offsetWidth <= 390)")
    assert browser.value("document.documentElement.scrollWidth") == 390
    tables = "[...document.querySelectorAll('.scroll')].map((each) => each.scrollWidth > 390)"
    assert browser.value(tables) == [True, True]


def test_axes_take_the_colours_of_light_dark_and_paper(browser):
    ink = "views[0].model.below[0].axis_label_text_color"
    light = browser.value(ink)
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.ask("Emulation.setEmulatedMedia", features=dark)
    browser.wait_for(f"{ink} !== {light!r}")
    browser.value("addEventListener('beforeprint', () => { window.printedIn = " + ink + " })")
    printed = browser.ask("Page.printToPDF")["data"]
    assert base64.b64decode(printed).startswith(b"%PDF")
    assert browser.value("window.printedIn") == light
    browser.wait_for(f"{ink} !== {light!r}")
