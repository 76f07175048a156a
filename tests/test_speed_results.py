"""What the page on speed reads of the stored benchmarks, and its figure."""

import matplotlib.pyplot as plt
import pytest

from vitlib.report import speed_figures, speed_results
from vitlib.report.speed_results import Speed


def test_a_gain_is_the_median_of_the_ratios_round_by_round():
    assert Speed("a", usual=[1, 2, 4], ours=[4, 4, 4]).gain == 2
    assert speed_results.ratio([1, 9, 3], [1, 1, 1]) == 3


def test_this_reports_model_comes_first_and_each_model_has_both_loops():
    measured = {f"{loop}: {name}": [1.0] for name in ("timm", "this report") for loop in ("usual loop", "our loop")}
    found = speed_results.speeds({"measured": measured | {"our loop: this report, AdamW": [9.0], "matmul peak": [3.0]}})
    assert [*found] == ["this report", "timm"]


def test_an_unknown_result_gets_the_known_names():
    with pytest.raises(ValueError, match=r"result is 'speed-abacus', but must be one of cost, .*run-h200"):
        speed_results.load("speed-abacus")


def test_a_race_counts_whole_batches():
    found = speed_results.races(speed_results.load("speed-cpu-time"), speed_results.load("speed-h200-time"))
    # whole batches of 128 in four epochs of the usual loop; of 64 and of 512 in ours
    assert [race.images for race in found] == [4 * 468 * 128, 703 * 64, 3 * 107 * 512, 3 * 107 * 512]


def test_the_bars_are_the_medians_of_both_loops():
    ax = speed_figures.plot_throughput([Speed("a", [1, 2, 9], [5, 4, 6]), Speed("b", [7], [8])])
    assert [bar.get_width() for bar in ax.patches] == [7, 8, 2, 5]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "a"]
    plt.close(ax.figure)
