"""The report in a browser: players play, tables sort, nothing overflows, no error is logged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import check_layout, open_browser, wait
from runs import make_all

from audiovae.evaluation.run_report import report_run

pytestmark = pytest.mark.slow  # a browser takes seconds to start


@pytest.fixture(scope="module")
def driver() -> Iterator:
    """A headless Chromium that logs what its console says."""
    with open_browser() as driver:
        yield driver


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a tiny model."""
    resolved, run, test = make_all(tmp_path_factory.mktemp("browser"))
    return Path(report_run(resolved, run=run, test=test)["report"])


@pytest.fixture
def opened(driver, page):
    """The page, opened anew; whatever it does, its console stays empty."""
    driver.get(page.as_uri())
    yield driver
    assert driver.get_log("browser") == []


def test_players_play_by_keyboard_and_one_at_a_time(opened):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    first, second = opened.find_elements(By.CSS_SELECTOR, "details[open] audio")[:2]
    first.send_keys(Keys.SPACE)
    wait(opened, "arguments[0].currentTime > 0.1 && !arguments[0].paused", first)
    assert opened.execute_script("return arguments[0].duration", first) == pytest.approx(3, abs=0.2)
    second.send_keys(Keys.SPACE)
    wait(opened, "arguments[0].currentTime > 0 && arguments[1].paused", second, first)


def test_all_sounds_and_pictures_can_be_decoded(opened):
    opened.execute_script(
        "document.querySelectorAll('details').forEach(d => d.open = true);"
        "document.querySelectorAll('audio').forEach(a => { a.preload = 'auto'; a.load(); });"
    )
    wait(opened, "[...document.querySelectorAll('audio')].every(a => a.duration > 2.8)")
    wait(opened, "[...document.images].every(i => i.complete && i.naturalWidth > 50)")


def test_tables_sort_by_click_and_by_enter(opened):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    opened.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    title = "Every pair"
    table = opened.find_element(By.CSS_SELECTOR, f'[aria-label="{title}"] table')
    heads = table.find_elements(By.CSS_SELECTOR, "thead th")
    column = next(i for i, h in enumerate(heads) if h.text.startswith("LSD"))

    def values() -> list[float]:
        cells = table.find_elements(By.CSS_SELECTOR, f"tbody tr > :nth-child({column + 1})")
        return [float(c.text) for c in cells]

    before = values()
    button = heads[column].find_element(By.TAG_NAME, "button")
    button.click()
    assert values() == sorted(before)
    assert heads[column].get_attribute("aria-sort") == "ascending"
    button.send_keys(Keys.ENTER)
    assert values() == sorted(before, reverse=True)
    assert heads[column].get_attribute("aria-sort") == "descending"
    heads[0].find_element(By.TAG_NAME, "button").click()
    assert heads[column].get_attribute("aria-sort") is None


def test_domains_are_taken_out_of_the_maps(opened):
    from selenium.webdriver.common.by import By

    box = opened.find_element(By.CSS_SELECTOR, 'input[data-shows="d0"]')
    box.click()
    hidden = "[...document.querySelectorAll('svg .d0')].map(g => getComputedStyle(g).display)"
    shown = opened.execute_script(f"return {hidden}")
    assert shown and set(shown) == {"none"}
    box.click()
    assert "none" not in opened.execute_script(f"return {hidden}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_no_wider_than_the_screen_and_follows_its_scheme(opened, width, scheme):
    check_layout(opened, width, scheme)


def test_umap_is_drawn_where_it_is(page):
    pytest.importorskip("umap")
    text = page.read_text("utf-8")
    assert "UMAP, by domain" in text and "UMAP, by pitch" in text
