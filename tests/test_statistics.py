import math

import pytest
import torch
from scipy import stats

from vitlib.studies.statistics import Summary, binomial_deviation, holm, mcnemar, step_gains


def test_a_summary_by_hand():
    summary = Summary((1.0, 2.0, 6.0))
    assert (summary.n, summary.mean, summary.low, summary.high) == (3, 3, 1, 6)
    assert summary.deviation == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert (summary.rank(2.0), summary.rank(2.5)) == (1, 2)


@pytest.mark.parametrize(("n", "t"), [(2, 12.706), (5, 2.776), (20, 2.093)])
def test_the_margin_uses_the_tabulated_quantiles_of_students_t(n, t):
    summary = Summary(tuple(float(i * i) for i in range(n)))
    assert summary.margin / (summary.deviation / math.sqrt(n)) == pytest.approx(t, abs=5e-4)


def test_a_single_run_has_no_deviation_and_no_margin():
    assert math.isnan(Summary((1.0,)).deviation)
    assert math.isnan(Summary((1.0,)).margin)


def test_the_binomial_deviation_is_that_of_sampled_images():
    samples = torch.distributions.Binomial(1000, torch.tensor(0.7)).sample((20_000,)) / 1000
    assert binomial_deviation(0.7, 1000) == pytest.approx(samples.std().item(), rel=0.03)


def test_holms_correction_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # 3 x 0.01, then 2 x 0.03, then no smaller
    assert holm([0.5, 0.9]) == [1, 1]


def test_mcnemars_test_counts_only_images_on_which_the_two_differ():
    first = torch.tensor([True, False, False, False, True, False])
    second = torch.tensor([True, True, True, True, False, False])
    by_hand = 2 * (1 + 4) / 2**4  # at most one of four differences in favour of the first, two-sided
    assert mcnemar(first, second) == pytest.approx(by_hand)
    assert mcnemar(second, first) == pytest.approx(by_hand)
    assert mcnemar(first, first) == 1


def test_two_steps_of_many_runs_have_the_p_value_of_students_t_test():
    first, second = Summary((1.0, 2.0, 4.0)), Summary((3.0, 5.0, 6.0, 6.0))
    ((gain, p),) = step_gains([first, second])
    assert gain == pytest.approx(5 - 7 / 3)
    assert p == pytest.approx(stats.ttest_ind(first.values, second.values).pvalue)


def test_a_step_of_one_run_is_judged_by_the_spread_of_the_others():
    """By hand: deviation sqrt(2), 1 degree of freedom; t = 3 / (sqrt(2) sqrt(1 / 2 + 1)) = sqrt(3), p = 1/3."""
    gains = step_gains([Summary((1.0, 3.0)), Summary((5.0,)), Summary((5.0,))])
    assert [gain for gain, _ in gains] == [3, 0]
    assert gains[0][1] == pytest.approx(2 / 3)
    assert gains[1][1] == pytest.approx(1)


def test_runs_that_are_no_step_can_give_the_spread():
    """By hand: their deviation is 2, with 2 degrees of freedom; t = 4 / (2 sqrt(2)) = sqrt(2), p = 1 - sqrt(1/2)."""
    ((gain, p),) = step_gains([Summary((5.0,)), Summary((9.0,))], [Summary((1.0, 3.0, 5.0))])
    assert gain == 4
    assert p == pytest.approx(1 - math.sqrt(1 / 2))


def test_steps_of_one_run_each_cannot_be_compared():
    with pytest.raises(ValueError, match="steps have one run each, but at least one must have two"):
        step_gains([Summary((1.0,)), Summary((2.0,))])
