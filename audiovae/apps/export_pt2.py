"""Graphs of torch.export, loaded back and compared."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audiovae.apps.export import SECONDS, Exported, compare, times_realtime
from audiovae.apps.export_methods import (
    fresh,
    play_stream,
    stream_facts,
    stream_method,
    stream_pairs,
    whole_methods,
)
from audiovae.apps.output import safe_name
from audiovae.model.autoencoder import AudioVAE

ANY = torch.export.Dim.DYNAMIC


def stream_shapes(hop: int, states: int) -> tuple[Any, ...]:
    """Return the dynamic axes of a stream's inputs: the batch, and whole latent hops."""
    batch, hops = torch.export.Dim("batch"), torch.export.Dim("hops")
    return {0: batch, 1: hop * hops}, None, [{0: batch}] * states


def write(model: AudioVAE, folder: Path, domains: list[str], int8: bool) -> list[Exported]:
    """Write `<method>.pt2` files. Raises `UserError` where one differs from the model."""
    written = []
    for method in whole_methods(model, domains):
        first, last = method.inputs[0], method.inputs[-1]
        file = f"{safe_name(method.name)}.pt2"
        shapes = ({0: ANY, first.dim() - 1: ANY},)
        run = _saved(method.module, (first,), shapes, folder / file)
        pairs = [(run(x), method.truth(x)) for x in method.inputs]
        written.append(
            Exported(
                method.name,
                file,
                compare(method.name, pairs),
                [list(x.shape) for x in method.inputs],
                times_realtime(lambda run=run, x=last: run(x), SECONDS),  # type: ignore[misc]
                facts={
                    "input": dict([(method.names[0], method.shapes[0])]),
                    "output": dict([(method.names[1], method.shapes[1])]),
                },
            )
        )
    return written + [_write_stream(model, folder, domain) for domain in domains]


def _saved(
    module: nn.Module,
    args: tuple[Any, ...],
    shapes: tuple[Any, ...],
    path: Path,
    guarded: bool = True,
) -> Any:
    """Export a module, write it, and return what is loaded back.

    Not `guarded`, it runs also at sizes of 1, which torch.export takes for another graph: that they
    are none is what the comparison shows.
    """
    program = torch.export.export(module, args, dynamic_shapes=shapes, strict=False)
    # In memory first: where the disk is full, what writes it would end the process.
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    path.write_bytes(buffer.getvalue())
    return torch.export.load(path).module(check_guards=guarded)


def _write_stream(model: AudioVAE, folder: Path, domain: str) -> Exported:
    stream, hop, name = stream_method(model, domain), model.config.latent_hop, f"stream.{domain}"
    args = (torch.zeros(2, 2 * hop), *fresh(stream, 2))
    shapes = stream_shapes(hop, len(stream.shapes))
    step = _saved(stream, args, shapes, folder / f"{name}.pt2", guarded=False)
    pairs, compared = stream_pairs(model, domain, step, stream)
    difference = compare(name, pairs)
    rate = model.config.audio.sample_rate
    sound = torch.zeros(1, round(SECONDS * rate) // hop * hop)

    def run() -> Tensor:
        return play_stream(step, stream, sound, hop)

    speed = times_realtime(run, sound.shape[1] / rate)
    facts = stream_facts(model, stream)
    return Exported(name, f"{name}.pt2", difference, compared, speed, stream.late, facts)
