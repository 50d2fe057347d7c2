"""Cohorts: incidence against lifelines, slope against statsmodels, masking, projections and honesty of insights."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.analysis.cohorts.comparison import MINIMUM_FOLLOWED, cohort_comparison, cohort_insights, shrink, trend
from pipeline.analysis.cohorts.triangles import cohort_metrics, cohort_triangles, continuous_cells
from pipeline.analysis.statistics import STATED_PROBABILITY
from tests.acceptance.simulations import cohorts as simulation

TONIGHT = date(2026, 6, 30)


def cells(*rows: tuple[str, int, int, int, int, int], cohort_type: str = "signup_date") -> pl.DataFrame:
    """Rows of (cohort, days before tonight of entry, age in weeks, entrants, conversions, exits)."""
    names = ["cohort", "ago", "age_weeks", "entrants", "conversions", "exits"]
    return (
        pl.DataFrame(list(rows), schema=names, orient="row")
        .with_columns(
            day=pl.lit(TONIGHT) - pl.duration(days=pl.col("ago")),
            cohort_type=pl.lit(cohort_type),
            workflow_id=pl.lit("w"),
        )
        .drop("ago")
    )


def old_cohorts(conversions: list[int], entrants: int = 1_000, cohort_type: str = "signup_date") -> pl.DataFrame:
    """Cohorts followed for ten weeks, all conversions in the first."""
    return cells(
        *((f"c{number:02d}", 70, 0, entrants, converted, 0) for number, converted in enumerate(conversions)),
        cohort_type=cohort_type,
    )


def compare(frame: pl.DataFrame) -> pl.DataFrame:
    return cohort_comparison(cohort_triangles(frame, as_of_day=TONIGHT), as_of_day=TONIGHT)


def insights(frame: pl.DataFrame) -> pl.DataFrame:
    return cohort_insights(compare(frame), as_of_day=TONIGHT)


def test_incidence_agrees_with_lifelines_when_entrants_leave_and_are_followed_unequally_long():
    from lifelines import AalenJohansenFitter

    random = np.random.default_rng(3)
    size, weeks = 4_000, 8
    followed = random.integers(1, weeks + 1, size)
    event = random.choice([1, 2], size, p=[0.7, 0.3])
    week = random.geometric(0.08, size) - 1
    seen = week < followed
    people = pl.DataFrame({"followed": followed, "week": week, "event": np.where(seen, event, 0)})
    entries = people.group_by("followed").agg(entrants=pl.len()).with_columns(week=pl.lit(0))
    outcomes = (
        people.filter(pl.col("event") > 0)
        .group_by("followed", "week")
        .agg(conversions=(pl.col("event") == 1).sum(), exits=(pl.col("event") == 2).sum())
    )
    frame = (
        pl.concat([entries, outcomes], how="diagonal_relaxed")
        .with_columns(
            pl.col("entrants", "conversions", "exits").fill_null(0).cast(pl.Int64),
            day=pl.lit(TONIGHT) - pl.duration(days=7 * pl.col("followed")),
            cohort=pl.lit("c"),
            cohort_type=pl.lit("signup_date"),
            workflow_id=pl.lit("w"),
        )
        .rename({"week": "age_weeks"})
    )
    ours = cohort_triangles(frame, as_of_day=TONIGHT, weeks=weeks)
    # lifelines breaks ties by jitter: within a week, events of both kinds fall in random order, censoring comes last.
    times = np.where(seen, week + 1 - 0.5 * random.random(size), followed + 0.5)
    reference = AalenJohansenFitter().fit(times, np.where(seen, event, 0), event_of_interest=1)
    expected = np.array([reference.cumulative_density_[: age + 1.25].iloc[-1, 0] for age in range(weeks)])
    bounds = np.array([reference.confidence_interval_[: age + 1.25].iloc[-1].to_numpy() for age in range(weeks)])
    assert ours["incidence_rate"].to_numpy() == pytest.approx(expected, abs=0.003)
    assert ours["incidence_rate_low"].to_numpy() == pytest.approx(bounds[:, 0], abs=0.005)
    assert ours["incidence_rate_high"].to_numpy() == pytest.approx(bounds[:, 1], abs=0.005)


def test_without_censoring_incidence_is_the_share_converted():
    grown = cohort_triangles(cells(("c", 70, 0, 500, 40, 10), ("c", 70, 3, 0, 20, 5)), as_of_day=TONIGHT)
    closed = grown.filter("is_mature")
    assert closed.height == 10
    assert closed["incidence_rate"].to_numpy() == pytest.approx(closed["conversion_rate"].to_numpy())
    assert closed["conversion_rate"].to_list()[3] == pytest.approx(60 / 500)


@st.composite
def left_by_week(draw: st.DrawFn) -> list[tuple[str, int, int, int, int, int]]:
    """Entries of some weeks, and who of them converts or leaves in the weeks after; often all of them convert."""
    rows, most_exits = [], draw(st.sampled_from([0, 2]))
    for weeks in draw(st.lists(st.integers(1, 8), min_size=1, max_size=6, unique=True)):
        outcomes = draw(
            st.lists(st.tuples(st.integers(0, 9), st.integers(0, most_exits)), min_size=weeks, max_size=weeks)
        )
        entrants = sum(map(sum, outcomes)) + draw(st.integers(0, 2))
        rows += [("c", 7 * weeks, age, 0 if age else entrants, *of_week) for age, of_week in enumerate(outcomes)]
    return rows


@settings(max_examples=200)
@given(left_by_week())
@example([("c", 35, age, 33 * (not age), conversions, 0) for age, conversions in enumerate((6, 9, 7, 6, 5))])
def test_every_rate_is_a_share_within_its_interval(rows: list[tuple[str, int, int, int, int, int]]) -> None:
    grown = cohort_triangles(cells(*rows), as_of_day=TONIGHT, weeks=8)
    for name in ("conversion_rate", "incidence_rate", "projected_rate"):
        known = grown.filter(pl.col(name).is_not_null())
        assert known.filter(~pl.col(name).is_between(f"{name}_low", f"{name}_high")).is_empty()
    assert cohort_metrics(grown).height == 1


def test_weeks_that_are_not_closed_are_masked_and_their_conversions_do_not_count():
    """Half the cohort has two closed weeks, half has one; the second half's early second week is not looked at."""
    frame = cells(("c", 14, 0, 100, 10, 0), ("c", 14, 1, 0, 5, 0), ("c", 13, 0, 100, 20, 0), ("c", 13, 1, 0, 99, 0))
    grown = cohort_triangles(frame, as_of_day=TONIGHT, weeks=3)
    assert grown["followed"].to_list() == [200, 100, 0]
    assert grown["conversions"].to_list() == [30, 15, 0]
    assert grown["is_mature"].to_list() == [True, False, False]
    assert grown["conversion_rate"].to_list() == [pytest.approx(0.15), pytest.approx(0.15), None]
    assert grown["status"].str.starts_with("not enough data").to_list() == [False, False, True]


