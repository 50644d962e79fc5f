"""Verbs that play while sound comes in: live."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import arg

from audiovae.errors import ConfigError
from audiovae.verbs.options import Number, Place, Report, UseModel, WithModel, parse_blend

MOST_BUFFER = 1 << 16


@dataclass(kw_only=True)
class Live:
    """Play what comes in on another instrument, from a sound card's input to its output.

    Needs the extra live; files may stand for either end's device, both or none.
    """

    to: Annotated[str | None, arg(metavar="DOMAIN")] = None
    """Domain to play on."""
    blend: Annotated[str | None, arg(metavar="DOMAIN=WEIGHT,...")] = None
    """Or a blend of domains, as in --blend piano=0.7,flute=0.3."""
    graph: Place = None
    """Or a stream graph of audiovae export, which knows its domain: faster for small buffers."""
    buffer: int = 2048
    """Samples at a time."""
    gain_db: float = 0.0
    """Brings the input to the level of the training recordings; undone at the end."""
    seconds: Number = None
    """To play; until interrupted when left out."""
    source: Annotated[str | None, arg(metavar="DEVICE")] = None
    """Name or number of the input device; the system's own when left out."""
    output: Annotated[str | None, arg(metavar="DEVICE", aliases=["-o"])] = None
    """Name or number of the output device."""
    from_file: Place = None
    """Play this file instead of a device's input…"""
    to_file: Place = None
    """…into this one, as fast as it goes."""

    common: UseModel = field(default_factory=lambda: WithModel(model="causal"))

    def run(self) -> Report:
        """Play."""
        from audiovae.apps.graph_stream import GraphStream
        from audiovae.apps.live import play_devices, play_file
        from audiovae.apps.stream import Stream

        if (self.from_file is None) != (self.to_file is None):
            raise ConfigError("give --from-file and --to-file together, or devices")
        if not 16 <= self.buffer <= MOST_BUFFER:
            raise ConfigError(f"buffer is {self.buffer}; expected 16 to {MOST_BUFFER} samples")
        if not -60 <= self.gain_db <= 60:
            raise ConfigError(f"gain-db is {self.gain_db}; expected -60 to 60")
        gain = 10 ** (self.gain_db / 20)
        blend = parse_blend(self.blend)
        if [self.to is None, blend is None, self.graph is None].count(False) != 1:
            raise ConfigError("give --to, --blend or --graph: what to play on")
        stream: Stream | GraphStream
        if self.graph is not None:
            stream = GraphStream(self.graph, gain=gain, threads=self.common.threads or 1)
            if self.buffer % stream.multiple:
                raise ConfigError(f"buffer is {self.buffer}; expected whole {stream.multiple}s")
            note = f"{self.graph} in ONNX Runtime"
        else:
            found = self.common.find_for([] if self.to is None else [self.to], blend)
            precision = self.common.precision
            stream = Stream(found.model, self.to or blend or {}, gain=gain, precision=precision)
            note = found.note
        behind = 1000 * stream.latency_samples / stream.sample_rate
        length = 1000 * self.buffer / stream.sample_rate
        said = f"{behind:.0f} ms behind the input, and the buffer's {length:.0f} ms"
        if self.from_file is not None and self.to_file is not None:
            played = play_file(stream, self.from_file, self.to_file, self.buffer)
        else:
            print(said, flush=True)
            devices = {"source": _device(self.source), "output": _device(self.output)}
            played = play_devices(stream, self.buffer, self.seconds, **devices)
        facts = {"latency_ms": round(behind, 2), **played.summary()}
        lines = [
            note,
            said,
            f"{facts['buffers']} buffers, {facts['late']} late, {facts['dropped']} lost; "
            f"median {facts['median_ms']} ms, 99.9 % within {facts['p999_ms']} ms",
        ]
        return Report(lines, facts)


def _device(name: str | None) -> str | int | None:
    return int(name) if name is not None and name.isdecimal() else name
