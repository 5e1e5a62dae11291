import decimal

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from attribution import AttributionWarning, ColumnNotFoundError, InputError, Journeys, Markov

PATHS = ["email > search > email", "search", "social > search"]
LISTS = [["email", "search", "email"], ["search"], ["social", "search"]]
COUNTS = {"conversions": [3, 0, 2], "nulls": [10, 4, 0]}
VALUES = [12.5, 0.0, 7.25]


def table(paths, conversions=None, **columns):
    given = [1] * len(paths) if conversions is None else conversions
    return pd.DataFrame({"path": paths, "conversions": given, **columns})


def read(paths, conversions=None, **options):
    return Journeys.from_paths(table(paths, conversions), **options)


def names(journeys):
    return [[touch.channel for touch in journey.touchpoints] for journey in journeys]


def refusal(paths, conversions=None, **options):
    with pytest.raises(InputError) as error:
        read(paths, conversions, **options)
    return str(error.value)


# --- what is read ---------------------------------------------------------------------


@pytest.mark.parametrize("paths", [PATHS, LISTS], ids=["text", "lists"])
def test_rows_keep_their_order_path_and_counts(paths):
    frame = table(paths, COUNTS["conversions"], nulls=COUNTS["nulls"], value=VALUES)
    journeys = Journeys.from_paths(frame, nulls="nulls", value="value")
    assert names(journeys) == LISTS
    assert journeys.channels == ("email", "search", "social")
    assert journeys.codes.tolist() == [0, 1, 0, 1, 2, 1]
    assert journeys.offsets.tolist() == [0, 3, 4, 6]
    assert journeys.conversions.tolist() == [3.0, 0.0, 2.0]
    assert journeys.nulls.tolist() == [10.0, 4.0, 0.0]
    assert journeys.values.tolist() == VALUES


def test_columns_may_have_any_name():
    frame = pd.DataFrame({"p": ["a > b"], "c": [1], "v": [4.0], "n": [2]})
    journeys = Journeys.from_paths(frame, path="p", conversions="c", value="v", nulls="n")
    figures = journeys.conversions, journeys.nulls, journeys.values
    assert [column.tolist() for column in figures] == [[1.0], [2.0], [4.0]]


def test_without_nulls_and_value_there_are_none():
    journeys = read(["a > b", "b"])
    assert journeys.nulls.tolist() == [0.0, 0.0]
    assert journeys.values is None


def test_text_and_list_columns_give_equal_journeys():
    assert read(PATHS).equals(read(LISTS))


@pytest.mark.parametrize("separator", [">", ",", "|", "->", "→", ";", " > "])
def test_any_separator_cuts_paths(separator):
    paths = [separator.join(path) for path in LISTS]
    assert read(paths, separator=separator).equals(read(LISTS))


def test_a_space_cuts_paths():
    assert names(read(["a b a", "b"], separator=" ")) == [["a", "b", "a"], ["b"]]


def test_a_separator_is_no_pattern():
    assert names(read(["a.b.c", "a*b"], separator=".")) == [["a", "b", "c"], ["a*b"]]


@pytest.mark.parametrize(
    "path", ["paid search>  email ", "\tpaid search >email", ["paid search ", " email"]]
)
def test_space_around_names_is_trimmed_and_inside_is_kept(path):
    assert names(read([path, path])) == [["paid search", "email"]] * 2


def test_unicode_names_are_sorted_by_code_point():
    journeys = read(["Ünïcode > 日本語 > 🎉", "é > z"])
    assert journeys.channels == ("z", "Ünïcode", "é", "日本語", "🎉")
    assert names(journeys) == [["Ünïcode", "日本語", "🎉"], ["é", "z"]]


def test_integer_names_become_text():
    journeys = read([[10, 2], [2]])
    assert journeys.channels == ("10", "2")
    assert names(journeys) == [["10", "2"], ["2"]]


def test_a_list_column_is_not_cut_further():
    assert names(read([["a > b", "c"]])) == [["a > b", "c"]]


# --- every kind of table --------------------------------------------------------------


def pandas_frame():
    return pd.DataFrame({"path": PATHS, **COUNTS, "value": VALUES})


def with_object_columns():
    return pandas_frame().astype(object)


def with_nullable_columns():
    return pandas_frame().convert_dtypes()


