"""recommend: the rules hold for whatever models and limits there are."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchless_export.compare.recommend import Candidate, Limits, pareto_front, recommend
from torchless_export.compare.text import recommendation_lines

COSTS = st.floats(0.1, 1000) | st.sampled_from([10.0, 20.0, 50.0])  # the latter for ties
ACCURACIES = st.floats(0, 100) | st.sampled_from([60.0, 70.0])
CANDIDATES = st.lists(st.tuples(COSTS, COSTS, ACCURACIES), max_size=8).map(
    lambda rows: [Candidate(f"model{number}", *row) for number, row in enumerate(rows)]
)
LIMITS = st.builds(
    Limits,
    max_latency_ms=st.none() | st.floats(0, 1000),
    max_size_mb=st.none() | st.floats(0, 1000),
    min_acc1=st.none() | st.floats(0, 100),
)

RESNET50 = Candidate("resnet50", 60, 102, 80.86)
MOBILENET = Candidate("mobilenet_v3_large", 8, 22, 75.27)
VGG16 = Candidate("vgg16", 250, 553, 71.59)
SQUEEZENET = Candidate("squeezenet1_1", 7, 5, 58.18)
MODELS = [RESNET50, MOBILENET, VGG16, SQUEEZENET]


@given(CANDIDATES, LIMITS)
def test_what_is_recommended_keeps_to_the_limits_and_is_beaten_by_none(
    candidates: list[Candidate], limits: Limits
) -> None:
    found = recommend(candidates, limits)
    fitting = [candidate for candidate in candidates if limits.admit(candidate)]
    assert (found.best is None) == (not fitting)
    assert set(found.front) == {c for c in fitting if not any(other.dominates(c) for other in fitting)}
    if found.best is not None:
        assert found.best in found.front
        assert found.relaxations == ()
        assert (found.runner_up is None) == (len(fitting) == 1)
        assert found.runner_up is None or (found.runner_up in fitting and found.why_not)


@given(CANDIDATES, LIMITS, st.randoms())
def test_the_order_of_the_models_does_not_matter(
    candidates: list[Candidate], limits: Limits, chance: random.Random
) -> None:
    shuffled = chance.sample(candidates, len(candidates))
    assert recommend(shuffled, limits) == recommend(candidates, limits)


@given(CANDIDATES, LIMITS)
def test_with_a_limit_on_time_or_size_none_within_is_more_accurate_and_else_none_is_quicker(
    candidates: list[Candidate], limits: Limits
) -> None:
    best = recommend(candidates, limits).best
    fitting = [candidate for candidate in candidates if limits.admit(candidate)]
    if best is None:
        return
    if limits.max_latency_ms is not None or limits.max_size_mb is not None:
        assert best.acc1 == max(candidate.acc1 for candidate in fitting)
    elif limits.min_acc1 is not None:
        assert best.latency_ms == min(candidate.latency_ms for candidate in fitting)


@given(CANDIDATES, LIMITS)
def test_every_relaxation_admits_its_model_and_relaxes_no_more_than_that_takes(
    candidates: list[Candidate], limits: Limits
) -> None:
    found = recommend(candidates, limits)
    assert bool(found.relaxations) == (bool(candidates) and found.best is None)
    for relaxation in found.relaxations:
        again = recommend(candidates, relaxation.limits)
        assert again.best is not None
        admitted = next(candidate for candidate in candidates if candidate.name == relaxation.admits)
        assert relaxation.limits.admit(admitted)
        unchanged = {name for name in limits.given() if getattr(limits, name) == getattr(relaxation.limits, name)}
        assert set(relaxation.changed) == limits.given().keys() - unchanged
        for other in found.relaxations:  # none that asks for all that another one asks for, and more
            assert other is relaxation or not set(other.changed) <= set(relaxation.changed)


@given(CANDIDATES)
def test_the_front_holds_what_nothing_dominates(candidates: list[Candidate]) -> None:
    front = pareto_front(candidates)
    assert all(any(other.dominates(c) or other == c for other in front) for c in candidates)
    assert [c.latency_ms for c in front] == sorted(c.latency_ms for c in front)


def said(limits: Limits, models: list[Candidate] = MODELS) -> str:
    return "\n".join(recommendation_lines(recommend(models, limits), "cpu"))


def test_the_most_accurate_within_the_limits_and_why_not_the_next() -> None:
    text = said(Limits(max_latency_ms=20, max_size_mb=50))
    assert text.startswith("take mobilenet_v3_large (75.27 % top-1, 8.0 ms, 22.0 MB) on the CPU\n")
    assert "the most accurate within the limits (max_latency_ms 20, max_size_mb 50)" in text
    assert (
        "not squeezenet1_1: it is 17.09 points less accurate, though it takes 0.875 times as long and is 0.227 "
        "times as large" in text
    )
    assert "also on the Pareto front of accuracy, time and size: squeezenet1_1" in text


def test_a_runner_up_that_is_better_in_nothing() -> None:
    text = said(Limits(min_acc1=70), [MOBILENET, VGG16])
    assert "the quickest that is accurate enough (min_acc1 70)" in text
    assert (
        "not vgg16: it is 3.68 points less accurate, takes 31.2 times as long and is 25.1 times as large, and is "
        "better in nothing" in text
    )


def test_twins() -> None:
    assert "not twin: equal in everything" in said(Limits(), [MOBILENET, Candidate("twin", 8, 22, 75.27)])


def test_without_limits_the_compromise() -> None:
    text = said(Limits())
    assert text.startswith("take mobilenet_v3_large")
    assert "the best compromise: nearest to the least error, time and size of any (no limits)" in text


def test_no_match_says_which_limit_to_relax_and_by_how_much() -> None:
    assert said(Limits(max_latency_ms=20, max_size_mb=50, min_acc1=80)).splitlines() == [
        "no model keeps to max_latency_ms 20, max_size_mb 50, min_acc1 80 (CPU)",
        "  relax min_acc1 80 to 75.27 (by 4.73): that admits mobilenet_v3_large",
        "  relax max_latency_ms 20 to 60 (by 40) and max_size_mb 50 to 102 (by 52): that admits resnet50",
    ]


def test_a_relaxed_limit_is_rounded_to_the_side_that_admits() -> None:
    text = said(Limits(max_latency_ms=5), [Candidate("a", 7.0412, 5, 58)])
    assert "to 7.1 (by 2.1): that admits a" in text
    assert "to 58.18 (by 1.82)" in said(Limits(min_acc1=60), [Candidate("a", 7, 5, 58.189)])


def test_nothing_to_choose_from() -> None:
    assert said(Limits(), []) == "nothing to recommend: no model with a known error"


@pytest.mark.parametrize("limits", [Limits(max_latency_ms=0), Limits(max_size_mb=0), Limits(min_acc1=100)])
def test_limits_that_nothing_keeps_to(limits: Limits) -> None:
    assert recommend(MODELS, limits).relaxations
