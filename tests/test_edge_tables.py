from collections import defaultdict
from fractions import Fraction
from itertools import pairwise

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from model_oracles import Row, as_journeys, tables

from attribution import ColumnNotFoundError, InputError, Markov
from attribution.edges import counts_from_edges, edges_frame

# Random tables often have no journey without conversion, or none longer than the order;
# test_markov.py tests the warnings.
pytestmark = pytest.mark.filterwarnings(
    "ignore:There are no journeys without conversion:attribution.AttributionWarning",
    "ignore:No journey has more than:attribution.AttributionWarning",
)

# Both sides solve a system of at most some tens of well-conditioned equations.
SOLVED = {"rel": 1e-9, "abs": 1e-11}
orders = st.integers(1, 4)
START, CONVERSION, NULL = ("(start)",), ("(conversion)",), ("(null)",)
RANK = {START: 0, CONVERSION: 2, NULL: 3}


def walked(rows, order):
    """Count and value of every pair of nodes, walked journey by journey."""
    edges = defaultdict(lambda: [Fraction(0), Fraction(0)])
    for row in rows:
        if not row.path:
            continue
        walk = [row.path[i : i + order] for i in range(max(1, len(row.path) - order + 1))]
        for pair in pairwise([START, *walk]):
            edges[pair][0] += Fraction(row.conversions + row.nulls)
        edges[walk[-1], CONVERSION][0] += Fraction(row.conversions)
        edges[walk[-1], CONVERSION][1] += Fraction(row.value)
        edges[walk[-1], NULL][0] += Fraction(row.nulls)
    return {pair: tuple(sums) for pair, sums in edges.items() if sums[0]}


def as_sorted(pair):
    return [(RANK.get(node, 1), node) for node in pair]


def counts_of(rows, order=1, values=True):
    return Markov(order=order).summarize(as_journeys(rows, values=values))


def walking(rows):
    return [row for row in rows if row.path and row.conversions + row.nulls]


# --- to a table -------------------------------------------------------------------------


@given(rows=tables(), order=orders)
def test_every_edge_is_the_sum_of_the_journeys_that_walk_it(rows, order):
    expected = walked(rows, order)
    frame = edges_frame(counts_of(rows, order))
    lines = [
        (*(" > ".join(node) for node in pair), *map(float, expected[pair]))
        for pair in sorted(expected, key=as_sorted)
    ]
    assert list(frame.itertuples(index=False, name=None)) == lines  # counts and quarters are exact
    assert frame.columns.tolist() == ["source", "target", "count", "value"]


def test_without_value_there_is_no_column_of_it():
    frame = edges_frame(counts_of([Row(("a", "b"), 1, 1)], values=False))
    assert frame.columns.tolist() == ["source", "target", "count"]


def test_another_separator_stands_between_the_channels_of_a_state():
    frame = edges_frame(counts_of([Row(("a > b", "c"), 1)], order=2), separator=" | ")
    assert frame["target"].tolist() == ["a > b | c", "(conversion)"]


@pytest.mark.parametrize(
    ("name", "separator", "message"),
    [
        ("a>b", " > ", r"Channel 'a>b' contains the separator '>'\. Hint: rename the channel with"),
        ("->", "->", r"Channel '->' contains the separator '->'"),
        ("a>", ">>", r"Channel 'a>' contains the separator '>>'"),
        ("(start)", " > ", r"Channel '\(start\)' is called like the start or an end.*Hint: leave"),
        ("(conversion)", " > ", r"Channel '\(conversion\)' is called like"),
        ("(null)", " > ", r"Channel '\(null\)' is called like"),
        (" a", " > ", r"Channel ' a' is empty or has white space around it\. Hint: rename"),
        ("", " > ", r"Channel '' is empty"),
        ("a", "", r"separator='' is empty\. Hint"),
    ],
)
def test_channels_that_could_not_be_read_back_are_refused(name, separator, message):
    with pytest.raises(InputError, match=message):
        edges_frame(counts_of([Row((name, "b"), 1)]), separator=separator)


# --- there and back ---------------------------------------------------------------------


ARRAYS = ("states", "starts", "conversions", "nulls", "values", "sources", "targets", "counts")


@pytest.mark.parametrize("values", [True, False])
@given(rows=tables(), order=orders)
def test_a_chain_written_and_read_is_the_same_chain(values, rows, order):
    rows = walking(rows)
    assume(rows)
    counts = counts_of(rows, order, values)
    back = counts_from_edges(edges_frame(counts), order=order)
    assert (back.model, back.channels, back.totals) == (
        counts.model,
        counts.channels,
        counts.totals,
    )
    for name in (*ARRAYS, "touches"):
        assert np.array_equal(getattr(back, name), getattr(counts, name)), name
    assert not back.split_conversions.any()
    if values:
        assert not back.split_values.any()
    else:
        assert back.values is back.split_values is None


