"""Which instrument is heard: a small network that judges sound and knows nothing of the model.

It is trained on renders of pieces that are in no test, hears 16 kHz log-mel windows of about a
second at any loudness, and its last features serve set distances as an embedding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from audiovae.atomic import write_atomically
from audiovae.audio.files import read
from audiovae.audio.resample import resample
from audiovae.corpus.scan import hash_file
from audiovae.errors import CheckpointError, CorpusError
from audiovae.evaluation.timbre_net import HOP, RATE, WINDOW, TimbreNet, decibels, fit, settings

Audio = npt.NDArray[Any] | Tensor
Floats = npt.NDArray[np.float32]
Files = Mapping[str, Sequence[Path]]

STEP = WINDOW // 2
"""Frames from one window to the next."""
QUIET_DB = 40.0
"""A window this far below the loudest one has no vote."""
SILENCE = 1e-5
"""Root mean square (-100 dB) under which a clip is silent."""
CLIP_SECONDS = 8.0
HELD_OUT = 0.2
"""Share of a domain's files that measure the accuracy and do not train."""
MOST_SECONDS = 900.0
"""Of sound a domain; more changes little and takes time to read."""
CHUNK = 16
"""Clips judged at once."""


class TimbreClassifier:
    """Names the instrument of a clip; `train` makes one.

    Args:
        domains: that it tells apart, in the order of its scores.
        net: trained.
        fingerprint: of the files, settings and seed that the network follows from.
        accuracy: share of 8 s clips of held-out files that it named rightly, mean over domains.
    """

    def __init__(
        self, domains: Sequence[str], net: TimbreNet, fingerprint: str, accuracy: float
    ) -> None:
        self.domains, self.fingerprint, self.accuracy = list(domains), fingerprint, accuracy
        self._net = net.eval()

    @classmethod
    def train(cls, files: Files, *, folder: Path | None = None, seed: int = 0) -> TimbreClassifier:
        """Train on sound files, a fifth of them held out; the same files give the same network.

        Args:
            files: domain to sound files, of other pieces than those to be judged. A piece that
                several domains play has one file name.
            folder: where trained networks are kept; one of the same files and seed is read there.
            seed: of the weights, the batches and the choice of held-out files.

        Raises:
            CorpusError: on fewer than two domains, a domain of fewer than two files or of silent
                ones, and a missing file.
            CheckpointError: on a damaged file in the folder.
            AudioError: on a file that can't be read.
        """
        _check(files)
        domains, fingerprint = sorted(files), _fingerprint(files, seed)
        path = None if folder is None else folder / f"timbre-{fingerprint}.safetensors"
        if path is not None and path.is_file():
            return cls._load(path, domains, fingerprint)
        train, held = _read(files, seed)
        net = fit([train[d] for d in domains], seed)
        judge = cls(domains, net, fingerprint, 0.0)
        judge.accuracy = judge._measure(held)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            facts = {"domains": json.dumps(domains), "accuracy": repr(judge.accuracy)}
            write_atomically(path, save(net.state_dict(), facts))
        return judge

    def predict(self, audio: Audio, sample_rate: int) -> npt.NDArray[np.str_]:
        """Return the domain that each clip sounds like, `(batch,)`; "" for a silent one.

        Takes what `probabilities` takes.
        """
        votes = self.probabilities(audio, sample_rate)
        names = np.array([*self.domains, ""])
        return names[np.where(votes.any(1), votes.argmax(1), len(self.domains))]

    @torch.inference_mode()
    def probabilities(self, audio: Audio, sample_rate: int) -> Floats:
        """Return how likely each domain is, `(batch, domain)`: the mean over sounding windows.

        Args:
            audio: `(batch, sample)`, floating point; its loudness plays no part.
            sample_rate: in hertz.

        The row of a silent clip is 0. Raises ValueError on another shape, and on samples that
        are not finite.
        """
        rows = []
        for part in _cut(audio, sample_rate):
            votes = self._net(part.windows.flatten(0, 1)).softmax(-1)
            votes = votes.unflatten(0, part.heard.shape) * part.heard[..., None]
            rows.append(votes.sum(1) / part.heard.sum(1, keepdim=True).clamp_min(1))
        return torch.cat(rows).numpy()

    @torch.inference_mode()
    def embed(self, audio: Audio, sample_rate: int) -> Floats:
        """Return the network's last features, `(batch, window, 64)`: entries of variance 1.

        Windows of 1.02 s, one every half of that, silent ones too. Takes what `probabilities`
        takes.
        """
        rows = []
        for part in _cut(audio, sample_rate):
            made = self._net.features(part.windows.flatten(0, 1))
            rows.append(made.unflatten(0, part.heard.shape))
        return torch.cat(rows).numpy()

    def _measure(self, held: Mapping[str, Sequence[Floats]]) -> float:
        samples = round(CLIP_SECONDS * RATE)
        right = []
        for domain, sounds in held.items():
            # What is left of a file after its whole clips, or all of a short one, counts too.
            clips = [s[i : i + samples] for s in sounds for i in range(0, len(s), samples)]
            clips = [c for c in clips if len(c) > samples // 2] or list(sounds)
            named = [self.predict(c[None], RATE)[0] for c in clips]
            right.append(np.mean([name == domain for name in named]))
        return float(np.mean(right))

    @classmethod
    def _load(cls, path: Path, domains: Sequence[str], fingerprint: str) -> TimbreClassifier:
        net = TimbreNet(len(domains))
        try:
            net.load_state_dict(load_file(path))
            with safe_open(path, "pt") as file:
                accuracy = float(file.metadata()["accuracy"])
        except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(
                f"{path} is damaged ({reason}): delete it to train the classifier again"
            ) from None
        return cls(domains, net, fingerprint, accuracy)


class _Part(NamedTuple):
    windows: Tensor
    """`(batch, window, band, frame)` in decibels."""
    heard: Tensor
    """`(batch, window)`: 1 where the window has a vote."""


def _cut(audio: Audio, sample_rate: int) -> Iterator[_Part]:
    """Give the windows of `audio (batch, sample)`, some clips at once."""
    clips = torch.as_tensor(audio).detach().cpu()
    if clips.dim() != 2 or not clips.is_floating_point() or 0 in clips.shape:
        raise ValueError(
            f"sound of shape {tuple(clips.shape)} and {clips.dtype}; expected (batch, sample) "
            "in floating point"
        )
    if not clips.isfinite().all():
        raise ValueError("sound has samples that are not finite: the system that made it failed")
    for part in clips.float().split(CHUNK):
        yield _windows(torch.from_numpy(resample(part.numpy(), sample_rate, RATE)))


def _windows(clips: Tensor) -> _Part:
    """Cut `clips (batch, sample)` at 16 kHz into windows; a short clip is padded with silence."""
    rms = clips.square().mean(1, keepdim=True).sqrt()
    short = max(0, (WINDOW - 1) * HOP - clips.shape[1])
    shown = decibels(F.pad(clips / rms.clamp_min(SILENCE), (0, short)))
    windows = shown.unfold(2, WINDOW, STEP).transpose(1, 2)
    levels = windows.mean(3).amax(2)
    heard = (levels > levels.amax(1, keepdim=True) - QUIET_DB) & (rms > SILENCE)
    return _Part(windows, heard.float())


def _read(files: Files, seed: int) -> tuple[dict[str, list[Tensor]], dict[str, list[Floats]]]:
    """Return domain to the spectrograms that train, and to the sounds at 16 kHz held out."""
    train: dict[str, list[Tensor]] = {}
    held: dict[str, list[Floats]] = {}
    for domain, paths in files.items():
        # By a hash of the name: a piece that two domains play lies on one side in both.
        drawn = sorted(paths, key=lambda p: hashlib.sha256(f"{seed}:{p.stem}".encode()).digest())
        count = max(1, round(HELD_OUT * len(drawn)))
        held[domain] = list(_sounds(drawn[:count], HELD_OUT * MOST_SECONDS))
        sounds = _sounds(drawn[count:], (1 - HELD_OUT) * MOST_SECONDS)
        train[domain] = [_whole(sound) for sound in sounds if np.sqrt(np.mean(sound**2)) > SILENCE]
        if not train[domain]:
            raise CorpusError(f"the classifier's files of {domain!r} are silent: render them again")
    return train, held


def _sounds(paths: Sequence[Path], most: float) -> Iterator[Floats]:
    """Give files as `(sample,)` at 16 kHz, until there are `most` seconds."""
    seconds = 0.0
    for path in paths:
        if seconds >= most:
            return
        sound = read(path, sample_rate=RATE)[0].mean(axis=0)
        seconds += len(sound) / RATE
        yield sound


def _whole(sound: Floats) -> Tensor:
    """Return the spectrogram of a file, `(BANDS, frame)` in decibels, at least a window long."""
    clip = torch.from_numpy(sound / np.sqrt(np.mean(sound**2)))
    short = max(0, (WINDOW - 1) * HOP - len(sound))
    return decibels(F.pad(clip, (0, short))[None])[0]


def _check(files: Files) -> None:
    if len(files) < 2:
        raise CorpusError(
            f"a timbre classifier got {len(files)} domain(s); expected files of at least 2"
        )
    for domain, paths in files.items():
        if len(paths) < 2:
            raise CorpusError(
                f"the timbre classifier has {len(paths)} file(s) of {domain!r}; expected at least "
                "2, some to train on and some to check"
            )
        for path in paths:
            if not path.is_file():
                raise CorpusError(f"the timbre classifier's file {path} is missing: make it again")


def _fingerprint(files: Files, seed: int) -> str:
    """Return 16 hexadecimal digits of all that the network follows from."""
    digest = hashlib.sha256(json.dumps([settings(), seed]).encode())
    for domain in sorted(files):
        for path in sorted(files[domain], key=lambda p: (p.stem, str(p))):
            digest.update(f"{domain}\n{path.stem}\n{hash_file(path)}\n".encode())
    return digest.hexdigest()[:16]
