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
        audio, numbers, dict(zip(model.domains, index, strict=True)), {}, nothing, nothing, seed=3
    )
    features = model.read(audio)
    given = features.clone()
    heard_as, heard = translated(model, features, clips, 0.5)
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
    assert torch.equal(translated(model, features, clips, 0.0)[0], given)
    assert torch.equal(translated(model, features, clips, 0.5)[0], heard_as)
    assert bool((translated(model, features, clips, 1.0)[1] != numbers).all())
