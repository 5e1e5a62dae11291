import numpy as np
import pytest

from attribution import InputError
from attribution.budget.allocation import allocate
from attribution.budget.curves import PowerCurve
from attribution.budget.limits import inwards

CURVES = {name: PowerCurve(1.0, 0.5) for name in ("display", "mail", "search", "tv")}
WORTH = {name: curve.valued(1.0) for name, curve in CURVES.items()}
TODAY = dict.fromkeys(CURVES, 100.0)


def refused(budget=400, curves=CURVES, **options):
    """Return the complaints of the error."""
    with pytest.raises(InputError) as caught:
        allocate(curves, budget, **options)
    return str(caught.value).split("\n")


@pytest.mark.parametrize("budget", [-1, np.nan, np.inf, "400", None, True])
def test_a_budget_is_a_number_from_0_on(budget):
    (complaint,) = refused(budget)
    assert complaint.startswith(f"budget={budget!r} does not fit. Hint")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (
            {"bounds": {"tv": (300, None), "mail": (150, None)}},
            "budget=400 is below the floors, 450 in all: 'tv' 300, 'mail' 150. Hint",
        ),
        (
            {"fixed": {"tv": 350}, "bounds": {"mail": (60, 70)}},
            "budget=400 is below the floors, 410 in all: 'tv' 350, 'mail' 60. Hint",
        ),
        (
            {"groups": {"online": (["display", "mail"], 450, None)}},
            "budget=400 is below the floors, 450 in all; group 'online' 450. Hint",
        ),
        ({"bounds": {"tv": (30, 20)}}, "bounds of 'tv': the floor 30 is above the ceiling 20"),
        ({"bounds": {"tv": 30}}, "bounds of 'tv'=30 does not fit"),
        ({"bounds": {"tv": (-1, 5)}}, "bounds of 'tv': low=-1 does not fit"),
        ({"bounds": {"tv": (0, np.nan)}}, "bounds of 'tv': high=nan does not fit"),
        (
            {"bounds": {"serch": (0, 5)}},
            "bounds names 'serch', which is no line. Did you mean 'sea",
        ),
        ({"bounds": [(0, 5)]}, "bounds is a list"),
        ({"fixed": {"tvv": 5}}, "fixed names 'tvv', which is no line. Did you mean 'tv'?"),
        ({"fixed": {"tv": "all"}}, "fixed of 'tv'='all' does not fit"),
        (
            {"fixed": {"tv": 50}, "bounds": {"tv": (60, 70)}},
            "'tv' is fixed at 50, outside of its bounds 60 to 70. Hint",
        ),
        ({"max_change": 0.3}, "max_change needs today's spend"),
        (
            {"max_change": 0.3, "today": {"tv": 100, "mail": 5}},
            "today lacks 2 of 4 lines: 'display', 'search'. Hint",
        ),
        ({"max_change": -0.3, "today": TODAY}, "max_change=-0.3 does not fit"),
        ({"today": {**TODAY, "tv": -3}}, "today of 'tv'=-3 does not fit"),
        (
            {"max_change": 0.3, "today": TODAY, "bounds": {"tv": (150, None)}},
            "max_change=0.3 lets 'tv' spend 70 to 130 (today 100), but bounds ask for 150 or more.",
        ),
        (
            {"max_change": {"tv": 0.3}, "today": TODAY, "fixed": {"tv": 0}},
            "max_change=0.3 lets 'tv' spend 70 to 130 (today 100), but it is fixed at 0. Hint",
        ),
        (
            {"groups": {"a": (["tv", "mail"], None, 9), "b": (["tv", "search"], None, 9)}},
            "Groups 'a' and 'b' share 'tv', but neither holds the other.",
        ),
        (
            {"groups": {"a": (["tv", "radio"], None, 9)}},
            "group 'a' names 'radio', which is no line",
        ),
        ({"groups": {"a": ([], None, 9)}}, "group 'a' has no line"),
        ({"groups": {"a": ("tv", None, 9)}}, "group 'a'=('tv', None, 9) does not fit"),
        ({"groups": {"a": (["tv"], 9, 8)}}, "group 'a': the floor 9 is above the ceiling 8"),
        (
            {
                "groups": {"a": (["tv", "mail"], 90, None)},
                "bounds": {"tv": (0, 30), "mail": (0, 40)},
            },
            "Group 'a' must spend 90 on its free lines, but they can take 70 at most. Hint",
        ),
        (
            {"groups": {"a": (["tv", "mail"], None, 60)}, "bounds": {"tv": (70, None)}},
            "Group 'a' may spend 60 on its free lines, but their floors need 70. Hint",
        ),
        (
            {"groups": {"a": (["tv", "mail"], None, 60)}, "fixed": {"tv": 70}},
            "Group 'a' may spend 60, but its fixed lines spend 70. Hint",
        ),
        (
            {"groups": {"a": (["tv"], 90, None), "b": (["tv", "mail"], None, 80)}},
            "Group 'b' may spend 80 on its free lines, but their floors need 90. Hint",
        ),
        (
            {"groups": {"ceiling": (["tv"], None, 9)}},
            "A group is named 'ceiling', which says of a line what else holds it. Hint: another",
        ),
        ({"groups": {"": (["tv"], None, 9)}}, "A group is named ''"),
        ({"bounds": {"tv": np.ones(3)}}, "bounds of 'tv'=[1.0, 1.0, 1.0] does not fit"),
        ({"step": 0}, "step=0 does not fit"),
        (
            {"step": 30, "bounds": {"tv": (40, 50)}},
            "step=30 has no multiple for 'tv' in 40 to 50. Hint",
        ),
        (
            {"step": 150, "bounds": {"tv": (200, None), "mail": (10, None)}},
            "budget=400 is below the floors, 450 in all: 'tv' 300, 'mail' 150. Hint",
        ),
    ],
)
def test_a_limit_that_cannot_be_kept_is_named(options, complaint):
    (found,) = refused(**options)
    assert found.startswith(complaint)
    assert "Hint: " in found


