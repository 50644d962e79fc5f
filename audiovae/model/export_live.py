"""The end of a stream: log-mel frames to sound, the gate of silence, and all of it in a row."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.model.autoencoder import AudioVAE
from audiovae.model.export_dft import Dft, join_windows
from audiovae.model.export_gate import Gate, ahead
from audiovae.model.export_phases import Linker
from audiovae.model.export_sound import Player, Teller
from audiovae.model.export_stream import (
    Conv,
    Frames,
    StreamDecoder,
    StreamEncoder,
    stream_blocks,
    there,
)
from audiovae.model.vocoder import LinkedVocoder, scaled


class StreamVocoder(nn.Module):
    """Log-mel frames to sound, as `LinkedVocoder` does."""

    def __init__(self, vocoder: LinkedVocoder, dft: Dft, linker: Linker) -> None:
        super().__init__()
        audio, causal = vocoder.config.audio, vocoder.config.audio.causal
        self.dft, self.linker, self.hop, self.bins = dft, linker, audio.hop_length, audio.n_bins
        self.embed, self.norm = Frames([Conv(vocoder.embed, causal)]), vocoder.norm
        self.blocks = Frames(stream_blocks(vocoder.blocks, causal))
        self.teller, self.player = Teller(vocoder), Player(vocoder, dft)
        self.count = len(self.blocks.shapes)
        self.waits = self.embed.after + self.blocks.after
        rounds, side = vocoder.config.vocoder.refinements, -(-dft.side // audio.hop_length)
        self.lead = rounds * vocoder.beside + side if rounds > 0 else 0
        """Frames whose phases reach a frame's sound, on each side."""
        rest = [2 * self.lead, 3 * self.bins] if self.lead else [(dft.hops - 1) * self.hop]
        waiting = [[self.waits, audio.n_mels]] if self.waits else []
        self.shapes = [linker.state_shape, rest, *self.embed.shapes, *self.blocks.shapes, *waiting]
        """Of a row's states."""
        self.late = self.waits * self.hop + (self.lead * self.hop if self.lead else dft.side)
        """Samples that the sound is behind log-mel frames."""

    def forward(
        self, logmel: Tensor, index: Tensor, states: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Play `logmel (batch, frame, n_mels)` with the indices of its frames.

        Returns sound `(batch, frame * hop_length)` and the states.
        """
        x, index, first = self.embed(scaled(logmel), index, states[2:3])
        x, index, blocks = self.blocks(self.norm(x), index, states[3 : 3 + self.count])
        valid = there(index)
        waiting: list[Tensor] = []
        if self.waits > 0:
            both = torch.cat([states[-1], logmel], 1)
            logmel, waiting = both[:, : logmel.shape[1]], [both[:, logmel.shape[1] :]]
        amplitude, links = self.teller(x, logmel)
        amplitude = amplitude * valid[None, :, None]
        x, y, state = self.linker(links, amplitude, valid, states[0])
        if self.lead > 0:
            sound, rest = self.refine(amplitude, x, y, index, states[1])
        else:
            sound, rest = self.add(amplitude, x, y, index, states[1])
        after: list[Tensor] = [state, rest]
        return sound, after + first + blocks + waiting

    def refine(
        self, amplitude: Tensor, x: Tensor, y: Tensor, index: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Play the frames whose neighbours on both sides are known: `lead` frames later."""
        frames, lead = index.shape[0], self.lead
        told = torch.cat([state, torch.cat([amplitude, x, y], 2)], 1)
        earlier = torch.arange(2 * lead, device=index.device) - 2 * lead
        valid = there(torch.cat([index[:1] + earlier, index]))
        amplitude, x, y = torch.split(told, self.bins, 2)
        sound = self.player(amplitude, x, y, valid)
        return sound[:, lead * self.hop : (lead + frames) * self.hop], told[:, frames:]

    def add(
        self, amplitude: Tensor, x: Tensor, y: Tensor, index: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Add windows up and give what no later one reaches."""
        ready, more = index.shape[0] * self.hop, self.dft.hops - 1
        signs = self.player.signs
        windows = self.dft.inverse(amplitude * x * signs, amplitude * y * signs)
        total = join_windows(windows, self.hop) + F.pad(state, (0, ready))
        earlier = torch.arange(more, device=index.device) - more
        weight = self.dft.envelope(there(torch.cat([index[:1] + earlier, index])))
        weight = weight[more * self.hop :][:ready].clamp_min(self.dft.least)
        place = index[:1] * self.hop - self.dft.side + torch.arange(ready, device=index.device)
        return total[:, :ready] / weight * there(place), total[:, ready:]


class StreamTransfer(nn.Module):
    """A buffer of sound to a buffer on another instrument, `late` samples behind."""

    def __init__(self, model: AudioVAE, domain: str, dft: Dft, linker: Linker) -> None:
        super().__init__()
        assert model.vocoder is not None
        self.decoder = StreamDecoder(model, domain)
        self.vocoder = StreamVocoder(model.vocoder, dft, linker)
        self.encoder = StreamEncoder(model, dft)
        self.late = latency(self.encoder, self.decoder, self.vocoder)
        missing = ahead(model) - self.late // dft.hop_length
        if missing > 0:
            self.encoder = StreamEncoder(model, dft, self.encoder.late + missing)
            self.late = latency(self.encoder, self.decoder, self.vocoder)
        self.gate = Gate(model, self.late)
        parts = (self.encoder.shapes, self.decoder.shapes, self.vocoder.shapes, self.gate.shapes)
        self.shapes = [shape for part in parts for shape in part]
        """Of a row's states."""
        first, second = len(parts[0]), len(parts[0]) + len(parts[1])
        self.ends = [first, second, second + len(parts[2])]

    def forward(
        self, audio: Tensor, heard: Tensor, states: list[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Play a buffer.

        Args:
            audio: `(batch, sample)`, whole latent hops.
            heard: samples of the stream before it, int64 `(1,)`, 0 at the beginning.
            states: as `shapes` has them, `(batch, …)` each, zeros at the beginning.

        Returns:
            Sound `(batch, sample)`, and `heard` and `states` for the next buffer.
        """
        a, b, c = self.ends[0], self.ends[1], self.ends[2]
        z, index, encoder = self.encoder(audio, heard, states[:a])
        logmel, index, decoder = self.decoder(z, index, states[a:b])
        sound, vocoder = self.vocoder(logmel, index, states[b:c])
        sound, gate = self.gate(audio, sound, heard, states[c])
        return sound, heard + audio.shape[1], encoder + decoder + vocoder + [gate]


def latency(encoder: StreamEncoder, decoder: StreamDecoder, vocoder: StreamVocoder) -> int:
    """Return the samples that the sound of a stream is behind."""
    return (encoder.after + decoder.after) * encoder.hop + vocoder.late