def test_a_young_cohort_is_projected_by_the_growth_of_the_old_ones_and_marked():
    frame = pl.concat(
        [
            cells(("old", 70, 0, 1_000, 100, 0), ("old", 70, 1, 0, 50, 0)),
            cells(("young", 7, 0, 1_000, 40, 0)),
        ]
    )
    young = cohort_triangles(frame, as_of_day=TONIGHT, weeks=3).filter(pl.col("cohort") == "young")
    assert young["projected_rate"].to_list() == pytest.approx([0.04, 0.06, 0.06])
    assert young["is_projected"].to_list() == [False, True, True]
    assert young["projected_rate_low"].to_list()[2] < 0.06 < young["projected_rate_high"].to_list()[2]
    metrics = cohort_metrics(cohort_triangles(frame, as_of_day=TONIGHT, weeks=3))
    row = metrics.filter(pl.col("cohort") == "young").row(0, named=True)
    assert (row["last_complete_age_weeks"], row["projected_age_weeks"], row["is_projected"]) == (0, 2, True)


def test_a_young_cohort_is_compared_at_the_age_it_has_reached_and_the_others_at_theirs():
    frame = pl.concat([old_cohorts([100, 90, 110, 95]), cells(("young", 7, 0, 1_000, 300, 0))])
    rows = compare(frame).sort("cohort")
    assert rows["age_weeks"].to_list() == [9, 9, 9, 9, 0]
    assert rows["cohorts_compared"].to_list() == [4, 4, 4, 4, 5]
    assert insights(frame).select("insight_kind", "cohort").rows() == [("above others", "young")]


def test_a_cohort_of_which_nobody_is_followed_long_enough_has_counts_only():
    frame = pl.concat([old_cohorts([100, 90, 110, 95]), cells(("young", 3, 0, 1_000, 300, 0))])
    row = compare(frame).filter(pl.col("cohort") == "young").row(0, named=True)
    assert row["age_weeks"] == 9
    assert row["status"] == f"not enough data: {MINIMUM_FOLLOWED} more entrants followed needed"
    assert row["shrunk_rate"] is None


