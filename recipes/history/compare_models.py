"""What the comparison asks of every model, and the models whose density needs no annealing.

`MODELS` in `compare.py` joins these with the machines of `compare_machines.py`. Sizes are for
corpora of tens of thousands of examples; a model of stacks gets more of everything but components.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from compare_frames import View
from factors import FactorModel, fit_factor_analysis, fit_ppca
from frame_vae import FrameVAE, fit_aae, fit_vae
from mixtures import Kind, fit_mixture
from torch import Generator, Tensor

MIXTURE_FLOOR = 1e-3
"""Least variance of a component; bands have a variance of 1."""


@dataclass(frozen=True)
class Budget:
    """How much work a model may make.

    Attributes:
        steps: of gradient descent in each training.
        iterations: of EM, at most.
        temperatures: of annealing, each way.
        chains: annealed at once.
        samples: of the hidden variables for a bound.
    """

    steps: int = 6000
    iterations: int = 40
    temperatures: int = 2000
    chains: int = 100
    samples: int = 200

    @property
    def mixing(self) -> int:
        """Rounds of sampling between training and what is taken for a sample of a machine."""
        return max(1, self.temperatures // 4)


@dataclass(frozen=True)
class Score:
    """A mean log-density of standardised held-out examples, and what kind of number it is.

    Attributes:
        log_prob: in nats an example.
        kind: `exact`, `estimate` (near, on either side) or `bound` (too low on average).
        doubt: nats an example by which log Z may be off; 0 where there is no Z.
        careful: RAISE's figure in nats an example, too low on average, where there is one.
    """

    log_prob: float
    kind: str
    doubt: float = 0.0
    careful: float | None = None


@dataclass(frozen=True)
class Fitted:
    """A trained model as the comparison sees it.

    Attributes:
        score: held-out examples `(example, dimension)` to their score.
        embed: examples to what stands for them, `(example, feature)`.
        sample: count and generator to `(count, dimension)` examples of its own.
        fields: `(field, dimension)` patterns that it is made of.
        chosen: what the tuning pieces decided, in words.
    """

    score: Callable[[Tensor], Score]
    embed: Callable[[Tensor], Tensor]
    sample: Callable[[int, Generator], Tensor]
    fields: Tensor
    chosen: str = ""


Fit = Callable[[View, Budget, Generator], Fitted]


def fit_gaussian(view: View, budget: Budget, generator: Generator) -> Fitted:
    """Fit one Gaussian with a full covariance: what any of them should beat.

    It has nothing hidden, so what stands for an example is the example.
    """
    mixture = fit_mixture(view.train, 1, "full", floor=MIXTURE_FLOOR, generator=generator)
    return Fitted(
        lambda examples: Score(float(mixture.log_prob(examples).mean()), "exact"),
        lambda examples: examples,
        mixture.sample,
        # Its principal axes, the longest first.
        torch.linalg.svd(mixture.factors[0])[0].T,
    )


def fit_mixture_of(kind: Kind, single: tuple[int, ...], stacked: tuple[int, ...]) -> Fit:
    """Return what fits mixtures of so many components to either view and keeps the best.

    The best is the one that gives the tuning pieces the most.
    """

    def fit(view: View, budget: Budget, generator: Generator) -> Fitted:
        mixtures = [
            fit_mixture(
                view.train,
                min(components, len(view.train)),
                kind,
                iterations=budget.iterations,
                floor=MIXTURE_FLOOR,
                generator=generator,
            )
            for components in (single if view.frames == 1 else stacked)
        ]
        mixture = max(mixtures, key=lambda m: float(m.log_prob(view.tuning).mean()))
        return Fitted(
            lambda examples: Score(float(mixture.log_prob(examples).mean()), "exact"),
            mixture.responsibilities,
            mixture.sample,
            mixture.means[mixture.weights.argsort(descending=True)],
            f"{len(mixture.weights)} components",
        )

    return fit


def fit_ppca_of(view: View, budget: Budget, generator: Generator) -> Fitted:
    """Fit probabilistic PCA."""
    return _wrap_factors(fit_ppca(view.train, _latents(view)))


def fit_factor_analysis_of(view: View, budget: Budget, generator: Generator) -> Fitted:
    """Fit factor analysis."""
    iterations = 10 * budget.iterations
    return _wrap_factors(fit_factor_analysis(view.train, _latents(view), iterations=iterations))


def _latents(view: View) -> int:
    """Return how many continuous hidden variables a model of this view has."""
    return 16 if view.frames == 1 else 48


def _wrap_factors(model: FactorModel) -> Fitted:
    return Fitted(
        lambda examples: Score(float(model.log_prob(examples).mean()), "exact"),
        model.posterior_mean,
        model.sample,
        model.loadings.T,
    )


def fit_vae_of(view: View, budget: Budget, generator: Generator) -> Fitted:
    """Fit a variational autoencoder."""
    model = _make_autoencoder(view, generator)
    fit_vae(model, view.train, steps=budget.steps, generator=generator, tuning=view.tuning)
    return _wrap_autoencoder(model, budget)


def fit_aae_of(view: View, budget: Budget, generator: Generator) -> Fitted:
    """Fit an adversarial autoencoder, then an encoder that knows the density it made.

    What stands for an example is the adversarial encoder's mean, before that.
    """
    model = _make_autoencoder(view, generator)
    fit_aae(model, view.train, steps=budget.steps, generator=generator, tuning=view.tuning)
    trained = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    fit_vae(
        model,
        view.train,
        steps=budget.steps // 2,
        generator=generator,
        encoder_alone=True,
        tuning=view.tuning,
    )
    matched = _make_autoencoder(view, generator)
    matched.encoder.load_state_dict(trained)
    return _wrap_autoencoder(model, budget, embed=matched)


def _make_autoencoder(view: View, generator: Generator) -> FrameVAE:
    width = 128 if view.frames == 1 else 256
    return FrameVAE(view.train.shape[1], _latents(view), (width, width), generator)


def _wrap_autoencoder(model: FrameVAE, budget: Budget, embed: FrameVAE | None = None) -> Fitted:
    model.requires_grad_(False)
    encoder = (embed or model).requires_grad_(False)

    def score(examples: Tensor) -> Score:
        generator = Generator().manual_seed(1)
        bound = model.importance_bound(examples, budget.samples, generator)
        return Score(float(bound.mean()), "bound")

    # How the frame at the middle of the prior moves along each dimension of z.
    latent = model.decoder[0].in_features
    unit = torch.eye(latent)
    fields = model.decoder(unit) - model.decoder(-unit)
    order = fields.square().sum(1).argsort(descending=True)
    return Fitted(score, lambda examples: encoder.encode(examples)[0], model.sample, fields[order])