def with_arrow_columns():
    return pandas_frame().convert_dtypes(dtype_backend="pyarrow")


def with_categories():
    frame = pandas_frame()
    frame["path"] = pd.Categorical(frame["path"], categories=["unused > path", *PATHS])
    return frame


def with_repeated_index():
    return pandas_frame().set_axis([7, 7, 7])


def with_lists():
    return pandas_frame().assign(path=LISTS)


def with_arrays():
    return pandas_frame().assign(path=[np.array(path) for path in LISTS])


def polars_frame():
    return pl.DataFrame(pandas_frame().to_dict("list"))


def polars_categories():
    return polars_frame().with_columns(pl.col("path").cast(pl.Categorical))


def polars_lists():
    return polars_frame().with_columns(path=pl.Series(LISTS))


def arrow_table():
    return pa.table(pandas_frame().to_dict("list"))


def arrow_batch():
    return pa.record_batch(pandas_frame().to_dict("list"))


def arrow_chunks():
    whole = arrow_table()
    return pa.concat_tables([whole.slice(0, 1), whole.slice(1, 0), whole.slice(1)])


def arrow_dictionary_chunks():
    parts = [arrow_table().slice(0, 2), arrow_table().slice(2)]
    coded = [p.set_column(0, "path", p["path"].combine_chunks().dictionary_encode()) for p in parts]
    return pa.concat_tables(coded)


def arrow_large_lists():
    lists = pa.array(LISTS, pa.large_list(pa.large_string()))
    return arrow_table().set_column(0, "path", lists)


def duckdb_relation():
    rows = [
        f"({i}, '{path}', {c}, {n}, {v}::DOUBLE)"
        for i, (path, c, n, v) in enumerate(
            zip(PATHS, COUNTS["conversions"], COUNTS["nulls"], VALUES, strict=True)
        )
    ]
    names = "t(i, path, conversions, nulls, value)"
    connection = duckdb.connect()
    return connection.sql(f"SELECT * FROM (VALUES {', '.join(rows)}) {names} ORDER BY i")


def duckdb_sums_and_lists():
    query = """
        SELECT string_split(path, ' > ') AS path, sum(conversions) AS conversions,
               sum(nulls) AS nulls, sum(value) AS value
        FROM source GROUP BY i, path ORDER BY i
    """
    return duckdb_relation().query("source", query)


TABLES = [
    with_object_columns,
    with_nullable_columns,
    with_arrow_columns,
    with_categories,
    with_repeated_index,
    with_lists,
    with_arrays,
    polars_frame,
    polars_categories,
    polars_lists,
    arrow_table,
    arrow_batch,
    arrow_chunks,
    arrow_dictionary_chunks,
    arrow_large_lists,
    duckdb_relation,
    duckdb_sums_and_lists,
]


@pytest.mark.parametrize("make", TABLES, ids=lambda make: make.__name__)
def test_every_kind_of_table_gives_equal_journeys(make):
    expected = Journeys.from_paths(pandas_frame(), nulls="nulls", value="value")
    assert names(expected) == LISTS
    journeys = Journeys.from_paths(make(), nulls="nulls", value="value")
    assert journeys.equals(expected)


def booleans(values):
    return [value > 1 for value in values]


def decimals(values):
    return [decimal.Decimal(value) / 4 for value in values]


@pytest.mark.parametrize(
    "kind", ["int8", "uint32", "Int64", "float32", "Float64", "int64[pyarrow]"]
)
def test_counts_may_be_numbers_of_any_type(kind):
    counts = pd.Series([3, 0, 2]).astype(kind)
    assert read(PATHS, counts).conversions.tolist() == [3.0, 0.0, 2.0]


@pytest.mark.parametrize(
    ("convert", "expected"), [(booleans, [1.0, 0.0, 1.0]), (decimals, [0.75, 0.0, 0.5])]
)
def test_booleans_and_decimals_are_counts(convert, expected):
    assert read(PATHS, convert([3, 0, 2])).conversions.tolist() == expected


def test_counts_in_categories_are_read_by_value():
    assert read(PATHS, pd.Categorical([3, 5, 3])).conversions.tolist() == [3.0, 5.0, 3.0]


