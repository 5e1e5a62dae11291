"""People and accounts, held against a union-find that joins one pair at a time."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attribution import AttributionWarning, ColumnNotFoundError, InputError
from attribution.ingest.columns import user_keys
from attribution.ingest.identity import BLOCK, Identity

SECRET = 987_654_321

Id = int | str
Edge = tuple[Id | None, Id | None]
Member = tuple[Id, Id]


def column(values: Sequence[Id | None]) -> pa.Array:
    """Return a column of ids, text where the first one there is text."""
    text = any(isinstance(value, str) for value in values)
    return pa.array(values, pa.string() if text else pa.int64())


def table(rows: Sequence[tuple[Any, Any]], names: tuple[str, str]) -> pa.Table:
    left, right = zip(*rows, strict=True)
    return pa.table([column(left), column(right)], names=list(names))


def edge_table(edges: Sequence[Edge]) -> pa.Table:
    return table(edges, ("id", "other_id"))


def account_table(members: Sequence[Member]) -> pa.Table:
    return table(members, ("id", "account"))


def keys(ids: Sequence[Id]) -> np.ndarray[Any, Any]:
    return np.array(user_keys(pa.chunked_array([column(ids)]), "id")[0])


def key(id_: Id) -> int:
    return int(keys([id_])[0])


def build(
    edges: Sequence[Edge], members: Sequence[Member] = (), max_ids: int | None = None
) -> Identity:
    """Build from tuples; without a limit unless it is given."""
    accounts = account_table(members) if members else None
    return Identity.from_edges(edge_table(edges), accounts=accounts, max_ids=max_ids)


def mapped(identity: Identity, ids: Sequence[Id]) -> list[int]:
    people, _ = identity.apply(keys(ids))
    return [int(person) for person in people]


def refused(call: Callable[[], object], match: str, error: type[Exception] = InputError) -> None:
    """Check that the call is refused with the message, and that it names no id."""
    with pytest.raises(error, match=match) as caught:
        call()
    assert str(SECRET) not in "".join(traceback.format_exception(caught.value))


# --- the oracle -----------------------------------------------------------------------


class Forest:
    """Union-find."""

    def __init__(self) -> None:
        self.parent: dict[Any, Any] = {}

    def root(self, node: Any) -> Any:
        self.parent.setdefault(node, node)
        while self.parent[node] != node:
            node = self.parent[node]
        return node

    def join(self, a: Any, b: Any) -> None:
        self.parent[self.root(a)] = self.root(b)

    def sets(self) -> list[set[Any]]:
        found: dict[Any, set[Any]] = {}
        for node in self.parent:
            found.setdefault(self.root(node), set()).add(node)
        return list(found.values())


class Oracle:
    """People, accounts, audit and conflicts by the words of the documentation."""

    def __init__(
        self, edges: Iterable[Edge], members: Sequence[Member], max_ids: int | None
    ) -> None:
        forest = Forest()
        edges = list(edges)
        for edge in edges:
            ids = [id_ for id_ in edge if id_ is not None]
            if ids:
                forest.join(ids[0], ids[-1])
        for id_, _ in members:
            forest.root(id_)
        limit = math.inf if max_ids is None else max_ids
        self.shared = [found for found in forest.sets() if len(found) > limit]
        people = [found for found in forest.sets() if len(found) <= limit]
        people += [{id_} for found in self.shared for id_ in found]
        of = {id_: number for number, person in enumerate(people) for id_ in person}
        account_of: dict[int, Id] = {}
        self.conflicts = []
        for row, (id_, account) in enumerate(members):
            if account_of.setdefault(of[id_], account) != account:
                self.conflicts.append(row)
        final: dict[Any, set[Id]] = {}
        for number, person in enumerate(people):
            name = ("account", account_of[number]) if number in account_of else number
            final.setdefault(name, set()).update(person)
        self.key = {
            id_: min(key(other) for other in group) for group in final.values() for id_ in group
        }
        sizes = [len(person) for person in people]
        self.audit = {
            "edges_read": len(edges),
            "edges_without_id": sum(edge == (None, None) for edge in edges),
            "edges_with_one_id": sum(
                (a is None) != (b is None) or (a == b and a is not None) for a, b in edges
            ),
            "ids": sum(sizes),
            "people": len(people),
            "ids_joined": sum(size for size in sizes if size > 1),
            "largest_person": max(sizes, default=0),
            "shared_logins": len(self.shared),
            "ids_in_shared_logins": sum(map(len, self.shared)),
            "account_rows_read": len(members),
            "accounts": len(set(account_of.values())),
            "people_in_accounts": len(account_of),
        }


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Edge], list[Member], int | None]:
    """Draw edges with missing ids, rows of accounts that may conflict, and a limit."""
    number = st.integers(-12, 25)
    id_: st.SearchStrategy[Any] = draw(st.sampled_from([number, number.map("id {}".format)]))
    maybe = st.one_of(id_, id_, id_, st.none())
    edges = draw(st.lists(st.tuples(maybe, maybe), max_size=30))
    edges.insert(draw(st.integers(0, len(edges))), (draw(id_), draw(maybe)))
    name = draw(st.sampled_from([st.integers(0, 2), st.sampled_from(["x", "y"]), st.just("x")]))
    members = draw(st.one_of(st.just([]), st.lists(st.tuples(id_, name), max_size=4)))
    return edges, members, draw(st.sampled_from([None, 2, 3, 4, 8, 100]))


@given(worlds())
@example(([(1, 2), (2, 3), (4, None)], [(3, "x"), (9, "x")], 3))
@example(([(1, 2), (2, 3), (4, 5)], [(3, "x"), (4, "x")], 2))
@example(([(1, 2), (3, None)], [(3, "x"), (1, "x"), (2, "y"), (3, "z")], None))
def test_people_accounts_and_audit_are_those_of_union_find(
    world: tuple[list[Edge], list[Member], int | None],
) -> None:
    edges, members, max_ids = world
    oracle = Oracle(edges, members, max_ids)
    shared = oracle.shared
    warned = pytest.warns(AttributionWarning, match="too large") if shared else nullcontext()
    with warned as messages:
        if oracle.conflicts:
            count = "1 row has" if len(oracle.conflicts) == 1 else f"{len(oracle.conflicts)} rows"
            with pytest.raises(InputError, match=f"^{count}.* first in row {oracle.conflicts[0]}"):
                build(edges, members, max_ids)
            return
        identity = build(edges, members, max_ids)
    if messages:
        largest = max(map(len, shared))
        assert f"{sum(map(len, shared))} ids, the largest group {largest}." in str(messages[0])
    ids = list(oracle.key)
    assert mapped(identity, ids) == [oracle.key[id_] for id_ in ids]
    assert identity.audit == oracle.audit
    assert identity.hashed == isinstance(ids[0], str)


@given(worlds())
def test_people_and_what_changed_agree_and_applying_twice_changes_nothing(
    world: tuple[list[Edge], list[Member], int | None],
) -> None:
    edges, _, _ = world
    identity = build(edges)
    users = keys([id_ for edge in edges for id_ in edge if id_ is not None])
    people, changed = identity.apply(users)
    np.testing.assert_array_equal(changed, people != users)
    again, changed = identity.apply(people)
    np.testing.assert_array_equal(again, people)
    assert not changed.any()


# --- what does not matter -------------------------------------------------------------


@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_of_columns_does_not_matter(world: Any, random: Any) -> None:
    edges, members, _ = world
    members = members if not Oracle(edges, members, None).conflicts else []
    other = [random.choice([edge, edge[::-1]]) for edge in edges]
    random.shuffle(other)
    moved = random.sample(members, len(members))
    assert build(other, moved).equals(build(edges, members))


def test_repeated_edges_and_accounts_join_once() -> None:
    once = build([(5, 3), (3, 9)], [(9, "x"), (1, "x")])
    often = build([(5, 3), (3, 5), (3, 9)] * 300, [(9, "x"), (1, "x"), (5, "x")])
    np.testing.assert_array_equal(often.ids, once.ids)
    np.testing.assert_array_equal(often.people, once.people)
    assert once.ids.tolist() == [3, 5, 9]
    assert once.people.tolist() == [1, 1, 1]


FRAMES: dict[str, Callable[[pa.Table], Any]] = {
    "arrow": lambda table: table,
    "chunks": lambda table: pa.concat_tables([table.slice(0, 1), table.slice(1)]),
    "dictionary": lambda table: pa.table(
        {name: table[name].dictionary_encode() for name in table.column_names}
    ),
    "pandas": lambda table: table.to_pandas(),
    "polars": pl.from_arrow,
    "duckdb": lambda table: duckdb.from_arrow(table),
}


NUMBERS: list[Edge] = [(4, 7), (7, None), (None, 2), (2, 8), (-3, 7)]
TEXTS: list[Edge] = [("d", "g"), ("g", None), (None, "b"), ("b", "h"), ("c", "g")]


@pytest.mark.parametrize("edges", [NUMBERS, TEXTS], ids=["numbers", "texts"])
@pytest.mark.parametrize("frame", FRAMES)
def test_any_table_is_read_alike(frame: str, edges: list[Edge]) -> None:
    oracle = Oracle(edges, [], None)
    identity = Identity.from_edges(FRAMES[frame](edge_table(edges)))
    assert mapped(identity, list(oracle.key)) == list(oracle.key.values())
    assert identity.audit == oracle.audit


def test_columns_can_have_other_names() -> None:
    edges = pd.DataFrame({"cookie": ["a"], "login": ["b"], "id": ["c"]})
    accounts = pd.DataFrame({"cookie": ["c"], "company": [1], "account": [2]})
    identity = Identity.from_edges(
        edges, id="cookie", other="login", accounts=accounts, account="company"
    )
    assert mapped(identity, ["a", "b"]) == [min(key("a"), key("b"))] * 2
    assert identity.audit["ids"] == 3


# --- people ---------------------------------------------------------------------------


def test_an_audit_by_hand() -> None:
    edges: list[Edge] = [
        (1, 2),
        (2, 3),  # person 1: 1, 2, 3
        (4, 5),  # person 4: 4, 5
        (5, 5),
        (6, None),  # person 6
        (None, None),
        *[(100, other) for other in range(101, 105)],  # a kiosk of 5 ids
    ]
    with pytest.warns(AttributionWarning):
        identity = build(edges, [(2, "x"), (6, "x"), (104, "y"), (200, "z")], max_ids=4)
    assert identity.audit == {
        "edges_read": 10,
        "edges_without_id": 1,
        "edges_with_one_id": 2,
        "ids": 12,  # 1 to 6, 100 to 104, 200
        "people": 9,  # 1, 4, 6, 100 to 104, 200
        "ids_joined": 5,
        "largest_person": 3,
        "shared_logins": 1,
        "ids_in_shared_logins": 5,
        "account_rows_read": 4,
        "accounts": 3,
        "people_in_accounts": 4,
    }
    assert all(type(count) is float for count in identity.audit.values())
    assert identity.ids.tolist() == [2, 3, 5, 6]
    assert identity.people.tolist() == [1, 1, 4, 1]


@pytest.mark.parametrize("edges", [[(1, None)], [(None, 1)], [(1, 1)], [(1, 1), (2, None)]])
def test_edges_of_one_id_join_nothing(edges: list[Edge]) -> None:
    identity = build(edges)
    assert identity.ids.tolist() == []
    people, changed = identity.apply(np.array([2, 1, 7]))
    assert people.tolist() == [2, 1, 7]
    assert changed.tolist() == [False, False, False]
    assert identity.audit["edges_with_one_id"] == len(edges)
    assert identity.audit["largest_person"] == 1


def test_a_missing_integer_is_not_the_id_0_nor_an_empty_text_an_id() -> None:
    assert build([(5, None), (0, 3), (None, 7)]).ids.tolist() == [3]
    edges = pd.DataFrame({"id": ["a", "", "b"], "other_id": ["", "c", None]})
    identity = Identity.from_edges(edges)
    assert identity.ids.tolist() == []
    assert identity.audit["ids"] == 3


def test_a_column_without_any_id_has_no_kind() -> None:
    for empty in ([None, None], [math.nan, math.nan], ["", ""]):
        for ids in ([1, 2], ["a", "b"]):
            identity = Identity.from_edges(pd.DataFrame({"id": ids, "other_id": empty}))
            assert identity.hashed == (ids == ["a", "b"])
            assert identity.audit["ids"] == 2


def test_integers_at_the_ends_of_their_range() -> None:
    low, high = -(2**63), 2**63 - 1
    identity = build([(high, 0), (low, high)])
    assert mapped(identity, [low, -1, 0, 1, high]) == [low, -1, low, 1, low]
    above = pa.table({"id": pa.array([2**64 - 1], pa.uint64()), "other_id": [4]})
    assert Identity.from_edges(above).people.tolist() == [-1]


def test_a_long_chain_is_one_person() -> None:
    n = 50_000
    order = np.random.default_rng(3).permutation(n - 1)
    edges = pa.table({"id": order, "other_id": order + 1})
    identity = Identity.from_edges(edges, max_ids=n)
    assert identity.ids.tolist() == list(range(1, n))
    assert not identity.people.any()


# --- shared logins --------------------------------------------------------------------


@pytest.mark.parametrize("max_ids", [5, 100])
def test_people_of_up_to_max_ids_are_joined_and_larger_ones_are_not(max_ids: int) -> None:
    star: list[Edge] = [(0, other) for other in range(1, max_ids)]
    identity = build(star, max_ids=max_ids)
    assert identity.audit["largest_person"] == max_ids
    assert mapped(identity, range(max_ids)) == [0] * max_ids
    with pytest.warns(AttributionWarning, match="1 group of ids is too large"):
        identity = build([*star, (0, max_ids), (1000, 1001)], max_ids=max_ids)
    assert identity.ids.tolist() == [1001]
    assert identity.audit["ids_in_shared_logins"] == max_ids + 1


def test_the_limit_is_100_unless_given() -> None:
    star = edge_table([(0, other) for other in range(1, 101)])
    with pytest.warns(AttributionWarning, match=r"\(max_ids=100\): 101 ids, the largest group 101"):
        assert not len(Identity.from_edges(star).ids)
    assert len(Identity.from_edges(star, max_ids=None).ids) == 100


def test_the_warning_counts_says_the_way_out_and_points_at_the_caller() -> None:
    stars: list[Edge] = [(SECRET, other) for other in range(1, 1500)]
    stars += [(-1, -other) for other in range(2, 9)]
    with pytest.warns(AttributionWarning) as messages:
        Identity.from_edges(edge_table(stars), max_ids=5)
    assert [str(message.message) for message in messages] == [
        "2 groups of ids are too large for one person (max_ids=5): 1,508 ids, the largest group "
        "1,500. They look like a shared login, a kiosk or a bot and were not joined. Hint: remove "
        "the shared id from the edges, or raise max_ids; None joins all."
    ]
    assert messages[0].filename == __file__


def test_an_account_may_have_more_people_and_ids_than_a_person_ids() -> None:
    pairs: list[Edge] = [(2 * i, 2 * i + 1) for i in range(10)]
    identity = build(pairs, [(2 * i, 7) for i in range(10)], max_ids=2)
    assert mapped(identity, range(20)) == [0] * 20


def test_an_id_left_apart_brings_only_itself_into_an_account() -> None:
    with pytest.warns(AttributionWarning):
        identity = build([(1, 2), (2, 3), (8, 9)], [(3, "x"), (9, "x"), (2, "y")], max_ids=2)
    assert mapped(identity, [1, 2, 3, 8, 9]) == [1, 2, 3, 3, 3]


@pytest.mark.parametrize("max_ids", [1, 0, -5, 2.5, "100", True, math.nan])
def test_a_limit_that_is_none(max_ids: Any) -> None:
    refused(lambda: build([(1, 2)], max_ids=max_ids), r"max_ids=.* is not a whole number.*Hint:")


def test_a_limit_from_numpy() -> None:
    assert build([(1, 2)], max_ids=np.int64(2)).ids.tolist() == [2]  # type: ignore[arg-type]


# --- growing edges --------------------------------------------------------------------


@given(worlds(), st.integers(1, 30), st.integers(0, 4))
def test_a_newer_identity_finds_the_people_of_keys_that_an_older_one_gave(
    world: Any, n_edges: int, n_members: int
) -> None:
    edges, members, _ = world
    members = members if not Oracle(edges, members, None).conflicts else []
    known = [edge for edge in edges[:n_edges] if edge != (None, None)]
    if not known:
        return
    older = build(known, members[:n_members])
    newer = build(edges, members)
    users = keys([id_ for edge in edges for id_ in edge if id_ is not None])
    np.testing.assert_array_equal(newer.apply(older.apply(users)[0])[0], newer.apply(users)[0])


def test_keys_of_a_person_that_grew_too_large_stay_what_they_are() -> None:
    older = build([(1, 2)], max_ids=2)
    with pytest.warns(AttributionWarning):
        newer = build([(1, 2), (2, 3)], max_ids=2)
    people, _ = newer.apply(older.apply(np.array([1, 2, 3]))[0])
    assert people.tolist() == [1, 1, 3]


def test_what_an_older_identity_joined_a_newer_one_does_not_take_apart() -> None:
    older = build([(5, 6), (9, None)], [(9, "x"), (5, "x")])
    newer = build([(5, 6), (9, None)])
    assert newer.apply(older.apply(np.array([5, 6, 9]))[0])[0].tolist() == [5, 5, 5]


# --- apply ----------------------------------------------------------------------------


def test_many_users_in_any_order() -> None:
    random = np.random.default_rng(5)
    edges = pa.table({"id": random.integers(0, 900, 700), "other_id": random.integers(0, 900, 700)})
    identity = Identity.from_edges(edges, max_ids=None)
    lookup = dict(zip(identity.ids.tolist(), identity.people.tolist(), strict=True))
    users = random.integers(-50, 1000, 2 * BLOCK + 17)
    before = users.copy()
    people, changed = identity.apply(users)
    assert people.tolist() == [lookup.get(user, user) for user in users.tolist()]
    assert changed.tolist() == [user in lookup for user in users.tolist()]
    np.testing.assert_array_equal(users, before)


@pytest.mark.parametrize("n", [0, 1, BLOCK, BLOCK + 1])
def test_any_number_of_users_also_of_an_array_that_cannot_be_written(n: int) -> None:
    identity = build([(1, 2)])
    people, changed = identity.apply(np.broadcast_to(np.int64(2), n))
    assert (people.dtype, people.shape) == (np.int64, (n,))
    assert (changed.dtype, changed.shape) == (np.bool_, (n,))
    assert (people == 1).all()
    assert changed.all()


@pytest.mark.parametrize("text", [False, True])
def test_users_must_be_of_the_kind_of_the_ids(text: bool) -> None:
    identity = build([("a", "b")] if text else [(1, 2)])
    identity.require_kind(text)
    kinds = ("integers", "text") if text else ("text", "integers")
    refused(
        lambda: identity.require_kind(not text),
        f"users of the events are {kinds[0]}, but the ids of the identity {kinds[1]}.*Hint:",
    )


# --- an object that keeps ---------------------------------------------------------------


@pytest.mark.parametrize(
    "passed_on", [lambda x: x, lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy]
)
def test_it_is_read_only_also_after_pickling(passed_on: Callable[[Identity], Identity]) -> None:
    first = build([("a", "b"), ("b", "c")], [("c", "x"), ("d", "x")])
    identity = passed_on(first)
    assert identity.equals(first)
    assert not identity.equals(build([("a", "b")]))
    assert len(identity.ids) == 3
    for array in (identity.ids, identity.people):
        assert array.dtype == np.int64
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(TypeError):
        identity.audit["ids"] = 0.0  # type: ignore[index]
    assert mapped(identity, ["c", "d"]) == mapped(first, ["d", "c"])


def test_it_shows_counts_only() -> None:
    identity = build([(SECRET, SECRET + 1), (5, None)], [(5, "x")])
    assert repr(identity) == "<Identity: 3 ids, 2 people, 1 accounts>"


def test_scipy_is_loaded_only_when_people_are_looked_for() -> None:
    code = (
        "import sys, attribution.ingest.identity as i, pyarrow as pa\n"
        "before = 'scipy.sparse' in sys.modules\n"
        "i.Identity.from_edges(pa.table({'id': [1], 'other_id': [2]}))\n"
        "print(before, 'scipy.sparse' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


# --- what is refused --------------------------------------------------------------------


def test_ids_of_two_kinds() -> None:
    edges = pd.DataFrame({"id": [SECRET], "other_id": ["login"]})
    refused(
        lambda: Identity.from_edges(edges),
        "integers in column 'id' of edges, but text in column 'other_id' of edges.*Hint: convert",
    )
    accounts = pd.DataFrame({"id": [str(SECRET)], "account": ["x"]})
    refused(
        lambda: Identity.from_edges(edge_table([(SECRET, None)]), accounts=accounts),
        "integers in column 'id' of edges, but text in column 'id' of accounts",
    )


def test_no_id_at_all() -> None:
    refused(lambda: build([(None, None)] * 3), "None of the 3 rows of edges has an id. Hint: name")


def test_people_in_several_accounts() -> None:
    edges: list[Edge] = [(SECRET, 2), (2, 3)]
    members: list[Member] = [(8, "a"), (3, "b"), (SECRET, "b"), (2, "c"), (SECRET, "a"), (9, "b")]
    refused(
        lambda: build(edges, members),
        "2 rows have an account in column 'account' of accounts other than an earlier row of the "
        "same person, first in row 3. Hint: keep one account",
    )


@pytest.mark.parametrize(
    ("ids", "names", "match"),
    [
        ([SECRET, None, None], ["x", "y", "z"], "2 rows have no id in column 'id' of .* in row 1"),
        ([1, 2, SECRET], ["x", "y", None], "1 row has no account in column 'account' .* in row 2"),
        ([1, 2, SECRET], ["x", "", "z"], "1 row has no account in column 'account' .* in row 1"),
    ],
)
def test_rows_of_accounts_that_lack_something(ids: Any, names: Any, match: str) -> None:
    accounts = pa.table({"id": ids, "account": names})
    edges = edge_table([(SECRET, 2)])
    refused(lambda: Identity.from_edges(edges, accounts=accounts), f"{match}.*Hint: drop")


def test_tables_that_do_not_fit() -> None:
    good = edge_table([(SECRET, 2)])
    refused(lambda: Identity.from_edges([(SECRET, 2)]), "edges is a list, not a table")
    refused(lambda: Identity.from_edges(good, accounts={}), "accounts is a dict, not a table")
    refused(lambda: Identity.from_edges(good.slice(0, 0)), "edges is empty: 0 rows")
    refused(
        lambda: Identity.from_edges(good, other="other"),
        "edges has no column 'other'. Did you mean 'other_id'",
        ColumnNotFoundError,
    )
    refused(
        lambda: Identity.from_edges(good, accounts=good),
        "accounts has no column 'account'",
        ColumnNotFoundError,
    )
    refused(lambda: Identity.from_edges(good, other="id"), "Both columns of edges are 'id'. Hint:")
    half = pd.DataFrame({"id": [SECRET + 0.5], "other_id": [1]})
    refused(lambda: Identity.from_edges(half), "Column 'id' holds fractions as ids")
