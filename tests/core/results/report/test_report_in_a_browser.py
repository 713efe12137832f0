"""The report in a real Chromium: it draws, sorts and filters, without an error, a request or a sideways scroll."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_folder import write_folder
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from adbench.results.report.site import write_report

pytestmark = pytest.mark.slow
PUBLISHED = Path(__file__).parents[4] / "leaderboards"
QUIET = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
        "--window-size=1280,1100",
    ),
)
DESK, PHONE = 1280, 390
MOST_BYTES = 10e6
Browser = webdriver.Chrome


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        missing = "needs chromium and chromedriver on the path"
        if os.environ.get("ADBENCH_BROWSER_TESTS"):
            pytest.fail(f"{missing}, for ADBENCH_BROWSER_TESTS is set")
        pytest.skip(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as browser:
        yield browser


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(write_folder(folder / "results"), folder / "report", lambda record: "CC0")
    return folder / "report"


def show(browser: Browser, page: Path, width: int = DESK, dark: bool = False) -> None:
    """Open a page and wait until it has drawn itself; what an earlier page logged is forgotten."""
    for log in ("browser", "performance"):
        browser.get_log(log)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < DESK}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get(page.as_uri())
    if browser.find_elements(By.CSS_SELECTOR, "script[src]"):
        WebDriverWait(browser, 60).until(lambda b: b.execute_script("return document.body.dataset.ready === 'yes'"))


def column(browser: Browser, title: str) -> tuple[Any, list[str]]:
    """The button of a column of the leaderboard, and the texts of its cells that are shown, top down."""
    heads = browser.find_elements(By.CSS_SELECTOR, "#board thead th")
    at = next(i for i, head in enumerate(heads) if head.text.startswith(title))
    rows = [row for row in browser.find_elements(By.CSS_SELECTOR, "#board tbody tr") if row.is_displayed()]
    cells = [row.find_elements(By.XPATH, "./*")[at].text.split("\n")[0] for row in rows]
    return heads[at].find_element(By.TAG_NAME, "button"), cells


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "report"
    write_report(PUBLISHED, folder, lambda record: "CC BY-SA 4.0")
    return folder


@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("which", ["report", "published"])
def test_all_pages_open_without_error_request_or_sideways_scroll(browser, request, which, width, dark):
    folder = request.getfixturevalue(which)
    pages = [*folder.glob("*.html"), next(folder.glob("methods/*/*.html"))]
    for page in pages:
        show(browser, page, width, dark)
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
        scroll, inner = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert scroll <= inner == width
        sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        urls = [each["params"]["request"]["url"] for each in sent if each["method"] == "Network.requestWillBeSent"]
        assert urls, "requests are seen"
        assert [url for url in urls if not url.startswith(("file:", "data:"))] == []
        assert browser.title != "broken", "a name from a record has run"


def test_the_published_report_is_small_and_has_all_parts(browser, published):
    assert sum(path.stat().st_size for path in published.rglob("*") if path.is_file()) < MOST_BYTES
    show(browser, next(published.glob("headct-sprites*.html")))
    for part in ("behind", "forest", "precision", "roc", "froc", "strips", "sizes"):
        figure = browser.find_element(By.CSS_SELECTOR, f"[data-spec=spec-{part}] svg")
        assert int(figure.get_attribute("height")) > 100, part
    assert browser.find_elements(By.CSS_SELECTOR, ".matrix td.differs")


def test_a_click_sorts_by_any_column_and_a_second_one_turns_the_order(browser, report):
    show(browser, report / "index.html")
    for title in ("subject", "s / 100"):
        button, _ = column(browser, title)
        button.click()
        once = [float(cell.split()[0]) for cell in column(browser, title)[1] if cell != "-"]
        button.click()
        twice = [float(cell.split()[0]) for cell in column(browser, title)[1] if cell != "-"]
        assert sorted(once) == sorted(twice)
        assert once in (sorted(once), sorted(once, reverse=True))
        assert once[0] == twice[-1] != once[-1]


def test_rows_without_a_value_come_last_in_either_order(browser, report):
    show(browser, report / "index.html")
    for _ in range(2):
        column(browser, "s / 100")[0].click()
        cells = column(browser, "s / 100")[1]
        assert cells[-1] == "-"
        assert cells[0] != "-"


def test_the_keyboard_sorts_and_says_so(browser, report):
    show(browser, report / "index.html")
    button, before = column(browser, "method")
    button.send_keys(Keys.ENTER)
    assert button.find_element(By.XPATH, "..").get_attribute("aria-sort") == "ascending"
    assert column(browser, "method")[1] == sorted(before, key=str.lower)


def test_filters_leave_the_rows_of_a_dataset_and_of_a_method(browser, report):
    show(browser, report / "index.html")
    Select(browser.find_element(By.CSS_SELECTOR, "[data-filter=dataset]")).select_by_visible_text("other")
    assert set(column(browser, "dataset")[1]) == {"other"}
    assert len(column(browser, "method")[1]) == 4
    browser.find_element(By.CSS_SELECTOR, "[data-filter=method]").send_keys("goo")
    assert column(browser, "method")[1] == ["good"]
    assert browser.find_element(By.ID, "count").text == "1 of 8 rows"


def test_all_columns_are_a_click_away(browser, report):
    show(browser, report / "index.html")
    assert not browser.find_element(By.CSS_SELECTOR, "#board th.extra").is_displayed()
    browser.find_element(By.CSS_SELECTOR, "[data-toggle=all]").click()
    assert browser.find_element(By.CSS_SELECTOR, "#board th.extra").is_displayed()


LIT = """return [...document.querySelectorAll('#gallery canvas')].map((c) =>
  c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 < 3 && v > 100))"""


def test_pictures_load_and_follow_threshold_arrangement_and_method(browser, report):
    show(browser, report / "toy.html")
    drawn = browser.execute_script(LIT)
    assert len(drawn) == 6 * 5, "six slices: the input, and the maps of four methods"
    assert all(drawn)
    pixels = "return document.querySelectorAll('#gallery canvas')[8].toDataURL()"
    slider, before = browser.find_element(By.ID, "threshold"), browser.execute_script(pixels)
    slider.send_keys(Keys.HOME)
    assert browser.find_element(By.ID, "threshold-says").text == "none"
    assert browser.execute_script(pixels) != before
    Select(browser.find_element(By.ID, "arrange")).select_by_value("own")
    assert len(browser.execute_script(LIT)) == 2 * 3 * 4, "best, median and worst of four methods, slice and map"
    browser.find_element(By.CSS_SELECTOR, "#chooser input").click()
    assert len(browser.execute_script(LIT)) == 2 * 3 * 3


def test_charts_follow_the_methods_and_numbers_that_are_chosen(browser, report):
    show(browser, report / "toy.html")
    lines = "[data-spec=spec-roc] svg .mark-line path"
    assert len(browser.find_elements(By.CSS_SELECTOR, lines)) == 4
    browser.find_element(By.CSS_SELECTOR, "#chooser input").click()
    WebDriverWait(browser, 10).until(lambda b: len(b.find_elements(By.CSS_SELECTOR, lines)) == 3)
    figure = browser.find_element(By.CSS_SELECTOR, "[data-spec=spec-pareto]")
    before = figure.find_element(By.TAG_NAME, "svg").get_attribute("innerHTML")
    Select(figure.find_element(By.CSS_SELECTOR, "[data-param=device]")).select_by_index(1)
    WebDriverWait(browser, 10).until(
        lambda b: figure.find_element(By.TAG_NAME, "svg").get_attribute("innerHTML") != before
    )


def test_provenance_is_a_click_away(browser, report):
    show(browser, report / "index.html")
    browser.find_element(By.LINK_TEXT, "good").click()
    text = browser.find_element(By.TAG_NAME, "main").get_attribute("textContent")
    assert "SHA-256 of the file" in text
    assert "Settings of the method" in text
