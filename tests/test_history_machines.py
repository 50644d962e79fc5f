"""Boltzmann machines small enough to list: densities, bounds and annealing against the truth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from history import corners, history, seeded
from torch import Tensor
from torch.distributions import Normal

VISIBLE, HIDDEN, SECOND = 3, 6, 5


@pytest.fixture(scope="module")
def parts() -> Iterator[SimpleNamespace]:
    names = ("sampling", "rbm", "annealing", "deep_belief", "deep_boltzmann")
    with history(*names) as modules:
        yield modules


def shake(machine: torch.nn.Module, scale: float = 0.6, seed: int = 3) -> Any:
    """Give every parameter a random value, in double precision, and no gradient."""
    machine.double().requires_grad_(False)
    generator = seeded(seed)
    for parameter in machine.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.copy_(scale * noise)
    return machine


def gaussian(parts: SimpleNamespace, scale: float = 0.6) -> Any:
    return shake(parts.rbm.GaussianRBM(VISIBLE, HIDDEN, seeded()), scale)


def binary(parts: SimpleNamespace, visible: int = HIDDEN, scale: float = 0.6) -> Any:
    return shake(parts.rbm.BernoulliRBM(visible, SECOND, seeded()), scale, seed=4)


def frames(count: int, seed: int = 0) -> Tensor:
    return 1.5 * torch.randn(count, VISIBLE, generator=seeded(seed), dtype=torch.float64)


def exact_samples(parts: SimpleNamespace, machine: Any, count: int) -> Tensor:
    """Draw visible units of a machine whose hidden states can be listed."""
    states = parts.sampling.every_state(len(machine.hidden_bias))
    chances = machine.log_weight_hidden(states).softmax(0)
    chosen = torch.multinomial(chances, count, replacement=True, generator=seeded(8))
    return machine.sample_visible(states[chosen], seeded(9))


def test_all_states_are_listed_once(parts: SimpleNamespace) -> None:
    states = parts.sampling.every_state(4)
    assert sorted(tuple(row) for row in states.int().tolist()) == sorted(
        (a, b, c, d) for a in (0, 1) for b in (0, 1) for c in (0, 1) for d in (0, 1)
    )
    with pytest.raises(ValueError, match="17 units have too many states"):
        parts.sampling.every_state(17)


def test_the_machine_is_a_mixture_of_gaussians(parts: SimpleNamespace) -> None:
    machine, seen = gaussian(parts), frames(20)
    states = parts.sampling.every_state(HIDDEN)
    means = machine.visible_bias + states @ machine.weight.T
    variance = machine.log_variance.exp()
    # By hand: the integral of exp(-E(v, h)) over v, for each h.
    pull = (means**2 - machine.visible_bias**2) / (2 * variance)
    logits = states @ machine.hidden_bias + pull.sum(1) + 0.5 * (2 * math.pi * variance).log().sum()
    assert machine.log_z() == pytest.approx(float(logits.logsumexp(0)))
    components = Normal(means, variance.sqrt()).log_prob(seen[:, None]).sum(2)
    expected = (logits.log_softmax(0) + components).logsumexp(1)
    torch.testing.assert_close(machine.log_weight(seen) - machine.log_z(), expected)


def test_the_density_adds_up_to_one(parts: SimpleNamespace) -> None:
    machine = shake(parts.rbm.GaussianRBM(1, 4, seeded()))
    line = torch.linspace(-12, 12, 20_001, dtype=torch.float64)[:, None]
    density = (machine.log_weight(line) - machine.log_z()).exp()
    assert float(torch.trapezoid(density, line[:, 0])) == pytest.approx(1)
    bits = binary(parts, visible=4)
    states = parts.sampling.every_state(4)
    assert float(bits.log_weight(states).logsumexp(0)) == pytest.approx(bits.log_z())


def test_summing_out_either_side_fits_the_energy(parts: SimpleNamespace) -> None:
    states = parts.sampling.every_state(HIDDEN)
    machine = gaussian(parts)
    for row in frames(3):
        energies = machine.energy(row.expand(len(states), -1), states)
        summed = (-energies).logsumexp(0)
        torch.testing.assert_close(summed, machine.log_weight(row[None])[0])
        # log p(v | h) is the joint over the marginal of h.
        ratio = -energies - machine.log_weight_hidden(states)
        torch.testing.assert_close(
            machine.visible_log_prob(row.expand(len(states), -1), states), ratio
        )


def test_gibbs_sampling_leaves_the_machine_as_it_is(parts: SimpleNamespace) -> None:
    machine = gaussian(parts)
    start = exact_samples(parts, machine, 20_000)
    moved = machine.gibbs(start, 3, seeded(1))
    torch.testing.assert_close(moved.mean(0), start.mean(0), atol=0.05, rtol=0.02)
    torch.testing.assert_close(moved.std(0), start.std(0), atol=0.05, rtol=0.02)


def path(parts: SimpleNamespace, kind: str) -> tuple[Any, Tensor, float]:
    """Return a path, exact samples of its end and the exact log Z."""
    make = parts.annealing
    if kind == "gaussian":
        machine = gaussian(parts)
        samples = exact_samples(parts, machine, 100)
        return make.GaussianPath(machine, samples.mean(0), samples.var(0)), samples, machine.log_z()
    if kind == "bernoulli":
        machine = binary(parts)
        samples = exact_samples(parts, machine, 100)
        logits = parts.sampling.logit(samples.mean(0))
        return make.BernoulliPath(machine, logits), samples, machine.log_z()
    machine = parts.deep_boltzmann.DeepBoltzmann(gaussian(parts), binary(parts))
    states = parts.sampling.every_state(HIDDEN)
    chances = machine.log_weight_first(states).softmax(0)
    chosen = torch.multinomial(chances, 100, replacement=True, generator=seeded(2))
    ones = torch.ones(VISIBLE, dtype=torch.float64)
    logits = parts.sampling.logit(states[chosen].mean(0))
    deep = parts.deep_boltzmann.DeepPath(machine, 0.3 * ones, 2 * ones, logits)
    return deep, states[chosen], machine.log_z()


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli", "deep"])
def test_annealing_finds_log_z_between_its_bounds(parts: SimpleNamespace, kind: str) -> None:
    way, samples, exact = path(parts, kind)
    found = parts.annealing.sandwich_log_z(way, samples, seeded(5), steps=300, chains=100)
    assert found.forward == pytest.approx(exact, abs=0.1)
    assert found.reverse == pytest.approx(exact, abs=0.1)
    assert found.error < 0.05 and found.doubt < 0.1
    # Single chains on a coarse schedule are below and above on average.
    coarse = parts.annealing.schedule(3)
    up, _ = parts.annealing.anneal(way, coarse, way.start(1000, seeded(6)), seeded(7))
    down, _ = parts.annealing.anneal(way, coarse[::-1], samples, seeded(7))
    assert float(up.mean()) + way.log_start < exact < way.log_start - float(down.mean())


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli", "deep"])
def test_a_path_starts_where_it_says(parts: SimpleNamespace, kind: str) -> None:
    way, _, _ = path(parts, kind)
    start = way.start(20_000, seeded(1))
    moved = way.step(start, 0.0, seeded(2))
    torch.testing.assert_close(moved.mean(0), start.mean(0), atol=0.05, rtol=0.05)
    if kind != "gaussian":
        states = parts.sampling.every_state(HIDDEN)
        total = way.log_weight(states, 0.0).logsumexp(0)
        assert float(total) == pytest.approx(way.log_start)


def test_the_schedule_rises_from_nothing_to_the_model(parts: SimpleNamespace) -> None:
    betas = parts.annealing.schedule(50)
    assert len(betas) == 51 and betas[0] == 0 and betas[-1] == 1 and betas == sorted(betas)


def test_reverse_annealing_is_careful_and_near(parts: SimpleNamespace) -> None:
    way, samples, exact = path(parts, "gaussian")
    truth = float((way.machine.log_weight(samples) - exact).mean())
    found = {
        steps: float(
            parts.annealing.reverse_log_prob(
                way, samples.repeat(10, 1), seeded(3), steps=steps
            ).mean()
        )
        for steps in (5, 300)
    }
    assert found[5] < found[300] < truth + 0.02
    assert found[300] == pytest.approx(truth, abs=0.1)


@pytest.mark.parametrize("persistent", [False, True])
def test_training_raises_the_exact_likelihood(parts: SimpleNamespace, persistent: bool) -> None:
    data = corners(1000, 0)
    machine = parts.rbm.GaussianRBM(2, 8, seeded()).double()
    parts.rbm.start_from(machine, data)
    plain = Normal(data.mean(0), data.std(0)).log_prob(data).sum(1).mean()
    parts.rbm.fit_rbm(
        machine, data, steps=300, rate=1e-2, persistent=persistent, generator=seeded(1)
    )
    machine.requires_grad_(False)
    assert float(machine.log_weight(data).mean()) - machine.log_z() > float(plain) + 0.5
    # The variances are learned: the noise about the corners, not the spread of the data.
    assert bool((machine.log_variance.exp() < 0.4 * data.var(0)).all())


def test_weights_without_bound_are_reported(parts: SimpleNamespace) -> None:
    machine = parts.rbm.GaussianRBM(2, 4, seeded())
    data = torch.full((8, 2), 1e30)
    with pytest.raises(FloatingPointError, match="lower the rate"):
        parts.rbm.fit_rbm(machine, data, steps=3, generator=seeded())


def test_bounds_of_a_belief_net_are_below_the_truth(parts: SimpleNamespace) -> None:
    net = parts.deep_belief.DeepBeliefNet([gaussian(parts), binary(parts)])
    seen = frames(20)
    exact, log_z = net.exact_log_prob(seen), net.top.log_z()
    # By hand: p(v) = sum_h p(v | h) p_top(h), p_top from its own listing.
    states = parts.sampling.every_state(HIDDEN)
    top = net.top.log_weight(states)
    first = net.machines[0]
    components = Normal(first.visible_mean(states), (0.5 * first.log_variance).exp())
    by_hand = components.log_prob(seen[:, None]).sum(2) + top.log_softmax(0)
    torch.testing.assert_close(exact, by_hand.logsumexp(1))
    truth = float(exact.mean())
    many = {1: seen.repeat(200, 1), 10: seen.repeat(20, 1), 1000: seen}
    bounds = [float(net.bound(x, log_z, k, seeded(k)).mean()) for k, x in many.items()]
    assert bounds[0] < bounds[1] < bounds[2] < truth + 0.02
    assert bounds[2] == pytest.approx(truth, abs=0.1)


def test_a_net_that_undoes_its_first_machine_has_its_density(parts: SimpleNamespace) -> None:
    # The machine turned over is the best prior for its own hidden units: nothing is lost.
    below, seen = gaussian(parts), frames(10)
    states = parts.sampling.every_state(HIDDEN)
    prior = below.log_weight_hidden(states) - below.log_z()
    listed = [below.visible_log_prob(row.expand(len(states), -1), states) for row in seen]
    whole = torch.stack([(row + prior).logsumexp(0) for row in listed])
    torch.testing.assert_close(whole, below.log_weight(seen) - below.log_z())


def test_a_belief_net_learns_layer_by_layer(parts: SimpleNamespace) -> None:
    data = corners(1000, 0).float()
    net, chains = parts.deep_belief.fit_deep_belief(
        data, [6, 5, 4], steps=100, rate=1e-2, generator=seeded()
    )
    assert [len(m.hidden_bias) for m in net.machines] == [6, 5, 4]
    assert chains.shape == (128, 5) and net.chances(data[:7]).shape == (7, 15)
    assert net.fall(chains, seeded()).shape == (128, 2)
    assert net.bound(data[:9], net.top.log_z(), 3, seeded()).isfinite().all()
    with pytest.raises(ValueError, match="3 machines; exact only for 2"):
        net.exact_log_prob(data)
    with pytest.raises(ValueError, match="expected as many"):
        parts.deep_belief.DeepBeliefNet([net.machines[0], net.machines[2]])
    with pytest.raises(ValueError, match="at least one layer"):
        parts.deep_belief.fit_deep_belief(data, [], steps=1, generator=seeded())


def test_bounds_of_a_deep_machine_are_below_the_truth(parts: SimpleNamespace) -> None:
    machine = parts.deep_boltzmann.DeepBoltzmann(gaussian(parts), binary(parts))
    seen = frames(20)
    exact, log_z = machine.exact_log_prob(seen), machine.log_z()
    # By hand: all states of both layers.
    first = parts.sampling.every_state(HIDDEN)
    second = parts.sampling.every_state(SECOND)
    a = first.repeat_interleave(len(second), 0)
    b = second.repeat(len(first), 1)
    listed = [(-machine.energy(row.expand(len(a), -1), a, b)).logsumexp(0) for row in seen]
    torch.testing.assert_close(exact, torch.stack(listed) - log_z)
    mean_field = machine.mean_field_bound(seen, log_z)
    assert bool((mean_field <= exact + 1e-9).all())
    truth = float(exact.mean())
    many = {1: seen.repeat(200, 1), 10: seen.repeat(20, 1), 1000: seen}
    bounds = [float(machine.bound(x, log_z, k, seeded(k)).mean()) for k, x in many.items()]
    # Summing the second layer out is worth something already with one sample.
    assert float(mean_field.mean()) - 0.02 < bounds[0] < bounds[1] < bounds[2] < truth + 0.02
    assert bounds[2] == pytest.approx(truth, abs=0.1)


def test_mean_field_is_a_fixed_point(parts: SimpleNamespace) -> None:
    machine = parts.deep_boltzmann.DeepBoltzmann(gaussian(parts), binary(parts))
    seen = frames(5)
    first, second = machine.infer(seen, rounds=200)
    torch.testing.assert_close(first, machine.first_logits(seen, second).sigmoid())
    torch.testing.assert_close(second, machine.top.hidden_chances(first))


def test_a_deep_machine_learns(parts: SimpleNamespace) -> None:
    data = corners(1000, 0)
    plain = Normal(data.mean(0), data.std(0)).log_prob(data).sum(1).mean()
    machine, chains = parts.deep_boltzmann.fit_deep_boltzmann(
        data.float(), (8, 4), steps=200, rate=3e-2, generator=seeded()
    )
    assert chains.shape == (128, 8)
    machine.double()
    assert float(machine.exact_log_prob(data).mean()) > float(plain) + 0.3
    dreamt, second = machine.gibbs(chains.double(), 2, seeded())
    assert dreamt.shape == (128, 2) and second.shape == (128, 4)
