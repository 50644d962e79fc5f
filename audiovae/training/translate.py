"""Back-translation: pairs for a model that has none, made by the model itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audiovae.audio.augment import mix_seed
from audiovae.model.autoencoder import AudioVAE
from audiovae.training.feed import Clips


@torch.no_grad()
def translated(
    model: AudioVAE, features: Tensor, clips: Clips, share: float, players: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Let the encoder hear some rows as the model plays them in another domain.

    The target stays the true recording, so the encoder has to find what is played in a sound of
    another instrument, however imperfect, and the decoder has to give its own instrument to it:
    what a transfer asks of both. From machine translation without parallel text (Sennrich et
    al., "Improving neural machine translation models with monolingual data", 2016; Lample et al.,
    2018).

    Args:
        model: that trains; as it is now it plays, and learns nothing from that.
        features: `(row, n_mels, frame)` as `model.read` gives them.
        clips: unpaired rows, each decoded by its own domain.
        share: of the rows that are translated.
        players: domains that a row may be heard in, its own among them; two or more.

    Returns:
        Features, and the players' numbers `(row,)` that are now heard.
    """
    own = torch.empty_like(clips.sources)
    for domain, rows in clips.rows.items():
        own[rows] = players.index(domain)
    heard, count = own.clone(), len(players)
    for row, number in enumerate(own.tolist()):
        drawn = clips.numbers[row]
        if mix_seed(clips.seed, drawn, 8) < share * 2**63:
            other = number + 1 + mix_seed(clips.seed, drawn, 9) % (count - 1)
            heard[row] = other % count
    changed = (heard != own).nonzero().flatten()
    if len(changed) == 0:
        return features, heard
    features = features.clone()
    z = model.encoder(features[changed]).mean
    for number, domain in enumerate(players):
        played = heard[changed] == number
        if bool(played.any()):
            frames = model.playable(model.decode(z[played], domain, bounded=True))
            features[changed[played]] = model.normalised(frames).to(features.dtype)
    return features, heard
