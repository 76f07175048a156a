import math

import pytest
import torch
from scipy import stats

from vitlib.studies.statistics import Summary, binomial_deviation, holm, paired_differences, tail_probability


def test_a_summary_by_hand():
    summary = Summary((1.0, 2.0, 6.0))
    assert (summary.n, summary.mean, summary.low, summary.high) == (3, 3, 1, 6)
    assert summary.deviation == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert summary.error == pytest.approx(math.sqrt(7 / 3))
    assert (summary.rank(2.0), summary.rank(2.5)) == (1, 2)
    assert summary.z_score(3 + 2 * math.sqrt(7)) == pytest.approx(2)


@pytest.mark.parametrize(("n", "t"), [(2, 12.706), (5, 2.776), (20, 2.093)])
def test_the_margin_uses_the_tabulated_quantiles_of_students_t(n, t):
    summary = Summary(tuple(float(i * i) for i in range(n)))
    assert summary.margin / summary.error == pytest.approx(t, abs=5e-4)


def test_a_single_run_has_no_deviation_and_no_margin():
    assert math.isnan(Summary((1.0,)).deviation)
    assert math.isnan(Summary((1.0,)).margin)


def test_the_binomial_deviation_is_that_of_sampled_images():
    samples = torch.distributions.Binomial(1000, torch.tensor(0.7)).sample((20_000,)) / 1000
    assert binomial_deviation(0.7, 1000) == pytest.approx(samples.std().item(), rel=0.03)


def test_the_tail_probability_is_the_share_of_runs_that_lie_further_out():
    x = torch.randn(20_000, dtype=torch.float64)
    y = -0.8 * x + 0.6 * torch.randn(20_000, dtype=torch.float64)
    accuracy, loss = Summary(tuple((85 + 0.5 * x).tolist())), Summary(tuple((0.4 + 0.02 * y).tolist()))
    assert tail_probability(accuracy, loss, (accuracy.mean, loss.mean)) == pytest.approx(1)
    runs = torch.stack([x, y])
    inverse = torch.linalg.inv(torch.cov(runs))
    distances = (runs * (inverse @ runs)).sum(0)
    reported = torch.tensor([0.6, 1.0], dtype=torch.float64)
    share = (distances >= reported @ inverse @ reported).double().mean().item()
    assert tail_probability(accuracy, loss, (85.3, 0.42)) == pytest.approx(share, abs=0.02)


def test_the_tail_probability_from_few_runs_is_uniform():
    """A tail probability below 10 % has to occur in 10 % of all cases, even when it is estimated from seven runs."""
    small = 0
    for _ in range(4000):
        x = torch.randn(8, dtype=torch.float64)
        y = 0.5 * torch.randn(8, dtype=torch.float64) - x
        *accuracy, new = x.tolist()
        *loss, its = y.tolist()
        small += tail_probability(Summary(tuple(accuracy)), Summary(tuple(loss)), (new, its)) < 0.1
    assert small / 4000 == pytest.approx(0.1, abs=0.015)


def test_differences_are_taken_seed_by_seed():
    before = [{"seed": 1, "x": 1.0}, {"seed": 2, "x": 5.0}]
    after = [{"seed": 2, "x": 5.5}, {"seed": 3, "x": 9.0}, {"seed": 1, "x": 1.25}]
    assert paired_differences(after, before, "x").values == (0.5, 0.25)


def test_the_p_value_of_differences_is_that_of_scipys_paired_test():
    before, after = torch.randn(7).tolist(), (torch.randn(7) + 0.5).tolist()
    differences = Summary(tuple(b - a for a, b in zip(before, after, strict=True)))
    assert differences.p_value == pytest.approx(stats.ttest_rel(after, before).pvalue)
    assert math.isnan(Summary((1.0,)).p_value)
    assert (Summary((0.5, 0.5)).p_value, Summary((0.0, 0.0)).p_value) == (0, 1)


def test_holms_correction_by_hand():
    """Four p-values: 0.01 x 4, 0.02 x 3, 0.03 x 2, which may not fall below the one before, and 0.9 x 1."""
    assert holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert holm([0.5, 0.8]) == [1, 1]
    assert holm([]) == []
