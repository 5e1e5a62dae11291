import copy
import datetime as dt
import pickle
from collections import Counter
from dataclasses import FrozenInstanceError, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from journey_tables import build, facts_of, paths_of, tables, touches_of

from attribution import InputError, Journey, Journeys, Touchpoint
from attribution.arrays import Coded, same
from attribution.transforms import collapse_repeats

DAY = 86_400_000_000
ARRAYS = (
    "codes",
    "offsets",
    "conversions",
    "nulls",
    "values",
    "times",
    "touch_ids",
    "ends",
    "users",
)


def make(**changed):
    given_columns = {
        "channels": ("a", "b"),
        "codes": np.array([1, 0, 1]),
        "offsets": np.array([0, 2, 3]),
        "conversions": np.array([2.0, 0.0]),
        "nulls": np.array([0.0, 5.0]),
    }
    return Journeys(**{**given_columns, **changed})


def totals(journeys):
    columns = (journeys.conversions, journeys.nulls, journeys.values)
    return [float(column.sum()) for column in columns]


# --- construction ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"channels": ("b", "a")}, "channels must be sorted and distinct"),
        ({"channels": ("a", "a")}, "channels must be sorted and distinct"),
        ({"offsets": np.array([1, 2, 3])}, "offsets must start at 0 and never fall"),
        ({"offsets": np.array([0, 3, 2])}, "offsets must start at 0 and never fall"),
        ({"offsets": np.array([], dtype=int)}, "offsets must start at 0 and never fall"),
        ({"offsets": np.array([0, 2, 2])}, "offsets end at 2, but there are 3 codes"),
        ({"offsets": np.array([0.0, 2.0, 3.0])}, "offsets must hold int64"),
        ({"codes": np.array([0, 2, 1])}, r"codes must lie in 0 \.\. 1"),
        ({"codes": np.array([0, -1, 1])}, r"codes must lie in 0 \.\. 1"),
        ({"codes": np.array([0.0, 1.0, 1.0])}, "codes must hold int32"),
        ({"conversions": np.array([1.0])}, "conversions has length 1, not 2"),
        ({"nulls": np.array([1.0, 2.0, 3.0])}, "nulls has length 3, not 2"),
        ({"values": np.array([1.0])}, "values has length 1, not 2"),
        ({"times": np.array([1, 2])}, "times has length 2, not 3"),
        ({"given_ages": np.array([1.0])}, "given_ages has length 1, not 3"),
        ({"touch_ids": np.array([1])}, "touch_ids has length 1, not 3"),
        ({"ends": np.array([1, 2, 3])}, "ends has length 3, not 2"),
        ({"users": np.array([1])}, "users has length 1, not 2"),
        ({"conversion_types": Coded.of(["x"])}, "conversion_types has length 1, not 2"),
        ({"touch_attributes": {"device": Coded.of(["x"])}}, "device has length 1, not 3"),
        ({"journey_attributes": {"region": Coded.of(["x"])}}, "region has length 1, not 2"),
        ({"conversions": np.array([np.nan, 0.0])}, "conversions must be finite"),
        ({"conversions": np.array([-1.0, 0.0])}, "conversions must not be negative"),
        ({"conversions": np.array(["1", "2"])}, "conversions must hold float64"),
        ({"nulls": np.array([np.inf, 0.0])}, "nulls must be finite"),
        ({"nulls": np.array([0.0, -1.0])}, "nulls must not be negative"),
        ({"values": np.array([np.inf, 0.0])}, "values must be finite"),
    ],
)
def test_columns_that_do_not_fit_together_are_refused(changed, message):
    with pytest.raises(InputError, match=message):
        make(**changed)


def test_value_may_be_negative():
    assert make(values=np.array([-3.0, 0.0])).values.tolist() == [-3.0, 0.0]


