"""A stream played by an exported graph: ONNX Runtime in place of PyTorch, for small buffers."""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

from audiovae.apps.export import REPORT
from audiovae.apps.stream import check_buffer
from audiovae.errors import CheckpointError, UserError


class GraphStream:
    """A transfer of one stream by a `stream` graph of `audiovae export --format onnx`.

    It is used like `audiovae.Stream`, but buffers are whole latent hops, and it ends without
    knowing so: what it played last, a window or so, is what it would play if silence followed.

    Args:
        path: `stream.<domain>.onnx`, with the export's `report.json` beside it.
        gain: factor that brings the input to the level of the training recordings; it is undone.
        threads: of the processor.

    Raises:
        UserError: where ONNX Runtime is missing or the gain is not above 0.
        CheckpointError: where there is no such graph, or no report that says what it is.
    """

    def __init__(self, path: str | Path, *, gain: float = 1.0, threads: int = 1) -> None:
        path = Path(path)
        if importlib.util.find_spec("onnxruntime") is None:
            raise UserError("no onnxruntime here: pip install 'audiovae[onnx]'")
        if not 0 < gain < float("inf"):
            raise UserError(f"gain is {gain}; expected more than 0")
        facts, told = _facts(path)
        self.sample_rate = int(told["sample_rate"])
        self.latency_samples = int(facts["latency_samples"])
        """Samples that the output is behind the input."""
        self.multiple = int(facts["buffer_multiple"])
        """Buffers are so many samples, or a multiple."""
        self.gain, self.session = gain, _open(path, threads)
        self.inputs = self.session.get_inputs()
        self.states: list[np.ndarray] | None = None
        self.ended = False

    def again(self) -> GraphStream:
        """Return a stream of the same settings that has heard nothing."""
        fresh = copy.copy(self)
        fresh.states, fresh.ended = None, False
        return fresh

    def push(self, audio: np.ndarray) -> np.ndarray:
        """Play the next buffer: as `Stream.push`, of a multiple of `multiple` samples."""
        samples = check_buffer(audio, self.ended)
        if samples.shape[1] % self.multiple:
            raise UserError(
                f"a buffer of {samples.shape[1]} samples; this graph takes multiples of "
                f"{self.multiple}"
            )
        if self.states is None:
            self.states = [_zeros(one, samples.shape[0]) for one in self.inputs[1:]]
            self.nothing = np.zeros_like(audio, np.float32)[..., :0]
        names = [one.name for one in self.inputs]
        heard = np.ascontiguousarray(samples, np.float32) * np.float32(self.gain)
        played, *self.states = self.session.run(
            None, dict(zip(names, [heard, *self.states], strict=True))
        )
        made = played / np.float32(self.gain)
        return made[0] if np.ndim(audio) == 1 else made

    def finish(self) -> np.ndarray:
        """End the stream and return the `latency_samples` that are still to come."""
        if self.states is None:
            return np.zeros(0, np.float32)
        count = -(-self.latency_samples // self.multiple) * self.multiple
        rest = np.zeros((*self.nothing.shape[:-1], count), np.float32)
        made = self.push(rest)[..., : self.latency_samples]
        self.ended = True
        return made


def _facts(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the report beside a graph says of it, and of the export."""
    report = path.with_name(REPORT)
    if not path.is_file() or not report.is_file():
        missing = report if path.is_file() else path
        raise CheckpointError(
            f"no {missing}: give a stream graph of audiovae export, in its folder"
        )
    try:
        told = json.loads(report.read_text("utf-8"))
        (facts,) = [one for one in told["methods"] if one["file"] == path.name]
        facts["buffer_multiple"], told["sample_rate"]
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(f"{report} describes no stream graph {path.name}") from None
    return facts, told


def _open(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a class for each reason, and no common one.
        raise CheckpointError(f"{path} is damaged: export it again") from error


def _zeros(state: Any, batch: int) -> np.ndarray:
    kind = np.int64 if "int64" in state.type else np.float32
    return np.zeros([one if isinstance(one, int) else batch for one in state.shape], kind)
