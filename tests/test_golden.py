"""No figure of a fixed model moves, and the slightest change of what makes it would move it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import golden
import golden_terms
import numpy as np
import pytest
import torch
from formula import draw, normal, settings, uniform
from golden_terms import OBJECTIVES

from audiovae.audio import effects, features
from audiovae.config import ModelConfig, ObjectiveConfig
from audiovae.metrics import distances, frechet
from audiovae.model import decoder, latent, presence, vocoder, voice
from audiovae.training import confusion, likelihood, matching, objective, optimise, vocoder_losses

MORE = 1.001
"""A change of a thousandth."""


@pytest.mark.parametrize("group", golden.GROUPS)
def test_figures_are_what_they_were(group: str) -> None:
    told = golden.tell(group)
    assert golden.moved(told) == {}
    kept = [name for name in golden.golden() if name.split(": ")[0] == group]
    assert kept == list(told)


def test_every_objective_is_told() -> None:
    for kind, section in ((ObjectiveConfig, "objective"), (ModelConfig, "model")):
        hints = get_type_hints(kind)
        for setting in {"match", "confusion", "prior", "likelihood", "decoder"} & hints.keys():
            told = {getattr(getattr(settings(**o), section), setting) for o in OBJECTIVES.values()}
            assert told >= set(get_args(hints[setting])) - {"none"}


def more(function: Callable[..., Any], place: int | None = None) -> Callable[..., Any]:
    """Return a function whose result, or the argument at a place, is larger by a thousandth."""

    def changed(*given: Any, **named: Any) -> Any:
        if place is None:
            return MORE * function(*given, **named)
        return function(*given[:place], MORE * given[place], *given[place + 1 :], **named)

    return changed


def less_free(posterior: latent.DiagonalGaussian) -> torch.Tensor:
    """A divergence with another factor before the log-variance."""
    logvar = posterior.logvar
    return 0.5 * (posterior.mean.square() + logvar.exp() - 1.0 - MORE * logvar)


hann, posterior, floor = torch.hann_window, latent.DiagonalGaussian, settings().audio.log_floor
FUNCTIONS: list[tuple[str, Any, str, Any]] = [
    ("features", torch, "hann_window", lambda n: hann(n) ** MORE),
    ("features", torch, "hann_window", lambda n: hann(n, periodic=False)),
    ("features", golden, "settings", lambda: settings(audio={"log_floor": MORE * floor})),
    ("features", features, "_stft", more(features._stft)),
    ("features", golden, "mel_filters", more(features.mel_filters)),
    ("effects", effects, "equalise", more(effects.equalise, 1)),
    ("effects", effects, "retune", more(effects.retune, 1)),
    ("effects", effects, "reverberate", more(effects.reverberate, 1)),
    ("networks", posterior, "std", property(lambda q: (0.5 * MORE * q.logvar).exp())),
    ("networks", latent, "LOGVAR_RANGE", (-12.0 * MORE, 4.0)),
    ("networks", vocoder, "scaled", more(vocoder.scaled)),
    ("waveform networks", voice.LinkedVoice, "windows", more(voice.LinkedVoice.windows)),
    ("wavenet", golden, "mu_law_decode", more(golden.mu_law_decode)),
    ("objectives", posterior, "kl", less_free),
    ("objectives", matching, "kl_term", more(matching.kl_term, 1)),
    ("objectives", matching, "mmd", more(matching.mmd)),
    ("objectives", confusion, "confusion_bound", more(confusion.confusion_bound, 0)),
    ("objectives", golden_terms.objective, "disagreement", more(objective.disagreement)),
    ("losses", golden_terms, "log_normal", more(golden_terms.log_normal, 2)),
    ("losses", vocoder_losses, "von_mises", more(vocoder_losses.von_mises, 0)),
    ("losses", objective, "log", more(objective.log, 1)),
    ("training", optimise, "learning_rate", more(optimise.learning_rate)),
    ("metrics", frechet, "_kernel", more(frechet._kernel)),
]
LIKELIHOOD = likelihood.negative_log_likelihood
FUNCTIONS += [("objectives", likelihood, "negative_log_likelihood", more(LIKELIHOOD, 2))]
CONSTANTS = [
    ("networks", latent, "GRAIN"),
    ("networks", decoder, "LOUDEST"),
    ("networks", decoder, "MIN_SCALE"),
    ("networks", voice, "LOUDEST"),
    ("networks", presence, "SILENCE"),
    ("losses", vocoder_losses, "FLOOR"),
    ("metrics", distances, "LSD_RANGE_DB"),
    ("metrics", distances, "LSD_POWER_FLOOR"),
    ("metrics", distances, "RMS_FLOOR"),
    ("metrics", distances, "DAC_FLOOR"),
]
CHANGES = FUNCTIONS + [(*place, MORE * getattr(*place[1:])) for place in CONSTANTS]


@pytest.mark.parametrize(
    ("group", "owner", "name", "changed"), CHANGES, ids=[f"{c[0]}-{c[2]}" for c in CHANGES]
)
def test_a_change_of_a_thousandth_is_seen(
    group: str, owner: Any, name: str, changed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, changed)
    assert golden.moved(golden.tell(group))


def test_numbers_by_formula_are_uniform_normal_and_of_their_name() -> None:
    # The first of each stay: all figures rest on them.
    assert uniform("a", 2).tolist() == [0.9224814934200967, -0.4323523869431434]
    many = uniform("b", 100_000)
    assert abs(many.mean()) < 0.01 and many.var() == pytest.approx(1 / 3, rel=0.01)
    assert abs(np.corrcoef(many, uniform("c", 100_000))[0, 1]) < 0.02
    bell = normal("d", 100, 200)
    assert float(bell.mean()) == pytest.approx(0, abs=0.03)
    assert float(bell.std()) == pytest.approx(1, abs=0.03)
    assert draw("a", 1, 2).tolist()[0] == pytest.approx(uniform("a", 2))
