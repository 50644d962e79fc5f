"""What works on this machine, and how to get what does not."""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

import audiovae
from audiovae.apps.models import find_checkpoint
from audiovae.corpus.workers import available_cores
from audiovae.errors import UserError
from audiovae.model.precision import has_bf16, has_int8
from audiovae.model.weights import load_model
from audiovae.training.optimise import pick_device

CORE = (
    "torch", "numpy", "librosa", "soundfile", "soxr", "safetensors", "tyro",
    "tqdm", "matplotlib",
)  # fmt: skip
EXTRAS = {
    "codecs": ("av", "M4A and AAC files"),
    "parquet": ("pyarrow", "embeddings as one table"),
    "hub": ("huggingface_hub", "models from and to a hub"),
    "tensorboard": ("tensorboard", "training curves in TensorBoard"),
    "map": ("umap", "UMAP beside PCA in reports"),
    "midi": ("mido", "playing MIDI files"),
    "live": ("sounddevice", "playing live through a sound card"),
    "web": ("starlette", "the web page"),
    "mteb": ("mteb", "embeddings in MTEB's benchmarks"),
    "onnx": ("onnxscript", "ONNX graphs, and streams played by them"),
    "render": ("music21", "rendering scores"),
}
"""Extra to the module it brings and what that is for."""
SOUNDFONTS = (
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf3/FluidR3Mono_GM.sf3",
    "/usr/share/sounds/sf3/MuseScore_General_Lite.sf3",
)
FORMATS = ("WAV", "FLAC", "OGG", "MP3", "AIFF")


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    good: bool
    text: str
    needed: bool = True
    """Whether the package is of no use without it."""

    def line(self) -> str:
        """Return the finding as a line of text."""
        mark = "ok     " if self.good else ("MISSING" if self.needed else "absent ")
        return f"{mark} {self.name}: {self.text}"


def examine() -> list[Check]:
    """Look at packages, devices, codecs, the shipped model and where files can be written."""
    system = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    checks = [Check("audiovae", True, f"{audiovae.__version__}, {system}")]
    for part in (_packages, _devices, _codecs, _extras, _synthesis, _model, _disk):
        checks += _guarded(part)
    return checks


def _guarded(part: Callable[[], Iterator[Check]]) -> list[Check]:
    """Return a part's findings: whatever goes wrong is one, since this is where one looks then."""
    found: list[Check] = []
    try:
        found.extend(part())
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        found.append(Check(part.__name__.strip("_"), False, reason))
    return found


def _packages() -> Iterator[Check]:
    for name in CORE:
        try:
            yield Check(name, True, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, False, "not installed: pip install audiovae brings it")


def _devices() -> Iterator[Check]:
    chosen = pick_device("auto")
    cpu, threads = torch.device("cpu"), torch.get_num_threads()
    fast = [n for n, has in (("int8", has_int8(cpu)), ("bf16", has_bf16(cpu))) if has]
    kinds = f"{' and '.join(fast)} arithmetic" if fast else "no bf16 or int8 arithmetic, fp32 used"
    shown = f"{available_cores()} cores, torch uses {threads} threads, {kinds}"
    yield Check("processor", True, shown)
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if has_bf16(torch.device("cuda", index)) else "no bf16"
        yield Check(f"cuda:{index}", True, f"{facts.name}, {facts.total_memory >> 20} MiB, {bf16}")
    if chosen.type == "cpu":
        yield Check("accelerator", False, "none found: everything runs on the processor", False)
    else:
        yield Check("device auto", True, str(chosen))


def _codecs() -> Iterator[Check]:
    import soundfile

    known = soundfile.available_formats()
    missing = [name for name in FORMATS if name not in known]
    text = f"libsndfile {soundfile.__libsndfile_version__} reads {', '.join(FORMATS)}"
    if missing:
        text = f"libsndfile {soundfile.__libsndfile_version__} lacks {', '.join(missing)}"
    yield Check("sound files", not missing, text)


def _extras() -> Iterator[Check]:
    for extra, (module, use) in EXTRAS.items():
        found = importlib.util.find_spec(module) is not None
        text = use if found else f"{use}: pip install 'audiovae[{extra}]'"
        yield Check(f"extra {extra}", found, text, needed=False)


def _synthesis() -> Iterator[Check]:
    library = ctypes.util.find_library("fluidsynth")
    python = importlib.util.find_spec("fluidsynth") or importlib.util.find_spec("tinysoundfont")
    found = bool(python) and (library is not None or importlib.util.find_spec("tinysoundfont"))
    hint = "for data/render.py alone: pip install 'audiovae[render]' and libfluidsynth"
    text = "scores can be rendered" if found else hint
    yield Check("synthesiser", bool(found), text, needed=False)
    fonts = [font for font in SOUNDFONTS if Path(font).is_file()]
    if fonts:
        yield Check("soundfont", True, fonts[0], needed=False)
    elif importlib.util.find_spec("pretty_midi"):
        yield Check("soundfont", True, "TimGM6mb, inside pretty_midi", needed=False)
    else:
        hint = "for data/render.py alone: the system package fluid-soundfont-gm"
        yield Check("soundfont", False, hint, needed=False)


def _model() -> Iterator[Check]:
    try:
        model = load_model(find_checkpoint(None))
    except UserError as error:
        yield Check("shipped model", False, str(error))
        return
    vocoder = "with" if model.vocoder is not None else "without"
    text = f"{len(model.domains)} domains ({', '.join(model.domains)}), {vocoder} a vocoder"
    yield Check("shipped model", True, text)


def _disk() -> Iterator[Check]:
    for name, place in (
        ("this folder", Path.cwd()),
        ("temporary folder", Path(tempfile.gettempdir())),
    ):
        free = shutil.disk_usage(place).free / 1e9
        writable = os.access(place, os.W_OK)
        text = f"{place}, {free:.1f} GB free" if writable else f"{place} can't be written"
        yield Check(name, writable, text)
