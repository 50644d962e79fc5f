"""ONNX graphs, run by ONNX Runtime and compared; in 8 bits too."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audiovae.apps.export import SECONDS, Exported, compare, test_sound, times_realtime
from audiovae.apps.export_methods import (
    Method,
    fresh,
    play_stream,
    stream_facts,
    stream_method,
    stream_pairs,
    whole_methods,
)
from audiovae.apps.export_pt2 import ANY, stream_shapes
from audiovae.apps.output import safe_name
from audiovae.metrics.distances import log_spectral_distance
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.blocks import Block, Pointwise
from audiovae.model.eight_bits import SMALL
from audiovae.model.export_live import StreamTransfer

Run = Callable[..., list[Tensor]]


def write(model: AudioVAE, folder: Path, domains: list[str], int8: bool) -> list[Exported]:
    """Write `<method>.onnx` files. Raises `UserError` where one differs from the model."""
    shapes = layer_shapes(model)
    written = []
    for method in whole_methods(model, domains):
        written += _write_whole(model, folder, method, shapes if int8 else None)
    for domain in domains:
        written += write_stream(model, folder, domain, int8)
    return written


def open_session(path: Path) -> Run:
    """Return a function that runs a graph on tensors, inputs in their order."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(*inputs: Tensor) -> list[Tensor]:
        given = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
        return [torch.from_numpy(made) for made in session.run(None, given)]

    return run


def _write_whole(
    model: AudioVAE, folder: Path, method: Method, shapes: set[tuple[int, int]] | None
) -> list[Exported]:
    name, x, last = method.name, method.inputs[0], method.inputs[-1]
    path = folder / f"{safe_name(name)}.onnx"
    torch.onnx.export(
        method.module, (x,), path, dynamo=True, verbose=False, external_data=False,
        input_names=[method.names[0]], output_names=[method.names[1]],
        dynamic_shapes=({0: ANY, x.dim() - 1: ANY},),
    )  # fmt: skip
    compared = [list(x.shape) for x in method.inputs]
    facts = {
        "input": {method.names[0]: method.shapes[0]},
        "output": {method.names[1]: method.shapes[1]},
        "types": check_types(path),
    }
    run = open_session(path)
    made = [run(x)[0] for x in method.inputs]
    truth = [method.truth(x) for x in method.inputs]
    difference = compare(name, list(zip(made, truth, strict=True)))
    speed = times_realtime(lambda: run(last), SECONDS)
    written = [Exported(name, path.name, difference, compared, speed, facts=facts)]
    if shapes is not None:
        small = quantise(path, shapes)
        run = open_session(small)
        speed = times_realtime(lambda: run(last), SECONDS)
        coarse = run(last)[0]
        cost = _cost(coarse, made[-1], model.config.audio.sample_rate)
        written.append(_in_8_bits(written[0], small, speed, cost, [(coarse, truth[-1])]))
    return written


def write_stream(model: AudioVAE, folder: Path, domain: str, int8: bool) -> list[Exported]:
    """Write `stream.<domain>.onnx`. Raises `UserError` where it differs from the model."""
    stream, hop, name = stream_method(model, domain), model.config.latent_hop, f"stream.{domain}"
    path, count = folder / f"{safe_name(name)}.onnx", len(stream.shapes)
    torch.onnx.export(
        stream, (torch.zeros(2, 2 * hop), *fresh(stream, 2)), path, dynamo=True, verbose=False,
        external_data=False, dynamic_shapes=stream_shapes(hop, count),
        input_names=["audio", "heard", *(f"state.{i}" for i in range(count))],
        output_names=["sound", "heard.next", *(f"state.{i}.next" for i in range(count))],
    )  # fmt: skip
    step = _step(open_session(path))
    pairs, compared = stream_pairs(model, domain, step, stream)
    difference = compare(name, pairs)
    rate = model.config.audio.sample_rate
    speed = _stream_speed(step, stream, hop, rate)
    facts = {**stream_facts(model, stream), "types": check_types(path)}
    one = Exported(name, path.name, difference, compared, speed, stream.late, facts)
    if not int8:
        return [one]
    small = quantise(path, layer_shapes(model))
    coarse = _step(open_session(small))
    made, _ = stream_pairs(model, domain, coarse, stream)
    cost = _cost(made[0][0], pairs[0][0], rate)
    return [one, _in_8_bits(one, small, _stream_speed(coarse, stream, hop, rate), cost, made)]


