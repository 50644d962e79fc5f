"""What a step of the vocoder sees: log-mel frames, and the sound they stand for."""

from __future__ import annotations

import torch
from torch import Tensor

from audiovae.audio.augment import Augment, mix_seed
from audiovae.audio.features import LogMel
from audiovae.config import Config
from audiovae.corpus.kinds import Corpus, make_loader
from audiovae.errors import ConfigError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.precision import autocast

DECODED_EVERY = 2
"""With a model, one clip of so many is heard as its decoders say it."""


class VocoderFeed:
    """Cuts clips of all domains in turn, and tells how the vocoder hears them.

    Args:
        store: the corpus.
        config: settings; `training.rows` is the number of clips in a step, and with
            `training.pairing: aligned` a decoded clip comes from another domain's render.
        split: `train` or `valid`.
        logmel: the features.
        model: one whose decoders the vocoder is to play. Every other clip is then heard as one of
            them decodes it: a vocoder that knows true frames alone takes a decoder's at their word.
    """

    def __init__(
        self,
        store: Corpus,
        config: Config,
        split: str,
        logmel: LogMel,
        model: AudioVAE | None = None,
    ) -> None:
        self.config, self.domains, self.logmel, self.model = config, store.domains, logmel, model
        self.augment = Augment(config.augment, config.audio.sample_rate)
        self.aligned = model is not None and config.training.pairing == "aligned"
        rows = config.training.rows
        if model is not None:
            self.decoded = [d for d in model.domains if d in store.domains]
            if not self.decoded:
                raise ConfigError(
                    f"the model plays {', '.join(model.domains) or 'nothing'} and the store has "
                    f"{', '.join(store.domains)}: give a model with a domain of the store"
                )
        self.loader = make_loader(
            store,
            domains=store.domains,
            split=split,
            rows=rows if self.aligned else -(-rows // len(store.domains)),
            clip_samples=config.clip_samples,
            seed=config.training.seed,
            pairing="aligned" if self.aligned else "none",
            reader=config.training.reader,
            device=logmel.window.device,
            shuffle=config.training.shuffle,
        )

    def clips(self, step: int, augmented: bool) -> tuple[Tensor, Tensor]:
        """Return frames `(rows, n_mels, frame)` and sounds `(rows, sample)` of a step."""
        rows, seed = self.config.training.rows, mix_seed(self.config.training.seed, step, 4)
        batch = self.loader.batch(step)

        def cut(names: list[str], chosen: list[int]) -> Tensor:
            found = torch.stack(
                [
                    batch[name][row if self.aligned else row // len(self.domains)]
                    for name, row in zip(names, chosen, strict=True)
                ]
            )
            # An index is a gain, a sign and a tuning: the same for a source as for its target.
            return self.augment.share(found, seed, chosen) if augmented else found

        names = [self._turn(step * rows + row, row) for row in range(rows)]
        sounds = cut(names, list(range(rows)))
        frames = self.logmel(sounds)
        for row in range(rows):
            if self._is_decoded(row):
                source = names[row]
                if self.aligned:
                    source = self.domains[mix_seed(seed, row, 7) % len(self.domains)]
                made = self._decode(cut([source], [row]), names[row])
                frames[row] = made[0, :, : frames.shape[2]]
        return frames, sounds

    def _is_decoded(self, row: int) -> bool:
        return self.model is not None and row % DECODED_EVERY == 1

    def _turn(self, number: int, row: int) -> str:
        """Return the domain of a row; `number` counts the rows of all steps."""
        names = self.decoded if self._is_decoded(row) else self.domains
        if self.model is not None:
            number //= DECODED_EVERY
        return names[number % len(names)]

    @torch.no_grad()
    def _decode(self, audio: Tensor, domain: str) -> Tensor:
        model = self.model
        assert model is not None
        with autocast(audio.device, self.config.training.precision):
            made = model.decode(model.encode(audio).mean, domain)
        return model.playable(made)
