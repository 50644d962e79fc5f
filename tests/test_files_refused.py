"""Files that can't be read: a clear error for each."""

import os
import struct

import numpy as np
import pytest
import soundfile
from takes import FORMATS, RATE, refusal, sound

from audiovae.audio.files import (
    AUDIO_SUFFIXES,
    Limits,
    probe,
    read,
    stream,
)
from audiovae.errors import AudioError


def test_missing_folder_and_empty(tmp_path):
    assert "does not exist" in refusal(tmp_path / "no.wav")
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "empty.wav").touch()
    assert "is empty (0 bytes)" in refusal(tmp_path / "empty.wav")
    assert "device or pipe" in refusal(os.devnull)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"hello, this is a text\n" * 50, "text"),
        ("täxt ".encode() * 50, "text"),
        ("text".encode("utf-16"), "text"),
        (b"<!DOCTYPE html><html></html>", "text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "a PNG picture"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "a JPEG picture"),
        (b"%PDF-1.7\n\x80\x81", "a PDF document"),
        (b"PK\x03\x04" + bytes(100), "a ZIP archive"),
        (b"MThd\0\0\0\6\0\1\0\1\0\x60", "a MIDI score, which has to be rendered"),
        (b"RIFF\x10\0\0\0AVI LIST" + bytes(100), "a RIFF file without sound"),
        (b"version https://git-lfs.example/spec/v1\n", "a Git LFS pointer"),
        (bytes(5000), "zero bytes only"),
        (b"\x01\x02\x03\x80" * 50, "unknown bytes"),
        (b"R", "text"),
    ],
)
def test_mislabelled_and_not_audio(tmp_path, content, what):
    (tmp_path / "take.wav").write_bytes(content)
    message = refusal(tmp_path / "take.wav")
    assert f"is mislabelled: named .wav, but it holds {what}" in message
    (tmp_path / "notes.txt").write_bytes(content)
    message = refusal(tmp_path / "notes.txt")
    assert f"is not audio: it holds {what}" in message and "expected WAV, FLAC" in message


@pytest.mark.parametrize("suffix", sorted(AUDIO_SUFFIXES))
def test_text_under_any_suffix_is_mislabelled(tmp_path, suffix):
    path = tmp_path / f"take{suffix}"
    path.write_text("not a sound\n" * 100)
    assert "is mislabelled" in refusal(path)


def test_noise_named_mp3(tmp_path):
    (tmp_path / "a.mp3").write_bytes(b"ID3\x03\0\0\0\0\0\0" + bytes([7] * 5000))
    assert "mislabelled or damaged" in refusal(tmp_path / "a.mp3")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.97])
def test_truncated(takes, tmp_path, name, share):
    data = (takes / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * share)])
    message = refusal(tmp_path / name)
    assert "is truncated" in message or (name == "take.mp3" and "damaged" in message)


def lie(data, at, form, value):
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]


def test_headers_that_promise_more_than_there_is(takes, tmp_path):
    wav, aiff, flac, mp3 = (
        (takes / f"take.{s}").read_bytes() for s in ("wav", "aiff", "flac", "mp3")
    )
    data, comm = wav.index(b"data") + 4, aiff.index(b"COMM") + 10
    length = struct.unpack_from("<I", wav, data)[0]
    xing = max(mp3.find(b"Xing"), mp3.find(b"Info")) + 8
    streaminfo = struct.unpack_from(">Q", flac, 18)[0]
    lies = {
        "one.wav": lie(wav, data, "<I", length + 4),
        "ten.wav": lie(wav, data, "<I", 10 * length),
        "comm.aiff": lie(aiff, comm, ">I", 3 * RATE),
        "more.flac": lie(flac, 18, ">Q", streaminfo + 1000),
        "more.mp3": lie(mp3, xing + 4, ">I", len(mp3) + 1),
    }
    for name, content in lies.items():
        (tmp_path / name).write_bytes(content)
        assert "is truncated" in refusal(tmp_path / name), name
    path = tmp_path / "frames.mp3"
    path.write_bytes(lie(mp3, xing, ">I", struct.unpack_from(">I", mp3, xing)[0] + 10))
    for use in (read, lambda path: list(stream(path, 1000))):
        with pytest.raises(AudioError, match="is truncated: its header says"):
            use(path)


def test_a_streamed_wav_need_not_know_its_length(takes, tmp_path):
    wav = (takes / "take.wav").read_bytes()
    for size in (0xFFFFFFFF, 0x7FFFF000):
        (tmp_path / "a.wav").write_bytes(lie(wav, wav.index(b"data") + 4, "<I", size))
        assert probe(tmp_path / "a.wav").frames == 2 * RATE


def test_a_cut_rf64(takes, tmp_path):
    soundfile.write(tmp_path / "a.wav", sound().T, RATE, format="RF64")
    assert probe(tmp_path / "a.wav").frames == 2 * RATE
    (tmp_path / "b.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:-1000])
    assert "is truncated" in refusal(tmp_path / "b.wav")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 1234, 3999])
def test_nan_and_infinity_are_refused(tmp_path, value, at):
    audio = sound(4000, 1)[0]
    audio[at] = value
    soundfile.write(tmp_path / "a.wav", audio, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match="holds NaN or infinite samples"):
        read(tmp_path / "a.wav")
    with pytest.raises(AudioError, match="holds NaN or infinite samples"):
        list(stream(tmp_path / "a.wav", 100))


def test_samples_far_over_full_scale_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", 30_000 * sound()[0], RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match="and full scale is 1"):
        read(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.wav", 30 * sound()[0], RATE, subtype="FLOAT")
    assert np.abs(read(tmp_path / "b.wav")[0]).max() > 3


def test_limits(takes, tmp_path):
    wav = takes / "take.wav"
    assert "lasts 2.0 seconds; expected at most 1.9 seconds" in refusal(
        wav, Limits(max_seconds=1.9)
    )
    assert "has 2 channels; expected at most 1" in refusal(wav, Limits(max_channels=1))
    assert "sample rate of 16000 Hz" in refusal(wav, Limits(min_rate=22_050))
    assert "sample rate of 16000 Hz" in refusal(wav, Limits(max_rate=8000))
    soundfile.write(tmp_path / "many.wav", np.zeros((10, 65)), RATE)
    assert "has 65 channels" in refusal(tmp_path / "many.wav")
    soundfile.write(tmp_path / "slow.wav", np.zeros(10), 500)
    assert "sample rate of 500 Hz" in refusal(tmp_path / "slow.wav")
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 1)), RATE)
    assert "holds no frames" in refusal(tmp_path / "none.wav")