def test_columns_are_brought_to_their_type():
    journeys = make(channels=["a", "b"], codes=[1, 0, 1], offsets=[0, 2, 3], conversions=[2, 0])
    assert journeys.equals(make())
    assert journeys.channels == ("a", "b")
    assert journeys.codes.dtype == np.int32
    assert journeys.conversions.dtype == np.float64


def test_rows_touches_and_counts_follow_from_the_columns():
    journeys = make()
    assert len(journeys) == 2
    assert journeys.n_journeys == 7
    assert journeys.lengths.tolist() == [2, 1]
    assert journeys.rows.tolist() == [0, 0, 1]
    assert repr(journeys) == (
        "<Journeys: 7 journeys in 2 rows, 3 touches, 2 channels, 2 conversions>"
    )


def test_ages_are_days_from_touch_to_end():
    timed = make(times=np.array([0, DAY, DAY // 2]), ends=np.array([3 * DAY, DAY]))
    assert timed.ages.tolist() == [3.0, 2.0, 0.5]


def test_given_ages_come_before_times():
    ages = np.array([9.0, 8.0, 7.0])
    timed = make(times=np.zeros(3, int), ends=np.zeros(2, int), given_ages=ages)
    assert timed.ages.tolist() == [9.0, 8.0, 7.0]


@pytest.mark.parametrize("known", [{}, {"times": np.zeros(3, int)}, {"ends": np.zeros(2, int)}])
def test_without_times_and_ends_there_are_no_ages(known):
    assert make(**known).ages is None


# --- immutable ------------------------------------------------------------------------


def require_read_only(journeys):
    for name in ARRAYS:
        with pytest.raises(ValueError, match="read-only"):
            getattr(journeys, name)[:1] = 0
    for coded in (journeys.conversion_types, journeys.touch_attributes["device"]):
        with pytest.raises(ValueError, match="read-only"):
            coded.codes[:1] = 0


COPIES = [lambda j: j, copy.copy, copy.deepcopy, lambda j: pickle.loads(pickle.dumps(j))]
FULL_ROW = {"conversions": 1, "nulls": 0, "value": 3, "user": 1, "end": 9000, "type": "lead"}
FULL = build([{**FULL_ROW, "touches": [("a", "phone"), ("b", None)], "region": "EU"}] * 2)


@pytest.mark.parametrize("duplicate", COPIES, ids=["itself", "copy", "deepcopy", "pickle"])
def test_arrays_are_read_only_also_in_copies(duplicate):
    require_read_only(duplicate(FULL))


@pytest.mark.parametrize(
    "derive",
    [lambda j: j.select([0]), collapse_repeats, Journeys.converting.func, lambda j: j.compress()],
    ids=["select", "transform", "converting", "compress"],
)
def test_arrays_of_derived_journeys_are_read_only(derive):
    for array in (derive(FULL).codes, derive(FULL).conversions, derive(FULL).offsets):
        assert not array.flags.writeable


def test_fields_and_mappings_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        FULL.codes = FULL.codes
    with pytest.raises(TypeError):
        FULL.audit["rows_read"] = 0
    with pytest.raises(TypeError):
        FULL.journey_attributes["region"] = None


def test_later_changes_of_the_given_array_do_not_reach_in():
    codes = np.array([1, 0, 1], dtype=np.int32)
    journeys = make(codes=codes)
    codes[0] = 0
    assert journeys.codes.tolist() == [1, 0, 1]


@given(journeys=tables(min_size=0))
def test_copies_are_equal(journeys):
    for duplicate in COPIES:
        assert duplicate(journeys).equals(journeys)


def test_the_cache_of_converting_rows_does_not_travel():
    journeys = make()
    assert len(journeys.converting) == 1
    assert "converting" not in pickle.loads(pickle.dumps(journeys)).__dict__


OTHER = {
    "channels": ("a", "x"),
    "codes": np.array([0, 0, 1, 0]),
    "conversions": np.array([1.0, 2.0]),
    "nulls": np.array([1.0, 0.0]),
    "values": None,
    "times": np.zeros(4, int),
    "touch_ids": np.array([0, 1, 2, 2]),
    "ends": None,
    "users": np.array([1, 2]),
    "conversion_types": Coded.of(["lead", "sale"]),
    "touch_attributes": {},
    "journey_attributes": {"region": Coded.of(["EU", "US"])},
    "transforms": ("collapse_repeats",),
    "audit": {},
}


@pytest.mark.parametrize("name", OTHER)
def test_a_difference_in_any_field_is_seen(name):
    changed = replace(FULL, **{name: OTHER[name]})
    assert not changed.equals(FULL)
    assert not FULL.equals(changed)


def test_journeys_equal_nothing_of_another_kind():
    assert not make().equals("journeys")


# --- rows -----------------------------------------------------------------------------


@given(journeys=tables())
def test_iteration_gives_one_journey_per_row(journeys):
    listed = list(journeys)
    assert len(listed) == len(journeys)
    facts = [(j.conversions, j.value, j.customer, j.conversion_type) for j in listed]
    assert facts == [(row[0], row[2], row[3], row[5]) for row in facts_of(journeys)]
    for journey, row in zip(listed, touches_of(journeys), strict=True):
        assert [t.channel for t in journey.touchpoints] == [touch[0] for touch in row]
        assert [t.attributes["device"] for t in journey.touchpoints] == [t[1] for t in row]


def test_a_row_shows_its_moments_in_utc():
    journeys = make(times=np.array([0, DAY, DAY + 1]), ends=np.array([DAY, 2 * DAY]))
    journey = journeys[1]
    assert journey.touchpoints[0].time == dt.datetime(1970, 1, 2, 0, 0, 0, 1, tzinfo=dt.UTC)
    assert journey.end == dt.datetime(1970, 1, 3, tzinfo=dt.UTC)


def test_rows_count_from_both_ends():
    journeys = make()
    assert journeys[-1] == journeys[1] == Journey([Touchpoint("b")], 0.0, nulls=5.0)
    assert journeys[-2] == journeys[0]


@pytest.mark.parametrize("row", [2, -3])
def test_a_row_that_is_not_there_is_an_index_error(row):
    with pytest.raises(IndexError, match=f"row {row} of 2"):
        make()[row]


single_outcomes = tables().map(
    lambda j: replace(j, nulls=(j.conversions == 0).astype(float), touch_ids=None, audit={})
)


@pytest.mark.filterwarnings("ignore:There are no conversions")
@given(journeys=single_outcomes)
def test_rows_written_out_as_journeys_can_be_read_back(journeys):
    back = Journeys.from_journeys(journeys)
    assert paths_of(back) == paths_of(journeys)
    for name in ("channels", "users", "ends", "times", "conversions", "nulls", "values"):
        expected = getattr(journeys, name)
        empty = name == "times" and not len(expected)
        assert (
            getattr(back, name) is None if empty else np.array_equal(getattr(back, name), expected)
        )
    types = back.conversion_types
    shown = [None] * len(back) if types is None else types.to_numpy().tolist()
    assert shown == journeys.conversion_types.to_numpy().tolist()


# --- select and keep ------------------------------------------------------------------


@given(data=st.data(), journeys=tables())
def test_select_takes_rows_by_index_or_mask(data, journeys):
    rows = data.draw(st.lists(st.integers(0, len(journeys) - 1), unique=True).map(sorted))
    mask = np.isin(np.arange(len(journeys)), rows)
    chosen = journeys.select(np.array(rows, dtype=int))
    assert chosen.equals(journeys.select(mask))
    assert facts_of(chosen) == [facts_of(journeys)[row] for row in rows]
    assert touches_of(chosen) == [touches_of(journeys)[row] for row in rows]


@given(data=st.data(), journeys=tables())
def test_keep_touches_leaves_every_row(data, journeys):
    size = len(journeys.codes)
    keep = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    kept = journeys.keep_touches(np.array(keep, dtype=bool))
    marks = iter(keep)
    expected = [[touch for touch in row if next(marks)] for row in touches_of(journeys)]
    assert touches_of(kept) == expected
    assert facts_of(kept) == facts_of(journeys)


@given(journeys=tables())
def test_converting_rows_have_touches_and_an_outcome(journeys):
    expected = [
        facts
        for facts, path in zip(facts_of(journeys), paths_of(journeys), strict=True)
        if path and (facts[0] > 0 or facts[2] != 0)
    ]
    assert facts_of(journeys.converting) == expected


@given(journeys=tables())
def test_distinct_lists_each_channel_of_a_row_once(journeys):
    row, channel = journeys.distinct
    pairs = {
        (i, journeys.channels.index(name))
        for i, path in enumerate(paths_of(journeys))
        for name in path
    }
    assert list(zip(row.tolist(), channel.tolist(), strict=True)) == sorted(pairs)


def test_of_type_selects_rows():
    typed = make(conversion_types=Coded.of(["lead", "sale"]))
    assert typed.of_type("sale").nulls.tolist() == [5.0]


def test_an_unknown_type_is_refused_with_the_nearest():
    typed = make(conversion_types=Coded.of(["lead", "sale"]))
    with pytest.raises(
        InputError, match=r"'leads'; there are 'lead', 'sale'\. Did you mean 'lead'"
    ):
        typed.of_type("leads")


def test_without_types_none_can_be_chosen():
    with pytest.raises(InputError, match=r"no conversion types\. Hint: name their column"):
        make().of_type("lead")


# --- compress -------------------------------------------------------------------------


def counted(journeys, key):
    sums = {}
    for path, facts in zip(paths_of(journeys), facts_of(journeys), strict=True):
        found = sums.setdefault((tuple(path), *key(facts)), [0.0, 0.0, 0.0])
        sums[(tuple(path), *key(facts))] = [x + y for x, y in zip(found, facts[:3], strict=True)]
    return sums


@given(journeys=tables(min_size=0))
def test_compress_adds_up_equal_paths_in_order_of_appearance(journeys):
    merged = journeys.compress()
    expected = counted(journeys, lambda facts: ())
    assert [(tuple(path),) for path in paths_of(merged)] == list(expected)
    outcomes = zip(merged.conversions, merged.nulls, merged.values, strict=True)
    assert [list(row) for row in outcomes] == list(expected.values())


@given(journeys=tables(min_size=0))
def test_compress_conserves_and_is_idempotent(journeys):
    merged = journeys.compress()
    assert totals(merged) == totals(journeys)
    assert merged.compress().equals(merged)


@given(journeys=tables())
def test_compress_keeps_apart_what_it_is_told_to(journeys):
    merged = journeys.compress(keep=["users", "conversion_types", "region"])
    expected = counted(journeys, lambda facts: (facts[3], facts[5], facts[6]))
    regions = merged.journey_attributes["region"].to_numpy()
    types = merged.conversion_types.to_numpy()
    kept = zip(paths_of(merged), merged.users.tolist(), types, regions, strict=True)
    assert [(tuple(path), *rest) for path, *rest in kept] == list(expected)
    outcomes = zip(merged.conversions, merged.nulls, merged.values, strict=True)
    assert [list(row) for row in outcomes] == list(expected.values())


def test_compress_drops_what_it_does_not_keep():
    merged = FULL.compress()
    assert len(merged) == 1
    dropped = ("times", "touch_ids", "ends", "users", "conversion_types", "ages")
    assert [getattr(merged, name) for name in dropped] == [None] * 6
    assert len(merged.touch_attributes) == len(merged.journey_attributes) == 0
    assert merged.audit == FULL.audit


def test_compress_refuses_to_keep_what_is_not_there():
    with pytest.raises(InputError, match=r"Nothing to keep under 'regoin'\. Did you mean 'region'"):
        FULL.compress(keep=["regoin"])
    with pytest.raises(InputError, match="Nothing to keep under 'users'"):
        make().compress(keep=["users"])


# --- concat ---------------------------------------------------------------------------


@given(data=st.data(), journeys=tables())
def test_joining_the_parts_of_a_split_gives_the_whole(data, journeys):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(journeys)), max_size=3)))
    bounds = zip([0, *cuts], [*cuts, len(journeys)], strict=True)
    parts = [journeys.select(np.arange(start, stop)) for start, stop in bounds]
    whole = Journeys.concat(parts)
    ids = [[touch[:3] for touch in row] for row in touches_of(whole)]
    assert ids == [[touch[:3] for touch in row] for row in touches_of(journeys)]
    assert facts_of(whole) == facts_of(journeys)
    assert whole.audit["rows_read"] == len(parts) * journeys.audit["rows_read"]


