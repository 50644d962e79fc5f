"""The web page in a browser, against the verb's own server: from a file to what is heard of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from browser import check_layout, open_browser, wait
from webs import running, wav

pytestmark = pytest.mark.slow  # a browser takes seconds to start
FAKE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
"""A microphone that beeps."""


@pytest.fixture(scope="module")
def driver() -> Iterator:
    with open_browser(*FAKE) as driver:
        yield driver


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with takes and a library."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "library" / "deep").mkdir(parents=True)
    for name, seconds in (("take one.wav", 3), ("library/a.wav", 2), ("library/deep/b.flac", 1)):
        path = folder / name
        soundfile.write(path, soundfile.read(io.BytesIO(wav(seconds)))[0], 16_000)
    (folder / "letter.wav").write_text("Dear Sir or Madam,\n" * 20)
    return folder


@pytest.fixture(scope="module")
def address(tiny_checkpoint: Path, place: Path) -> Iterator[str]:
    words = ["--model", str(tiny_checkpoint), "--folder", str(place / "library")]
    limits = ["--max-megabytes", "1", "--max-seconds", "20", "--precision", "fp32"]
    with running(*words, *limits, place=place) as (_, address):
        yield address


@pytest.fixture
def opened(driver, address: str):
    """The page, opened anew; whatever it does, its console stays empty."""
    open_anew(driver, address)
    yield driver
    assert driver.get_log("browser") == []


def open_anew(driver, address: str) -> None:
    """Open the page, and wait until it is whole: the driver does not where it was open before."""
    driver.get(address)
    wait(driver, "document.readyState === 'complete' && !document.querySelector('#source *')")


def find(driver, selector: str):
    """Return an element, in the middle of the screen."""
    from selenium.webdriver.common.by import By

    found = driver.find_element(By.CSS_SELECTOR, selector)
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
    return found


def choose(driver, path: Path) -> None:
    from selenium.webdriver.common.by import By

    driver.find_element(By.ID, "file").send_keys(str(path))
    wait(driver, "document.querySelector('#source b')?.textContent === arguments[0]", path.name)


def play(driver, *domains: str) -> None:
    for domain in domains:
        find(driver, f"[name=to][value={domain}]").click()
    before = driver.execute_script("return document.querySelector('#results').children.length")
    find(driver, "#play").click()
    wait(driver, "document.querySelector('#results').children.length > arguments[0]", before)


def fetched(driver, selector: str) -> tuple[bytes, str]:
    """Return what a link gives, and the name that it is saved under."""
    link = find(driver, selector)
    script = (
        "const done = arguments[1]; fetch(arguments[0].href).then(a => a.arrayBuffer())"
        ".then(b => done([...new Uint8Array(b)]))"
    )
    return bytes(driver.execute_async_script(script, link)), link.get_attribute("download")


def test_from_a_file_to_its_sounds(opened, place: Path) -> None:
    choose(opened, place / "take one.wav")
    play(opened, "flute", "trumpet")
    captions = "return [...document.querySelectorAll('#results b')].map(b => b.textContent)"
    assert opened.execute_script(captions) == ["flute", "trumpet"]
    said = opened.execute_script("return document.querySelector('#results h3').textContent")
    assert said.startswith("6.0 s of sound in ") and said.endswith(" times real time")
    wait(opened, "[...document.images].every(i => i.complete && i.naturalWidth > 50)")
    wait(opened, "[...document.querySelectorAll('audio')].every(a => a.duration > 2.9)")
    data, name = fetched(opened, "#results figure:nth-child(2) a")
    assert name == "take one.trumpet.wav"
    made, rate = soundfile.read(io.BytesIO(data))
    assert rate == 16_000 and len(made) == 48_000 and made.std() > 0


def test_players_play_one_at_a_time_and_go_on_where_the_last_was(opened, place: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    choose(opened, place / "take one.wav")
    play(opened, "flute")
    source, made = find(opened, "#source audio"), find(opened, "#results audio")
    source.send_keys(Keys.SPACE)
    wait(opened, "arguments[0].currentTime > 0.5", source)
    made.send_keys(Keys.SPACE)
    wait(opened, "arguments[0].paused && !arguments[1].paused", source, made)
    first = opened.execute_script("return arguments[0].currentTime", made)
    assert first >= 0.5
    wait(opened, "arguments[0].parentElement.querySelector('.picture').style"
                 ".getPropertyValue('--at') > 0.1", made)  # fmt: skip


def test_a_blend_by_keyboard_alone(opened, place: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    choose(opened, place / "take one.wav")
    find(opened, "#form details summary").send_keys(Keys.ENTER)
    for domain, count in (("flute", 3), ("piano", 1)):
        find(opened, f"[data-domain={domain}]").send_keys(Keys.ARROW_RIGHT * count)
    shares = "return [...document.querySelectorAll('.sliders output')].map(o => o.value)"
    assert opened.execute_script(shares) == ["75 %", "25 %", "–"]
    box = find(opened, "[name=to][value=trumpet]")
    box.send_keys(Keys.SPACE)
    box.send_keys(Keys.ENTER)
    wait(opened, "document.querySelectorAll('#results figure').length === 2")
    captions = "return [...document.querySelectorAll('#results b')].map(b => b.textContent)"
    assert opened.execute_script(captions) == ["trumpet", "flute 75 %, piano 25 %"]
    assert fetched(opened, "#results figure:nth-child(2) a")[1] == "take one.blend.wav"


def test_the_keyboard_reaches_all_that_can_be_done(opened, place: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    choose(opened, place / "take one.wav")
    opened.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
    seen, at = set(), "const e = document.activeElement; return [e.id || e.name || e.tagName, "
    for _ in range(40):
        ActionChains(opened).send_keys(Keys.TAB).perform()
        name, outline = opened.execute_script(at + "getComputedStyle(e).outlineStyle]")
        seen.add(name)
        if name in ("play", "record", "SUMMARY"):
            assert outline != "none", f"{name} does not show that it has the focus"
    assert {"file", "record", "SUMMARY", "to", "play", "hold", "embed", "kind", "nearest"} <= seen


def test_embedding_and_neighbours(opened, place: Path) -> None:
    from selenium.webdriver.common.by import By

    choose(opened, place / "library" / "a.wav")
    find(opened, "#embed").click()
    wait(opened, "document.querySelector('#embedding a')")
    data, name = fetched(opened, "#embedding a")
    assert name == "a.npz" and np.load(io.BytesIO(data))["embeddings"].shape[1] == 8
    find(opened, "#nearest").click()
    wait(opened, "document.querySelector('#neighbours table')")
    names = [e.text for e in opened.find_elements(By.CSS_SELECTOR, "#neighbours tbody th")]
    assert names == ["a.wav", "deep/b.flac"]
    player = find(opened, "#neighbours tr:nth-child(2) audio")
    opened.execute_script("arguments[0].play()", player)
    wait(opened, "arguments[0].currentTime > 0.1", player)
    assert opened.execute_script("return arguments[0].duration", player) == pytest.approx(1)


def test_a_recording_is_a_sound(opened) -> None:
    find(opened, "#record").click()
    wait(opened, "parseFloat(document.querySelector('#clock').textContent) > 1")
    find(opened, "#record").click()
    wait(opened, "document.querySelector('#source b')?.textContent === 'recording.wav'")
    wait(opened, "document.querySelector('#source audio').duration > 1")
    play(opened, "piano")


def test_a_sound_can_be_dropped(opened, place: Path) -> None:
    script = """
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(arguments[0])], "dropped.wav"));
        const event = new DragEvent("drop", { dataTransfer: data, cancelable: true });
        dispatchEvent(event);
        return event.defaultPrevented;
    """
    assert opened.execute_script(script, list((place / "take one.wav").read_bytes()))
    wait(opened, "document.querySelector('#source b')?.textContent === 'dropped.wav'")


def test_a_film_is_decoded_here_where_the_server_can_not(driver, address: str) -> None:
    open_anew(driver, address)
    script = """
        const done = arguments[0], parts = [];
        navigator.mediaDevices.getUserMedia({ audio: true }).then((stream) => {
            const recorder = new MediaRecorder(stream, { mimeType: "audio/webm" });
            recorder.ondataavailable = (event) => parts.push(event.data);
            recorder.onstop = () => {
                const data = new DataTransfer();
                data.items.add(new File(parts, "film.webm"));
                dispatchEvent(new DragEvent("drop", { dataTransfer: data }));
                done();
            };
            recorder.start();
            setTimeout(() => recorder.stop(), 1500);
        });
    """
    driver.execute_async_script(script)
    wait(driver, "document.querySelector('#source b')?.textContent === 'film.webm'")
    wait(driver, "document.querySelector('#source audio').duration > 1")
    assert all("415" in entry["message"] for entry in driver.get_log("browser"))


def test_a_phrase_of_the_package_can_be_taken(opened) -> None:
    find(opened, "section summary").click()
    find(opened, "[data-phrase='0']").click()
    wait(opened, "document.querySelector('#source audio')?.duration > 1")


def test_what_is_no_sound_or_too_large_is_said(driver, address: str, place: Path) -> None:
    from selenium.webdriver.common.by import By

    open_anew(driver, address)
    bad = "document.querySelector('#status.bad')"
    (place / "large.wav").write_bytes(bytes(1_000_001))
    for name, said in (("letter.wav", "not audio"), ("large.wav", "1 MB")):
        driver.execute_script("document.querySelector('#status').textContent = ''")
        driver.find_element(By.ID, "file").send_keys(str(place / name))
        wait(driver, f"{bad}?.textContent.includes(arguments[0])", said)
        assert not find(driver, "#play").is_enabled()
    # A browser notes each refusal by itself, and nothing else went wrong.
    assert all("415" in entry["message"] for entry in driver.get_log("browser"))


def test_a_job_can_be_stopped_and_a_closed_page_leaves_nothing(opened, place: Path) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    soundfile.write(place / "long.flac", np.zeros(19 * 16_000), 16_000)
    choose(opened, place / "long.flac")
    opened.execute_script(
        "document.querySelectorAll('[name=to]').forEach(b => b.checked = true);"
        "document.querySelector('#play').click(); document.querySelector('#stop').click()"
    )
    wait(opened, "document.querySelector('#status').textContent === 'Stopped.'")
    assert not opened.execute_script("return document.querySelector('#results').children.length")
    play(opened)
    assert list((place / "tmp").rglob("source.wav"))
    opened.get("about:blank")
    WebDriverWait(opened, 20, 0.1).until(
        lambda _: not [path for path in (place / "tmp").rglob("*") if path.is_file()]
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_no_wider_than_the_screen_and_follows_its_scheme(
    opened, place: Path, width: int, scheme: str
) -> None:
    choose(opened, place / "take one.wav")
    play(opened, "flute", "piano", "trumpet")
    find(opened, "#nearest").click()
    wait(opened, "document.querySelector('#neighbours table')")
    check_layout(opened, width, scheme)
