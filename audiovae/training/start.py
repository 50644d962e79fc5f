"""What a training starts from: the corpus, its statistics, the weights."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn

from audiovae.audio.features import LogMel
from audiovae.config import AudioConfig, Config, VocoderConfig
from audiovae.corpus.kinds import Corpus, make_loader
from audiovae.corpus.store import Store
from audiovae.errors import CheckpointError, ConfigError, CorpusError
from audiovae.metrics.pitch import pitch_range
from audiovae.model.autoencoder import AudioVAE, Statistics
from audiovae.model.blocks import Block
from audiovae.model.decoder import Decoder, LogMelDecoder
from audiovae.model.eight_bits import hear_spans, is_heard
from audiovae.model.header import read_header
from audiovae.model.vocoder import LinkedVocoder
from audiovae.model.vocoders import make_vocoder
from audiovae.model.weights import VOCODER, load_model, load_part
from audiovae.tables import from_dict

SHIPPED = {"default": "weights", "causal": "weights_causal"}
"""Checkpoints that come with the package, by name: where they lie in it."""
OF_PRIOR = ("prior", "prior_components")
ANEW = ("decoder", "likelihood", "posterior", *OF_PRIOR)
"""Settings of the model that may be others than those of a run that training goes on from."""
STATISTICS_STEPS = 8
"""Batches from which the corpus' statistics are measured."""
CEILING_STEPS = 32
"""Batches from which the loudest frames of a domain are measured."""
CEILING_QUANTILE = 0.999


def pick_domains(store: Corpus, domains: list[str] | None) -> list[str]:
    """Return the domains that get a decoder, sorted. Raises `CorpusError` on an unknown one."""
    for domain in domains or []:
        if domain not in store.domains:
            known = ", ".join(store.domains)
            raise CorpusError(f"no domain {domain!r} in the store; it has {known}")
    return sorted(set(domains or store.domains))


