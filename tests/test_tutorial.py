"""The tutorial's page and notebook agree, and its code shows what the text says."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from commands import ROOT
from scripts import script

tutorial = script("make_tutorial", "docs")
PAGE = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
NOTEBOOK = (ROOT / "docs" / "tutorial.ipynb").read_text("utf-8")


def test_the_page_is_what_is_read_from_it() -> None:
    cells = tutorial.read_page(PAGE)
    assert tutorial.write_page(cells) == PAGE
    assert PAGE.count("```python") == sum(cell.is_code for cell in cells) == 6


def test_the_notebook_is_that_of_the_page() -> None:
    assert tutorial.write_notebook(tutorial.read_page(PAGE)) == NOTEBOOK


def test_the_model_takes_about_sixty_lines() -> None:
    model = next(c.source for c in tutorial.read_page(PAGE) if "class VAE" in c.source)
    assert len([line for line in model.splitlines() if line.strip()]) <= 60


def test_cells_keep_what_they_print_and_must_draw_what_is_shown() -> None:
    page = "Two.\n\n```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n"
    cells, names = tutorial.run_cells(tutorial.read_page(page))
    assert tutorial.write_page(cells) == page.replace("3", "2")
    assert names["__name__"] == "tutorial"
    with pytest.raises(ValueError, match="draws"):
        tutorial.run_cells([tutorial.Cell("pass", True, pictures={"none": "nothing"})])


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the notebook's cells leave when they run in order."""
    cells = [
        tutorial.Cell("".join(cell["source"]), cell["cell_type"] == "code", pictures=drawn(cell))
        for cell in json.loads(NOTEBOOK)["cells"]
    ]
    with torch.random.fork_rng(devices=[]):
        return tutorial.run_cells(cells)[1]


def drawn(cell: dict[str, Any]) -> dict[str, str]:
    """The pictures of a notebook's cell, by the page: a notebook doesn't name them."""
    source = "".join(cell["source"])
    return next(c.pictures for c in tutorial.read_page(PAGE) if c.source == source)


@pytest.mark.slow
def test_training_raises_the_elbo(names: dict[str, Any]) -> None:
    assert names["after"][0] > names["before"][0] + 30
    assert names["after"][1] > names["before"][1] + 25
    assert names["after"][0] > names["after"][1]


@pytest.mark.slow
@pytest.mark.parametrize("part", ["train", "held out"])
def test_both_forms_of_the_bound_meet_the_integral(names: dict[str, Any], part: str) -> None:
    elbo, gap, evidence, *bounds = names["sums"][part]
    assert elbo + gap == pytest.approx(evidence, abs=0.15)
    assert bounds[0] == pytest.approx(elbo, abs=0.15)
    assert sorted(bounds) == bounds and bounds[-1] < evidence + 0.05
    assert gap > 0.1


@pytest.mark.slow
def test_the_grid_holds_the_integral_of_a_linear_decoder(names: dict[str, Any]) -> None:
    # x = W z + noise is Gaussian with the covariance W W' + s², which is known.
    vae = names["VAE"]()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        weight = 0.2 * torch.randn(48, 2)
        vae.decoder = torch.nn.Linear(2, 48)
        vae.decoder.weight.copy_(weight)
        vae.decoder.bias.zero_()
        x = torch.randn(3, 48)
        evidence, _ = names["integrate"](vae, x)
    covariance = weight @ weight.T + torch.eye(48)
    truth = torch.distributions.MultivariateNormal(torch.zeros(48), covariance).log_prob(x)
    torch.testing.assert_close(evidence, truth, atol=1e-2, rtol=0)


@pytest.mark.slow
def test_readings_of_the_variance_fail_as_the_text_says(names: dict[str, Any]) -> None:
    table = names["table"]
    for start in (0, 1):
        steps, elbo, least = table[start, "log-variance"]
        assert (steps, least) == (400, 0) and math.isfinite(elbo)
        assert table[start, "softplus is the variance"][1] == pytest.approx(elbo, abs=3)
        assert table[start, "variance"][0] == 0
        assert not math.isfinite(table[start, "variance"][1])
    for clamped in ("variance, at least 1e-6", "deviation, at least 1e-3"):
        assert table[0, clamped][2] == 1
        assert table[0, clamped][1] < table[0, "log-variance"][1] - 5
        assert table[1, clamped][2] < 0.05
        assert table[1, clamped][1] < table[1, "log-variance"][1]


@pytest.mark.slow
def test_the_map_tells_instruments_apart(names: dict[str, Any]) -> None:
    assert names["right"] > 0.7