@pytest.mark.parametrize("separator", [",", " | ", "->", " "])
@given(rows=tables(names=("a", "b", "(c)", "d-e")), order=orders)
def test_any_separator_can_be_written_and_read(separator, rows, order):
    rows = walking(rows)
    assume(rows)
    counts = counts_of(rows, order)
    back = counts_from_edges(
        edges_frame(counts, separator=separator), order=order, separator=separator
    )
    assert back.channels == counts.channels
    assert back.states.tolist() == counts.states.tolist()
    assert back.counts.tolist() == counts.counts.tolist()


@given(rows=tables(), order=orders)
def test_a_chain_written_and_read_is_solved_alike(rows, order):
    assume(walking(rows))
    model, counts = Markov(order=order), counts_of(rows, order)
    whole = model.solve(counts)
    back = model.solve(counts_from_edges(edges_frame(counts), order=order))
    assert back.details["base_rate"] == pytest.approx(whole.details["base_rate"], **SOLVED)
    for name in ("removal_effect", "removal_effect_value", "conversions", "value"):
        column = whole.to_frame()[name]
        read = back.to_frame()[name].reindex(column.index, fill_value=0.0)
        assert read.tolist() == pytest.approx(column.tolist(), **SOLVED), name


@given(rows=tables(), order=orders, seed=st.integers(0, 5))
def test_rows_of_one_edge_add_up_in_any_order(rows, order, seed):
    assume(walking(rows))
    frame = edges_frame(counts_of(rows, order))
    halves = frame.assign(count=frame["count"] / 2, value=frame["value"] / 2)
    shuffled = pd.concat([halves, halves]).sample(frac=1, random_state=seed)
    assert counts_from_edges(shuffled, order=order).equals(counts_from_edges(frame, order=order))


@given(first=tables(), second=tables(names=("b", "x", "aa")), order=orders)
def test_tables_one_below_the_other_are_the_sum_of_their_chains(first, second, order):
    assume(walking(first) and walking(second))
    frames = [edges_frame(counts_of(rows, order)) for rows in (first, second)]
    one, other = (counts_from_edges(frame, order=order) for frame in frames)
    assert counts_from_edges(pd.concat(frames), order=order).equals(one + other)


# --- tables people bring ----------------------------------------------------------------

# Two journeys a > b > a (one converts, value 8), three of b alone (one converts, value 2).
ORDER_1 = [
    ("(start)", "a", 2, 0),
    ("(start)", "b", 3, 0),
    ("a", "b", 2, 0),
    ("b", "a", 2, 0),
    ("a", "(conversion)", 1, 8),
    ("a", "(null)", 1, 0),
    ("b", "(conversion)", 1, 2),
    ("b", "(null)", 2, 0),
]
ORDER_2 = [
    ("(start)", "a > b", 2, 0),
    ("(start)", "b", 3, 0),
    ("a > b", "b > a", 2, 0),
    ("b > a", "(conversion)", 1, 8),
    ("b > a", "(null)", 1, 0),
    ("b", "(conversion)", 1, 2),
    ("b", "(null)", 2, 0),
]
JOURNEYS = [Row(("a", "b", "a"), 1, 1, 8.0), Row(("b",), 1, 2, 2.0)]


def table_of(edges):
    return pd.DataFrame(edges, columns=["source", "target", "count", "value"])


@pytest.mark.parametrize(
    "convert",
    [
        lambda frame: frame,
        lambda frame: frame.astype({"source": "category", "target": "category"}),
        lambda frame: frame.assign(noise="x").sample(frac=1, random_state=0),
        pa.Table.from_pandas,
        pl.from_pandas,
        lambda frame: duckdb.from_arrow(pa.Table.from_pandas(frame)),
    ],
    ids=["pandas", "categories", "more columns, other order", "arrow", "polars", "duckdb"],
)
@pytest.mark.parametrize(("edges", "order"), [(ORDER_1, 1), (ORDER_2, 2)])
def test_any_table_is_read(convert, edges, order):
    counts = counts_from_edges(convert(table_of(edges)), order=order)
    expected = counts_of(JOURNEYS, order)
    assert counts.totals == expected.totals
    for name in (*ARRAYS, "touches"):
        assert getattr(counts, name).tolist() == getattr(expected, name).tolist(), name


def test_a_table_comes_back_from_a_file(tmp_path):
    counts = counts_of([Row(("NA", "7", "ö, x"), 3, 1, 2.5), Row(("7",), 0, 2)], order=2)
    frame = edges_frame(counts)
    frame.to_csv(tmp_path / "edges.csv", index=False)
    read = pd.read_csv(tmp_path / "edges.csv", keep_default_na=False)
    back = counts_from_edges(read, order=2)
    assert back.channels == ("7", "NA", "ö, x")
    pd.testing.assert_frame_equal(edges_frame(back), frame)