# --- tables that do not fit -----------------------------------------------------------


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_an_empty_table_is_refused(make):
    with pytest.raises(InputError, match=r"path table is empty: 0 rows\. Hint: check the filter"):
        Journeys.from_paths(make({"path": [], "conversions": []}))


@pytest.mark.parametrize("frame", [["a > b"], {"path": ["a"]}, "paths.csv", pd.Series(["a"]), None])
def test_what_is_no_table_is_refused_by_its_type(frame):
    kind = type(frame).__name__
    with pytest.raises(
        InputError, match=f"path table is a {kind}, not a table.*Hint: give a pandas"
    ):
        Journeys.from_paths(frame)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
@pytest.mark.parametrize(
    ("options", "missing", "near"),
    [
        ({}, "conversions", "conversion"),
        ({"conversions": "conversion", "path": "pth"}, "pth", "path"),
        ({"conversions": "conversion", "value": "revenues"}, "revenues", "revenue"),
        ({"conversions": "conversion", "nulls": "nuls"}, "nuls", "nulls"),
    ],
)
def test_a_missing_column_is_named_with_the_nearest(make, options, missing, near):
    frame = make({"path": ["a > b"], "conversion": [1], "revenue": [2.0], "nulls": [3]})
    message = (
        f"no column '{missing}'. Did you mean '{near}'\\? Its columns are 'path', 'conversion'"
    )
    with pytest.raises(ColumnNotFoundError, match=message):
        Journeys.from_paths(frame, **options)


def test_a_column_that_is_there_twice_is_refused():
    frame = pd.DataFrame([["a", 1, 2]], columns=["path", "conversions", "conversions"])
    with pytest.raises(InputError, match="2 columns named 'conversions'"):
        Journeys.from_paths(frame)


def test_a_column_name_that_is_no_text_is_refused():
    frame = pd.DataFrame([["a > b", 5, 9]], columns=["path", 1, 0])
    with pytest.raises(InputError, match=r"column named 0, which is no text\. Hint: rename"):
        Journeys.from_paths(frame, conversions=0)


def test_no_name_is_no_column():
    with pytest.raises(ColumnNotFoundError, match="no column None"):
        Journeys.from_paths(table(PATHS), conversions=None)


# --- paths that do not fit ------------------------------------------------------------

EMPTY = (
    "2 rows have an empty or missing path in column 'path', first in row 1. "
    "Hint: drop them, or empty='unattributed' keeps their conversions apart."
)


@pytest.mark.parametrize(
    "paths",
    [
        ["a > b", None, "c", None],
        ["a > b", np.nan, "c", np.nan],
        ["a > b", "", "c", "  "],
        pd.array(["a > b", pd.NA, "c", ""], dtype="string"),
        [["a", "b"], [], ["c"], None],
    ],
    ids=["none", "nan", "blank", "na", "lists"],
)
def test_an_empty_or_missing_path_is_refused(paths):
    assert refusal(paths) == EMPTY


@pytest.mark.parametrize("paths", [["a > b", None, " "], [["a", "b"], None, []]])
def test_conversions_without_a_path_can_be_kept_unattributed(paths):
    journeys = read(paths, [1, 2, 4], empty="unattributed")
    assert names(journeys) == [["a", "b"], [], []]
    assert journeys.conversions.tolist() == [1.0, 2.0, 4.0]
    assert journeys.summary().quality["unattributed_share"] == pytest.approx(6 / 7)


def test_a_column_of_nothing_but_missing_paths_can_be_kept_unattributed():
    journeys = read([None, None], [1, 2], empty="unattributed")
    assert journeys.lengths.tolist() == [0, 0]
    assert "2 rows have an empty or missing path" in refusal([None, None])


@pytest.mark.parametrize("path", ["> a > b", "a > b >", "a >> b", "a >  > b", ">"])
def test_a_leading_trailing_or_doubled_separator_is_refused(path):
    assert refusal(["a > b", "b", path]) == (
        "1 row has an empty channel name in column 'path', first in row 2. "
        "Hint: look for a leading, trailing or doubled '>'."
    )


def test_an_empty_name_is_refused_even_where_empty_paths_are_kept():
    message = refusal(["a > b", "", "a > > b"], empty="unattributed")
    assert "1 row has an empty channel name in column 'path', first in row 2" in message


