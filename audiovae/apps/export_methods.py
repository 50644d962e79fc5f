"""The methods that are exported as graphs, what they take, and what PyTorch makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from audiovae.apps.export import SECONDS, test_sound
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.export_dft import Dft
from audiovae.model.export_live import StreamTransfer
from audiovae.model.export_phases import Linker, Scan
from audiovae.model.export_sound import Decode, Encode, Transfer

BUFFERS = (1, 3, 2, 5)
"""Lengths of a stream's buffers in latent hops, over and over."""


@dataclass(frozen=True)
class Method:
    """A module of one input, whole."""

    name: str
    module: nn.Module
    truth: Callable[[Tensor], Tensor]
    """What PyTorch's model makes of an input."""
    inputs: list[Tensor]
    """To compare on; the first is traced, the last is one row of `SECONDS` that is timed."""
    names: tuple[str, str]
    """Of its input and output."""
    shapes: tuple[list[str], list[str]]
    """Their axes."""


def whole_methods(model: AudioVAE, domains: Sequence[str]) -> Iterator[Method]:
    """Yield `encode`, and `decode` and `transfer` for each domain."""
    audio = model.config.audio
    dft = Dft(audio.n_fft, audio.hop_length)
    linker = Linker(audio.n_fft, audio.hop_length, Scan())
    encode = Encode(model, dft)
    lengths = [(2, 0.7), (3, 1.03), (1, SECONDS)]
    sounds = [test_sound(audio.sample_rate, seconds, batch) for batch, seconds in lengths]
    latents = [model.encode(sound).mean.contiguous() for sound in sounds]
    wave, hidden = ["batch", "sample"], ["batch", "latent", "frame"]

    def play(domain: str) -> Callable[[Tensor], Tensor]:
        return lambda z: model.vocode(model.decode(z, domain))

    def transfer(domain: str) -> Callable[[Tensor], Tensor]:
        return lambda sound: model.transfer(sound, domain)

    yield Method(
        "encode", encode, lambda x: model.encode(x).mean, sounds, ("audio", "z"), (wave, hidden)
    )
    for domain in domains:
        decode = Decode(model, domain, dft, linker)
        yield Method(
            f"decode.{domain}", decode, play(domain), latents, ("z", "sound"), (hidden, wave)
        )
        yield Method(
            f"transfer.{domain}", Transfer(model, encode, decode), transfer(domain), sounds,
            ("audio", "sound"), (wave, wave),
        )  # fmt: skip


def stream_method(model: AudioVAE, domain: str) -> StreamTransfer:
    """Return the stream of a domain, to be traced."""
    audio = model.config.audio
    linker = Linker(audio.n_fft, audio.hop_length, Scan())
    return StreamTransfer(model, domain, Dft(audio.n_fft, audio.hop_length), linker).eval()


Step = Callable[[Tensor, Tensor, list[Tensor]], tuple[Tensor, Tensor, list[Tensor]]]


def fresh(stream: StreamTransfer, batch: int) -> tuple[Tensor, list[Tensor]]:
    """Return `heard` and the states of a stream that begins."""
    states = [torch.zeros(batch, *shape) for shape in stream.shapes]
    return torch.zeros(1, dtype=torch.int64), states


def settled(model: AudioVAE, late: int) -> int:
    """Return the samples at its end that a stream, which knows no end, plays otherwise."""
    return 0 if late == 0 else model.config.audio.n_fft + model.latency_samples


def play_stream(
    step: Step, stream: StreamTransfer, audio: Tensor, hop: int, buffers: Sequence[int] = BUFFERS
) -> Tensor:
    """Play `audio (batch, sample)` buffer by buffer; return it without the latency, cut to hops."""
    heard, states = fresh(stream, audio.shape[0])
    parts, start, turn = [], 0, 0
    while start + hop <= audio.shape[1]:
        stop = min(start + buffers[turn % len(buffers)] * hop, audio.shape[1] // hop * hop)
        made, heard, states = step(audio[:, start:stop], heard, states)
        parts.append(made)
        start, turn = stop, turn + 1
    return torch.cat(parts, 1)[:, stream.late :]


def stream_pairs(
    model: AudioVAE, domain: str, step: Step, stream: StreamTransfer
) -> tuple[list[tuple[Tensor, Tensor]], list[list[int]]]:
    """Play test sounds of two batches; return what was made and `transfer` of the whole."""
    audio, hop = model.config.audio, model.config.latent_hop
    pairs: list[tuple[Tensor, Tensor]] = []
    shapes = []
    seconds = max(SECONDS, 3 * stream.late / audio.sample_rate)
    for batch in (1, 2):
        sound = test_sound(audio.sample_rate, seconds, batch)
        sound = sound[:, : sound.shape[1] // hop * hop]
        made = play_stream(step, stream, sound, hop)
        # The whole ends in silence that a stream does not know of.
        count = made.shape[1] - settled(model, stream.late)
        pairs.append((made[:, :count], model.transfer(sound, domain)[:, :count]))
        shapes.append(list(sound.shape))
    return pairs, shapes


def stream_facts(model: AudioVAE, stream: StreamTransfer) -> dict[str, Any]:
    """Return what a host must know of a stream."""
    states = [["batch", *shape] for shape in stream.shapes]
    return {"buffer_multiple": model.config.latent_hop, "states": states, "heard": [1]}
