"""A decoder that plays is held to the loudest that its domain was heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch
from conftest import make_model

from audiovae.corpus.store import FilesStore
from audiovae.model.autoencoder import AudioVAE
from audiovae.training.start import hear_ceilings


def test_no_band_is_louder_than_it_was_heard_unless_the_decoder_trains(tmp_path: Path) -> None:
    model = make_model()
    rate, domain = model.config.audio.sample_rate, model.domains[0]
    (tmp_path / domain).mkdir()
    noise = 0.05 * np.random.default_rng(0).standard_normal(20 * rate)
    soundfile.write(tmp_path / domain / "noise.wav", noise, rate)
    assert torch.isinf(model.decoder(domain).ceiling).all()
    hear_ceilings(model, FilesStore(tmp_path, sample_rate=rate), [domain])
    ceiling = model.decoder(domain).ceiling[:, None] * model.feature_std + model.feature_mean
    heard = model.features(torch.from_numpy(noise).float()[None])[0]
    over = (heard > ceiling).float().mean()
    assert 0 < float(over) < 0.01
    z = 9 * torch.randn(2, model.config.model.latent_dim, 40)
    with torch.no_grad():
        held = model.eval().decode(z, domain)
        free = model.train().decode(z, domain)
    assert bool((free > ceiling + 1e-4).any())
    torch.testing.assert_close(held, torch.minimum(free, ceiling))
    # It is kept with the weights.
    model.save_pretrained(tmp_path / "model")
    again = AudioVAE.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(again.decoder(domain).ceiling, model.decoder(domain).ceiling)