@pytest.mark.parametrize("hole", [None, "", "  "])
def test_a_list_with_an_empty_name_is_refused(hole):
    assert refusal([["a"], ["a", hole], [hole, "b"]]) == (
        "2 rows have an empty channel name in column 'path', first in row 1. "
        "Hint: remove empty and missing names from the lists."
    )


@pytest.mark.parametrize(
    ("paths", "kind"),
    [([1, 2], "int64"), ([b"a > b"], "binary"), ([[["a"]]], "list"), ([True], "bool")],
)
def test_paths_must_be_text_or_lists_of_names(paths, kind):
    assert refusal(paths).startswith(f"Column 'path' holds {kind}")
    assert "Hint: write paths as 'email > search' or as lists of names." in refusal(paths)


def test_paths_of_mixed_types_are_refused():
    assert refusal(["a > b", 1]) == (
        "Column 'path' of the path table mixes int, str. Hint: convert it to one type."
    )


# --- counts and values that do not fit ------------------------------------------------


@pytest.mark.parametrize(("bad", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
@pytest.mark.parametrize("column", ["conversions", "nulls"])
def test_a_missing_or_infinite_count_is_refused(column, bad, shown):
    frame = table(PATHS, [1, 1, 1], nulls=[1, 1, 1]).assign(**{column: [1, bad, bad]})
    with pytest.raises(InputError) as error:
        Journeys.from_paths(frame, nulls="nulls")
    assert str(error.value) == (
        f"2 rows have a missing or infinite count in column '{column}', first in row 1 ({shown}). "
        "Hint: fill missing counts with 0 where that is what they mean."
    )


def test_a_missing_nullable_count_is_refused():
    message = refusal(PATHS, pd.array([1, 2, None], dtype="Int64"))
    assert (
        "1 row has a missing or infinite count in column 'conversions', first in row 2" in message
    )


@pytest.mark.parametrize("column", ["conversions", "nulls"])
def test_a_negative_count_is_refused(column):
    frame = table(PATHS, [1, 1, 1], nulls=[1, 1, 1]).assign(**{column: [1, 1, -2]})
    with pytest.raises(InputError) as error:
        Journeys.from_paths(frame, nulls="nulls")
    assert str(error.value) == (
        f"1 row has a negative count in column '{column}', first in row 2 (-2.0). "
        "Hint: counts are numbers of journeys; attribute refunds as negative value."
    )


@pytest.mark.parametrize("counts", [["3", "0", "2"], pd.Categorical(["3", "0", "2"])])
def test_counts_in_text_are_refused(counts):
    message = refusal(PATHS, counts)
    assert message.startswith("Column 'conversions' holds ")
    assert message.endswith(
        "string, not numbers. Hint: convert it, such as frame['conversions'].astype(float)."
    )


@pytest.mark.parametrize("counts", [["3", 4, 5], [3, "4", 5]])
def test_counts_of_mixed_types_are_refused(counts):
    assert refusal(PATHS, pd.Series(counts, dtype=object)) == (
        "Column 'conversions' of the path table mixes int, str. Hint: convert it to one type."
    )


def test_moments_are_no_counts():
    assert "timestamp" in refusal(PATHS, pd.to_datetime(["2025-01-01"] * 3))


def test_missing_value_is_zero_and_its_conversions_are_counted():
    frame = table(PATHS, [3, 0, 2], value=[np.nan, np.nan, 5.0])
    journeys = Journeys.from_paths(frame, value="value")
    assert journeys.values.tolist() == [0.0, 0.0, 5.0]
    assert journeys.audit["conversions_without_value"] == 3
    assert journeys.audit["value_read"] == 5


def test_an_infinite_value_is_refused():
    with pytest.raises(
        InputError, match=r"1 row has an infinite value in column 'value'.*row 1 \(inf"
    ):
        Journeys.from_paths(table(PATHS, [1, 1, 1], value=[1, np.inf, 1]), value="value")


def test_a_value_without_conversion_is_refused():
    with pytest.raises(InputError) as error:
        Journeys.from_paths(table(PATHS, [1, 0, 0], value=[1.0, 0.0, -4.0]), value="value")
    assert str(error.value) == (
        "1 row has a value in column 'value' but no conversion in 'conversions', first in row 2 "
        "(-4.0). Hint: set the value to 0, or count the conversions it is from."
    )


def test_negative_value_is_read_but_no_chain_shares_it_out():
    frame = table(PATHS, [1, 1, 1], value=[5.0, -2.0, 1.0], nulls=[1, 1, 1])
    journeys = Journeys.from_paths(frame, value="value", nulls="nulls")
    assert journeys.values.tolist() == [5.0, -2.0, 1.0]
    with pytest.raises(InputError, match=r"negative value.*Hint: attribute refunds separately"):
        Markov().attribute(journeys)


# --- options --------------------------------------------------------------------------


def test_an_empty_separator_is_refused():
    assert refusal(PATHS, separator="") == "separator='' is empty. Hint: separator='>'."


def test_an_unknown_way_with_empty_paths_is_refused():
    assert refusal(PATHS, empty="drop") == "empty='drop' is not one of ('raise', 'unattributed')."


# --- what is read with a warning or a count -------------------------------------------


def test_a_separator_that_no_path_contains_warns():
    message = r"No path contains the separator '>'.*such as 'a \| b'\. Hint: separator="
    with pytest.warns(AttributionWarning, match=message):
        journeys = read(["a | b", "a | c"])
    assert names(journeys) == [["a | b"], ["a | c"]]


def test_single_touch_lists_do_not_warn_of_a_separator():
    assert names(read([["a"], ["b"]])) == [["a"], ["b"]]


@pytest.mark.parametrize("marker", ["(start)", "(conversion)", "(null)"])
def test_an_end_marker_is_a_channel_with_a_warning(marker):
    message = f"Channels named \\({marker[1:-1]}\\) look like the end markers.*Hint: strip them"
    with pytest.warns(AttributionWarning, match=message):
        journeys = read([f"{marker} > a"], [2])
    assert names(journeys) == [[marker, "a"]]
    assert journeys.n_journeys == 2


def test_no_conversions_warn():
    with pytest.warns(
        AttributionWarning, match="no conversions: every model will give zero credit"
    ):
        read(PATHS, [0, 0, 0])


@pytest.mark.parametrize(
    "name", ["nulls", "total_null", "Non_Conversions", "no_conv", "nonconverted"]
)
def test_an_unused_column_that_looks_like_nulls_warns(name):
    message = f"Column '{name}' looks like the number of journeys.*Hint: nulls='{name}'"
    with pytest.warns(AttributionWarning, match=message):
        journeys = Journeys.from_paths(table(PATHS, **{name: [5, 5, 5]}))
    assert journeys.nulls.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("values", [["x", "y", "z"], ["x", 1, 2], [True, False, True]])
def test_a_column_that_holds_no_numbers_does_not_look_like_nulls(values):
    assert len(Journeys.from_paths(table(PATHS, nullable=values))) == 3


def test_without_null_journeys_a_chain_warns_of_its_base_rate():
    journeys = read(PATHS, [1, 1, 1])
    with pytest.warns(AttributionWarning, match=r"always converts \(base rate 1\).*Hint: name"):
        result = Markov().attribute(journeys)
    assert result.details["base_rate"] == 1


def test_rows_of_zeros_are_kept_and_counted():
    frame = table(PATHS, [0, 0, 2], nulls=[0, 3, 0])
    journeys = Journeys.from_paths(frame, nulls="nulls")
    assert len(journeys) == 3
    assert journeys.audit["rows_without_journeys"] == 1


def test_the_audit_adds_up_what_was_read():
    frame = table(PATHS, [3, 0, 2], nulls=[1, 1, 1], value=VALUES)
    audit = Journeys.from_paths(frame, nulls="nulls", value="value").audit
    assert dict(audit) == {
        "conversions_read": 5,
        "rows_read": 3,
        "rows_without_journeys": 0,
        "value_read": 19.75,
    }


@pytest.mark.parametrize(
    "paths", [["a > b", "b", "a>b", "b"], [["a", "b"], ["b"], ["a", "b"], ["b"]]]
)
def test_duplicate_rows_are_kept_and_counted(paths):
    journeys = read(paths, [1, 2, 4, 8])
    assert journeys.conversions.tolist() == [1.0, 2.0, 4.0, 8.0]
    assert journeys.summary().quality["duplicate_rows"] == 2
