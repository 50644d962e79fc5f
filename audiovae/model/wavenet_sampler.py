"""A fast sampler for WaveNets: rows of samples, each on its own network, and what they remember.

The loop over samples is compiled, see `audiovae.model.wavenet_kernels`. It equals
`WaveNet.sample_naive`, to the sample in float64, and is hundreds of times as fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from audiovae.audio.augment import mix_seed
from audiovae.model.float_tile import pack, padded
from audiovae.model.wavenet import WaveNet, WaveNetShape, mu_law_decode
from audiovae.model.wavenet_kernels import AHEAD, Memory, Weights, generate, undo_emphasis


def _fill(x: np.ndarray) -> np.ndarray:
    """Return a copy with zeros at the end of its last axis, as many as sums of products have."""
    spare = padded(x.shape[-1], x.dtype) - x.shape[-1]
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, spare)])


def _pack_network(network: WaveNet, dtype: torch.dtype) -> Weights:
    """Return a network's weights for the kernel."""
    shape = network.shape

    def array(x: Tensor) -> np.ndarray:
        return x.detach().to("cpu", dtype, copy=True).numpy()

    layers = network.stack()
    taps = array(torch.stack([layer.gates.weight for layer in layers]))
    many = shape.residual + shape.skip
    out = np.zeros((shape.layers, many, shape.residual), taps.dtype)
    bias = np.zeros((shape.layers, many), taps.dtype)
    for place, layer in enumerate(layers):
        first = many - layer.out.out_features
        out[place, first:] = array(layer.out.weight)
        bias[place, first:] = array(layer.out.bias)
    return Weights(
        array(network.embed.weight),
        pack(taps[..., : shape.residual]),
        pack(taps[..., shape.residual :]),
        pack(out),
        _fill(bias),
        pack(array(network.head.weight)),
        _fill(array(network.head.bias)),
        pack(array(network.out.weight)),
        _fill(array(network.out.bias)),
        np.array(shape.dilations),
        np.cumsum((0, *shape.dilations[:-1])),
    )


@dataclass(frozen=True)
class _Job:
    """Rows that one network plays on one thread."""

    rows: list[int]
    weights: Weights
    memory: Memory
    project: Tensor
    """From a conditioning frame to the gates of all layers: `(layer * gates, condition)`."""
    biases: Tensor
    """Of all gates, `(layer * gates,)`."""

    def frames(self, condition: Tensor) -> np.ndarray:
        """Map `(row, condition, frame)` to what it and the biases add to gates.

        Returns:
            `(frame, layer, row, padded gates)`.
        """
        given = condition.to("cpu", self.project.dtype).permute(2, 0, 1)
        layers = len(self.weights.dilations)
        # Whatever the networks before it are computed in.
        with torch.autocast("cpu", enabled=False):
            made = F.linear(given, self.project, self.biases).unflatten(2, (layers, -1))
        return _fill(made.transpose(1, 2).numpy())


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "audiovae-wavenet")