def test_white_space_around_channels_does_not_matter():
    edges = [(s.replace(" > ", ">"), f" {t} ", n, v) for s, t, n, v in ORDER_2]
    plain = counts_from_edges(table_of(ORDER_2), order=2)
    assert counts_from_edges(table_of(edges), order=2).equals(plain)


def test_a_missing_value_is_0():
    bare = [(s, t, n, 0 if s == "b" else v) for s, t, n, v in ORDER_1]
    missing = [(s, t, n, v or None) for s, t, n, v in bare]
    assert counts_from_edges(table_of(missing)).equals(counts_from_edges(table_of(bare)))


def test_an_edge_that_nobody_walked_leaves_its_channel_without_effect():
    edges = [*ORDER_1, ("a", "ghost", 0, 0), ("ghost", "(null)", 0, 0)]
    frame = Markov().solve(counts_from_edges(table_of(edges))).to_frame()
    plain = Markov().solve(counts_from_edges(table_of(ORDER_1))).to_frame()
    assert frame.loc["ghost", ["conversions", "value", "removal_effect"]].tolist() == [0, 0, 0]
    assert frame.drop("ghost")["conversions"].tolist() == plain["conversions"].tolist()


def test_credit_per_touch_goes_evenly_over_the_touches_of_a_channel():
    journeys = as_journeys(JOURNEYS)
    result = Markov().solve(counts_from_edges(table_of(ORDER_1)))
    frame = result.to_frame()
    for of in ("conversions", "value"):
        a, b = frame[of]
        # a has 4 touches and b has 5; the first row stands for 2 journeys, the second for 3.
        expected = [a * 2 / 4, b * 2 / 5, a * 2 / 4, b * 3 / 5]
        assert Markov().credit(journeys, result, of=of).tolist() == pytest.approx(expected)


# --- tables that are refused ------------------------------------------------------------


@pytest.mark.parametrize("order", [0, -1, 1.5, True, "2", None])
def test_order_is_a_positive_whole_number(order):
    with pytest.raises(InputError, match=r"order=.* is not a positive whole number\. Hint"):
        counts_from_edges(table_of(ORDER_1), order=order)


def test_separator_is_not_empty():
    with pytest.raises(InputError, match=r"separator='' is empty\. Hint"):
        counts_from_edges(table_of(ORDER_1), separator="")


@pytest.mark.parametrize("name", ["source", "target", "count"])
def test_missing_columns_are_named(name):
    table = table_of(ORDER_1).rename(columns={name: name + "s"})
    with pytest.raises(ColumnNotFoundError, match=f"the edge table has no column '{name}'"):
        counts_from_edges(table)


def test_a_table_without_rows_is_refused():
    with pytest.raises(InputError, match=r"the edge table is empty: 0 rows\. Hint"):
        counts_from_edges(table_of([]))


def test_what_is_no_table_is_refused():
    with pytest.raises(InputError, match=r"the edge table is a str, not a table\. Hint"):
        counts_from_edges("edges.csv")


A_TO_B = r"\('a' to 'b'\)\. Hint: "


