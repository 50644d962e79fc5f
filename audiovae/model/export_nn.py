"""The model as a module for nn~, the external of Max and Pure Data that plays TorchScript.

What nn~ asks of a module: a buffer `<method>_params` of four whole numbers for each method (input
channels, samples an input value stands for, output channels, samples an output value stands for),
lists of labels, `get_methods`, `get_attributes`, and for each attribute a buffer of type codes, a
getter and a setter that returns 0 when it could. Methods map `(batch, channel, value)` to the like.
"""

import torch
from torch import Tensor, nn

from audiovae.model.autoencoder import AudioVAE
from audiovae.model.export_dft import Dft
from audiovae.model.export_live import StreamTransfer
from audiovae.model.export_phases import Linker
from audiovae.model.export_stream import StreamDecoder

TEXT = 3
"""nn~'s code for an attribute that is text."""


class NnModule(nn.Module):
    """A stream that keeps its own states: buffers of whole latent hops join to one sound.

    A change of the batch's size begins it anew. `encode`, `decode` and `forward` share states: a
    module plays one of them, or `encode` and then `decode`.

    Args:
        model: that plays.
        domains: to choose from; the first is chosen.
        dft: of its windows.
        linker: of its phases.
    """

    encode_params: Tensor
    decode_params: Tensor
    forward_params: Tensor
    domain_params: Tensor
    states: list[Tensor]
    heard: Tensor
    decoded: Tensor

    def __init__(self, model: AudioVAE, domains: list[str], dft: Dft, linker: Linker) -> None:
        super().__init__()
        first = StreamTransfer(model, domains[0], dft, linker)
        self.encoder, self.vocoder, self.gate = first.encoder, first.vocoder, first.gate
        others = [StreamDecoder(model, domain) for domain in domains[1:]]
        self.decoders = nn.ModuleList([first.decoder, *others])
        self.shapes, self.ends, self.late = first.shapes, first.ends, first.late
        self.ratio, self.sample_rate = model.config.latent_hop, model.config.audio.sample_rate
        self.domains, self.chosen = domains, 0
        latent = model.config.model.latent_dim
        for name, numbers in {
            "encode": [1, 1, latent, self.ratio],
            "decode": [latent, self.ratio, 1, 1],
            "forward": [1, 1, 1, 1],
        }.items():
            self.register_buffer(f"{name}_params", torch.tensor(numbers))
        self.register_buffer("domain_params", torch.tensor([TEXT]))
        latents = [f"(signal) latent {i}" for i in range(latent)]
        self.encode_input_labels, self.encode_output_labels = ["(signal) sound"], latents
        self.decode_input_labels, self.decode_output_labels = latents, ["(signal) sound"]
        self.forward_input_labels = ["(signal) sound"]
        self.forward_output_labels = ["(signal) sound on the domain's instrument"]
        self.states = []
        self.register_buffer("heard", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("decoded", torch.zeros(1, dtype=torch.int64))

    @torch.jit.export
    def get_methods(self) -> list[str]:
        """Return the names of the methods."""
        return ["encode", "decode", "forward"]

    @torch.jit.export
    def get_attributes(self) -> list[str]:
        """Return the names of what can be set."""
        return ["domain"]

    @torch.jit.export
    def get_domain(self) -> list[str]:
        """Return the domain that is played, in a list, as nn~ reads attributes."""
        return [self.domains[self.chosen]]

    @torch.jit.export
    def set_domain(self, domain: str) -> int:
        """Choose a domain; return 0, or -1 where there is no such."""
        for i, name in enumerate(self.domains):
            if name == domain:
                self.chosen = i
                # What another decoder's layers remember means nothing to this one's.
                for k in range(len(self.states)):
                    if self.ends[0] <= k < self.ends[1]:
                        self.states[k] = torch.zeros_like(self.states[k])
                return 0
        return -1

    @torch.jit.export
    def get_domains(self) -> list[str]:
        """Return all domains."""
        return self.domains

    @torch.jit.export
    def reset(self) -> int:
        """Begin the stream anew; return 0."""
        self.states = []
        return 0

    def begin(self, x: Tensor, ratio: int) -> None:
        """Make states where there are none for this batch. Raises `ValueError` on a bad buffer."""
        if x.dim() != 3 or x.shape[2] == 0 or x.shape[2] % ratio != 0:
            raise ValueError("a buffer must be (batch, channel, sample), whole latent hops long")
        fresh = len(self.states) == 0
        if not fresh:
            fresh = self.states[0].shape[0] != x.shape[0]
        if fresh:
            states: list[Tensor] = []
            rows = [x.shape[0]]
            for shape in self.shapes:
                states.append(torch.zeros(rows + shape, device=x.device))
            self.states = states
            self.heard, self.decoded = torch.zeros_like(self.heard), torch.zeros_like(self.heard)

    def listen(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a buffer `(batch, sample)`: means `(batch, frame, latent)` and their indices."""
        a = self.ends[0]
        z, index, states = self.encoder(audio, self.heard, self.states[:a])
        self.states = states + self.states[a:]
        return z, index

    def play(self, z: Tensor, index: Tensor) -> Tensor:
        """Decode latent frames and their indices to sound `(batch, sample)`."""
        a, b, c = self.ends[0], self.ends[1], self.ends[2]
        logmel, states = z, self.states[a:b]
        begin = index
        for i, decoder in enumerate(self.decoders):
            if i == self.chosen:
                logmel, index, states = decoder(z, begin, self.states[a:b])
        sound, vocoder = self.vocoder(logmel, index, self.states[b:c])
        self.states = self.states[:a] + states + vocoder + self.states[c:]
        return sound

    @torch.jit.export
    def encode(self, x: Tensor) -> Tensor:
        """Map sound `(batch, 1, sample)` to means `(batch, latent, sample / ratio)`."""
        self.begin(x, self.ratio)
        z, _ = self.listen(x[:, 0])
        self.heard = self.heard + x.shape[2]
        return z.transpose(1, 2)

    @torch.jit.export
    def decode(self, x: Tensor) -> Tensor:
        """Map z `(batch, latent, frame)` to sound `(batch, 1, frame * ratio)`."""
        self.begin(x, 1)
        index = self.decoded + torch.arange(x.shape[2], device=x.device)
        self.decoded = self.decoded + x.shape[2]
        return self.play(x.transpose(1, 2), index)[:, None]

    def forward(self, x: Tensor) -> Tensor:
        """Map sound `(batch, 1, sample)` to sound on the domain's instrument."""
        self.begin(x, self.ratio)
        audio, last = x[:, 0], len(self.states) - 1
        z, index = self.listen(audio)
        sound = self.play(z, index)
        sound, gate = self.gate(audio, sound, self.heard, self.states[last])
        self.states[last] = gate
        self.heard = self.heard + x.shape[2]
        return sound[:, None]
