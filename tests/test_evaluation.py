"""The transfer test on tones whose truth is known, and the card that reports it."""

import json

import numpy as np
import pytest
import soundfile

from audiovae.errors import CorpusError
from audiovae.evaluation.card import write_card
from audiovae.evaluation.transfer_test import Row, measure_transfer, summarise
from audiovae.metrics.distances import log_spectral_distance

RATE = 16_000


def render(folder, domains, pieces=("x", "y"), seconds=9.0):
    """Write aligned tones: a domain is a number of harmonics."""
    time = np.arange(int(seconds * RATE)) / RATE
    groups = {}
    for domain, harmonics in domains.items():
        (folder / domain).mkdir(parents=True)
        for number, piece in enumerate(pieces):
            pitch = 220 * 2 ** (number / 6)
            tone = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, harmonics + 1))
            soundfile.write(folder / domain / f"{piece}.wav", 0.1 * tone, RATE)
            groups[f"{domain}/{piece}.wav"] = piece
    (folder / "groups.json").write_text(json.dumps(groups))
    return folder


@pytest.fixture
def folders(tmp_path, tiny_model):
    one, two = tiny_model.domains[:2]
    names = {d: 2 + 5 * i for i, d in enumerate(tiny_model.domains)}
    return render(tmp_path / "a", names), render(tmp_path / "b", {"other": 9}), one, two


def test_every_ordered_pair_has_its_distance(folders, tiny_model):
    known, _, one, two = folders
    rows = measure_transfer(tiny_model, known, segments=1)
    count = len(tiny_model.domains)
    assert len(rows) == count * count and {r.segments for r in rows} == {2}
    copies = {(r.source, r.target): r.lsd_copy for r in rows}
    assert all(copies[d, d] == 0 for d in tiny_model.domains)
    rate = tiny_model.config.audio.sample_rate
    sounds = []
    for domain in (one, two):
        audio, file_rate = soundfile.read(known / domain / "x.wav", dtype="float32")
        assert file_rate == rate
        sounds.append(audio[: 8 * rate])
    expected = float(log_spectral_distance(sounds[0], sounds[1], rate))
    single = render(known.parent / "one piece", {one: 2, two: 7}, pieces=("x",))
    row = next(
        r
        for r in measure_transfer(tiny_model, single, sources=[one], segments=1)
        if r.target == two
    )
    assert row.lsd_copy == pytest.approx(expected, abs=0.02)
    assert row.lsd_model > 0


def test_unseen_instruments_are_sources_alone(folders, tiny_model):
    known, unseen, *_ = folders
    rows = measure_transfer(tiny_model, known, unseen=unseen, segments=1)
    assert {r.source for r in rows} == {*tiny_model.domains, "other"}
    assert {r.target for r in rows} == set(tiny_model.domains)


def test_what_is_missing_is_named(folders, tiny_model, tmp_path):
    known, *_ = folders
    with pytest.raises(CorpusError, match="nobody"):
        measure_transfer(tiny_model, known, sources=["nobody"])
    with pytest.raises(CorpusError, match=r"groups\.json"):
        measure_transfer(tiny_model, tmp_path)


def test_means_leave_reconstruction_out_of_transfer():
    rows = [Row("a", "a", 0.0, 4.0, 1), Row("a", "b", 10.0, 6.0, 1), Row("b", "a", 12.0, 8.0, 1)]
    assert summarise(rows) == {"transfer": 7.0, "copy": 11.0, "reconstruction": 4.0}


def test_the_card_says_what_was_measured(tiny_model, tmp_path):
    one, two = tiny_model.domains[:2]
    rows = [Row(one, two, 14.0, 7.25, 3), Row("cello", two, 13.0, 8.5, 3)]
    text = write_card(tmp_path, tiny_model, rows, data="Tones.").read_text()
    assert "**7.25**" in text and "14.00" in text and "(cello): **8.50**" in text
    assert "Tones." in text and "license: mit" in text