def test_a_return_of_a_line_that_its_floor_rules_out():
    # sqrt(x) = 0.5 x at 4
    options = {"objective": "value", "min_roas": {"tv": 0.5}}
    (found,) = refused(curves=WORTH, bounds={"tv": (9, None)}, **options)
    assert found.startswith("'tv' returns min_roas=0.5 up to a spend of 4, but must spend 9. Hint")
    (found,) = refused(curves=WORTH, fixed={"tv": 9}, **options)
    assert found.startswith("'tv' returns min_roas=0.5 up to a spend of 4, but must spend 9. Hint")
    (found,) = refused(curves=WORTH, objective="value", min_roas={"radio": 1})
    assert found.startswith("min_roas names 'radio', which is no line")
    (found,) = refused(curves=WORTH, objective="value", min_roas=-1)
    assert found.startswith("min_roas=-1 does not fit")


def test_all_that_is_wrong_is_said_at_once():
    found = refused(
        bounds={"tv": (30, 20), "radio": (0, 1)},
        fixed={"mail": -5},
        groups={"a": (["search", "display"], 900, None)},
        max_change=0.1,
        step=-1,
    )
    starts = ["step=-1", "bounds of 'tv'", "bounds names 'radio'", "fixed of 'mail'=-5"]
    starts += ["max_change needs", "budget=400 is below the floors, 900 in all"]
    assert len(found) == len(starts)
    assert all(a.startswith(b) for a, b in zip(found, starts, strict=True))


def test_every_share_that_does_not_fit_is_said():
    found = refused(max_change={"tv": -1, "mail": "much", "search": 0.1}, today=TODAY)
    starts = ["max_change of 'tv'=-1 does not fit", "max_change of 'mail'='much' does not fit"]
    assert [text[: len(start)] for text, start in zip(found, starts, strict=True)] == starts


@pytest.mark.parametrize("pair", [[2, 5], np.array([2, 5]), np.array([2.0, 5.0])])
def test_bounds_may_be_any_pair(pair):
    plan = allocate(CURVES, 400, bounds={"tv": pair})
    assert plan.spend.tolist() == allocate(CURVES, 400, bounds={"tv": (2, 5)}).spend.tolist()
    assert plan.spend[3] == 5


def test_sums_of_decimals_are_not_held_to_the_last_bit():
    fixed = {"tv": 0.1, "mail": 0.2}  # sum to 0.30000000000000004
    plan = allocate(CURVES, 0.3, fixed=fixed, groups={"a": (["tv", "mail"], None, 0.3)})
    assert plan.spend == pytest.approx([0, 0.2, 0, 0.1])
    plan = allocate(CURVES, 0.7, step=0.1, bounds={"tv": (0.3, 0.3)}, fixed={"mail": 0.1})
    assert plan.spend == pytest.approx([0.2, 0.1, 0.1, 0.3])


def test_nested_groups_in_any_order_and_twice_the_same():
    inner, outer = (["tv"], None, 10), (["tv", "mail"], None, 30)
    every = (["mail", "tv"], 5, 25)
    for order in (("i", "o", "e"), ("e", "o", "i")):
        groups = {"i": inner, "o": outer, "e": every}
        plan = allocate(CURVES, 200, groups={name: groups[name] for name in order})
        assert plan.spend == pytest.approx([87.5, 15, 87.5, 10])


def test_an_open_ceiling_may_be_infinite():
    assert allocate(CURVES, 8, bounds={"tv": (2, np.inf)}).spend == pytest.approx([2, 2, 2, 2])


def test_limits_of_groups_count_fixed_lines():
    plan = allocate(CURVES, 200, fixed={"tv": 40}, groups={"a": (["tv", "mail"], None, 50)})
    assert plan.spend == pytest.approx([75, 10, 75, 40])
    assert plan.bound == ("", "a", "", "fixed")


def test_steps_are_rounded_inwards_but_not_past_what_is_whole():
    assert inwards([0.3, 0.31, 0.0], 0.1, up=True).tolist() == [3, 4, 0]
    assert inwards([0.3, 0.39, np.inf], 0.1, up=False).tolist() == [3, 3, np.inf]