def measure(store: Corpus, config: Config, domains: list[str]) -> Statistics:
    """Measure mean and deviation of each mel band, and the median loudness, on training clips."""
    logmel = LogMel(config.audio)
    frames: list[torch.Tensor] = []
    clips: list[torch.Tensor] = []
    for batch in _sample(store, config, domains, STATISTICS_STEPS):
        clips.append(torch.cat(list(batch.values())))
        frames.append(logmel(clips[-1]))
    values = torch.cat(frames)
    mean, std = values.mean(dim=(0, 2)), values.std(dim=(0, 2)).clamp_min(0.5)
    loudness = store.loudness(domains)
    if math.isnan(loudness):
        # Nobody listened to whole recordings before: the loudness is that of the clips.
        power = torch.cat(clips).square().mean(dim=1)
        levels = sorted((10 * torch.log10(power + 1e-10)).tolist())
        loudness = levels[len(levels) // 2]
    return Statistics(
        tuple(round(float(v), 4) for v in mean),
        tuple(round(float(v), 4) for v in std),
        round(loudness, 2),
    )


def hear_ranges(store: Corpus, config: Config, domains: list[str]) -> dict[str, list[float]]:
    """Return the range of pitches heard in each domain's clips: low and high MIDI number."""
    batches = _sample(store, config, domains, STATISTICS_STEPS)
    ranges = {}
    for domain in domains:
        audio = torch.cat([batch[domain].flatten() for batch in batches]).numpy()
        heard = pitch_range(audio, config.audio.sample_rate)
        if heard is not None:
            ranges[domain] = [round(heard.low, 1), round(heard.high, 1)]
    return ranges


def speed_up(model: AudioVAE) -> None:
    """Let blocks be compiled, and computed again for gradients, where the settings want it."""
    settings = model.config.training
    for module in model.modules():
        if isinstance(module, Block):
            module.recomputed = settings.recompute
            if settings.compile:
                module.compile(dynamic=True)


@torch.no_grad()
def hear_ceilings(model: AudioVAE, store: Corpus, domains: list[str]) -> None:
    """Set the ceiling of each domain's decoder: what is exceeded in a thousandth of its frames.

    Decoders that give samples have no bands to hold.
    """
    of = ((domain, model.decoder(domain)) for domain in domains)
    decoders = {domain: decoder for domain, decoder in of if isinstance(decoder, LogMelDecoder)}
    if not decoders:
        return
    logmel = LogMel(model.config.audio)
    batches = _sample(store, model.config, domains, CEILING_STEPS)
    for domain, decoder in decoders.items():
        frames = logmel(torch.cat([batch[domain] for batch in batches])).to(model.device)
        heard = model.normalised(frames).transpose(1, 2).flatten(0, 1)
        decoder.ceiling.copy_(heard.quantile(CEILING_QUANTILE, dim=0))


@torch.no_grad()
def hear_noise(model: AudioVAE, clips: torch.Tensor) -> None:
    """Set how wide the posterior is in each dimension, from training clips `(row, sample)`."""
    variance = model.encoder(model.read(clips)).std.square().mean(dim=(0, 2))
    model.hear_noise(variance.sqrt())


def hear_clips(model: AudioVAE, clips: torch.Tensor, domains: list[str], *, frozen: bool) -> None:
    """Set what use in place of training needs, from training clips `(row, sample)`.

    That is how wide the posterior is in each dimension, and the range of every layer's input. A
    frozen encoder keeps what it has.
    """
    if not frozen:
        hear_noise(model, clips)
    hear_spans(model, clips, domains, common=not (frozen and is_heard(model.encoder)))


def _sample(
    store: Corpus, config: Config, domains: list[str], steps: int
) -> list[dict[str, torch.Tensor]]:
    """Return batches of training clips that training itself will not draw."""
    loader = make_loader(
        store,
        domains=domains,
        split="train",
        rows=2,
        clip_samples=config.clip_samples,
        seed=config.training.seed + 1,
        reader="memmap" if isinstance(store, Store) else "auto",
        shuffle=config.training.shuffle,
    )
    with contextlib.closing(loader):
        return [loader.batch(step) for step in range(steps)]


def start_model(
    config: Config, domains: list[str], statistics: Statistics, init: str | Path | None
) -> AudioVAE:
    """Build a model from the seed, or from `init` where its parts fit.

    The encoder, and the decoders of domains by the same name, are taken over; a new domain's
    decoder starts from the first of them, and so does what decoders share where those of `init`
    share nothing; where decoders share nothing any more, each has what was shared. The statistics
    are those of `init`, unless its log floor is another one: what was learned with a high floor is
    a start for a lower one, and so it is for another likelihood, for another kind of decoder, whose
    layers at the rate of frames begin as the old ones, for another prior, which begins anew, and
    what was learned from log-mels for raw audio, whose filters begin as theirs.
    Raises `ConfigError` when anything else of the audio contract or the networks differs.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        if init is None:
            return AudioVAE(config, domains, statistics)
        old = load_model(checkpoint_folder(init))
        floor, features = config.audio.log_floor, config.audio.features
        lowered = dataclasses.replace(old.config.audio, log_floor=floor, features=features)
        kind, wanted = config.model.decoder, dataclasses.asdict(config.model)
        judged = dataclasses.replace(old.config.model, **{name: wanted[name] for name in ANEW})
        samples = config.wavenet
        if old.config.model.decoder == kind == "wavenet":
            samples = dataclasses.replace(old.config.wavenet, temperature=samples.temperature)
        if old.shared is None or config.model.share == "none":
            judged = dataclasses.replace(judged, share=config.model.share)
        for name, theirs in (("audio", lowered), ("model", judged), ("wavenet", samples)):
            if theirs != getattr(config, name):
                raise ConfigError(
                    f"{init} has other {name} settings: train from scratch, or use them"
                )
        kept = old.config.audio.log_floor == floor
        model = AudioVAE(config, domains, old.statistics if kept else statistics)
    _take_over(model.encoder, old.encoder)
    if all(getattr(old.config.model, name) == wanted[name] for name in OF_PRIOR):
        _take_over(model.prior, old.prior)
    if model.shared is not None:
        _take_over(model.shared, old.shared or old.decoder(old.domains[0]))
    for domain in domains:
        _part(model.decoder(domain), old, domain if domain in old.domains else old.domains[0])
    return model


def _take_over(module: nn.Module, old: nn.Module) -> None:
    """Load what `old` has by the same names."""
    own, theirs = module.state_dict(), old.state_dict()
    module.load_state_dict({name: theirs.get(name, value) for name, value in own.items()})


def _part(decoder: Decoder, old: AudioVAE, domain: str) -> None:
    """Load what a domain's decoder has, and where nothing is to be shared, what it shared."""
    origin = old.decoder(domain)
    _take_over(decoder, origin)
    if old.shared is None or decoder.config.model.share != "none":
        return
    for own, theirs in zip(decoder.parts(), origin.parts(old.shared), strict=True):
        _take_over(own, theirs)
    if origin.film is not None:
        decoder.parts()[1].up.absorb(*origin.film)


def machine(device: torch.device) -> str:
    """Return what trains, in words, for the model's card."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return {"cpu": f"{threads} CPU thread{'s' * (threads > 1)}"}.get(device.type, device.type)


def history(init: str | Path | None) -> dict[str, Any]:
    """Return what a checkpoint says of its own training, for those that start from it."""
    if init is None:
        return {}
    facts = read_header(checkpoint_folder(init)).get("provenance", {})
    kept = {
        k: facts[k] for k in ("recipe", "seed", "data", "steps", "machine", "init") if k in facts
    }
    return {"init": kept | {"minutes": facts.get("valid", {}).get("minutes")}}


def checkpoint_folder(path: str | Path) -> Path:
    """Return the checkpoint folder of a run, or the folder itself."""
    path = Path(path)
    if (path / "config.json").is_file():
        return path
    if (path / "checkpoint").is_dir() or (path / ".checkpoint.old").is_dir():
        return path / "checkpoint"
    raise CheckpointError(f"{path} is no run and no checkpoint folder")


def shipped_weights(name: str = "default") -> Path:
    """Return the folder of a checkpoint that comes with the package: one of `SHIPPED`."""
    return Path(str(resources.files("audiovae").joinpath(SHIPPED[name])))


def fitting_vocoder(config: Config) -> LinkedVocoder | None:
    """Return the shipped vocoder of the config's audio contract, or nothing where there is none.

    Raises `CheckpointError` when it is damaged.
    """
    for folder in map(shipped_weights, SHIPPED):
        if (folder / VOCODER).is_file() and _audio_of(read_header(folder)) == config.audio:
            return load_vocoder(folder, config)
    return None


def _audio_of(header: dict[str, Any]) -> AudioConfig:
    return from_dict(AudioConfig, header["config"]["audio"], "config.audio")


def load_vocoder(folder: Path, config: Config) -> LinkedVocoder:
    """Load the vocoder of a checkpoint for a model of the same audio contract.

    Raises `CheckpointError` when there is none, or when its frames mean something else.
    """
    header = read_header(folder)
    if not (folder / VOCODER).is_file():
        raise CheckpointError(f"{folder} holds no vocoder")
    if _audio_of(header) != config.audio:
        raise CheckpointError(
            f"the vocoder of {folder} was trained for other features: "
            "its audio settings and the model's must be the same"
        )
    settings = from_dict(VocoderConfig, header["config"]["vocoder"], "config.vocoder")
    vocoder = make_vocoder(dataclasses.replace(config, vocoder=settings))
    load_part(vocoder, folder, VOCODER, header)
    return vocoder.eval()