@pytest.mark.parametrize(
    ("order", "row", "message"),
    [
        (1, (None, "b", 1, 0), r"1 row has a missing name in column 'source', first in row 2\. "),
        (1, ("a", " ", 1, 0), r"1 row has a missing name in column 'target', first in row 2\. H"),
        (1, ("a", "b", -2, 0), r"1 row has a missing, negative or infinite count, .* 2 \(-2\.0\)"),
        (1, ("a", "b", np.nan, 0), r"negative or infinite count, first in row 2 \(nan\)\. Hint: "),
        (1, ("a", "b", np.inf, 0), r"negative or infinite count, first in row 2 \(inf\)\. Hint: "),
        (1, ("a", "(conversion)", 1, -3), r"1 row has a negative or infinite value.* 2 \(-3\.0\)"),
        (1, ("a", "(conversion)", 1, np.inf), r"a negative or infinite value.* 2 \(inf\)\. Hint"),
        (1, ("a", "b", 1, 3), r"1 row has a value but no conversion, first in row 2 " + A_TO_B),
        (1, ("a", "(null)", 1, 3), r"a value but no conversion.* 2 \('a' to '\(null\)'\)\. Hint"),
        (1, ("a", "(conversion)", 0, 3), r"value but no conversion.*\('a' to '\(conversion\)'\)"),
        (1, ("a", "(start)", 1, 0), r"an edge into the start or out of an end, .* 2 \('a' to"),
        (1, ("(null)", "a", 1, 0), r"an edge into the start or out of an end, .*\('\(null\)' to"),
        (1, ("(conversion)", "a", 1, 0), r"an edge into the start or out of an end.*conversion"),
        (1, ("(start)", "(null)", 1, 0), r"an edge from the start to an end, .* 2 .*Hint: journey"),
        (1, ("a", "b > a", 1, 0), r"a state of more channels than the order, 1.*Hint: order=2, or"),
        (2, ("a > b", "b > a > b", 1, 0), r"more channels than the order, 2, .* 2 .*order=3"),
        (2, ("a > > b", "b > a", 1, 0), r"an empty channel name, first in row 2 .*Hint: look"),
        (2, ("(start)", "(start) > a", 1, 0), r"the start or an end within a state.* 2 .*Hint"),
        (2, ("a > b", "a > b", 1, 0), r"a target that does not follow from its source at order 2"),
        (2, ("a", "a > b", 1, 0), r"that does not follow .* 2 \('a' to 'a > b'\)\. Hint: a state"),
        (2, ("a > b", "b", 1, 0), r"that does not follow .* 2 \('a > b' to 'b'\)\. Hint: a state"),
        (2, ("a", "b", 1, 0), r"a target that does not follow from its source.* 2 " + A_TO_B),
        (3, ("a > b", "b > a", 1, 0), r"that does not follow from its source at order 3"),
    ],
)
def test_rows_that_no_journey_walks_are_refused(order, row, message):
    edges = ORDER_1 if order == 1 else [e for e in ORDER_2 if order == 2 or e[0] == "b"]
    table = table_of([*edges[:2], row, *edges[2:]])
    with pytest.raises(InputError, match=message):
        counts_from_edges(table, order=order)


def test_all_bad_rows_are_counted():
    table = table_of([("a", "(start)", 1, 0), *ORDER_1, ("(null)", "b", 1, 0)])
    with pytest.raises(InputError, match=r"2 rows have an edge into the start .*first in row 0"):
        counts_from_edges(table)


def test_counts_that_are_no_numbers_are_refused():
    with pytest.raises(InputError, match=r"Column 'count' holds .*string, not numbers\. Hint"):
        counts_from_edges(table_of(ORDER_1).astype({"count": str}))


def test_names_that_are_no_text_are_refused():
    table = table_of(ORDER_2)
    table["target"] = table["target"].str.split(" > ")
    with pytest.raises(InputError, match=r"Column 'target' holds .*list.*, not text\. Hint: join"):
        counts_from_edges(table, order=2)


@given(rows=tables(), order=orders, data=st.data())
def test_a_count_changed_anywhere_but_in_a_loop_is_out_of_balance(rows, order, data):
    assume(walking(rows))
    frame = edges_frame(counts_of(rows, order))
    row = data.draw(st.sampled_from(np.flatnonzero(frame["source"] != frame["target"]).tolist()))
    frame.loc[row, "count"] += 1
    with pytest.raises(InputError, match=r"State '.*' is entered \d+ times and left \d+ times"):
        counts_from_edges(frame, order=order)


def test_a_state_out_of_balance_is_named_with_both_figures():
    table = table_of([*ORDER_1, ("b", "(null)", 0.5, 0)])
    message = (
        r"State 'b' is entered 5 times and left 5\.5 times \(states out of balance: 1\)\. "
        r"Hint: the table must hold counts, not probabilities"
    )
    with pytest.raises(InputError, match=message):
        counts_from_edges(table)


def test_probabilities_are_not_taken_for_counts():
    table = table_of(ORDER_2)[["source", "target", "count"]]
    table["count"] /= table.groupby("source")["count"].transform("sum")
    with pytest.raises(InputError, match=r"entered 0\.4 times and left 1 times.*not probabilities"):
        counts_from_edges(table, order=2)


@pytest.mark.parametrize(("excess", "balanced"), [(9, True), (11, False)])
def test_balance_is_relative_to_a_billionth(excess, balanced):
    table = table_of([("(start)", "a", 10**10, 0), ("a", "(null)", 10**10 + excess, 0)])
    if balanced:
        assert counts_from_edges(table).totals.nulls == 10**10 + excess
    else:
        with pytest.raises(InputError, match=r"entered 10000000000 times and left 10000000011"):
            counts_from_edges(table)


def test_a_loop_that_no_journey_enters_is_refused():
    loop = [("c", "d", 2, 0), ("d", "c", 2, 0)]
    message = (
        r"No edge leads from \(start\) to state 'c', entered 2 times \(such states: 2\)\. Hint"
    )
    with pytest.raises(InputError, match=message):
        counts_from_edges(table_of([*ORDER_1, *loop]))
