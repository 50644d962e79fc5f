"""A TorchScript module for nn~, loaded by a fresh process and compared."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audiovae.apps.export import SECONDS, Exported, compare, test_sound
from audiovae.apps.export_methods import settled
from audiovae.errors import UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.export_dft import Dft
from audiovae.model.export_nn import NnModule
from audiovae.model.export_phases import Linker, Loop

FILE = "audiovae.ts"
LEAST_BUFFER, MOST_BUFFER = 256, 8192
PLAYER = """
import json, sys, time
import numpy, torch
torch.set_num_threads(int(sys.argv[4]))
module = torch.jit.load(sys.argv[1])
sound = torch.from_numpy(numpy.load(sys.argv[2]))
domains, sizes = module.get_domains(), json.loads(sys.argv[5])
made, speeds = {}, {}
with torch.inference_mode():
    for domain in domains:
        for size in sizes:
            module.reset()
            assert module.set_domain(domain) == 0 and module.get_domain() == [domain]
            # The compiler looks at what it is given first.
            for _ in range(3):
                module.forward(sound[:, None, :size])
            module.reset()
            before, parts = time.perf_counter(), []
            for start in range(0, sound.shape[1] // size * size, size):
                parts.append(module.forward(sound[:, None, start : start + size])[:, 0])
            speeds[str(size)] = sound.shape[1] / (time.perf_counter() - before)
            made[f"{domain}/{size}"] = torch.cat(parts, 1).numpy()
    module.set_domain(domains[0])
    size = sizes[-1]
    for name in ("encode", "decode"):
        module.reset()
        x = sound[:, None] if name == "encode" else z
        step = size if name == "encode" else size // int(module.encode_params[3])
        method = module.encode if name == "encode" else module.decode
        for _ in range(3):
            method(x[:, :, :step])
        module.reset()
        before, parts = time.perf_counter(), []
        for start in range(0, x.shape[2] // step * step, step):
            parts.append(method(x[:, :, start : start + step]))
        speeds[name] = sound.shape[1] / (time.perf_counter() - before)
        z = torch.cat(parts, 2)
        made[name] = z.numpy()
facts = {name: getattr(module, f"{name}_params").tolist() for name in module.get_methods()}
labels = {
    f"{name}_{side}_labels": getattr(module, f"{name}_{side}_labels")
    for name in facts for side in ("input", "output")
}
numpy.savez(sys.argv[3], **made)
print(json.dumps({
    "methods": facts, "attributes": module.get_attributes(), "domains": domains,
    "unknown": module.set_domain("no such domain"), "speeds": speeds, "labels": labels,
}))
"""
"""What a fresh process runs: torch and this text alone, nothing of the package."""


def buffer_sizes(ratio: int) -> list[int]:
    """Return the powers of two that nn~ may use which hold whole latent hops.

    Raises `UserError` where there is none.
    """
    sizes = [n for n in (1 << k for k in range(8, 14)) if n % ratio == 0]
    if not sizes:
        raise UserError(
            f"nn~ plays buffers of {LEAST_BUFFER} to {MOST_BUFFER} samples, powers of two, and "
            f"this model's latent hop of {ratio} divides none: use --format onnx"
        )
    return sizes


def write(model: AudioVAE, folder: Path, domains: list[str], int8: bool) -> list[Exported]:
    """Write `audiovae.ts`.

    Raises `UserError` where it differs from the model, and where this torch can't script.
    """
    audio, hop = model.config.audio, model.config.latent_hop
    sizes = buffer_sizes(hop)
    linker = Linker(audio.n_fft, audio.hop_length, Loop())
    module = NnModule(model, domains, Dft(audio.n_fft, audio.hop_length), linker).eval()
    module.requires_grad_(False)
    path = folder / FILE
    # Where the disk is full, its `save` would end the process.
    path.write_bytes(script(module).save_to_buffer())
    seconds = max(SECONDS, 3 * module.late / audio.sample_rate)
    sound = test_sound(audio.sample_rate, seconds, 2)
    sound = sound[:, : sound.shape[1] // MOST_BUFFER * MOST_BUFFER]
    facts, made = play_alone(path, sound.numpy(), sizes)
    written = []
    late = module.late
    whole = {domain: model.transfer(sound, domain) for domain in domains}
    pairs = []
    for domain in domains:
        for size in sizes:
            heard = torch.from_numpy(made[f"{domain}/{size}"])[:, late:]
            count = heard.shape[1] - settled(model, late)
            pairs.append((heard[:, :count], whole[domain][:, :count]))
    speeds = {name: round(v / audio.sample_rate, 2) for name, v in facts["speeds"].items()}
    said: dict[str, Any] = {k: facts[k] for k in ("methods", "attributes", "labels")}
    alone = {name: speeds.pop(name) for name in ("encode", "decode")}
    extra = {"nn_tilde": said, "buffers": sizes, "times_realtime_by_buffer": speeds}
    shape = [list(sound.shape)]
    written.append(
        Exported(
            "forward", FILE, compare("forward", pairs), shape, min(speeds.values()), late, extra
        )
    )
    behind = module.encoder.after * audio.hop_length
    latents = torch.from_numpy(made["encode"])[:, :, behind // hop :]
    count = latents.shape[2] - settled(model, late) // hop - 1
    difference = compare(
        "encode", [(latents[:, :, :count], model.encode(sound).mean[:, :, :count])]
    )
    written.append(Exported("encode", FILE, difference, shape, alone["encode"], behind))
    z = torch.from_numpy(made["encode"])
    behind = late - behind
    played = torch.from_numpy(made["decode"])[:, 0, behind:]
    count = played.shape[1] - settled(model, late)
    truth = model.vocode(model.decode(z, domains[0]))
    difference = compare("decode", [(played[:, :count], truth[:, :count])])
    written.append(Exported("decode", FILE, difference, [list(z.shape)], alone["decode"], behind))
    return written


def script(module: torch.nn.Module) -> Any:
    """Return a compiled module. Raises `UserError` where this torch can't."""
    try:
        return torch.jit.script(module)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"torch {torch.__version__} on Python {sys.version.split()[0]} can't script this model "
            f"({reason}): use Python 3.11 to 3.13 with torch 2.11 to 2.14, or --format onnx"
        ) from error


def play_alone(
    path: Path, sound: np.ndarray, sizes: list[int]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Play `sound (batch, sample)` in a fresh process; return what the module says, and makes.

    Raises `UserError` where it fails there.
    """
    with tempfile.TemporaryDirectory() as place:
        source, result = Path(place, "sound.npy"), Path(place, "made.npz")
        np.save(source, sound)
        # It runs in another folder.
        words = [path.resolve(), source, result, torch.get_num_threads(), json.dumps(sizes)]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PLAYER, *map(str, words)],
            cwd=place, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UserError(f"a fresh process can't play the TorchScript module: {last}")
        facts = json.loads(done.stdout.splitlines()[-1])
        if facts["unknown"] != -1:
            raise UserError("the TorchScript module takes an unknown domain: nothing is written")
        with np.load(result) as made:
            return facts, dict(made)
