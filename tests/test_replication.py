import math

import pytest
import torch

from vitlib.studies.statistics import Spread, binomial_deviation, chance, gain, rank_correlation, ranks


def test_a_spread_by_hand():
    spread = Spread((1.0, 2.0, 6.0))
    assert (spread.n, spread.mean, spread.low, spread.high) == (3, 3, 1, 6)
    assert spread.deviation == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert spread.error == pytest.approx(math.sqrt(7 / 3))
    assert (spread.below(2.0), spread.below(2.5)) == (1, 2)
    assert spread.distance(3 + 2 * math.sqrt(7)) == pytest.approx(2)


@pytest.mark.parametrize(("n", "t"), [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262), (20, 2.093)])
def test_the_margin_is_that_of_students_tables(n, t):
    spread = Spread(tuple(float(i * i) for i in range(n)))
    assert spread.margin / spread.error == pytest.approx(t, abs=5e-4)


def test_a_single_run_has_no_deviation():
    assert math.isnan(Spread((1.0,)).deviation)
    assert math.isnan(Spread((1.0,)).margin)


def test_the_binomial_deviation_is_that_of_drawn_images():
    draws = torch.distributions.Binomial(1000, torch.tensor(0.7)).sample((20_000,)) / 1000
    assert binomial_deviation(0.7, 1000) == pytest.approx(draws.std().item(), rel=0.03)


def test_chance_is_the_share_of_runs_that_lie_further_out():
    torch.manual_seed(0)
    x = torch.randn(20_000, dtype=torch.float64)
    y = -0.8 * x + 0.6 * torch.randn(20_000, dtype=torch.float64)
    accuracy, loss = Spread(tuple((85 + 0.5 * x).tolist())), Spread(tuple((0.4 + 0.02 * y).tolist()))
    assert chance(accuracy, loss, (accuracy.mean, loss.mean)) == pytest.approx(1)
    reported = 85.3, 0.42
    points = torch.stack([x, y])
    inverse = torch.linalg.inv(torch.cov(points))
    far = (points * (inverse @ points)).sum(0)
    at = torch.tensor([0.6, 1.0], dtype=torch.float64)
    further = (far >= at @ inverse @ at).double().mean().item()
    assert chance(accuracy, loss, reported) == pytest.approx(further, abs=0.02)


def test_chance_of_few_runs_is_as_often_small_as_it_says():
    """Whatever the number of runs, a run of the same kind comes out below 10 % in a tenth of all cases."""
    torch.manual_seed(1)
    below = 0
    for _ in range(4000):
        x = torch.randn(7, dtype=torch.float64)
        y = 0.5 * torch.randn(7, dtype=torch.float64) - x
        *accuracy, new = x.tolist()
        *loss, its = y.tolist()
        below += chance(Spread(tuple(accuracy)), Spread(tuple(loss)), (new, its)) < 0.1
    assert below / 4000 == pytest.approx(0.1, abs=0.015)


def test_ranks_share_ties_and_correlate():
    assert ranks([30, 10, 20, 20]) == [4, 1, 2.5, 2.5]
    assert rank_correlation([1, 2, 3], [10, 20, 90]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)


def test_a_gain_is_taken_seed_by_seed():
    before = [{"seed": 1, "x": 1.0}, {"seed": 2, "x": 5.0}]
    after = [{"seed": 2, "x": 5.5}, {"seed": 3, "x": 9.0}, {"seed": 1, "x": 1.25}]
    assert gain(after, before, "x").values == (0.5, 0.25)
