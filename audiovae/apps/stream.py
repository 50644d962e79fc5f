"""Sound played on another instrument while it comes in, buffer by buffer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from audiovae.apps.transfer import pick_voices
from audiovae.errors import AudioError, UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.lines import Line, streams
from audiovae.model.precision import run_in


class Stream:
    """A transfer of one stream: push buffers of any size, get buffers of the same size.

    What comes out, after the first `latency_samples`, is what `AudioVAE.transfer` makes of the
    whole times `gain`, over `gain`. All state is in the object: several streams don't meet.

    Args:
        model: that plays. One of the `causal` preset waits for a window (23 ms); any other waits
            until all that it looks ahead at has come.
        to: a domain, or a blend as `{domain: weight}`.
        gain: factor that brings the input to the level of the training recordings, −20 dB RMS for
            the shipped weights; it is undone at the end.
        precision: `auto`, `fp32`, `bf16` or `int8`.

    Raises:
        UserError: on an unknown domain, and on a log-mel model without a vocoder of its own.
    """

    def __init__(
        self,
        model: AudioVAE,
        to: str | Mapping[str, float],
        *,
        gain: float = 1.0,
        precision: str = "auto",
    ) -> None:
        if not streams(model):
            raise UserError("a stream needs a model with a vocoder: join one, or train it")
        if not 0 < gain < float("inf"):
            raise UserError(f"gain is {gain}; expected more than 0")
        names, blend = ([to], None) if isinstance(to, str) else ([], to)
        (self.voice,) = pick_voices(model, names, blend)
        self.model, self.gain = model, gain
        self.runner = run_in(model, precision)
        self.sample_rate = model.config.audio.sample_rate
        self.latency_samples = model.latency_samples
        """Samples that the output is behind the input."""
        self.batch: int | None = None
        self.ended = False

    def again(self) -> Stream:
        """Return a stream of the same settings that has heard nothing."""
        precision = self.runner.precision
        return Stream(self.model, self.voice.weights, gain=self.gain, precision=precision)

    def _begin(self, channels: int) -> None:
        self.batch = channels
        self.line = Line(self.runner.model, [self.voice.weights], self.gain)
        self.ready = torch.zeros(channels, self.latency_samples, device=self.model.device)

    def push(self, audio: np.ndarray) -> np.ndarray:
        """Play the next buffer.

        Args:
            audio: `(sample,)` or `(channel, sample)` floating point at the model's sample rate.

        Returns:
            float32 of the same shape, `latency_samples` behind. Raises `AudioError` on samples that
            are no sound, and on another number of channels than before.
        """
        return self._run(audio, last=False)

    def finish(self) -> np.ndarray:
        """End the stream and return the `latency_samples` that are still to come."""
        if self.batch is None:
            return np.zeros(0, np.float32)
        return self._run(self.nothing, last=True)

    @torch.inference_mode()
    def _run(self, audio: np.ndarray, last: bool) -> np.ndarray:
        samples = check_buffer(audio, self.ended)
        if self.batch is None:
            self._begin(samples.shape[0])
            self.nothing = np.zeros_like(audio, np.float32)[..., :0]
        if samples.shape[0] != self.batch:
            raise AudioError(f"{samples.shape[0]} channels; this stream has {self.batch}")
        heard = torch.from_numpy(np.ascontiguousarray(samples, np.float32)).to(self.model.device)
        with self.runner.context():
            (played,) = self.line.push(heard, last)
        self.ready = torch.cat([self.ready, played], 1)
        count = self.latency_samples if last else samples.shape[1]
        assert self.ready.shape[1] >= count, "the model needs more samples than its latency says"
        made, self.ready, self.ended = self.ready[:, :count], self.ready[:, count:], last
        return made.cpu().numpy()[0 if np.ndim(audio) == 1 else slice(None)]


def check_buffer(audio: np.ndarray, ended: bool) -> np.ndarray:
    """Return a buffer as `(channel, sample)`. Raises `AudioError` when it is none, or too late."""
    samples = np.atleast_2d(np.asarray(audio))
    if ended:
        raise AudioError("this stream has ended: begin another")
    if samples.ndim != 2 or samples.dtype.kind != "f" or not np.isfinite(samples).all():
        raise AudioError("a buffer must be finite floating point, (sample,) or (channel, sample)")
    return samples
