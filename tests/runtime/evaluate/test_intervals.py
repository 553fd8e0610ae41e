"""Against SciPy, which computes both in its own way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from torchless.evaluate.intervals import mcnemar, wilson

COUNTS = st.integers(1, 100_000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


@given(COUNTS)
def test_wilson_is_scipys(counts: tuple[int, int]) -> None:
    count, total = counts
    got, wanted = wilson(count, total), binomtest(count, total).proportion_ci(method="wilson")
    assert got.value == count / total
    assert (got.low, got.high) == pytest.approx((wanted.low, wanted.high), rel=1e-9, abs=1e-12)
    assert 0 <= got.low <= got.value <= got.high <= 1


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_binomial_test_of_a_fair_coin(first: int, second: int) -> None:
    wanted = binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(wanted, rel=1e-6)


def test_mcnemar_of_many() -> None:
    assert mcnemar(20_000, 20_500) == pytest.approx(binomtest(20_000, 40_500).pvalue, rel=1e-6)
    assert mcnemar(0, 50_000) == 0.0  # 2⁻⁴⁹⁹⁹⁹, which no float holds
