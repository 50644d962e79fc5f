"""A live stream between files, and between the devices of a stand-in for a sound card."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import TINY_RATE, tone_samples
from test_causal import causal_model

from audiovae.apps.live import Played, play_devices, play_file
from audiovae.apps.stream import Stream
from audiovae.cli import main
from audiovae.errors import AudioError, UserError

BUFFER = 256


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return causal_model().save_pretrained(tmp_path / "model")


@pytest.mark.parametrize(("rate", "channels"), [(TINY_RATE, 1), (2 * TINY_RATE, 2)])
def test_a_file_stands_for_a_device(rate: int, channels: int, tmp_path: Path) -> None:
    model, tone = causal_model(), tone_samples(1.03, rate=rate, channels=channels)
    soundfile.write(tmp_path / "in.wav", tone.T, rate, subtype="FLOAT")
    stream = Stream(model, "flute", precision="fp32")
    played = play_file(stream, tmp_path / "in.wav", tmp_path / "out.wav", BUFFER)
    made, made_rate = soundfile.read(tmp_path / "out.wav", always_2d=True)
    frames = round(1.03 * TINY_RATE)
    assert made_rate == TINY_RATE and made.shape == (frames + stream.latency_samples, channels)
    assert len(played.seconds) == -(-frames // BUFFER)
    if rate == TINY_RATE:
        again = Stream(model, "flute", precision="fp32")
        wanted = [again.push(np.pad(tone, ((0, 0), (0, -frames % BUFFER)))), again.finish()]
        np.testing.assert_allclose(made.T, np.concatenate(wanted, 1)[:, : len(made)], atol=1e-4)
    with pytest.raises(AudioError, match="input"):
        play_file(stream, tmp_path / "in.wav", tmp_path / "in.wav", BUFFER)


def test_the_verb_between_files(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "in.wav", tone_samples(0.5)[0], TINY_RATE)
    words = ["live", "--blend", "flute=1,piano=2", "--model", model_folder, "--buffer", BUFFER]
    words += ["--from-file", tmp_path / "in.wav", "--to-file", tmp_path / "out.wav", "--json"]
    assert main([str(word) for word in words]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["latency_ms"] == 32.0 and facts["buffer_ms"] == 16.0
    assert facts["buffers"] == 32 and facts["late"] <= 32 and facts["dropped"] == 0
    assert soundfile.info(tmp_path / "out.wav").frames == TINY_RATE // 2 + 32 * TINY_RATE // 1000


class Card:
    """As much of sounddevice as is used: it plays three buffers when it is opened."""

    PortAudioError = type("PortAudioError", (Exception,), {})

    def __init__(self) -> None:
        self.given = tone_samples(3 * BUFFER / TINY_RATE)[0]
        self.played: list[np.ndarray] = []
        self.asked: dict[str, Any] = {}

    def Stream(self, callback: Callable[..., None], **asked: Any) -> Any:
        if asked["device"][0] == "broken":
            raise self.PortAudioError("no such device")
        self.asked, card = asked, self

        class Opened:
            def __enter__(self) -> None:
                for part in card.given.reshape(-1, BUFFER, 1):
                    out = np.empty((BUFFER, 1), np.float32)
                    callback(part, out, BUFFER, None, len(card.played) == 1)
                    card.played.append(out[:, 0])

            def __exit__(self, *_: object) -> None: ...

        return Opened()


def test_a_sound_card(monkeypatch: pytest.MonkeyPatch) -> None:
    card, model = Card(), causal_model()
    module = types.ModuleType("sounddevice")
    module.Stream, module.PortAudioError = card.Stream, card.PortAudioError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    played = play_devices(Stream(model, "piano"), BUFFER, 0.05, source="mic", output=3)
    assert card.asked["device"] == ("mic", 3) and card.asked["samplerate"] == TINY_RATE
    assert played.dropped == 1 and len(played.seconds) == 3
    wanted = Stream(model, "piano").push(card.given)
    np.testing.assert_allclose(np.concatenate(card.played), wanted, atol=1e-4)
    with pytest.raises(UserError, match="can't be opened: no such device"):
        play_devices(Stream(model, "piano"), BUFFER, 0.01, source="broken")


def test_without_a_sound_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(
        UserError, match=r"pip install 'audiovae\[live\]'.*--from-file and --to-file"
    ):
        play_devices(Stream(causal_model(), "piano"), BUFFER, 0.01)


def test_late_buffers_are_counted() -> None:
    played = Played(BUFFER, TINY_RATE, [0.001, 0.02, 0.015, 0.017])
    assert played.late == 2 and played.summary()["late"] == 2
    assert played.summary()["median_ms"] == 16.0


@pytest.mark.parametrize(
    "words",
    [
        "live",
        "live --to flute --blend flute=1",
        "live --to flute --buffer 8",
        "live --to flute --gain-db 100",
        "live --to flute --from-file in.wav",
        "live --to flute --from-file gone.wav --to-file out.wav",
        "live --to kazoo --from-file in.wav --to-file out.wav",
    ],
)
def test_bad_words_are_one_line(
    words: str, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words.split(), "--model", str(model_folder)]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("audiovae: ") and "\n" not in said
