import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audiovae.audio.decode import open_audio
from audiovae.audio.files import (
    AUDIO_SUFFIXES,
    AudioInfo,
    Limits,
    Writer,
    find_audio,
    probe,
    read,
    resample,
    stream,
    write,
)
from audiovae.errors import AudioError

RATE = 16_000
FORMATS = {
    "take.wav": {},
    "take.flac": {},
    "take.ogg": {},
    "take.opus": {"format": "OGG", "subtype": "OPUS"},
    "take.mp3": {},
    "take.aiff": {},
}


def sound(frames=2 * RATE, channels=2, seed=0):
    """Noise with tones under it, `(channels, frames)` float32."""
    now = np.arange(frames) / RATE
    tones = 0.3 * np.sin(2 * np.pi * 440 * now * np.arange(1, channels + 1)[:, None])
    noise = np.random.default_rng(seed).normal(0, 0.02, (channels, frames))
    return (tones + noise).astype(np.float32)


@pytest.fixture(scope="module")
def takes(tmp_path_factory):
    """A folder with one take in each format that libsndfile writes."""
    folder = tmp_path_factory.mktemp("takes")
    for name, options in FORMATS.items():
        soundfile.write(folder / name, sound().T, RATE, **options)
    return folder


@pytest.fixture(scope="module")
def m4a(tmp_path_factory):
    """A take in M4A and one in bare AAC, in one folder."""
    av = pytest.importorskip("av")
    folder = tmp_path_factory.mktemp("aac")
    for name in ("take.m4a", "take.aac"):
        with av.open(str(folder / name), "w") as container:
            encoder = container.add_stream("aac", rate=RATE)
            encoder.layout = "stereo"
            frame = av.AudioFrame.from_ndarray(sound(), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = RATE, 0
            pieces = av.AudioResampler(format="fltp", layout="stereo", rate=RATE, frame_size=1024)
            for piece in (*pieces.resample(frame), *pieces.resample(None), None):
                for packet in encoder.encode(piece):
                    container.mux(packet)
    return folder


def same(name, got, wanted):
    """Compare exactly, but for MP3, whose decoder rounds by where it began."""
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 if name.endswith("mp3") else 0)


def refusal(path, limits=None):
    """Return the message with which `probe` refuses a file; `read` and `stream` refuse it too."""
    options = {} if limits is None else {"limits": limits}
    with pytest.raises(AudioError) as error:
        probe(path, **options)
    message = str(error.value)
    assert "\n" not in message
    with pytest.raises(AudioError):
        read(path, **options)
    with pytest.raises(AudioError):
        list(stream(path, 1000, **options))
    return message


# Reading


@pytest.mark.parametrize("name", FORMATS)
def test_probe_and_read_each_format(takes, name):
    info = probe(takes / name)
    assert (info.frames, info.sample_rate, info.channels) == (2 * RATE, RATE, 2)
    assert info.format == {"take.opus": "OPUS"}.get(name, name.split(".")[1].upper())
    assert info.seconds == 2 and info.path == takes / name
    audio, rate = read(takes / name)
    assert rate == RATE and audio.shape == (2, 2 * RATE) and audio.dtype == np.float32
    likeness = np.corrcoef(audio.ravel(), sound().ravel())[0, 1]
    assert likeness > (0.999999 if name.endswith(("wav", "flac", "aiff")) else 0.98)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=12, deadline=None)
