"""Augmentation of training clips: random arguments for the effects, row by row.

A row's draws depend on the seed and its index alone, so a resumed run, another batch size or
another number of ranks changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from audiovae.audio.effects import (
    add_noise,
    detune_part,
    equalise,
    gain,
    polarity,
    reshape_envelopes,
    retune,
    reverberate,
)
from audiovae.config import AugmentConfig

EQ_POINTS = 2049
"""Points of a drawn equaliser curve from 0 Hz to half the sample rate."""
EQ_WAVES = 5
"""Cosines over the octaves that a drawn equaliser curve is made of."""
EQ_LOW = 40.0
"""Frequency in hertz below which a drawn equaliser curve is flat."""
NOISE_RANGE_DB = 30.0
"""Noise is drawn from this far below the loudest up to the loudest."""
PART_SECONDS = (0.25, 0.5)
"""Shortest and longest detuned part."""
FADE_SECONDS = 0.01
"""Crossfade at both ends of a detuned part."""
ROOM_SECONDS = (0.2, 1.5)
"""Shortest and longest reverberation time."""
ROOM_RANGE_DB = 15.0
"""A room's energy is drawn from this far below the loudest up to the loudest."""
TAIL_SECONDS = 0.75
"""Of a room's tail that are heard: after them it is 30 dB down, or more."""
HOLD_SECONDS = (0.08, 1.0)
"""Shortest and longest time constant in which a held band loses height."""
RELEASE_NATS = (0.9, 26.0)
"""Slowest and fastest release of the half of the envelopes that have one, in nats a second."""
UNIFORMS = 14
"""Uniform draws a row: adding one at the end leaves the others as they were."""


def curve_basis(sample_rate: int) -> Tensor:
    """Return smooth curves over the octaves, `(EQ_WAVES, EQ_POINTS)`.

    Their sum with independent weights of standard deviation s has that deviation everywhere.
    """
    hertz = torch.linspace(0, sample_rate / 2, EQ_POINTS)
    octaves = torch.log2(hertz.clamp_min(EQ_LOW) / EQ_LOW)
    waves = torch.arange(1, EQ_WAVES + 1)[:, None]
    basis = torch.cos(math.pi * waves * octaves / octaves[-1])
    return basis / basis.norm(dim=0)