class Sampler:
    """Draws the samples of rows, each on its own network, and keeps what comes next needs.

    Args:
        networks: one for each row, all of one shape; rows of the same object go together. Their
            weights are copied.
        dtype: float32, or float64 to equal `WaveNet.sample_naive` on networks of that type.
        threads: rows are shared out to so many; as many as torch has when left out.

    Raises `ValueError` when there is none, or their shapes differ.
    """

    def __init__(
        self,
        networks: Sequence[WaveNet],
        *,
        dtype: torch.dtype = torch.float32,
        threads: int | None = None,
    ) -> None:
        if len({network.shape for network in networks}) != 1:
            raise ValueError("a sampler needs networks of one shape, one for each row")
        self.shape: WaveNetShape = networks[0].shape
        self.dtype, self.rows, self.position = dtype, len(networks), 0
        self.threads = threads or torch.get_num_threads()
        most = -(-self.rows // self.threads)
        self.jobs: list[_Job] = []
        for network in dict.fromkeys(networks):
            mine = [row for row, other in enumerate(networks) if other is network]
            weights = _pack_network(network, dtype)
            project = network.condition.weight.detach().to("cpu", dtype, copy=True)
            biases = torch.cat([layer.gates.bias for layer in network.stack()]).detach()
            for part in np.array_split(mine, -(-len(mine) // most)):
                memory = self._silence(len(part), weights)
                self.jobs.append(
                    _Job(part.tolist(), weights, memory, project, biases.to("cpu", dtype))
                )

    def _silence(self, rows: int, weights: Weights) -> Memory:
        shape, kind = self.shape, weights.embed.dtype
        gates = padded(2 * shape.residual, kind)
        return Memory(
            np.zeros((sum(shape.dilations), rows, shape.residual), kind),
            np.zeros((shape.layers, AHEAD, rows, gates), kind),
            np.full(rows, shape.silence, np.int64),
        )

    def draw(self, condition: Tensor, uniforms: Tensor, *, temperature: float = 1.0) -> Tensor:
        """Draw the next codes `(row, sample)`; joined, those of several calls equal those of one.

        Args:
            condition: `(row, condition, frame)`; the first sample is the first of a frame.
            uniforms: `(row, sample)` in [0, 1), no more than there are frames for: the place of
                each sample in its cumulative distribution.
            temperature: divides the logits.

        Raises `ValueError` on other shapes.
        """
        samples, frames = uniforms.shape[1], condition.shape[2]
        if not len(condition) == len(uniforms) == self.rows or samples > frames * self.shape.hop:
            raise ValueError(
                f"{self.rows} rows of at most {frames * self.shape.hop} samples are due, "
                f"not {tuple(uniforms.shape)} with conditions {tuple(condition.shape)}"
            )
        made = np.empty((self.rows, samples), np.int64)
        places = uniforms.detach().to("cpu", torch.float64).numpy()

        def run(job: _Job) -> None:
            given = job.frames(condition[job.rows].detach())
            inverse, codes = given.dtype.type(1 / temperature), np.empty_like(made[job.rows])
            generate(
                job.weights, job.memory, given, places[job.rows], self.shape.hop, self.position,
                inverse, codes,
            )  # fmt: skip
            made[job.rows] = codes

        if self.threads == 1 or len(self.jobs) == 1:
            for job in self.jobs:
                run(job)
        else:
            list(_pool(self.threads).map(run, self.jobs))
        self.position += samples
        return torch.from_numpy(made).to(condition.device)


PLACES = 1 << 14
"""Uniform numbers that one seed draws."""


def places(seed: int, start: int, samples: int) -> Tensor:
    """Return uniform numbers `(sample,)`, float64 in [0, 1), from a sample of a stream on.

    A function of the seed and the sample's number: how a stream is cut changes nothing.
    """
    generator, drawn = torch.Generator(), []
    first, last = start // PLACES, (start + max(samples, 1) - 1) // PLACES
    for number in range(first, last + 1):
        generator.manual_seed(mix_seed(seed, number, 14))
        drawn.append(torch.rand(PLACES, generator=generator, dtype=torch.float64))
    return torch.cat(drawn)[start - first * PLACES :][:samples]


class Playback:
    """Sound of codes while they come in: mu-law, and the emphasis undone.

    Args:
        rows: of codes.
        emphasis: what `emphasise` was given.
        levels: that codes have.
    """

    def __init__(self, rows: int, emphasis: float, levels: int = 256) -> None:
        self.emphasis, self.levels, self.before = emphasis, levels, np.zeros(rows)

    def push(self, codes: Tensor) -> Tensor:
        """Map the next codes `(row, sample)` to sound of the same shape."""
        sound = mu_law_decode(codes, self.levels)
        if self.emphasis:
            made = sound.cpu().contiguous()
            undo_emphasis(made.numpy(), self.emphasis, self.before)
            sound = made.to(codes.device)
        return sound


class Drawing:
    """Sound drawn from networks while their conditions come in: joined, what the whole gives.

    Rows take the same places in their distributions, so that a row does not depend on those beside
    it, and equal channels stay equal. The temperature is the networks' own.

    Args:
        networks: as a `Sampler` has them.
        seed: of what is drawn.
    """

    def __init__(self, networks: Sequence[WaveNet], seed: int) -> None:
        self.sampler, self.seed = Sampler(networks), seed
        shape = self.sampler.shape
        self.playback = Playback(len(networks), shape.emphasis, shape.levels)

    def push(self, condition: Tensor) -> Tensor:
        """Map the next conditions `(row, condition, frame)` to sound `(row, frame * hop)`."""
        samples = condition.shape[2] * self.sampler.shape.hop
        shape, drawn = self.sampler.shape, places(self.seed, self.sampler.position, samples)
        codes = self.sampler.draw(
            condition, drawn.expand(len(condition), -1), temperature=shape.temperature
        )
        return self.playback.push(codes)
