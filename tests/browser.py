"""A headless Chromium for tests of pages; without one, they are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio",
)  # fmt: skip
WAIT = 60
"""Seconds for what a busy machine may take."""


@contextmanager
def open_browser(*more: str) -> Iterator:
    """Open a browser that logs what its console says; `more` are options of its own."""
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    program = shutil.which("chromedriver")
    if browser is None or program is None:
        pytest.skip("no Chromium: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for option in (*OPTIONS, *more):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(program))
    try:
        yield driver
    finally:
        driver.quit()


def wait(driver, condition: str, *arguments) -> None:
    """Wait until an expression of JavaScript is true."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, WAIT, 0.1).until(
        lambda d: d.execute_script(f"return {condition}", *arguments), condition
    )


def check_layout(driver, width: int, scheme: str) -> None:
    """Hold that a page with all its parts open fits a width, and is light or dark as asked for."""
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    driver.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    root = "document.documentElement"
    wide, room = driver.execute_script(f"return [{root}.scrollWidth, {root}.clientWidth]")
    assert wide <= room <= width
    colours = driver.execute_script(
        "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    )
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    ink, paper = (sum(map(int, c[4:-1].split(", "))) for c in colours)
    assert (ink < paper) == (scheme == "light") and abs(ink - paper) > 400
