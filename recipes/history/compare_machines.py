"""Boltzmann machines in the comparison: their log Z, and with it their scores, by annealing."""

from __future__ import annotations

import torch
from annealing import BernoulliPath, GaussianPath, LogZ, reverse_log_prob, sandwich_log_z
from compare_frames import View
from compare_models import Budget, Fit, Fitted, Score
from deep_belief import fit_deep_belief
from deep_boltzmann import DeepPath, fit_deep_boltzmann
from rbm import RBM, GaussianRBM, fit_rbm, start_from
from sampling import coins, logit
from torch import Generator, Tensor

BATCH = 128
"""Examples in a step, and persistent chains."""
RATE = 5e-3
CAREFUL_ROWS = 100
"""Held-out examples that are annealed backwards."""


def _units(view: View) -> int:
    """Return how many hidden units a layer has."""
    return 128 if view.frames == 1 else 256


def fit_rbm_of(persistent: bool) -> Fit:
    """Return what fits a Gaussian machine by CD-1, or by persistent chains."""

    def fit(view: View, budget: Budget, generator: Generator) -> Fitted:
        machine = GaussianRBM(view.train.shape[1], _units(view), generator)
        start_from(machine, view.train)
        chains = fit_rbm(
            machine,
            view.train,
            steps=budget.steps,
            batch=BATCH,
            rate=RATE,
            persistent=persistent,
            generator=generator,
        )
        machine.requires_grad_(False)
        dreams = machine.gibbs(chains, budget.mixing, generator)

        def score(examples: Tensor) -> Score:
            draw = Generator().manual_seed(1)
            path = GaussianPath(machine, view.train.mean(0), view.train.var(0))
            log_z = sandwich_log_z(
                path, dreams, draw, steps=budget.temperatures, chains=budget.chains
            )
            found = machine.log_weight(examples).double() - log_z.forward
            # Annealed for some rows alone: how much lower they are is told of all.
            few = slice(0, CAREFUL_ROWS)
            careful = reverse_log_prob(path, examples[few], draw, steps=budget.temperatures)
            mean = float(found.mean())
            lower = mean + float((careful - found[few]).mean())
            return Score(mean, "estimate", log_z.doubt, lower)

        def sample(count: int, draw: Generator) -> Tensor:
            return machine.gibbs(_some(dreams, count, draw), budget.mixing, draw)

        return Fitted(score, machine.hidden_chances, sample, _strongest(machine))

    return fit


def fit_belief_of(view: View, budget: Budget, generator: Generator) -> Fitted:
    """Fit a deep belief network of two machines."""
    units = _units(view)
    net, chains = fit_deep_belief(
        view.train, [units, units], steps=budget.steps, batch=BATCH, rate=RATE, generator=generator
    )
    net.requires_grad_(False)
    dreams = net.top.gibbs(chains, budget.mixing, generator)

    def score(examples: Tensor) -> Score:
        draw = Generator().manual_seed(1)
        log_z = _log_z_of_bits(net.top, net.rise(view.train, draw), dreams, budget, draw)
        bound = net.bound(examples, log_z.forward, budget.samples, draw)
        return Score(float(bound.mean()), "bound", log_z.doubt)

    def sample(count: int, draw: Generator) -> Tensor:
        return net.fall(net.top.gibbs(_some(dreams, count, draw), budget.mixing, draw), draw)

    return Fitted(score, net.chances, sample, _strongest(net.machines[0]))


def _log_z_of_bits(top: RBM, seen: Tensor, dreams: Tensor, budget: Budget, draw: Generator) -> LogZ:
    path = BernoulliPath(top, logit(seen.mean(0)))
    return sandwich_log_z(path, dreams, draw, steps=budget.temperatures, chains=budget.chains)


def fit_deep_of(view: View, budget: Budget, generator: Generator) -> Fitted:
    """Fit a deep Boltzmann machine of two layers."""
    units = _units(view)
    machine, chains = fit_deep_boltzmann(
        view.train,
        (units, units),
        steps=budget.steps // 2,
        batch=BATCH,
        rate=RATE,
        generator=generator,
    )
    machine.requires_grad_(False)

    def go_on(first: Tensor, rounds: int, draw: Generator) -> Tensor:
        frames, second = machine.gibbs(first, rounds, draw)
        return coins(machine.first_logits(frames, second).sigmoid(), draw)

    dreams = go_on(chains, budget.mixing, generator)

    def score(examples: Tensor) -> Score:
        draw = Generator().manual_seed(1)
        logits = logit(machine.infer(view.train[:2000])[0].mean(0))
        path = DeepPath(machine, view.train.mean(0), view.train.var(0), logits)
        log_z = sandwich_log_z(path, dreams, draw, steps=budget.temperatures, chains=budget.chains)
        bound = machine.bound(examples, log_z.forward, budget.samples, draw)
        return Score(float(bound.mean()), "bound", log_z.doubt)

    def sample(count: int, draw: Generator) -> Tensor:
        return machine.gibbs(_some(dreams, count, draw), budget.mixing, draw)[0]

    return Fitted(
        score,
        lambda examples: torch.cat(machine.infer(examples), 1),
        sample,
        _strongest(machine.bottom),
    )


def _some(rows: Tensor, count: int, draw: Generator) -> Tensor:
    """Return `count` of `rows`, each once as long as there are enough."""
    order = torch.randperm(len(rows), generator=draw)
    return rows[order.repeat(-(-count // len(rows)))[:count]]


def _strongest(machine: RBM) -> Tensor:
    """Return the weights `(unit, visible)` of the hidden units, the largest first."""
    weights = machine.weight.T
    return weights[weights.square().sum(1).argsort(descending=True)]
