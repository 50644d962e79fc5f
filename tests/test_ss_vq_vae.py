"""SS-VQ-VAE: the published sizes, its losses by hand, training that resumes, and its system."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from commands import ROOT, succeed

import audiovae

HISTORY = ROOT / "recipes" / "history"
BINS = 24
SIZES = {"bins": BINS, "width": 16, "codes": 12}


@pytest.fixture(scope="module")
def parts() -> Iterator[SimpleNamespace]:
    """The recipe and its two siblings, which import one another by name as scripts do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HISTORY)
        import ss_vq_vae
        import ss_vq_vae_network
        import ss_vq_vae_system

        yield SimpleNamespace(recipe=ss_vq_vae, network=ss_vq_vae_network, system=ss_vq_vae_system)


def tone(hertz: float, seconds: float, harmonics: int = 1, rate: int = 16_000) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    sound = sum(np.sin(2 * np.pi * k * hertz * time) / k for k in range(1, harmonics + 1))
    return (0.1 * sound).astype(np.float32)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two instruments, each recording one long note."""
    folder = tmp_path_factory.mktemp("music")
    for domain, harmonics in (("pipe", 1), ("saw", 9)):
        (folder / domain).mkdir()
        for number in range(4):
            sound = tone(400 + 100 * number, 3.0, harmonics)
            soundfile.write(folder / domain / f"{number}.wav", sound, 16_000)
    return folder


@pytest.fixture(scope="module")
def store(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from audiovae.corpus.store import Store

    output = tmp_path_factory.mktemp("prepared") / "store"
    audiovae.prepare(music, output, sample_rate=16_000, valid=0, workers=1, progress=False)
    return Store.open(output)


def test_the_network_has_the_published_sizes(parts: SimpleNamespace) -> None:
    with torch.device("meta"):
        network = parts.network.SSVQVAE()
    w, bins = 1024, 1025
    norm, one = 2 * w, w * w + w
    gru = 6 * w * w + 6 * w
    content = (bins * w * 4 + w) + norm + (w * w * 4 + w) + (norm + one) + norm
    style = (bins * w * 4 + w) + (norm + one) + norm + gru
    stage = 2 * norm + (2 * w * w + w) + (norm + gru) + norm + (w * w * 4 + w)
    last = norm + (w * bins + bins) + 2 * bins + 6 * bins * bins + 6 * bins
    counted = sum(p.numel() for p in network.parameters())
    assert counted == content + 2048 * w + style + 2 * stage + last


def test_the_spectrogram_and_back(parts: SimpleNamespace) -> None:
    audio = torch.from_numpy(tone(1000, 1.01))[None]
    features = parts.network.spectrogram(audio)
    assert features.shape == (1, 1025, 1 + 16_160 // 500)
    # A sine of amplitude a peaks at a times half the window's sum.
    assert float(features[0, 128, 16]) == pytest.approx(np.log1p(0.1 * 1000 / 2), rel=1e-3)
    back = parts.network.invert(features, 16_160)
    assert back.shape == audio.shape
    assert torch.equal(back, parts.network.invert(features, 16_160))
    inner = back[0, 2000:14_000]
    assert float(inner.square().mean().sqrt()) == pytest.approx(0.1 / 2**0.5, rel=0.05)
    spectrum = torch.fft.rfft(inner).abs()
    assert int(spectrum.argmax()) == 750  # 1000 Hz in 0.75 s


@pytest.mark.parametrize(("frames", "steps"), [(7, 3), (64, 17), (65, 17), (66, 18), (257, 65)])
def test_any_number_of_frames_comes_back(parts: SimpleNamespace, frames: int, steps: int) -> None:
    network = parts.network.SSVQVAE(**SIZES).eval()
    features = torch.rand(2, BINS, frames)
    codes = network.encode_content(features)
    assert codes.shape == (2, 16, steps)
    assert network.decode(codes, network.encode_style(features), frames).shape == features.shape


def test_frames_take_the_nearest_code(parts: SimpleNamespace) -> None:
    torch.manual_seed(0)
    network = parts.network.SSVQVAE(**SIZES)
    content = 0.3 * torch.randn(3, 16, 10)
    codes, ids = network.quantise(content)
    distances = torch.cdist(content.transpose(1, 2), network.codebook[None])
    assert torch.equal(ids, distances.argmin(-1))
    assert torch.equal(codes[1, :, 4], network.codebook[ids[1, 4]])


@torch.no_grad()
def test_losses_are_sums_over_steps_a_spectrogram_frame(parts: SimpleNamespace) -> None:
    torch.manual_seed(0)
    network = parts.network.SSVQVAE(**SIZES).eval()
    features, other = torch.rand(2, BINS, 33), torch.rand(2, BINS, 40)
    terms = {name: float(value) for name, value in network.losses(features, other).items()}
    content = network.encode_content(features)
    codes = network.quantise(content)[0]
    made = network.decode(codes, network.encode_style(other), 33)
    by_hand = (made - features).square().sum() / BINS / (2 * 33)
    assert terms["reconstruction"] == pytest.approx(float(by_hand), rel=1e-4)
    distance = (content - codes).square().sum() / 16 / (2 * 33)
    assert terms["codebook"] == pytest.approx(float(distance), rel=1e-4)
    assert terms["commitment"] == pytest.approx(float(distance), rel=1e-4)
    assert set(parts.network.WEIGHTS) == set(terms) - {"used"}


def test_gradients_go_straight_through_the_codes(parts: SimpleNamespace) -> None:
    torch.manual_seed(0)
    network = parts.network.SSVQVAE(**SIZES)
    first = network.content[0].weight

    def gradients(term: str) -> tuple[bool, bool]:
        network.zero_grad()
        network.losses(torch.rand(2, BINS, 33), torch.rand(2, BINS, 33))[term].backward()
        return tuple(p.grad is not None and bool(p.grad.any()) for p in (first, network.codebook))

    assert gradients("reconstruction") == (True, False)
    assert gradients("codebook") == (False, True)
    assert gradients("commitment") == (True, False)


def test_pairs_are_one_instrument_transposed_by_whole_semitones(
    parts: SimpleNamespace, store: Any
) -> None:
    pairs = parts.recipe.Pairs(store, ["pipe", "saw"], batch=11, seconds=0.5, seed=3)
    content, style = pairs(5)
    assert content.shape == style.shape == (12, 8000)
    again = parts.recipe.Pairs(store, ["pipe", "saw"], batch=11, seconds=0.5, seed=3)
    assert torch.equal(again(5)[0], content) and not torch.equal(pairs(6)[0], content)
    found = set()
    for segments in (content, style):
        for row, segment in enumerate(segments.numpy()):
            spectrum = np.abs(np.fft.rfft(segment * np.hanning(8000), 65_536))
            hertz = spectrum.argmax() * 16_000 / 65_536
            pitches = 12 * np.log2(hertz / np.array([400, 500, 600, 700]))
            apart = np.abs(pitches - pitches.round())
            # A clip that goes on in the next recording has two notes, and smeared peaks.
            found |= {int(pitches[apart.argmin()].round())} if apart.min() < 0.05 else set()
            second = spectrum[round(2 * hertz * 65_536 / 16_000)] / spectrum.max()
            assert (second > 0.2) == (row >= 6)
    assert len(found) > 2


def test_training_resumes_where_it_stood(
    parts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = parts.network.spectrogram
    monkeypatch.setattr(parts.recipe, "spectrogram", lambda audio: few(audio)[:, :BINS])

    def pairs(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(step)
        first, second = 0.1 * torch.randn(2, 3, 8000, generator=generator)
        return first, second

    def train(name: str, steps: int, **facts: int) -> dict[str, Any]:
        return parts.recipe.train(
            pairs, tmp_path / name, facts, minutes=1, steps=steps, seed=1, **SIZES
        )

    whole = train("whole", 4, data=1)
    train("parts", 2, data=1)
    resumed = train("parts", 4, data=1)
    assert resumed["step"] == 4 and resumed["level"] == whole["level"]
    for name, values in whole["network"].items():
        torch.testing.assert_close(resumed["network"][name], values, msg=name)
    assert whole["level"] == pytest.approx(0.1, rel=0.05)
    with pytest.raises(SystemExit, match="choose another folder"):
        train("parts", 4, data=2)
    spent = parts.recipe.train(pairs, tmp_path / "whole", {"data": 1}, minutes=0, **SIZES)
    assert spent["step"] == 4


def play(generator: torch.Generator, rows: int, slopes: torch.Tensor) -> torch.Tensor:
    """Spectrograms `(row, BINS, 32)` of steps between eight pitches; a slope is an instrument."""
    pitches = torch.randint(0, 8, (rows, 4), generator=generator).repeat_interleave(8, 1)
    above = torch.arange(BINS)[None, :, None] - pitches[:, None]
    harmonics = (above >= 0) & (above % 5 == 0)
    return harmonics * 3 * torch.exp(-slopes[:, None, None] * above.clamp_min(0))


def test_learns_to_put_content_and_style_together(parts: SimpleNamespace) -> None:
    torch.manual_seed(0)
    network = parts.network.SSVQVAE(bins=BINS, width=32, codes=64)
    adam = torch.optim.Adam(network.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    slopes = torch.tensor([0.02, 0.3]).repeat(8)
    for _ in range(130):
        content, style = (play(generator, 16, slopes) for _ in range(2))
        terms = network.losses(content, style)
        adam.zero_grad()
        sum(weight * terms[name] for name, weight in parts.network.WEIGHTS.items()).backward()
        adam.step()
    network.eval()
    seed = generator.get_state()
    source = play(generator, 16, slopes)
    generator.set_state(seed)
    truth = play(generator, 16, slopes.flip(0))
    with torch.no_grad():
        codes = network.quantise(network.encode_content(source))[0]
        errors = {}
        for name, played in (("right", slopes.flip(0)), ("wrong", slopes)):
            style = network.encode_style(play(generator, 16, played))
            made = network.decode(codes, style, 32)
            errors[name] = float((made - truth).square().mean())
    assert errors["right"] < 0.5 * errors["wrong"]
    assert errors["right"] < 0.5 * float((truth - truth.mean(0)).square().mean())


class Renders:
    """As much of a test set as the system looks at."""

    sample_rate = 32_000

    def __init__(self, music: Path, *domains: str) -> None:
        self.files = {d: sorted((music / d).iterdir()) for d in domains}

    def classifier_files(self) -> dict[str, list[Path]]:
        return self.files


def test_the_system_keeps_the_shape_and_takes_the_targets_style(
    parts: SimpleNamespace, music: Path
) -> None:
    torch.manual_seed(0)
    make, network = parts.system.StyleTransfer, parts.network.SSVQVAE(width=16, codes=12).eval()
    system = make(network, 0.1)
    system.fit(Renders(music, "pipe", "saw"), ["pipe", "saw"])
    assert system.styles["pipe"].shape == (4, 16)
    audio = torch.stack(
        [torch.from_numpy(tone(f, 0.51, 4, rate=32_000)) for f in (300, 500)]
        + [torch.zeros(16_320)]
    )
    made = system.render(audio, "saw", "pipe")
    assert made.shape == audio.shape and made.dtype == torch.float32 and made.isfinite().all()
    torch.testing.assert_close(made[1:2], system.render(audio[1:2], "saw", "pipe"))
    assert not torch.allclose(made, system.render(audio, "saw", "saw"))
    assert make(network, 0.1).fingerprint == system.fingerprint
    assert make(network, 0.2).fingerprint != system.fingerprint
    with pytest.raises(audiovae.UserError, match="knows no 'tuba'"):
        system.render(audio, "saw", "tuba")
    with pytest.raises(audiovae.UserError, match="no unpaired recording of 'tuba'"):
        system.fit(Renders(music, "pipe"), ["tuba"])


def test_the_recipe_answers_help() -> None:
    assert succeed(HISTORY / "ss_vq_vae.py", "--help").startswith("usage: ss_vq_vae.py")


@pytest.mark.slow
def test_the_recipe_trains(music: Path, tmp_path: Path) -> None:
    said = succeed(
        HISTORY / "ss_vq_vae.py", music, tmp_path / "run",
        "--steps", 1, "--batch", 2, "--seconds", 1,
    )  # fmt: skip
    assert said.endswith(f"the model is {tmp_path / 'run' / 'state.pt'}\n")