@given(start=st.integers(0, 2 * RATE), frames=st.integers(0, 3 * RATE))
def test_a_range_equals_the_slice_of_the_whole(takes, name, start, frames):
    whole, _ = read(takes / name)
    part, _ = read(takes / name, start, frames)
    same(name, part, whole[:, start : start + frames])


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(FORMATS)),
    block=st.integers(50, 40_000),
    rate=st.sampled_from([None, RATE, 44_100, 8000, 15_999]),
)
def test_stream_joined_equals_read(takes, name, block, rate):
    blocks = list(stream(takes / name, block, rate))
    assert {b.shape[1] for b in blocks[:-1]} <= {block} and 0 < blocks[-1].shape[1] <= block
    same(name, np.concatenate(blocks, 1), read(takes / name, 0, None, rate)[0])


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("name", ["a.mp3", "a.opus"])
def test_decoders_that_depend_on_what_came_before(tmp_path, name, rate):
    """Tones alone make an encoder save bits in one frame for the next: the hard case for MP3."""
    if name == "a.opus" and rate == 44_100:
        return
    now = np.arange(60_011) / rate
    audio = 0.3 * np.sin(2 * np.pi * np.array([[440], [880]]) * now)
    options = FORMATS[f"take{Path(name).suffix}"]
    soundfile.write(tmp_path / name, audio.T, rate, **options)
    whole = read(tmp_path / name)[0]
    for block in (51, 1000, 5000, 60_010):
        same(name, np.concatenate([*stream(tmp_path / name, block)], 1), whole)
    for start in (1, 10_000, 45_000, 59_500, 59_800, 60_000):
        same(name, read(tmp_path / name, start)[0], whole[:, start:])
        same(name, read(tmp_path / name, start, 9)[0], whole[:, start : start + 9])
    with open_audio(tmp_path / name) as decoder:
        for start in (59_900, 59_990, 60_000, 40_000, 59_990):
            decoder.seek(start)
            same(name, decoder.read(11), whole[:, start : start + 11])


@settings(max_examples=25, deadline=None)
@given(
    frames=st.integers(1, 3000),
    channels=st.integers(1, 5),
    block=st.integers(1, 999),
    rate=st.sampled_from([RATE, 48_000, 11_025]),
)
def test_stream_of_odd_lengths_and_channels(tmp_path_factory, frames, channels, block, rate):
    path = write(tmp_path_factory.mktemp("odd") / "a.wav", sound(frames, channels), RATE)
    joined = np.concatenate([*stream(path, block, rate), np.zeros((channels, 0))], 1)
    np.testing.assert_array_equal(joined, read(path, sample_rate=rate)[0])


def test_stream_holds_no_more_than_it_needs(takes):
    blocks = stream(takes / "take.flac", 100)
    assert next(blocks).shape == (2, 100)
    blocks.close()
    with pytest.raises(ValueError, match="block is 0"):
        next(stream(takes / "take.flac", 0))


def test_reading_beyond_the_end(takes):
    assert read(takes / "take.wav", 2 * RATE)[0].shape == (2, 0)
    assert read(takes / "take.wav", 2 * RATE - 5, 100)[0].shape == (2, 5)
    with pytest.raises(AudioError, match="has 32000 frames; frame 32001 is beyond its end"):
        read(takes / "take.wav", 2 * RATE + 1)
    with pytest.raises(ValueError, match="must not be negative"):
        read(takes / "take.wav", -1)


def test_names_that_are_hard(takes, tmp_path):
    names = ["grün 音.wav", "a b%20'c\".wav", "UPPER.WAV", "no suffix", "-dash.wav"]
    if sys.platform == "linux":
        names.append(os.fsdecode(b"not\xfftext.wav"))
    for name in names:
        path = tmp_path / name
        path.write_bytes((takes / "take.wav").read_bytes())
        assert probe(path).frames == read(path)[0].shape[1] == 2 * RATE
        assert probe(str(path)).frames == 2 * RATE


def test_content_counts_not_the_suffix(takes, tmp_path):
    path = tmp_path / "take.wav"
    path.write_bytes((takes / "take.flac").read_bytes())
    assert probe(path).format == "FLAC"
    np.testing.assert_array_equal(read(path)[0], read(takes / "take.flac")[0])
    path.rename(tmp_path / "take.raw")
    assert "rename it" in refusal(tmp_path / "take.raw")


def test_tags_before_the_sound_are_skipped(takes, tmp_path):
    tag = b"ID3\x04\x00\x00\x00\x00\x08\x00" + bytes(1024)
    for name in ("take.mp3", "take.flac"):
        path = tmp_path / name
        path.write_bytes(tag + (takes / name).read_bytes())
        assert probe(path).frames == 2 * RATE


