"""Back-translation changes what the encoder hears of some rows, and nothing else."""

from __future__ import annotations

import torch
from conftest import make_model

from audiovae.training.feed import Clips
from audiovae.training.translate import translated


def test_rows_are_heard_as_the_model_plays_them_in_another_domain() -> None:
    model, rows = make_model(), 40
    count = len(model.domains)
    index = torch.arange(rows * count).split(rows)
    numbers = torch.arange(count).repeat_interleave(rows)
    audio = 0.1 * torch.randn(rows * count, model.config.clip_samples)
    nothing = torch.zeros(0)
    clips = Clips(
        audio,
        numbers,
        dict(zip(model.domains, index, strict=True)),
        {},
        nothing,
        nothing,
        3,
        tuple(range(rows * count)),
    )
    features = model.read(audio)
    given = features.clone()
    heard_as, heard = translated(model, features, clips, 0.5, model.domains)
    assert torch.equal(features, given) and not heard_as.requires_grad
    changed = heard != numbers
    assert 0.35 < float(changed.float().mean()) < 0.65
    assert torch.equal(heard_as[~changed], given[~changed])
    for row in changed.nonzero().flatten().tolist()[:8]:
        domain = model.domains[int(heard[row])]
        played = model.playable(model.decode(model.encode(audio[row : row + 1]).mean, domain))
        torch.testing.assert_close(
            heard_as[row], model.normalised(played)[0].detach(), rtol=1e-3, atol=1e-3
        )
    assert torch.equal(translated(model, features, clips, 0.0, model.domains)[0], given)
    assert torch.equal(translated(model, features, clips, 0.5, model.domains)[0], heard_as)
    assert bool((translated(model, features, clips, 1.0, model.domains)[1] != numbers).all())


def test_rows_of_a_new_domain_are_heard_as_the_old_ones_play_them() -> None:
    model, rows = make_model(), 60
    *_, other = model.domains
    audio, nothing = 0.1 * torch.randn(rows, model.config.clip_samples), torch.zeros(0)
    numbers = torch.zeros(rows, dtype=torch.long)
    clips = Clips(
        audio, numbers, {other: torch.arange(rows)}, {}, nothing, nothing, 5, tuple(range(rows))
    )
    _, heard = translated(model, model.read(audio), clips, 1.0, model.domains)
    own = model.domains.index(other)
    assert set(heard.tolist()) == set(range(len(model.domains))) - {own}


def test_what_is_heard_is_held_to_what_its_domain_was_heard_at() -> None:
    model = make_model().train()
    one, two = model.domains[:2]
    model.decoder(two).ceiling.fill_(-3.0)
    audio, nothing = 0.1 * torch.randn(4, model.config.clip_samples), torch.zeros(0)
    numbers = torch.zeros(4, dtype=torch.long)
    clips = Clips(audio, numbers, {one: torch.arange(4)}, {}, nothing, nothing, 5, tuple(range(4)))
    features, _ = translated(model, model.read(audio), clips, 1.0, [one, two])
    assert float(features.max()) <= -3.0 + 1e-4