def mix_seed(*parts: int) -> int:
    """Return a 63-bit seed from whole numbers, by the finaliser of SplitMix64 after each."""
    mask, state = (1 << 64) - 1, 0
    for part in parts:
        state = (state + part + 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return state >> 1


class Augment:
    """Draw and apply the augmentation that a config asks for."""

    def __init__(self, config: AugmentConfig, sample_rate: int) -> None:
        self.config = config
        self.sample_rate = sample_rate
        self.basis = curve_basis(sample_rate)

    @torch.no_grad()
    def __call__(
        self, audio: Tensor, generator_seed: int, rows: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return what the encoder reads and what is to be reconstructed.

        Args:
            audio: `(batch, sample)` float32; left as it is.
            generator_seed: seed of this batch.
            rows: global index of each row, 0, 1, 2… when left out. Rows with one index get the
                same draws.

        Returns:
            `(input, target)`, both `(batch, sample)` and new. Gain, polarity and the whole-clip
            tuning are in both; detuning of a part, room, equaliser and noise are in `input` alone.
        """
        target = self.share(audio, generator_seed, rows)
        return self.spoil(target, generator_seed, rows), target

    @torch.no_grad()
    def share(
        self, audio: Tensor, generator_seed: int, rows: Sequence[int] | None = None
    ) -> Tensor:
        """Return `audio` with the gain, polarity and tuning that input and target have in common.

        Renders of one moment in two domains stay a pair when both are given one seed and index.
        """
        config, device = self.config, audio.device
        uniform, _ = self._draw(generator_seed, _indices(audio, rows))
        spread = (2 * uniform - 1).to(device)
        shared = polarity(
            gain(audio, config.gain_db * spread[:, 0]),
            torch.where(uniform[:, 1] < config.polarity, -1.0, 1.0).to(device),
        )
        if config.tuning > 0:
            chosen = _chosen(uniform[:, 2], config.tuning_probability, device)
            if len(chosen):
                offset = config.tuning * spread[chosen, 3]
                shared[chosen] = retune(shared[chosen], offset)
        return shared

    @torch.no_grad()
    def spoil(
        self, audio: Tensor, generator_seed: int, rows: Sequence[int] | None = None
    ) -> Tensor:
        """Return `audio` with what the encoder looks past: detuning, room, equaliser, noise.

        Some rows stay clean, so that a critic hears what they are: an equaliser hides it.
        """
        if audio.shape[0] == 0:
            return audio.clone()
        config, device = self.config, audio.device
        rows = _indices(audio, rows)
        uniform, normal = self._draw(generator_seed, rows)
        spread = (2 * uniform - 1).to(device)
        source = audio.clone()
        if config.detune > 0:
            chosen = _chosen(uniform[:, 4], config.detune_probability, device)
            if len(chosen):
                start, length = self._parts(uniform.to(device)[chosen], audio.shape[-1])
                offset = config.detune * spread[chosen, 5]
                fade = round(FADE_SECONDS * self.sample_rate)
                source[chosen] = detune_part(source[chosen], offset, start, length, fade)
        chosen = _chosen(uniform[:, 10], config.room_probability, device)
        if len(chosen):
            drawn = [rows[i] for i in chosen.tolist()]
            source[chosen] = self._room(
                generator_seed, drawn, source[chosen], uniform[chosen.cpu()]
            )
        if config.eq_db > 0:
            self.basis = self.basis.to(device)
            source = equalise(source, _weighted((config.eq_db * normal).to(device), self.basis))
        if config.noise_db > -math.inf:
            chosen = _chosen(uniform[:, 8], config.noise_probability, device)
            if len(chosen):
                level = config.noise_db - NOISE_RANGE_DB * uniform.to(device)[chosen, 9]
                drawn = [rows[i] for i in chosen.tolist()]
                noise = self._noise(generator_seed, drawn, audio)
                source[chosen] = add_noise(source[chosen], level, noise)
        clean = _chosen(uniform[:, 13], config.clean_probability, device)
        source[clean] = audio[clean]
        return source

    @torch.no_grad()
    def reshape(
        self,
        heights: Tensor,
        generator_seed: int,
        frame_rate: float,
        rows: Sequence[int] | None = None,
    ) -> Tensor:
        """Give some rows other envelopes: they decay, or linger, as other instruments do.

        Args:
            heights: `(batch, band, frame)` log amplitudes in nats above the floor; left as it is.
            generator_seed: seed of this batch. Rows that `spoil` leaves clean are left here too.
            frame_rate: frames a second.
            rows: global index of each row, as in `__call__`.
        """
        config, rows = self.config, _indices(heights, rows)
        if config.envelope_probability == 0 or not rows:
            return heights
        clean = self._draw(generator_seed, rows)[0][:, 13] < config.clean_probability
        drawn = torch.empty(len(rows), 5)
        generator = torch.Generator()
        for i, row in enumerate(rows):
            drawn[i].uniform_(generator=generator.manual_seed(mix_seed(generator_seed, row, 4)))
        chosen = ((drawn[:, 0] < config.envelope_probability) & ~clean).nonzero().squeeze(1)
        uniform, chosen = drawn[chosen].to(heights.device), chosen.to(heights.device)
        free = torch.full_like(uniform[:, 3], math.inf)
        shaped = heights.clone()
        shaped[chosen] = reshape_envelopes(
            heights[chosen],
            config.envelope_depth * uniform[:, 1],
            _between(HOLD_SECONDS, uniform[:, 2]),
            torch.where(uniform[:, 3] < 0.5, _between(RELEASE_NATS, uniform[:, 4]), free),
            frame_rate,
        )
        return shaped

    def _draw(self, seed: int, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return uniform `(batch, UNIFORMS)` and normal `(batch, EQ_WAVES)` draws on the CPU."""
        generator = torch.Generator()
        uniform = torch.empty(len(rows), UNIFORMS)
        normal = torch.empty(len(rows), EQ_WAVES)
        for i, row in enumerate(rows):
            generator.manual_seed(mix_seed(seed, row, 0))
            uniform[i].uniform_(generator=generator)
            normal[i].normal_(generator=generator)
        return uniform, normal

    def _parts(self, uniform: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        """Return the first sample and the length of each row's detuned part."""
        shortest, longest = PART_SECONDS
        seconds = shortest + (longest - shortest) * uniform[:, 6]
        length = (seconds * self.sample_rate).long().clamp_max(samples)
        start = (uniform[:, 7] * (samples - length + 1)).long()
        return start, length

    def _room(self, seed: int, rows: Sequence[int], audio: Tensor, uniform: Tensor) -> Tensor:
        """Put rows of `audio (row, sample)` into rooms by their draws `uniform (row, UNIFORMS)`."""
        shortest, longest = ROOM_SECONDS
        seconds = (shortest + (longest - shortest) * uniform[:, 11]).to(audio.device)
        level = (self.config.room_db - ROOM_RANGE_DB * uniform[:, 12]).to(audio.device)
        taps = audio.new_empty(len(rows), round(TAIL_SECONDS * self.sample_rate))
        noise = self._noise(mix_seed(seed, 2), rows, taps)
        return reverberate(audio, seconds, level, noise, self.sample_rate)

    def _noise(self, seed: int, rows: Sequence[int], like: Tensor) -> Tensor:
        """Return white noise of unit power, `(len(rows), sample)`, on the device of `like`."""
        generator = torch.Generator(like.device)
        noise = like.new_empty(len(rows), like.shape[-1])
        for i, row in enumerate(rows):
            generator.manual_seed(mix_seed(seed, row, 1))
            noise[i].normal_(generator=generator)
        return noise


def _indices(audio: Tensor, rows: Sequence[int] | None) -> Sequence[int]:
    """Return the global index of each row."""
    if rows is None:
        return range(audio.shape[0])
    if len(rows) != audio.shape[0]:
        raise ValueError(f"{len(rows)} row indices for a batch of {audio.shape[0]}")
    return rows


def _chosen(uniform: Tensor, probability: float, device: torch.device) -> Tensor:
    """Return the indices of rows whose draw falls below `probability`."""
    return (uniform < probability).nonzero().squeeze(1).to(device)


def _weighted(weights: Tensor, waves: Tensor) -> Tensor:
    """Return `weights (batch, wave)` times `waves (wave, point)`, `(batch, point)`.

    A matrix product would round a row by how many there are beside it; between the partials of a
    clean sound, near the floor of log-mels, that is heard in the fourth digit.
    """
    made = torch.zeros(len(weights), waves.shape[1], device=waves.device)
    for weight, wave in zip(weights.T, waves, strict=True):
        made.addcmul_(weight[:, None], wave)
    return made


def _between(ends: tuple[float, float], uniform: Tensor) -> Tensor:
    """Map 0 to 1 to the range between two ends, by ratio."""
    low, high = ends
    return low * (high / low) ** uniform