@given(left=tables(), right=tables())
def test_joining_aligns_channels_and_attributes(left, right):
    whole = Journeys.concat([left, right])
    assert whole.channels == tuple(sorted({*left.channels, *right.channels}))
    assert paths_of(whole) == paths_of(left) + paths_of(right)
    assert facts_of(whole) == facts_of(left) + facts_of(right)
    assert whole.audit == dict(Counter(left.audit) + Counter(right.audit))


def test_events_of_different_parts_stay_different_and_reused_ones_stay_one():
    reused = make(touch_ids=np.array([0, 1, 0]))
    ids = Journeys.concat([reused, reused]).touch_ids
    assert (ids[:, None] == ids).tolist() == [
        [i % 3 % 2 == j % 3 % 2 and i // 3 == j // 3 for j in range(6)] for i in range(6)
    ]


def test_joining_drops_columns_that_not_every_part_has():
    whole = Journeys.concat([FULL, make(values=np.array([1.0, 0.0]))])
    assert whole.users is None
    assert whole.conversions.tolist() == [1.0, 1.0, 2.0, 0.0]
    assert len(whole.touch_attributes) == 0


def test_joining_value_with_none_is_refused_rather_than_lost():
    with pytest.raises(InputError, match="Some journeys have value and some have none"):
        Journeys.concat([FULL, make()])


@given(journeys=tables(), n_touches=st.integers(1, 6))
def test_parts_are_consecutive_share_memory_and_join_to_the_whole(journeys, n_touches):
    parts = list(journeys.parts(n_touches))
    assert sum(len(part) for part in parts) == len(journeys)
    begins = [0, *(np.flatnonzero(np.diff(journeys.users)) + 1).tolist(), len(journeys)]
    cuts = np.cumsum([0, *map(len, parts)]).tolist()
    assert set(cuts) <= set(begins)  # no run of a user is cut
    longest = max(journeys.offsets[j] - journeys.offsets[i] for i, j in pairwise(begins))
    assert all(len(part.codes) < 2 * n_touches + longest for part in parts)
    bare = replace(journeys, users=None)
    assert all(
        len(p) == 1 or len(p.codes) < 2 * n_touches + max(p.lengths) for p in bare.parts(n_touches)
    )
    assert all(np.shares_memory(part.codes, journeys.codes) for part in parts if len(part.codes))
    joined = Journeys.concat(parts)
    for name in ("codes", "offsets", "conversions", "nulls", "values", "users", "ends"):
        assert same(getattr(joined, name), getattr(journeys, name))


def test_an_aggregated_row_keeps_its_nulls_as_a_journey():
    again = Journeys.from_journeys(make())
    assert again.conversions.tolist() == [2.0, 0.0]
    assert again.nulls.tolist() == [0.0, 5.0]


def test_joining_nothing_is_refused():
    with pytest.raises(InputError, match="no journeys to join"):
        Journeys.concat([])
