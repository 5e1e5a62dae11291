"""Devices become people, and people accounts.

A log knows cookies, devices and logins, not people: a journey that changes the device is seen as
two. Edges say which two ids belong to one person; people are the connected components of that
graph. An id that many people share (a kiosk, a bot, the login of a family) would join strangers,
so components that are too large are left apart and reported.

The key of a person is the smallest id key in the component, itself an id of that person. Edges
grow day by day, so a newer identity applied to the keys an older one gave finds the same people
as if it had been applied to the ids. Rows of edges and accounts must stay for that: what an older
identity joined, a newer one cannot take apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa

from attribution.arrays import BoolArray, Immutable, IntArray, read_only
from attribution.errors import InputError, require_rows, warn
from attribution.ingest import columns

BLOCK = 2**16
_KIND = {True: "text", False: "integers"}
_NONE: IntArray = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False, repr=False)
class Identity(Immutable):
    """Which ids are one person, and which people one account; immutable.

    Build with `from_edges`.

    Attributes
    ----------
    ids
        Shape (n,); int64, sorted: keys of the ids that are not the key of their own person.
    people
        Shape (n,); int64: the key of the person, or of the account, that each of them becomes.
    hashed
        Whether the ids are text, whose keys are hashes, or integers.
    audit
        What was read and found:

        - edges_read: rows of the table of edges
        - edges_without_id: of these, rows with neither id, which say nothing
        - edges_with_one_id: rows that join nothing: one id is missing, or both are the same
        - ids: distinct ids in edges and accounts
        - people: the people these are, before accounts; an id left apart is one of its own
        - ids_joined: ids that share their person with another id
        - largest_person: the most ids of one person
        - shared_logins: components of more than `max_ids` ids, left apart
        - ids_in_shared_logins: their ids
        - account_rows_read: rows of the table of accounts
        - accounts: distinct accounts
        - people_in_accounts: people with an account

    Examples
    --------
    A laptop and a phone meet in one login; two people work for one company:

    >>> import pandas as pd
    >>> edges = pd.DataFrame({"id": [11, 12, 31], "other_id": [21, 21, None]})
    >>> accounts = pd.DataFrame({"id": [12, 31], "account": ["Acme", "Acme"]})
    >>> identity = Identity.from_edges(edges, accounts=accounts)
    >>> identity
    <Identity: 4 ids, 2 people, 1 accounts>
    >>> people, changed = identity.apply(np.array([21, 31, 99]))
    >>> people
    array([11, 11, 99])
    >>> changed
    array([ True,  True, False])
    """

    ids: IntArray
    people: IntArray
    hashed: bool
    audit: Mapping[str, float]

    def __repr__(self) -> str:
        counts = ", ".join(f"{self.audit[key]:,.0f} {key}" for key in ("ids", "people", "accounts"))
        return f"<Identity: {counts}>"

    @classmethod
    def from_edges(
        cls,
        edges: Any,
        *,
        id: str = "id",
        other: str = "other_id",
        accounts: Any = None,
        account: str = "account",
        max_ids: int | None = 100,
    ) -> Self:
        """Find people from pairs of ids, and the accounts they belong to.

        Parameters
        ----------
        edges
            Table; each row says that its two ids belong to one person. Where one of them is
            missing, the row only names the other.
        id, other
            Columns of ids, written as the users of the events are: both text or both integers.
        accounts
            Table with the column `id` and the account of each id, if accounts are to be attributed
            rather than people. Everyone whose person holds the id belongs to the account. Ids
            that are in no edge are people of one id.
        account
            Column of accounts, text or integers.
        max_ids
            The most ids that one person can have. Larger components are taken for a shared
            login, a kiosk or a bot: their ids are not joined, and a warning says how many they
            are. None joins all. An identity that joined them when there were fewer, and whose
            keys are in use, is not undone: the smallest of their ids still stands for them.

        Raises
        ------
        InputError
            If no row has an id, ids are of different kinds, a row of accounts lacks id or
            account, or a person is in several accounts.
        ColumnNotFoundError
            If a column does not exist.
        """
        if max_ids is not None and (not isinstance(max_ids, int | np.integer) or max_ids < 2):
            raise InputError(
                f"max_ids={max_ids!r} is not a whole number of at least 2. Hint: max_ids=100, or "
                "None for no limit."
            )
        table = _table(edges, [id, other], "edges")
        left, right = (_Ids.read(table, name, "edges") for name in (id, other))
        known, members, names = [left, right], _NONE, _NONE
        if accounts is not None:
            table = _table(accounts, [id, account], "accounts")
            known.append(_Ids.read(table, id, "accounts"))
            members = known[-1].require("id")
            names = _Ids.read(table, account, "accounts").require("account")
        hashed = _kind(known)
        audit: dict[str, float] = {}
        a, b = _pairs(left, right, audit)
        ids, place = np.unique(np.concatenate([a, b, members]), return_inverse=True)
        n = len(a)
        del known, left, right, a, b, members
        first = _components(place[:n], place[n : 2 * n], len(ids))
        first = _leave_apart(first, max_ids, audit)
        first = _join_accounts(first, place[2 * n :], names, account, audit)
        moves = np.flatnonzero(first != np.arange(len(ids)))
        audit = {key: float(count) for key, count in audit.items()}
        return cls(read_only(ids[moves]), read_only(ids[first[moves]]), hashed, audit)

    def apply(self, users: IntArray) -> tuple[IntArray, BoolArray]:
        """Return the person of each user; ids that are in no edge stay as they are.

        Parameters
        ----------
        users
            Shape (n,); int64 keys, see `attribution.ingest.columns.user_keys`.

        Returns
        -------
        people, changed
            Shapes (n,) and (n,): the key of the person or account, and where it is another.
        """
        people = users.astype(np.int64)
        changed = np.zeros(len(people), dtype=bool)
        if not len(self.ids):
            return people, changed
        for start in range(0, len(people), BLOCK):
            block = people[start : start + BLOCK]
            order = np.argsort(block)  # sorted keys are found twice as fast
            keys = block[order]
            place = np.minimum(np.searchsorted(self.ids, keys), len(self.ids) - 1)
            known = self.ids[place] == keys
            block[order[known]] = self.people[place[known]]
            changed[start : start + BLOCK][order] = known
        return people, changed

    def require_kind(self, hashed: bool) -> None:
        """Raise `InputError` unless the users of the events are of the same kind as the ids.

        Parameters
        ----------
        hashed
            Whether the users are text, see `attribution.ingest.columns.user_keys`.
        """
        if hashed != self.hashed:
            raise InputError(
                f"The users of the events are {_KIND[hashed]}, but the ids of the identity "
                f"{_KIND[self.hashed]}, so that no id is found. Hint: convert both to text."
            )


class _Ids(NamedTuple):
    """A column of ids: keys and mask of shape (n,), whether the keys are hashes, its name."""

    keys: IntArray
    absent: BoolArray
    hashed: bool
    column: str

    @classmethod
    def read(cls, table: pa.Table, name: str, what: str) -> Self:
        return cls(*columns.user_keys(table[name], name), f"column {name!r} of {what}")

    def require(self, what: str) -> IntArray:
        """Return the keys if none is missing."""
        hint = "drop the row; people without an account need none."
        require_rows(self.absent, f"no {what} in {self.column}", hint)
        return self.keys


def _table(frame: Any, names: list[str], what: str) -> pa.Table:
    if names[0] == names[1]:
        raise InputError(
            f"Both columns of {what} are {names[0]!r}. Hint: name the second column too."
        )
    return columns.as_table(columns.readable(frame, what), names, what)


def _kind(known: list[_Ids]) -> bool:
    """Tell whether the ids are text, after checking that all are of one kind."""
    filled = [ids for ids in known if not ids.absent.all()]
    if not filled:
        raise InputError(
            f"None of the {len(known[0].keys):,} rows of edges has an id. Hint: name the columns "
            "of ids with id= and other=."
        )
    for ids in filled:
        if ids.hashed != filled[0].hashed:
            raise InputError(
                f"The ids are {_KIND[filled[0].hashed]} in {filled[0].column}, but "
                f"{_KIND[ids.hashed]} in {ids.column}, so that equal ones do not meet. Hint: "
                "convert all to text, the users of the events too."
            )
    return filled[0].hashed


def _pairs(left: _Ids, right: _Ids, audit: dict[str, float]) -> tuple[IntArray, IntArray]:
    """Return the two keys of each edge; where one is missing, the other twice."""
    with_id = ~(left.absent & right.absent)
    a = np.where(left.absent, right.keys, left.keys)[with_id]
    b = np.where(right.absent, left.keys, right.keys)[with_id]
    audit["edges_read"] = len(with_id)
    audit["edges_without_id"] = len(with_id) - len(a)
    audit["edges_with_one_id"] = int((a == b).sum())
    return a, b


def _components(a: IntArray, b: IntArray, n: int) -> IntArray:
    """Return for each of n nodes the smallest node that the edges connect it with, shape (n,)."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    graph = csr_array((np.ones(len(a)), (a, b)), shape=(n, n))
    n_components, component = connected_components(graph, directed=False)
    smallest = np.full(n_components, n)
    np.minimum.at(smallest, component, np.arange(n))
    return smallest[component]


