"""Results of studies: grouping of runs, their summaries, and the figures made of them."""

import matplotlib.pyplot as plt
import pytest

from vitlib.report import study_figures, study_results
from vitlib.report.study_results import Runs
from vitlib.studies import study


def row(seed, right, loss, validation=0.8):
    return {"seed": seed, "validation_accuracy": validation, "test_loss": loss, "test_correct": [right] * 10}


@pytest.fixture
def runs():
    return Runs("plain", 3, (row(0, 800, 0.5, 0.75), row(1, 900, 0.3, 0.85)))


def test_accuracies_are_in_per_cent(runs):
    assert runs.validation.values == (75, 85)
    assert runs.test.values == (80, 90)
    assert runs.of_class(9).values == (80, 90)
    assert runs.loss.mean == pytest.approx(0.4)


@pytest.mark.parametrize(("accuracy", "loss", "inside"), [(80, 0.3, True), (79.9, 0.4, False), (85, 0.51, False)])
def test_a_result_lies_in_the_range_only_with_both_of_its_figures(runs, accuracy, loss, inside):
    assert runs.include(accuracy, loss) is inside


def test_the_runs_near_an_accuracy_are_those_within_half_a_point():
    groups = [Runs("a", 1, (row(0, 850, 0.4), row(1, 856, 0.5))), Runs("b", 2, (row(0, 845, 0.6),))]
    assert study_results.near(groups, 85) == [0.4, 0.6]


def test_a_range_is_shown_only_for_several_runs(runs):
    assert study_results.span(runs.test, 1) == "85.0 (80.0 – 90.0)"
    assert study_results.span(Runs("a", 1, runs.rows[:1]).loss, 2) == "0.50"


def test_every_run_of_a_study_is_in_one_group():
    asked = study.load("settings")
    groups = study_results.by_epoch(asked)
    assert sum(group.n for group in groups) == len(asked.epochs)
    assert len({(group.variant, group.epochs) for group in groups}) == len(groups) == 9
    last = study_results.by_variant(asked)
    assert [*last] == [*asked.variants]
    by_last_epoch = {group.variant: group for group in groups if group.epochs == 3}
    for name, group in last.items():
        assert group.test == by_last_epoch[name].test


def test_the_scatter_has_a_mark_for_each_run_and_the_homework(runs):
    shown = study_figures.loss_by_accuracy([runs], (85.17, 0.438), "two dots and a cross")
    assert shown.forms["text/html"].count("data-detail") == 3
    _, *rows = shown.forms["text/csv"].splitlines()
    assert rows == ["3 epochs,0,80,0.5", "3 epochs,1,90,0.3", "homework,,85.17,0.438"]


def test_the_path_draws_the_mean_and_the_range_of_each_group(runs):
    ax = study_figures.plot_path({"plain": [runs], "other": [Runs("b", 30, (row(0, 900, 0.2, 0.9),))]})
    assert [line.get_ydata().tolist() for line in ax.lines] == [[80], [90]]
    bars = [collection.get_segments()[0][:, 1].tolist() for collection in ax.collections]
    assert bars == [[75, 85], [90, 90]]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["3", "30"]
    plt.close(ax.figure)