def test_m4a_and_aac(m4a):
    whole, rate = read(m4a / "take.m4a")
    info = probe(m4a / "take.m4a")
    assert (info.format, info.channels, rate) == ("M4A", 2, RATE) == (info.format, 2, RATE)
    assert abs(info.frames - 2 * RATE) < 64 and whole.shape == (2, info.frames)
    assert np.corrcoef(whole[:, : 2 * RATE].ravel(), sound()[:, : info.frames].ravel())[0, 1] > 0.9
    assert probe(m4a / "take.aac").format == "AAC"
    for name in ("take.m4a", "take.aac"):
        whole = read(m4a / name)[0]
        for start, frames in ((0, 100), (5000, 9999), (20_001, 2048), (31_000, 100_000)):
            part = read(m4a / name, start, frames)[0]
            np.testing.assert_allclose(part, whole[:, start : start + frames], atol=1e-5)
        np.testing.assert_array_equal(np.concatenate([*stream(m4a / name, 777)], 1), whole)


def test_m4a_without_pyav_says_what_to_install(m4a, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert "pip install 'audiovae[codecs]'" in refusal(m4a / "take.m4a")


def test_cut_m4a(m4a, tmp_path):
    data = (m4a / "take.m4a").read_bytes()
    (tmp_path / "cut.m4a").write_bytes(data[: len(data) // 2])
    assert "truncated" in refusal(tmp_path / "cut.m4a")


def test_codecs_are_imported_late():
    code = (
        "import sys, audiovae.audio.files; print([m for m in ('av', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Files that can't be read: a clear error for each


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
    assert "lasts 0.00 hours" in refusal(wav, Limits(max_seconds=1.9))
    assert "has 2 channels; expected at most 1" in refusal(wav, Limits(max_channels=1))
    assert "sample rate of 16000 Hz" in refusal(wav, Limits(min_rate=22_050))
    assert "sample rate of 16000 Hz" in refusal(wav, Limits(max_rate=8000))
    soundfile.write(tmp_path / "many.wav", np.zeros((10, 65)), RATE)
    assert "has 65 channels" in refusal(tmp_path / "many.wav")
    soundfile.write(tmp_path / "slow.wav", np.zeros(10), 500)
    assert "sample rate of 500 Hz" in refusal(tmp_path / "slow.wav")
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 1)), RATE)
    assert "holds no frames" in refusal(tmp_path / "none.wav")


def test_info_counts_seconds():
    assert AudioInfo(Path("a.wav"), 66_150, 44_100, 1, "WAV").seconds == 1.5


# Resampling: what lies below both rates stays, what lies above dies


@pytest.mark.parametrize(
    ("hertz", "kept"), [(100, True), (3500, True), (4500, False), (7000, False)]
)
def test_resampling_keeps_or_kills(hertz, kept):
    tone = np.sin(2 * np.pi * hertz / RATE * np.arange(RATE)).astype(np.float32)
    out = resample(tone, RATE, 8000)
    assert out.shape == (8000,) and out.dtype == np.float32
    inner = out[500:-500]
    if kept:
        wanted = np.sin(2 * np.pi * hertz / 8000 * np.arange(8000))[500:-500]
        np.testing.assert_allclose(inner, wanted, atol=1e-3)
    else:
        assert np.abs(inner).max() < 1e-3


def test_resampling_to_the_same_rate_changes_nothing():
    audio = sound(100)
    assert np.array_equal(resample(audio, RATE, RATE), audio)
    assert resample(audio, RATE, 48_000).shape == (2, 300)


# Writing


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


# Finding


def test_find_audio(tmp_path):
    for name in ("b.wav", "A.MP3", "deep/er/c.flac", ".hidden.wav", ".git/d.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    os.symlink(tmp_path, tmp_path / "deep" / "loop")
    names = [path.relative_to(tmp_path).as_posix() for path in find_audio(tmp_path)]
    assert names == ["A.MP3", "b.wav", "deep/er/c.flac"]
    with pytest.raises(AudioError, match="does not exist; expected a folder"):
        find_audio(tmp_path / "nowhere")
    with pytest.raises(AudioError, match="is a file; expected a folder"):
        find_audio(tmp_path / "b.wav")