def test_one_import_of_a_hundred_thousand_makes_no_other_cohort_an_insight():
    usual = old_cohorts([50, 48, 53, 51, 47, 52])
    imported = cells(("import", 70, 0, 100_000, 500, 0))
    told = insights(pl.concat([usual, imported]))
    assert told.select("insight_kind", "cohort").rows() == [("below others", "import")]


def test_one_odd_plan_of_three_makes_no_other_plan_an_insight():
    told = insights(old_cohorts([100, 105, 170], cohort_type="subscription_plan"))
    assert told.select("insight_kind", "cohort").rows() == [("above others", "c02")]


def test_a_projection_ends_where_fewer_than_thirty_people_are_left_to_be_won():
    def ahead(old: int) -> list[float | None]:
        entered = cells(("old", 70, 0, old, old // 4, 0), ("old", 70, 1, 0, old // 4, 0), ("young", 7, 0, 500, 100, 0))
        grown = cohort_triangles(entered, as_of_day=TONIGHT, weeks=3)
        return grown.filter(pl.col("cohort") == "young")["projected_rate"].to_list()

    assert None not in ahead(80)
    assert ahead(56)[1:] == [pytest.approx(0.4), None]


def test_a_cohort_far_off_is_named_with_the_people_affected():
    named = insights(old_cohorts([100, 95, 104, 98, 101, 170]))
    assert named.select("insight_kind", "cohort", "affected").rows() == [("above others", "c05", 1_000)]


def test_cohorts_that_are_alike_are_shrunk_together_and_nothing_is_said():
    alike = old_cohorts([100, 95, 104, 98, 101, 111])
    rows = compare(alike)
    spread = rows["conversion_rate"].std() or 0.0
    assert (rows["shrunk_rate"].std() or 0.0) < 0.7 * spread
    assert insights(alike).is_empty()


@pytest.mark.parametrize(("cohort_type", "kinds"), [("signup_date", {"rising"}), ("subscription_plan", set())])
def test_a_trend_is_told_where_cohorts_have_an_order(cohort_type, kinds):
    told = insights(old_cohorts([80, 86, 90, 97, 103, 108, 115, 122], entrants=2_000, cohort_type=cohort_type))
    assert {kind for kind in told["insight_kind"] if "others" not in kind} == kinds


def test_without_scatter_the_slope_is_that_of_logistic_regression():
    import statsmodels.api as sm

    followed = np.array([500.0, 800.0, 650.0, 900.0, 700.0])
    conversions = np.array([50.0, 85.0, 66.0, 101.0, 77.0])
    ours = trend(conversions, followed)
    design = sm.add_constant(np.arange(5.0))
    reference = sm.GLM(
        np.column_stack([conversions, followed - conversions]), design, family=sm.families.Binomial()
    ).fit()
    assert ours.dispersion == 0.0
    assert ours.slope == pytest.approx(reference.params[1])
    assert (ours.high - ours.low) / 2 == pytest.approx(stats.t.ppf(0.975, 3) * reference.bse[1])


def test_with_equal_sizes_the_slope_has_the_quasi_binomial_error():
    """Williams' weights are then all alike, and his error is the quasi-binomial one of statsmodels."""
    import statsmodels.api as sm

    followed = np.full(8, 1_000.0)
    conversions = np.array([60.0, 140.0, 75.0, 120.0, 150.0, 70.0, 135.0, 90.0])
    ours = trend(conversions, followed)
    reference = sm.GLM(
        np.column_stack([conversions, followed - conversions]),
        sm.add_constant(np.arange(8.0)),
        family=sm.families.Binomial(),
    ).fit()
    assert ours.dispersion > 0
    scatter = np.sqrt(reference.pearson_chi2 / reference.df_resid)
    assert ours.p_value == pytest.approx(2 * stats.t.sf(abs(reference.tvalues[1]) / scatter, 6), rel=1e-3)


def test_with_many_even_cohorts_shrinkage_nears_the_known_beta_posterior():
    """Rates drawn from one beta law: integrating its parameters out costs little when two hundred cohorts show it.

    The few that lie farthest out are taken for odd, and shrunk less.
    """
    random = np.random.default_rng(7)
    mean, spread = 0.1, 0.25
    concentration = (1 - mean) / (mean * spread**2) - 1
    rates = random.beta(mean * concentration, (1 - mean) * concentration, 200)
    followed = np.full(200, 400.0)
    conversions = random.binomial(400, rates).astype(float)
    expected = (conversions + mean * concentration) / (followed + concentration)
    off = np.abs(shrink(conversions, followed)["shrunk_rate"].to_numpy() / expected - 1)
    assert np.quantile(off, 0.98) < 0.06


def test_beside_an_import_that_hardly_converts_noise_is_no_difference():
    """The last of seven like cohorts is young: 23% above the others, by 132 conversions where 107 are expected."""
    followed = np.array([6_000.0] * 6 + [1_714])
    conversions = np.array([375.0, 390, 362, 381, 370, 374, 132])
    alone = shrink(conversions, followed)["above_probability"][-1]
    beside = shrink(np.append(conversions, 1_250), np.append(followed, 100_000))["above_probability"]
    assert beside[6] < STATED_PROBABILITY
    assert beside[6] == pytest.approx(alone, abs=0.15)


@pytest.mark.parametrize(
    ("conversions", "followed"), [([9, 0], [100, 4_000]), ([0, 0, 0, 3], [3_000, 2_000, 1_500, 60]), ([0, 0], [60, 80])]
)
def test_an_estimate_lies_in_its_interval_however_few_the_others_convert(
    conversions: list[int], followed: list[int]
) -> None:
    found = shrink(np.array(conversions, float), np.array(followed, float))
    for name in ("shrunk_rate", "relative_difference"):
        assert found.select(pl.col(name).is_between(f"{name}_low", f"{name}_high").all()).item()


def test_a_single_cohort_is_not_compared():
    row = compare(old_cohorts([100])).row(0, named=True)
    assert row["status"].startswith("not enough data")
    assert row["others_rate"] is None


@pytest.mark.parametrize("conversions", [[0, 0, 0, 0, 0, 0], [1_000] * 6])
def test_no_conversions_and_all_converted_give_finite_rows_and_no_insight(conversions):
    frame = old_cohorts(conversions)
    grown = cohort_triangles(frame, as_of_day=TONIGHT)
    for table in (grown, cohort_metrics(grown), compare(frame)):
        numbers = table.select(pl.selectors.float())
        assert numbers.select(pl.all().is_finite().all()).row(0) == (True,) * numbers.width
    assert insights(frame).is_empty()


def test_nobody_followed_yet_is_said():
    grown = cohort_triangles(cells(("new", 3, 0, 100, 10, 0)), as_of_day=TONIGHT)
    assert grown["conversion_rate"].null_count() == grown.height
    assert grown["projected_rate"].null_count() == grown.height
    assert cohort_metrics(grown).item(0, "status").startswith("not enough data")


def test_empty_frames_give_empty_tables():
    grown = cohort_triangles(old_cohorts([1]).clear(), as_of_day=TONIGHT)
    assert grown.is_empty()
    assert cohort_metrics(grown).is_empty()
    comparison = cohort_comparison(grown, as_of_day=TONIGHT)
    assert comparison.is_empty()
    assert cohort_insights(comparison, as_of_day=TONIGHT).is_empty()


def test_entries_after_tonight_change_nothing():
    frame = old_cohorts([100, 90, 110])
    later = frame.with_columns(day=pl.lit(TONIGHT + timedelta(days=1)))
    assert compare(pl.concat([frame, later])).equals(compare(frame))


def test_small_acceptance_simulation():
    missed = [check for check in simulation.run(scale=0.05) if not check.holds]
    assert missed == []


def test_plans_are_compared_at_an_age_that_half_of_all_entrants_have_reached():
    """Few are old; compared there, the smallest plan would drop out for want of people."""
    entries = [
        ("basic", 70, 60),
        ("free", 70, 60),
        ("pro", 70, 20),
        ("basic", 21, 400),
        ("free", 21, 400),
        ("pro", 21, 200),
    ]
    frame = cells(*((plan, ago, 0, size, size // 4, 0) for plan, ago, size in entries), cohort_type="subscription_plan")
    compared = compare(frame)
    assert compared["age_weeks"].unique().to_list() == [21 // 7 - 1]
    assert compared.filter(pl.col("status") == "ok")["cohort"].sort().to_list() == ["basic", "free", "pro"]


def test_one_off_campaigns_have_no_cohorts_of_equal_age():
    raw = cells(("a", 30, 0, 100, 10, 0)).drop("workflow_id").with_columns(pl.col("day").to_physical().cast(pl.Int64))
    raw = raw.with_columns(entry_day="day")
    workflows = pl.DataFrame({"workflow_key": [1, 2], "workflow_id": ["flow", "news"], "kind": ["flow", "campaign"]})
    both = pl.concat([raw.with_columns(workflow_key=pl.lit(key, dtype=pl.Int64)) for key in (1, 2)])
    assert continuous_cells(both, workflows).select("workflow_id", "day").rows() == [
        ("flow", TONIGHT - timedelta(days=30))
    ]