def _leave_apart(first: IntArray, max_ids: int | None, audit: dict[str, float]) -> IntArray:
    """Undo the components of more than `max_ids` ids; count and report them."""
    n = len(first)
    sizes = np.bincount(first, minlength=n)
    shared = sizes > (n if max_ids is None else max_ids)
    n_shared, n_apart = int(shared.sum()), int(sizes[shared].sum())
    if n_shared:
        them = "1 group of ids is" if n_shared == 1 else f"{n_shared:,} groups of ids are"
        warn(
            f"{them} too large for one person (max_ids={max_ids:,}): {n_apart:,} ids, the largest "
            f"group {sizes.max():,}. They look like a shared login, a kiosk or a bot and were not "
            "joined. Hint: remove the shared id from the edges, or raise max_ids; None joins all."
        )
        first = np.where(shared[first], np.arange(n), first)
        sizes = np.bincount(first, minlength=n)
    audit["ids"] = n
    audit["people"] = int(np.count_nonzero(sizes))
    audit["ids_joined"] = int(sizes[sizes > 1].sum())
    audit["largest_person"] = int(sizes.max())
    audit["shared_logins"] = n_shared
    audit["ids_in_shared_logins"] = n_apart
    return first


def _join_accounts(
    first: IntArray, members: IntArray, names: IntArray, column: str, audit: dict[str, float]
) -> IntArray:
    """Join the people of each account.

    Parameters
    ----------
    first
        Shape (n_ids,); the smallest id of each id's person.
    members, names
        Shapes (n_rows,); an id, as a place in `first`, and the key of its account.
    """
    audit["account_rows_read"] = len(names)
    distinct, account = np.unique(names, return_inverse=True)
    person = first[members]
    account_of = np.full(len(first), -1)
    account_of[person[::-1]] = account[::-1]  # of several rows, the first counts
    require_rows(
        account_of[person] != account,
        f"an account in column {column!r} of accounts other than an earlier row of the same person",
        "keep one account of each person, or remove the edges that join the people of several.",
    )
    smallest = np.full(len(distinct), len(first))
    np.minimum.at(smallest, account, person)
    audit["accounts"] = len(distinct)
    audit["people_in_accounts"] = int(np.count_nonzero(account_of >= 0))
    head = np.arange(len(first))
    head[person] = smallest[account]
    return head[first]
