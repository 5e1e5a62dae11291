import datetime as dt
import json
from collections import Counter
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from journey_tables import CHANNELS, facts_of, paths_of, tables, touches_of

from attribution import InputError, Journey, Journeys, Linear, Touchpoint
from attribution.transforms import (
    collapse_repeats,
    first_occurrences,
    is_direct,
    last_n_touches,
    regroup,
    rename,
    where,
    without,
)

DAY = 86_400_000_000


def one(path):
    touchpoints = [Touchpoint(name) for name in path.split(" > ")]
    return Journeys.from_journeys([Journey(touchpoints, 1)])


def written(journeys):
    (path,) = paths_of(journeys)
    return " > ".join(path)


# --- published: snowplow/dbt-snowplow-fractribution, integration_tests/models/unit_tests; ---
# --- google/fractribution, py/templates/path_transforms.sql ---------------------------------

PUBLISHED = {
    "trim1": lambda j: last_n_touches(j, 1),
    "trim2": lambda j: last_n_touches(j, 2),
    "exposure": collapse_repeats,
    "first": first_occurrences,
    "remove_if_not_all": lambda j: without(j, "Direct"),
    "remove_if_last_and_not_all": lambda j: without(j, "Direct", tail_only=True),
}
LONG = "a > a > a > Direct > a > Direct > Direct"
EXPECTED = [
    ("Example > Video > Direct > Direct", "trim1", "Direct"),
    ("Example > Video > Direct > Direct", "trim2", "Direct > Direct"),
    ("Example > Video > Direct > Direct", "exposure", "Example > Video > Direct"),
    ("Example > Video > Direct > Direct", "first", "Example > Video > Direct"),
    ("Example > Video > Direct > Direct", "remove_if_not_all", "Example > Video"),
    ("Example > Video > Direct > Direct", "remove_if_last_and_not_all", "Example > Video"),
    ("Direct > Direct", "trim1", "Direct"),
    ("Direct > Direct", "trim2", "Direct > Direct"),
    ("Direct > Direct", "exposure", "Direct"),
    ("Direct > Direct", "first", "Direct"),
    ("Direct > Direct", "remove_if_not_all", "Direct > Direct"),
    ("Direct > Direct", "remove_if_last_and_not_all", "Direct > Direct"),
    (LONG, "trim1", "Direct"),
    (LONG, "trim2", "Direct > Direct"),
    (LONG, "exposure", "a > Direct > a > Direct"),
    (LONG, "first", "a > Direct"),
    (LONG, "remove_if_not_all", "a > a > a > a"),
    (LONG, "remove_if_last_and_not_all", "a > a > a > Direct > a"),
    ("Direct", "trim1", "Direct"),
    ("Direct", "trim2", "Direct"),
    ("Direct", "exposure", "Direct"),
    ("Direct", "first", "Direct"),
    ("Direct", "remove_if_not_all", "Direct"),
    ("Direct", "remove_if_last_and_not_all", "Direct"),
    ("Example > Video > Direct", "trim1", "Direct"),
    ("Example > Video > Direct", "trim2", "Video > Direct"),
    ("Example > Video > Direct", "exposure", "Example > Video > Direct"),
    ("Example > Video > Direct", "first", "Example > Video > Direct"),
    ("Example > Video > Direct", "remove_if_not_all", "Example > Video"),
    ("Example > Video > Direct", "remove_if_last_and_not_all", "Example > Video"),
    ("D > A > B > B > C > D > C > C", "exposure", "D > A > B > C > D > C"),
    ("D > A > B > B > C > D > C > C", "first", "D > A > B > C"),
]


@pytest.mark.parametrize(("path", "transform", "expected"), EXPECTED)
def test_published_transforms(path, transform, expected):
    assert written(PUBLISHED[transform](one(path))) == expected


def test_the_figures_here_are_those_of_the_shared_file():
    file = Path(__file__).parents[2] / "shared" / "cases" / "path_transforms_fractribution.json"
    if not file.exists():
        pytest.skip("the shared cases are not beside the repository")
    published = json.loads(file.read_text())["expected"]
    listed = {
        (path, name, expected)
        for path, results in published.items()
        for name, expected in results.items()
        if name != "frequency"  # a label with counts, not a path
    }
    assert set(EXPECTED) == listed


