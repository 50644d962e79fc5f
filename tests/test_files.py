"""Sound files are probed, read, streamed, resampled and found."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from takes import FORMATS, RATE, refusal, same, sound

from audiovae.audio.decode import open_audio
from audiovae.audio.files import (
    AudioInfo,
    find_audio,
    probe,
    read,
    resample,
    stream,
    write,
)
from audiovae.errors import AudioError


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


@pytest.mark.parametrize(("layout", "channels"), [("7.1", 8), ("hexadecagonal", 16)])
@pytest.mark.parametrize("kind", ["m4a", "aac"])
def test_aac_of_many_channels(kind, layout, channels, tmp_path):
    """PyAV takes what lies behind eight planes for more of them, so none is asked for."""
    av, path = pytest.importorskip("av"), tmp_path / f"many.{kind}"
    pitches = 200.0 * np.arange(1, channels + 1)
    tones = 0.2 * np.sin(2 * np.pi * pitches * np.arange(RATE // 2)[:, None] / RATE)
    with av.open(str(path), "w") as container:
        encoder = container.add_stream("aac", rate=RATE, layout=layout)
        encoder.bit_rate = 32_000 * channels
        packed = tones.astype(np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate = RATE
        for packet in (*encoder.encode(frame), *encoder.encode(None)):
            container.mux(packet)
    sounds, rate = read(path)
    assert rate == RATE and sounds.shape[0] == channels == probe(path).channels
    spectra = np.abs(np.fft.rfft(sounds[:, 2000 : 2000 + RATE // 4]))
    heard = spectra.argmax(1) * 4.0
    wanted = [pitch for i, pitch in enumerate(pitches) if i != 3]  # the fourth of 7.1 is for bass
    np.testing.assert_allclose(np.delete(heard, 3), wanted, atol=8)


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


@pytest.mark.parametrize("samples", [1, 2, 100])
def test_channels_are_resampled_each_for_itself(samples):
    audio = np.asfortranarray(np.random.default_rng(0).standard_normal((3, samples)), np.float32)
    rows = [resample(row, RATE, 44_100) for row in audio]
    together = resample(audio, RATE, 44_100)
    assert together.flags.c_contiguous and np.array_equal(together, rows)


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


def test_vorbis_whose_last_page_promises_a_little_more_is_read_to_its_end(tmp_path):
    path = tmp_path / "long.ogg"
    tone = 0.2 * np.sin(np.arange(40_000) * 0.05, dtype=np.float64)
    soundfile.write(path, tone, 44_100)
    content = bytearray(path.read_bytes())
    page = content.rfind(b"OggS")
    promised = int.from_bytes(content[page + 6 : page + 14], "little") + 104
    content[page + 6 : page + 14] = promised.to_bytes(8, "little")
    content[page + 22 : page + 26] = bytes(4)
    checksum = 0
    for byte in content[page:]:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1) ^ (0x104C11DB7 if checksum & 0x80000000 else 0)
    content[page + 22 : page + 26] = checksum.to_bytes(4, "little")
    path.write_bytes(content)
    assert soundfile.info(path).frames == 40_104
    held = probe(path).frames
    assert 40_000 <= held <= 40_104
    audio, _ = read(path)
    assert audio.shape == (1, held)
    np.testing.assert_allclose(audio[0, 1_000:39_000], tone[1_000:39_000], atol=0.03)
