"""Set distances by hand, by scipy, and by what must hold."""

import numpy as np
import pytest
import scipy.linalg
import torch

from audiovae.metrics.frechet import frechet_distance, kernel_distance


def draw(samples: int, dimension: int, seed: int) -> np.ndarray:
    """Correlated normal samples with a mean."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((dimension, dimension))
    return rng.standard_normal((samples, dimension)) @ mix + rng.standard_normal(dimension)


def test_one_dimension_by_hand() -> None:
    # Means 0 and 3, variances 2 and 8: 3^2 + (sqrt 2 - sqrt 8)^2 = 9 + 2.
    assert frechet_distance(np.array([[-1.0], [1.0]]), np.array([[1.0], [5.0]])) == pytest.approx(
        11
    )


def test_frechet_is_its_definition() -> None:
    # Covariances that do not commute, so that the order of the product matters.
    x, y = draw(200, 4, 1), draw(150, 4, 2)
    first, second = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(first @ second).real
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(first + second - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-9)


def test_a_shift_costs_its_square() -> None:
    x = draw(50, 3, 1)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + np.array([1.0, 2.0, 2.0])) == pytest.approx(9)


def test_fewer_samples_than_dimensions_is_finite() -> None:
    x, y = draw(5, 20, 1), draw(5, 20, 2)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert 0 < frechet_distance(x, y) < np.inf


def test_kernel_distance_by_hand() -> None:
    # k(x, y) = (x y + 1)^3. Within {0, 1}: 1. Within {1, 2}: 27. Across: (1 + 1 + 8 + 27) / 4.
    a, b = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    assert kernel_distance(a, b) == pytest.approx(1 + 27 - 2 * 37 / 4)
    assert kernel_distance(b, a) == pytest.approx(1 + 27 - 2 * 37 / 4)
    # Two dimensions: x . y is halved.
    wide = kernel_distance(np.repeat(a, 2, 1), np.repeat(b, 2, 1))
    assert wide == pytest.approx(1 + 27 - 2 * 37 / 4)


def test_kernel_distance_is_unbiased() -> None:
    # Five samples a set: the biased estimate would be near the mean variance of the kernel, 2.
    rng = np.random.default_rng(0)
    values = [kernel_distance(*rng.standard_normal((2, 5, 3))) for _ in range(2000)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error < 0.4
    assert min(values) < 0


def test_kernel_distance_grows_with_the_difference() -> None:
    x = np.random.default_rng(0).standard_normal((400, 8))
    y = np.random.default_rng(1).standard_normal((400, 8))
    near, far = (kernel_distance(x, y + shift) for shift in (0.3, 1.0))
    assert abs(kernel_distance(x, y)) < near < far
    # Same mean, same variance of each entry, other correlations.
    twisted = np.random.default_rng(2).standard_normal((400, 4)).repeat(2, axis=1)
    assert kernel_distance(x, twisted) > 5 * abs(kernel_distance(x, y))


def test_tensors_and_arrays_are_alike() -> None:
    x, y = draw(30, 4, 1).astype(np.float32), draw(30, 4, 2).astype(np.float32)
    for distance in (frechet_distance, kernel_distance):
        assert distance(torch.from_numpy(x), y) == distance(x, y)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.ones((1, 3)), np.ones((4, 3)), "at least 2"),
        (np.ones((4, 3)), np.ones((4, 2)), "one dimension for both"),
        (np.ones(4), np.ones(4), "sample, dimension"),
        (np.ones((2, 4, 3)), np.ones((4, 3)), "sample, dimension"),
    ],
)
def test_other_sets_are_refused(a: np.ndarray, b: np.ndarray, message: str) -> None:
    for distance in (frechet_distance, kernel_distance):
        with pytest.raises(ValueError, match=message):
            distance(a, b)