# --- against plain Python ------------------------------------------------------------------


def collapsed(row):
    return [next(run) for _, run in groupby(row, key=lambda touch: touch[0])]


def firsts(row):
    return [t for i, t in enumerate(row) if t[0] not in [earlier[0] for earlier in row[:i]]]


def tail_cut(row, names):
    while row and row[-1][0] in names:
        row = row[:-1]
    return row


def left_out(row, names, keep_if_only, tail_only):
    kept = tail_cut(row, names) if tail_only else [t for t in row if t[0] not in names]
    only = all(t[0] in names for t in row)
    return row if only and keep_if_only else kept


@given(journeys=tables())
def test_collapse_repeats_keeps_the_first_of_each_run(journeys):
    result = collapse_repeats(journeys)
    assert touches_of(result) == [collapsed(row) for row in touches_of(journeys)]


@given(journeys=tables())
def test_first_occurrences_keeps_the_first_touch_of_each_channel(journeys):
    result = first_occurrences(journeys)
    assert touches_of(result) == [firsts(row) for row in touches_of(journeys)]


@given(journeys=tables(), n=st.integers(1, 9))
def test_last_n_touches_keeps_the_end_of_each_row(journeys, n):
    result = last_n_touches(journeys, n)
    assert touches_of(result) == [row[-n:] for row in touches_of(journeys)]


@given(data=st.data(), journeys=tables(), keep_if_only=st.booleans(), tail_only=st.booleans())
def test_without_leaves_out_channels(data, journeys, keep_if_only, tail_only):
    names = data.draw(st.sets(st.sampled_from(CHANNELS))) & set(journeys.channels)
    result = without(journeys, names, keep_if_only=keep_if_only, tail_only=tail_only)
    expected = [left_out(row, names, keep_if_only, tail_only) for row in touches_of(journeys)]
    assert touches_of(result) == expected


@given(journeys=tables(), to=st.lists(st.sampled_from("bxy"), min_size=4, max_size=4))
def test_rename_changes_names_and_nothing_else(journeys, to):
    names = dict(zip(CHANNELS, to, strict=True))
    result = rename(journeys, names.get)
    assert touches_of(result) == [[(names[t[0]], *t[1:]) for t in r] for r in touches_of(journeys)]
    assert result.channels == tuple(sorted({names[name] for name in journeys.channels}))


@given(journeys=tables(), least=st.integers(0, 25))
def test_regroup_merges_channels_of_few_touches(journeys, least):
    seen = Counter()
    for journey, nulls in zip(journeys, journeys.nulls, strict=True):
        for touch in journey.touchpoints:
            seen[touch.channel] += journey.conversions + nulls
    expected = [[n if seen[n] >= least else "other" for n in row] for row in paths_of(journeys)]
    assert paths_of(regroup(journeys, min_touches=least)) == expected


@given(journeys=tables(), device=st.sampled_from(["laptop", "phone"]))
def test_where_chooses_journeys_with_such_a_touch(journeys, device):
    assume(device in journeys.touch_attributes["device"].labels)
    chosen = [any(t[1] == device for t in row) for row in touches_of(journeys)]
    result = where(journeys, device=device)
    assert touches_of(result) == [
        row for row, keep in zip(touches_of(journeys), chosen, strict=True) if keep
    ]
    assert facts_of(result) == [
        row for row, keep in zip(facts_of(journeys), chosen, strict=True) if keep
    ]


@given(journeys=tables(), device=st.sampled_from(["laptop", "phone"]))
def test_where_chooses_touches(journeys, device):
    assume(device in journeys.touch_attributes["device"].labels)
    result = where(journeys, device=device, touches="keep")
    expected = [[t for t in row if t[1] == device] for row in touches_of(journeys)]
    assert touches_of(result) == expected
    assert facts_of(result) == facts_of(journeys)


