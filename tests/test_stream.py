"""What a stream gives is what the whole would have given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import TINY_RATE, make_model, noise_samples, tone_samples
from hypothesis import given, settings
from hypothesis import strategies as st
from test_causal import causal_model

from audiovae.apps.stream import Stream
from audiovae.errors import AudioError, UserError
from audiovae.model.autoencoder import AudioVAE


def sound(seconds: float = 1.1, channels: int = 1) -> np.ndarray:
    """Tones, a silence and noise."""
    tones = tone_samples(seconds, channels=channels)
    count = tones.shape[1]
    tones[:, count // 3 : count // 2] = 0
    tones[:, count // 2 :] += 0.1 * noise_samples(seconds)[:, count // 2 : count]
    return tones


def play(stream: Stream, audio: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Push buffers of `sizes`, over and over, and return what came after the latency."""
    parts, start, turn = [], 0, 0
    while start < audio.shape[-1]:
        part = audio[..., start : start + sizes[turn % len(sizes)]]
        made = stream.push(part)
        assert made.shape == part.shape and made.dtype == np.float32
        parts.append(made)
        start, turn = start + part.shape[-1], turn + 1
    parts.append(stream.finish())
    return np.concatenate(parts, axis=-1)[..., stream.latency_samples :]


def models() -> dict[str, AudioVAE]:
    return {
        "default": make_model(),
        "causal": causal_model(),
        "stride": causal_model(2),
        "waveform": make_model("waveform"),
    }


MODELS = models()


@pytest.mark.parametrize("kind", MODELS)
@settings(max_examples=12, deadline=None)
@given(sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=6), extra=st.integers(0, 300))
def test_a_stream_equals_the_whole(kind: str, sizes: list[int], extra: int) -> None:
    model, audio = MODELS[kind], sound()
    audio = audio[:, : audio.shape[1] - extra]
    sizes = [*sizes, 700]  # Single samples alone would take long.
    whole = model.transfer(torch.from_numpy(audio), "flute").numpy()
    made = play(Stream(model, "flute", precision="fp32"), audio, sizes)
    np.testing.assert_allclose(made, whole, atol=1e-4)


@pytest.mark.parametrize("length", [1, 100, 130, 700])
@pytest.mark.parametrize("kind", MODELS)
def test_short_streams(kind: str, length: int) -> None:
    model, audio = MODELS[kind], sound()[:, :length]
    whole = model.transfer(torch.from_numpy(audio), "piano").numpy()
    made = play(Stream(model, "piano", precision="fp32"), audio, [64])
    np.testing.assert_allclose(made, whole, atol=1e-4)


@pytest.mark.parametrize("kind", MODELS)
def test_channels_gain_and_blends(kind: str) -> None:
    model, audio = MODELS[kind], sound(0.7, channels=2)
    blend, gain = {"flute": 0.25, "piano": 0.75}, 1.7
    heard = torch.from_numpy(audio)
    with torch.inference_mode():
        z = model.encode(gain * heard).mean
        whole = blended(model, z, blend)[:, : audio.shape[1]] * model.presence(heard) / gain
    stream = Stream(model, blend, gain=gain, precision="fp32")
    np.testing.assert_allclose(play(stream, audio, [333, 1000]), whole.numpy(), atol=1e-4)


def blended(model: AudioVAE, z: torch.Tensor, blend: dict[str, float]) -> torch.Tensor:
    """Return the sound of the mean of what decoders, or their voices, say of the whole."""
    if not model.waveform:
        return model.vocode(torch.stack([w * model.decode(z, d) for d, w in blend.items()]).sum(0))
    located = {domain: model.locate(z, domain) for domain in blend}
    told = [model.tell(hidden, frames, d) for d, (frames, hidden) in located.items()]
    weights = torch.tensor(list(blend.values()))
    amplitude, links = (torch.stack(parts, -1) @ weights for parts in zip(*told, strict=True))
    return model.voice("flute").sound(amplitude, links)


def test_streams_share_nothing() -> None:
    model, audio = MODELS["causal"], sound()
    alone = play(Stream(model, "flute"), audio, [512])
    one, two = Stream(model, "flute"), Stream(model, "piano")
    parts = []
    for start in range(0, audio.shape[1], 512):
        parts.append(one.push(audio[:, start : start + 512]))
        two.push(audio[:, -512:])
    parts.append(one.finish())
    np.testing.assert_array_equal(np.concatenate(parts, 1)[:, one.latency_samples :], alone)


def test_mono_arrays_and_ends() -> None:
    stream = Stream(MODELS["causal"], "flute")
    assert stream.finish().shape == (0,)
    audio = sound(0.3)[0]
    made = stream.push(audio)
    assert made.shape == audio.shape
    assert not made[: stream.latency_samples].any()
    rest = stream.finish()
    assert rest.shape == (stream.latency_samples,)
    with pytest.raises(AudioError, match="has ended"):
        stream.push(audio)
    assert stream.sample_rate == TINY_RATE


def test_what_is_refused() -> None:
    model = MODELS["causal"]
    stream = Stream(model, "flute")
    stream.push(sound())
    with pytest.raises(AudioError, match="2 channels; this stream has 1"):
        stream.push(sound(channels=2))
    for bad in (np.array([np.nan]), np.zeros(3, np.int16), np.zeros((1, 1, 3), np.float32)):
        with pytest.raises(AudioError, match="finite floating point"):
            stream.push(bad)
    with pytest.raises(UserError, match="no domain 'tuba'"):
        Stream(model, "tuba")
    with pytest.raises(UserError, match="gain is 0"):
        Stream(model, "flute", gain=0)
    with pytest.raises(UserError, match="needs a model with a vocoder"):
        Stream(make_model(vocoder=False), "flute")
