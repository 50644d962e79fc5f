"""Sound files are written whole or not at all, and never over an input."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from takes import RATE, sound

from audiovae.audio import decode
from audiovae.audio.files import (
    Writer,
    find_audio,
    probe,
    read,
    write,
)
from audiovae.errors import AudioError


@settings(max_examples=30, deadline=None)
@given(
    suffix=st.sampled_from([".wav", ".flac", ".ogg", ".WAV"]),
    frames=st.integers(1, 5000),
    channels=st.integers(1, 4),
    rate=st.sampled_from([8000, 16_000, 44_100, 96_000]),
    bits=st.sampled_from([16, 24]),
)
def test_what_is_written_is_read(tmp_path_factory, suffix, frames, channels, rate, bits):
    path = tmp_path_factory.mktemp("written") / f"new/folder/take{suffix}"
    audio = sound(frames, channels)
    assert write(path, audio, rate, bits=bits) == path
    got, got_rate = read(path)
    assert got_rate == rate and got.shape == audio.shape
    if suffix != ".ogg":
        np.testing.assert_allclose(got, audio, rtol=0, atol=0.5 * 2.0 ** (1 - bits))
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("bits", [16, 24])
def test_16_bit_sound_comes_back_to_the_bit(tmp_path, suffix, bits):
    audio = np.arange(-32768, 32768).astype(np.float32) / 32768
    write(tmp_path / f"a{suffix}", audio, RATE, bits=bits)
    np.testing.assert_array_equal(read(tmp_path / f"a{suffix}")[0][0], audio)


def test_one_channel_may_be_flat_and_sound_is_clipped(tmp_path):
    write(tmp_path / "a.wav", np.array([0.5, 2.0, -3.0]), RATE)
    np.testing.assert_allclose(read(tmp_path / "a.wav")[0], [[0.5, 1, -1]], atol=1e-6)


def test_long_vorbis(tmp_path):
    path = write(tmp_path / "a.ogg", sound(60 * RATE, 1), RATE)
    assert probe(path).frames == 60 * RATE


def test_writer_appends_blocks(tmp_path):
    audio = sound(1000)
    with Writer(tmp_path / "a.flac", RATE, 2) as writer:
        for start in range(0, 1000, 300):
            writer.append(audio[:, start : start + 300])
            assert not (tmp_path / "a.flac").exists()
        assert writer.frames == 1000
    np.testing.assert_allclose(read(tmp_path / "a.flac")[0], audio, atol=1e-6)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_write_leaves_what_was_there(tmp_path, error):
    path = write(tmp_path / "a.wav", sound(100, 1), RATE)
    before = path.read_bytes()
    with pytest.raises(error), Writer(path, RATE, 1) as writer:
        writer.append(sound(50, 1))
        raise error
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.wav"]


def test_a_killed_write_leaves_what_was_there(tmp_path):
    path = write(tmp_path / "a.wav", sound(100, 1), RATE)
    before = path.read_bytes()
    code = (
        "import os, sys, numpy as np; from audiovae.audio.files import Writer\n"
        "writer = Writer(sys.argv[1], 8000, 1).__enter__()\n"
        "writer.append(np.zeros((1, 99999))); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 9
    assert path.read_bytes() == before and find_audio(tmp_path) == [path]


def test_nan_is_not_written(tmp_path):
    with pytest.raises(AudioError, match="NaN"):
        write(tmp_path / "a.wav", np.array([0.0, np.nan]), RATE)
    assert os.listdir(tmp_path) == []


def test_inputs_are_never_overwritten(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", sound(100, 1), RATE)
    before = path.read_bytes()
    os.link(path, tmp_path / "hard.wav")
    os.symlink(path, tmp_path / "soft.wav")
    monkeypatch.chdir(tmp_path)
    for target in (path, "a.wav", "./a.wav", "hard.wav", "soft.wav"):
        with pytest.raises(AudioError, match="is an input and stays as it is"):
            write(target, sound(50, 1), RATE, inputs=["missing.wav", path])
    assert path.read_bytes() == before
    write("b.wav", sound(50, 1), RATE, inputs=[path])
    assert sorted(os.listdir(tmp_path)) == ["a.wav", "b.wav", "hard.wav", "soft.wav"]


def test_an_input_that_turns_up_while_writing_stays(tmp_path):
    path = tmp_path / "a.wav"
    with pytest.raises(AudioError, match="is an input"), Writer(path, RATE, 1, [path]) as writer:
        writer.append(sound(50, 1))
        path.write_bytes(b"mine")
    assert path.read_bytes() == b"mine" and os.listdir(tmp_path) == ["a.wav"]


def test_places_and_forms_that_cannot_be_written(tmp_path):
    audio = sound(50, 1)
    for name in ("a.mp3", "a", "a.wav.txt"):
        with pytest.raises(AudioError, match=r"expected \.wav, \.flac or \.ogg"):
            write(tmp_path / name, audio, RATE)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(AudioError, match="is a folder"):
        write(tmp_path / "folder.wav", audio, RATE)
    (tmp_path / "file").touch()
    with pytest.raises(AudioError, match="can't be written"):
        write(tmp_path / "file" / "a.wav", audio, RATE)
    with pytest.raises(AudioError, match=r"can't be written as FLAC with 9 channels.*try \.wav"):
        write(tmp_path / "a.flac", sound(50, 9), RATE)
    with pytest.raises(ValueError, match="expected"), Writer(tmp_path / "a.wav", RATE, 2) as w:
        w.append(audio)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.wav"]


def test_a_wav_file_does_not_outgrow_its_format(tmp_path):
    with pytest.raises(AudioError, match="4 GiB"), Writer(tmp_path / "a.wav", RATE, 1) as writer:
        writer.frames = 1 << 31
        writer.append(sound(50, 1))
    assert os.listdir(tmp_path) == []


def test_vorbis_begins_at_its_first_sample_again(tmp_path, monkeypatch):
    class Late(decode.Forward):
        """Misses the first block on its way back, as libsndfile does in some files."""

        def seek(self, frame, *rest):
            return super().seek(frame or 1024, *rest)

    monkeypatch.setattr(decode, "Forward", Late)
    noise = 0.3 * np.random.default_rng(0).standard_normal(90_000).clip(-3, 3)
    path = tmp_path / "again.ogg"
    soundfile.write(path, noise, RATE)
    whole, _ = soundfile.read(path, dtype="float32")
    with decode.open_audio(path) as decoder:
        np.testing.assert_array_equal(decoder.read(len(whole))[0], whole)
        decoder.seek(0)
        np.testing.assert_array_equal(decoder.read(len(whole))[0], whole)