TRANSFORMS = [
    collapse_repeats,
    first_occurrences,
    lambda j: last_n_touches(j, 1),
    lambda j: without(j, j.channels, keep_if_only=False),
    lambda j: without(j, j.channels[:1], tail_only=True),
    lambda j: rename(j, str.upper),
    lambda j: regroup(j, min_touches=3),
]
IDS = ["collapse", "first", "last", "without", "tail", "rename", "regroup"]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=IDS)
@given(journeys=tables())
def test_a_transform_keeps_every_row_with_user_counts_and_value(transform, journeys):
    assert facts_of(transform(journeys)) == facts_of(journeys)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=IDS)
@given(journeys=tables())
def test_a_transform_done_twice_is_done_once(transform, journeys):
    once = transform(journeys)
    assert touches_of(transform(once)) == touches_of(once)


# --- what each does, by hand ---------------------------------------------------------------


@pytest.fixture
def journeys():
    def touch(channel, device, day):
        return Touchpoint(channel, dt.datetime(1970, 1, day), {"device": device, "cost": day})

    def row(touchpoints, day, conversion_type, region, user):
        end = dt.datetime(1970, 1, day)
        kind = {"end": end, "conversion_type": conversion_type, "customer": user}
        return Journey(touchpoints, 1, 10.0, attributes={"region": region}, **kind)

    return Journeys.from_journeys(
        [
            row([touch("a", "phone", 1), touch("b", "laptop", 2)], 3, "lead", "EU", 7),
            row([touch("b", "laptop", 4)], 5, "purchase", "US", 8),
            row([touch("direct", "tablet", 6)], 7, "purchase", "EU", 9),
        ]
    )


def users_where(journeys, **conditions):
    return where(journeys, **conditions).users.tolist()


@pytest.mark.parametrize(
    ("conditions", "users"),
    [
        ({"device": "laptop"}, [7, 8]),
        ({"device": ["phone", "tablet"]}, [7, 9]),
        ({"device": ("phone",)}, [7]),
        ({"device": {"tablet"}}, [9]),
        ({"cost": 4}, [8]),
        ({"device": "laptop", "cost": 1}, []),
        ({"region": "EU"}, [7, 9]),
        ({"conversion_type": "purchase"}, [8, 9]),
        ({"conversion_type": "purchase", "region": "EU"}, [9]),
        ({"since": "1970-01-05"}, [8, 9]),
        ({"until": "1970-01-05"}, [7]),
        ({"since": dt.date(1970, 1, 4), "until": dt.datetime(1970, 1, 7)}, [8]),
        ({"since": "1970-01-05T00:00:00+00:00", "device": "laptop"}, [8]),
        ({}, [7, 8, 9]),
    ],
)
def test_where_chooses_by_attribute_segment_and_time(journeys, conditions, users):
    assert users_where(journeys, **conditions) == users


def test_where_keeps_rows_that_lose_their_touches_as_unattributed(journeys):
    result = where(journeys, device="laptop", touches="keep")
    assert paths_of(result) == [["b"], ["b"], []]
    attribution = Linear().attribute(result)
    assert attribution.unattributed == 1
    assert attribution.unattributed_value == 10
    assert attribution.to_frame()["conversions"].sum() == 2


def test_where_can_leave_nothing(journeys):
    result = where(journeys, since="1971-01-01")
    assert len(result) == 0
    assert result.n_journeys == 0
    assert result.to_paths().empty


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"devise": "phone"}, "No attribute 'devise'. Did you mean 'device'\\? Hint: keep it with"),
        ({"device": "fone"}, "Attribute 'device' has no value 'fone'. Did you mean 'phone'\\?"),
        ({"region": ["EU", "USA"]}, "Attribute 'region' has no value 'USA'. Did you mean 'US'\\?"),
        ({"conversion_type": "leed"}, "has no value 'leed'. Did you mean 'lead'\\?"),
        ({"touches": "drop"}, r"touches='drop' is not one of \('keep', 'journeys'\)"),
        ({"since": "soon"}, "since='soon' is not a point in time"),
        ({"until": 5}, "until=5 is a number without a unit"),
    ],
)
def test_where_refuses_what_it_does_not_know(journeys, conditions, message):
    with pytest.raises(InputError, match=message):
        where(journeys, **conditions)


