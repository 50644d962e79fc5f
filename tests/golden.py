"""Golden figures: what fixed weights make of a fixed sound. `python tests/golden.py` writes them.

Features, posteriors, decoders, sound, every term of the objective and the metrics, as they are now:
whoever changes one on purpose writes golden.json anew and says why. Nothing here is drawn by a
library's generator (`formula`), so figures differ by rounding alone from machine to machine. Each
tensor is told by six numbers: mean, root mean square, least, most, and its products with two fixed
directions, which move wherever it changes; a few numbers are told as they are. A number is off by
what it differs by over the tensor's unit: a nat, decibel or cent where it is of these, and else its
root mean square.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from formula import DOMAINS, RATE, Figure, draw, model, nats, normal, settings, sound
from golden_terms import codes_of, of_losses, of_objectives, of_training

from audiovae.audio import effects
from audiovae.audio.features import LogMel, WaveFrames, magnitudes, mel_filters, spectra
from audiovae.metrics import distances, frechet, pitch
from audiovae.model.latent import DiagonalGaussian, soft_round
from audiovae.model.presence import gates
from audiovae.model.wavenet import mu_law_decode
from audiovae.training.likelihood import make_likelihood

PLACE = Path(__file__).with_name("golden.json")
TOLERANCE = 5e-5
"""Most that a number may be off. Processors differ by a third of it: docs/numerics.md."""
SOUNDS = {"vocoder": 3e-4, "transfer": 3e-4, "decoded sound": 3e-4}
"""By the end of their names, sounds of linked phases: where opinions cancel, rounding decides."""


def of_features() -> dict[str, Figure]:
    """Front ends and the spectra that losses are made of."""
    config, audio = settings().audio, sound()
    window, frames = torch.hann_window(256), WaveFrames(config)
    bins = spectra(audio, window, 64)
    return {
        "filters": Figure(mel_filters(config)),
        "log-mel": nats(LogMel(config)(audio)),
        "windows": Figure(frames(audio)),
        "windows inverted": Figure(frames.inverse(frames(audio))),
        "spectra": Figure(torch.stack([bins.real, bins.imag])),
        "magnitudes": Figure(magnitudes(audio, window, 64)),
    }


def of_effects() -> dict[str, Figure]:
    """What augmentation does with given draws."""
    audio, rows = sound(8000), torch.tensor([1.0, -1.0])
    heights = LogMel(settings().audio)(audio) - np.log(settings().audio.log_floor)
    part = (torch.tensor([2000, 3000]), torch.tensor([3000, 2000]))
    return {
        "gain": Figure(effects.gain(audio, 3 * rows)),
        "equaliser": Figure(effects.equalise(audio, 4 * draw("curve", 2, 9))),
        "retuned": Figure(effects.retune(audio, 0.3 * rows)),
        "detuned": Figure(effects.detune_part(audio, 0.5 * rows, *part)),
        "noise": Figure(effects.add_noise(audio, -30 + rows, normal("hiss", 2, 8000))),
        "room": Figure(
            effects.reverberate(audio, 0.2 + 0.1 * rows, rows, normal("room", 2, 2000), RATE)
        ),
        "envelopes": nats(
            effects.reshape_envelopes(heights, 0.5 + 0.1 * rows, 0.1 + 0 * rows, 20 + rows, 125.0)
        ),
    }


def of_networks() -> dict[str, Figure]:
    """Posteriors, decoders, sound and transfer."""
    vae, audio = model(settings()), sound()
    posterior = vae.encoder(vae.read(audio))
    z = posterior.sample(normal("noise", *posterior.mean.shape))
    logmel = vae.features(audio)
    amplitude, links = vae.vocoder.describe(logmel)
    # Phases that cancel are a matter of rounding; what the sound then lacks is not.
    missed = (vae.features(vae.griffin_lim(logmel)).exp() - logmel.exp()).abs().mean()
    found = {
        "mean": Figure(posterior.mean),
        "log-variance": nats(posterior.logvar),
        "rounded mean": Figure(vae.encode(audio).mean),
        "soft steps": Figure(soft_round(torch.tensor([0.42, 0.46, 0.53, 0.57]), torch.ones(1))),
        "bounded": nats(DiagonalGaussian.from_parameters(draw("z", 1, 8, 9) * 20).logvar),
        "playable": nats(vae.playable(logmel + 9)),
        "sample": Figure(z),
        "amplitudes": Figure(amplitude),
        "loud amplitudes": Figure(vae.vocoder.describe(vae.playable(logmel + 9))[0]),
        "links": Figure(links),
        "vocoder": Figure(vae.vocoder(logmel)),
        "Griffin-Lim: amplitudes": Figure(vae.griffin_lim.prior(logmel)),
        "Griffin-Lim: missed": Figure(missed / logmel.exp().mean()),
        "presence": Figure(vae.presence(sound(4 * RATE))),
        "gates": Figure(gates(torch.linspace(2e-4, 5e-4, 4000)[None], False)),
    }
    for domain in DOMAINS:
        found |= {
            f"{domain}: scale": Figure(vae.decoder(domain).scale),
            f"{domain}: location": nats(vae.locate(z, domain, bounded=False)[0]),
            f"{domain}: decoded": nats(vae.decode(z, domain)),
            f"{domain}: transfer": Figure(vae.transfer(audio, domain)),
        }
    return found


def of_waveform_networks() -> dict[str, Figure]:
    """The same of a model that reads and gives sound itself."""
    vae, audio = model(settings(audio={"features": "waveform"})), sound()
    posterior = vae.encoder(vae.read(audio))
    return {
        "front": Figure(vae.encoder.front(vae.read(audio))),
        "mean": Figure(posterior.mean),
        "log-variance": nats(posterior.logvar),
        "location": nats(vae.locate(posterior.mean, "flute")[0]),
        "decoded sound": Figure(vae.decode(posterior.mean, "flute")),
        "transfer": Figure(vae.transfer(audio, "piano")),
    }


def of_wavenet() -> dict[str, Figure]:
    """Mu-law codes, and what a WaveNet says of them."""
    vae, codes = model(settings(model={"decoder": "wavenet"})), codes_of(sound())
    audio = mu_law_decode(codes)
    located, _ = vae.locate(vae.encode(audio).mean, "flute")
    wavenet = vae.head("flute").wavenet
    score, error = make_likelihood(vae.config).score(vae, "flute", located, codes, 3)
    return {
        "codes": Figure(codes),
        "decoded codes": Figure(audio),
        "log-probability": nats(wavenet.log_prob(codes, located)),
        "likelihood": Figure(torch.stack([score, error])),
    }


def of_metrics() -> dict[str, Figure]:
    """Figures of merit, in float64."""
    struck, swelling = (row.numpy().astype(np.float64) for row in sound(2 * RATE))
    a, b = normal("a", 40, 6), normal("b", 50, 6) @ draw("mix", 6, 6)
    pairs = [
        (swelling, struck, 22_050),
        (0 * struck, struck, RATE),
        (1e-6 * swelling, struck, RATE),
    ]
    lsd = [distances.log_spectral_distance(*pair) for pair in pairs]
    return {
        "log-spectral distance": nats(torch.tensor(lsd)),
        "mel distance": Figure(torch.tensor(distances.mel_distance(swelling, struck, RATE))),
        "STFT distance": Figure(torch.tensor(distances.stft_distance(swelling, struck))),
        "Fréchet distance": Figure(torch.tensor(frechet.frechet_distance(a, b))),
        "kernel distance": Figure(torch.tensor(frechet.kernel_distance(a, b))),
        "pitch": Figure(torch.tensor(100 * pitch.pitches(struck, RATE)), 1.0),
    }


GROUPS: dict[str, Callable[[], dict[str, Figure]]] = {
    "features": of_features,
    "effects": of_effects,
    "networks": of_networks,
    "waveform networks": of_waveform_networks,
    "wavenet": of_wavenet,
    "objectives": of_objectives,
    "training": of_training,
    "losses": of_losses,
    "metrics": of_metrics,
}


def tell(group: str) -> dict[str, list[float]]:
    """Return all figures of a group."""
    with torch.no_grad():
        return {f"{group}: {name}": figure.tell() for name, figure in GROUPS[group]().items()}


def golden() -> dict[str, list[float]]:
    """Return the figures that are kept."""
    return json.loads(PLACE.read_text("utf-8"))


def differences(told: dict[str, list[float]]) -> dict[str, float]:
    """Return how far each figure is off what is kept, in its unit: the farthest of its numbers."""
    kept, off = golden(), {}
    for name, (_, *numbers) in told.items():
        unit, *wanted = kept[name]
        pairs = zip(numbers, wanted, strict=True)
        off[name] = max(abs(number - right) for number, right in pairs) / unit
    return off


def limit(name: str) -> float:
    """Return the most that a figure may be off."""
    return next((most for end, most in SOUNDS.items() if name.endswith(end)), TOLERANCE)


def moved(told: dict[str, list[float]]) -> dict[str, float]:
    """Return the figures that are off by more than they may be, and by how much."""
    return {name: off for name, off in differences(told).items() if not off <= limit(name)}


def main() -> None:
    """Write golden.json, or say how far this machine is off it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compare", action="store_true", help="write nothing")
    told = {name: numbers for group in GROUPS for name, numbers in tell(group).items()}
    if parser.parse_args().compare:
        off = sorted(differences(told).items(), key=lambda pair: -pair[1])
        exact = {name: value for name, value in off if limit(name) == TOLERANCE}
        for part in (dict(off[:3]), dict(list(exact.items())[:3])):
            print("; ".join(f"{name} {value:.1e}" for name, value in part.items()))
        return
    lines = [f"{json.dumps(k, ensure_ascii=False)}: {json.dumps(v)}" for k, v in told.items()]
    PLACE.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