def _step(run: Run) -> Callable[..., tuple[Tensor, Tensor, list[Tensor]]]:
    def step(
        audio: Tensor, heard: Tensor, states: list[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        sound, heard, *states = run(audio, heard, *states)
        return sound, heard, states

    return step


def _stream_speed(step: Any, stream: StreamTransfer, hop: int, rate: int) -> float:
    sound = test_sound(rate, SECONDS)
    return times_realtime(lambda: play_stream(step, stream, sound, hop), SECONDS)


def check_types(path: Path) -> list[str]:
    """Return the types of a graph's tensors, as ONNX names them, after its check.

    Raises `RuntimeError` where one is complex.
    """
    import onnx

    model = onnx.load(path)
    onnx.checker.check_model(model)
    found: set[int] = set()
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        infos = itertools.chain(graph.input, graph.output, graph.value_info)
        found |= {info.type.tensor_type.elem_type for info in infos}
        found |= {tensor.data_type for tensor in graph.initializer}
        # The scan's own graph.
        graphs += [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    names = sorted(onnx.TensorProto.DataType.Name(kind) for kind in found if kind)
    if any("COMPLEX" in name for name in names):
        raise RuntimeError(f"{path} holds complex numbers")
    return names


def layer_shapes(model: nn.Module) -> set[tuple[int, int]]:
    """Return the shapes of the weights that 8 bits are for: as `audiovae.model.eight_bits` has it.

    Both ways round: an exporter may turn them.
    """
    layers: list[nn.Linear] = []
    for module in model.modules():
        if isinstance(module, Block):
            layers += [module.widen, module.narrow]
        elif isinstance(module, Pointwise) and module.weight.numel() >= SMALL:
            layers.append(module)
    ways = [(layer.in_features, layer.out_features) for layer in layers]
    return {*ways, *((b, a) for a, b in ways)}


def quantise(path: Path, shapes: set[tuple[int, int]]) -> Path:
    """Write a graph with the products of weights of `shapes` in 8 bits; return its path."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(path).graph
    weights = {one.name for one in graph.initializer if tuple(one.dims) in shapes}
    nodes = [
        node.name
        for node in graph.node
        if node.op_type in ("MatMul", "Gemm") and weights & set(node.input)
    ]
    if not nodes:
        raise RuntimeError(f"{path} has no layers to quantise")
    small = path.with_name(f"{path.name.removesuffix('.onnx')}.int8.onnx")
    quantize_dynamic(
        path, small, nodes_to_quantize=nodes, weight_type=QuantType.QInt8, per_channel=True
    )
    return small


def _cost(made: Tensor, exact: Tensor, sample_rate: int) -> dict[str, float]:
    """Return what 8 bits cost: decibels for sound, standard deviations for z."""
    if made.dim() == 2:
        distances = log_spectral_distance(made.numpy(), exact.numpy(), sample_rate)
        return {"log_spectral_distance_db": float(np.mean(distances))}
    return {"error_over_deviation": float((made - exact).square().mean().sqrt() / exact.std())}


def _in_8_bits(
    one: Exported,
    path: Path,
    speed: float,
    cost: dict[str, float],
    pairs: list[tuple[Tensor, Tensor]],
) -> Exported:
    """Return what there is to say of the 8-bit form of a graph, which is not held to be equal."""
    difference = max(float((made - truth).abs().max()) for made, truth in pairs)
    return Exported(
        f"{one.method}.int8", path.name, difference, one.compared_on[-len(pairs) :], speed,
        one.latency_samples, {**one.facts, "cost_of_8_bits": cost},
    )  # fmt: skip