def test_where_refuses_times_that_are_not_there():
    with pytest.raises(InputError, match=r"no times\. Hint: build them with from_events"):
        where(one("a"), since="2025-01-01")


def test_without_keeps_journeys_that_have_nothing_else(journeys):
    assert paths_of(without(journeys, "direct")) == [["a", "b"], ["b"], ["direct"]]
    assert paths_of(without(journeys, ["a", "b"])) == [["a", "b"], ["b"], ["direct"]]


def test_without_turns_journeys_of_nothing_else_into_unattributed_ones(journeys):
    result = without(journeys, ["b", "direct"], keep_if_only=False)
    assert paths_of(result) == [["a"], [], []]
    assert Linear().attribute(result).unattributed == 2
    assert result.users.tolist() == [7, 8, 9]


@pytest.mark.parametrize(
    "change", [lambda j: without(j, "dirct"), lambda j: rename(j, {"dirct": "x"})]
)
def test_a_channel_that_does_not_exist_is_refused_with_the_nearest(journeys, change):
    with pytest.raises(InputError, match=r"No channel 'dirct'\. Did you mean 'direct'\?"):
        change(journeys)


def test_rename_merges_and_credit_adds_up(journeys):
    before = Linear().attribute(journeys).to_frame()
    merged = rename(journeys, {"a": "paid", "b": "paid"})
    after = Linear().attribute(merged).to_frame()
    assert merged.channels == ("direct", "paid")
    for column in ("conversions", "value"):
        assert after.loc["paid", column] == before.loc[["a", "b"], column].sum()
        assert after.loc["direct", column] == before.loc["direct", column]


def test_rename_can_swap_names():
    assert written(rename(one("a > b > a"), {"a": "b", "b": "a"})) == "b > a > b"


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_a_new_name_must_be_text(name):
    with pytest.raises(InputError, match=f"The new name of channel 'a' is {name!r}, not text"):
        rename(one("a > b"), {"a": name})


def test_regroup_counts_each_touch_once_per_journey_of_its_row():
    rows = Journeys.from_journeys(
        [
            Journey([Touchpoint("a"), Touchpoint("b")], 5),
            Journey([Touchpoint("c"), Touchpoint("c")], 2),
            Journey([Touchpoint("d")], 4),
        ]
    )
    assert paths_of(regroup(rows, min_touches=4)) == [["a", "b"], ["c", "c"], ["d"]]
    result = regroup(rows, min_touches=5, other="rest")
    assert paths_of(result) == [["a", "b"], ["rest", "rest"], ["rest"]]
    assert result.channels == ("a", "b", "rest")


@pytest.mark.parametrize("n", [0, -1, 1.0, "2", None])
def test_the_number_of_touches_must_be_positive_and_whole(n):
    with pytest.raises(InputError, match="is not a positive whole number of touches"):
        last_n_touches(one("a"), n)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("direct", True),
        ("Direct", True),
        (" (DIRECT) ", True),
        ("(direct) / (none)", True),
        ("direct mail", False),
        ("(none)", False),
    ],
)
def test_direct_is_known_by_its_names(name, expected):
    assert is_direct(name) is expected


def test_transforms_are_noted_in_order(journeys):
    result = without(journeys, "direct")
    result = last_n_touches(collapse_repeats(first_occurrences(result)), 3)
    result = where(regroup(rename(result, {"a": "z"}), min_touches=1), region="EU")
    expected = [
        "without(['direct'], keep_if_only=True, tail_only=False)",
        "first_occurrences",
        "collapse_repeats",
        "last_n_touches(3)",
        "rename({'a': 'z'})",
        "regroup(1, 'other')",
        "where({'region': 'EU'}, touches='journeys')",
    ]
    assert list(result.transforms) == expected
    assert journeys.transforms == ()


def test_journeys_of_different_transforms_are_not_joined(journeys):
    with pytest.raises(InputError, match=r"different transforms cannot be added: \[\] and \['coll"):
        Journeys.concat([journeys, collapse_repeats(journeys)])


def test_the_original_stays_as_it_was(journeys):
    before = paths_of(journeys)
    rename(without(journeys, "direct"), {"a": "z"})
    assert paths_of(journeys) == before == [["a", "b"], ["b"], ["direct"]]
