"""Figures of a ranking, against values worked out by hand and scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from unspool.compiler.search.learned.metrics import ceiling, figures, mape, ndcg, regret, spearman


def test_spearman_is_that_of_scipy_ties_included() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        a, b = random.integers(0, 8, 12).astype(float), random.standard_normal(12)
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert spearman([1.0, 2.0, 3.0], [5.0, 6.0, 7.0]) == 1.0
    assert spearman([1.0, 1.0], [1.0, 2.0]) == 0.0


def test_gain_of_the_first_choices() -> None:
    seconds = np.array([4.0, 1.0, 2.0])
    assert ndcg(seconds, seconds) == pytest.approx(1.0)
    discount = 1 / np.log2([2, 3, 4])
    wanted = ([0.25, 0.5, 1.0] * discount).sum() / ([1.0, 0.5, 0.25] * discount).sum()
    assert ndcg(seconds, -seconds) == pytest.approx(wanted)
    assert ndcg(seconds, -seconds, first=1) == pytest.approx(0.25)


def test_errors_are_those_of_speed_ups_and_a_factor_is_none() -> None:
    seconds = np.array([4.0, 2.0, 1.0])
    assert mape(seconds, 7 * seconds, base=0) == pytest.approx(0.0)
    assert mape(seconds, np.array([4.0, 4.0, 1.0]), base=0) == pytest.approx(0.25)  # 1 in place of 2, and none
    assert regret(seconds, np.array([3.0, 1.0, 2.0])) == 2.0


def test_programs_with_few_schedules_do_not_count() -> None:
    many, few = np.arange(1.0, 17.0), np.arange(1.0, 4.0)
    found = figures([(many, many, 0), (few, -few, 0)])
    assert (found.programs, found.spearman, found.regret) == (1, pytest.approx(1.0), pytest.approx(1.0))
    assert np.isnan(figures([(few, few, 0)]).spearman)
    assert ceiling([(many, many[::-1]), (few, few)]) == pytest.approx(-1.0)
    assert np.isnan(ceiling([(few, few)]))
