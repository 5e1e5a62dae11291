"""A state: its two files, and what is known from them."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from attribution.arrays import IntArray
from attribution.compare import Summaries, comparison_of
from attribution.daily.cutter import Cut, Cutter
from attribution.daily.open_file import log_of, open_table, read_open
from attribution.errors import InputError
from attribution.ingest import columns
from attribution.ingest.log import Log
from attribution.ingest.store import EventStore, Run
from attribution.models.base import Model
from attribution.results import Comparison
from attribution.scratch import written_whole
from attribution.spec import EventSpec
from attribution.statistics import Statistic
from attribution.storage import load_with_extra, save_statistics
from attribution.sums import add_up

if TYPE_CHECKING:
    from attribution.ingest.identity import Identity

SAME = ("channel", "channel_missing", "order", "session", "touch_type")  # beside journey options
MEMORY = 250_000_000  # of open journeys while they are read


@dataclass(frozen=True)
class State:
    """What is known of all events up to a moment.

    Attributes
    ----------
    models
        By name.
    closed, open
        The statistics of closed journeys, and of those still open as they stand (None: there are
        none).
    observed_until
        The moment, in microseconds since 1970 UTC.
    n_open_events
        Events in the file of open journeys.
    audit
        What was read, used, dropped and why, over all updates; see `attribution.audit`.
    """

    models: Mapping[str, Model]
    closed: Summaries
    open: Summaries | None
    observed_until: int
    n_open_events: int
    audit: Mapping[str, float]

    def compare(self) -> Comparison:
        """Return the models side by side as of `observed_until`."""
        found = self.closed if self.open is None else self.closed + self.open
        return comparison_of(self.models, found)


@dataclass(frozen=True)
class Kept:
    """What the files of a state hold.

    Attributes
    ----------
    path
        File of the statistics.
    closed
        Of closed journeys.
    about
        The rest, ready for JSON: observed_until, only_type, audit, open_file, n_open_events.
    """

    path: Path
    closed: Summaries
    about: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Kept:
        """Read the statistics.

        Raises
        ------
        InputError
            If it is no state.
        FileNotFoundError
            If there is no such file.
        """
        statistics, about = load_with_extra(path)
        if "observed_until" not in about:
            raise InputError(
                f"{str(path)!r} holds statistics but no state. Hint: name the file that "
                "attribution.daily.update has written."
            )
        return cls(path, Summaries(statistics, about["skipped"]), about)

    @property
    def observed_until(self) -> int:
        """Up to when events are in it, microseconds."""
        return int(self.about["observed_until"])

    @property
    def spec(self) -> EventSpec | None:
        """The options of its journeys; None where every model is skipped."""
        return next((s.spec for s in self.closed.statistics.values()), None)

    def require_same(
        self, spec: EventSpec, chosen: Mapping[str, Model], only_type: str | None
    ) -> None:
        """Refuse other options, models or type than those of the state."""
        name = repr(str(self.path))
        known = [*self.closed.statistics, *self.closed.skipped]
        if sorted(known) != sorted(chosen):
            raise InputError(
                f"{name} holds the models {', '.join(sorted(known))}, not "
                f"{', '.join(sorted(chosen))}. Hint: the same models at every update, or a new "
                "state."
            )
        if self.about["only_type"] != only_type:
            raise InputError(
                f"{name} holds journeys towards {self.about['only_type']!r}, not {only_type!r}."
            )
        if self.spec is not None:
            for option in (*spec.journey_options, *SAME):
                kept, given = getattr(self.spec, option), getattr(spec, option)
                if kept != given:
                    raise InputError(
                        f"{name} was begun with {option}={kept!r}, not {given!r}. Hint: the same "
                        "options at every update, or a new state."
                    )
            if (self.spec.value is None) != (spec.value is None):
                raise InputError(f"{name} was begun {'without' if spec.value else 'with'} value=.")

    def open_logs(self, identity: Identity | None = None) -> Iterator[Log]:
        """Yield the events of open journeys."""
        if not self.about["n_open_events"]:
            return
        for table, about in read_open(self.path.with_name(self.about["open_file"])):
            log = log_of(table, about)
            if identity is not None:
                identity.require_kind(about["hashed"])
                touches, conversions = (
                    replace(each, user=identity.apply(each.user)[0])
                    for each in (log.touches, log.conversions)
                )
                log = replace(log, touches=touches, conversions=conversions)
            yield log


def write_state(
    path: Path, kept: Kept | None, cutter: Cutter, cuts: Iterable[Cut], audit: Mapping[str, float]
) -> State:
    """Write both files of a new state, the statistics last, and return it.

    Parameters
    ----------
    path
        File of the statistics.
    kept
        The state before.
    cutter, cuts
        What was cut since, taken one by one.
    audit
        Of all updates, but for what the cuts leave out.
    """
    n_open = 0
    closed = [] if kept is None else [kept.closed]
    still: list[Summaries] = []
    total = dict(audit)
    with _new_open_file(path) as (name, write):
        for cut in cuts:
            closed.append(cut.closed)
            still.append(cut.open)
            n_open += write(cut.waiting)
            total = added(total, cut.left_out)
        summaries = add_up(closed)
        about = {
            "observed_until": cutter.now,
            "only_type": cutter.only_type,
            "skipped": dict(summaries.skipped),
            "audit": total,
            "open_file": name,
            "n_open_events": n_open,
        }
    _commit(path, summaries.statistics, about)
    return State(cutter.models, summaries, add_up(still), cutter.now, n_open, total)


def _commit(path: Path, statistics: Mapping[str, Statistic], about: Mapping[str, Any]) -> None:
    """Write the statistics, which name their open file; then, and else, remove the other one."""
    try:
        save_statistics(statistics, path, extra=about)
    except BaseException:
        path.with_name(about["open_file"]).unlink(missing_ok=True)
        raise
    _remove_others(path, about["open_file"])


@contextmanager
def _new_open_file(path: Path) -> Iterator[tuple[str, Callable[[Log], int]]]:
    """Make the file of open journeys that belongs to a new state; yield its name and a writer."""
    known = [int(_number(path, file)) for file in _open_files(path)]
    name = f"{path.name}.open-{max(known, default=0) + 1}.parquet"
    with written_whole(path.with_name(name)) as file:
        file.chmod(0o600)
        writer: pq.ParquetWriter | None = None

        def write(log: Log) -> int:
            nonlocal writer
            table = open_table(log)
            if writer is None:
                writer = pq.ParquetWriter(
                    file, table.schema, compression="zstd", write_page_checksum=True
                )
            writer.write_table(table)
            return len(table)

        yield name, write
        if writer is None:
            pq.write_table(pa.table({}), file)
        else:
            writer.close()


def _open_files(path: Path) -> list[Path]:
    files = path.parent.glob(f"{glob.escape(path.name)}.open-*.parquet")
    return [file for file in files if _number(path, file).isdigit()]


def _number(path: Path, file: Path) -> str:
    return file.name.removeprefix(f"{path.name}.open-").removesuffix(".parquet")


def _remove_others(path: Path, name: str) -> None:
    """Remove files of open journeys that no state names any more: they are personal data."""
    for file in _open_files(path):
        if file.name != name:
            file.unlink(missing_ok=True)


def added(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    """Return the sum of two audits."""
    return {key: a.get(key, 0.0) + b.get(key, 0.0) for key in sorted({*a, *b})}


def load(path: str | Path) -> State:
    """Read a state; see `State.compare` for its results.

    Raises
    ------
    InputError
        If it is no state, or was written by a newer version.
    FileNotFoundError
        If there is no such file.
    """
    kept = Kept.read(Path(path))
    models = {name: statistic.model for name, statistic in kept.closed.statistics.items()}
    still: list[Summaries] = []
    now = kept.observed_until
    if kept.spec is not None:
        cutter = Cutter(kept.spec, models, kept.about["only_type"], now, now)
        store = EventStore(MEMORY)
        try:
            for log in kept.open_logs():
                store.add(Run(log))
            still = [cut.open for cut in cutter.cut(store)]
        finally:
            store.close()
    about = kept.about
    return State(models, kept.closed, add_up(still), now, about["n_open_events"], about["audit"])


def forget(path: str | Path, users: Iterable[Any], identity: Identity | None = None) -> int:
    """Remove people from the file of open journeys; the statistics hold nobody.

    Parameters
    ----------
    path
        File of the statistics.
    users
        Their ids, as in the events.
    identity
        Where updates have one: the person of each id is forgotten, with all ids.

    Returns
    -------
    int
        Number of events removed. They are in no later result: the next update is as if they had
        not been.
    """
    path = Path(path)
    kept = Kept.read(path)
    keys, hashed = _keys_of(users)
    if identity is not None:
        identity.require_kind(hashed)
        keys, _ = identity.apply(keys)
    n_removed = n_open = 0
    with _new_open_file(path) as (name, write):
        for log in kept.open_logs():
            if log.facts.hashed != hashed:
                kinds = ["text" if each else "integers" for each in (log.facts.hashed, hashed)]
                raise InputError(f"User ids are {kinds[0]} in the events, but {kinds[1]} here.")
            gone = []
            for table in (log.touches, log.conversions):
                people = table.user if identity is None else identity.apply(table.user)[0]
                gone.append(np.isin(people, keys))
            n_removed += sum(int(mask.sum()) for mask in gone)
            touches, conversions = log.touches.take(~gone[0]), log.conversions.take(~gone[1])
            n_open += write(Log(touches, conversions, log.facts))
    about = {**kept.about, "open_file": name, "n_open_events": n_open}
    about["audit"] = added(kept.about["audit"], {"events_forgotten": float(n_removed)})
    _commit(path, kept.closed.statistics, about)
    return n_removed


def _keys_of(users: Iterable[Any]) -> tuple[IntArray, bool]:
    """Return the keys of ids, and whether they are text."""
    if isinstance(users, str | bytes):
        raise InputError("users is one text, not a list of ids. Hint: forget(path, [user]).")
    listed = list(users)
    try:
        ids = pa.chunked_array([pa.array(listed)])
    except pa.ArrowException:
        kinds = ", ".join(sorted({type(user).__name__ for user in listed}))
        raise InputError(f"users mixes {kinds}. Hint: ids of one type, as in the events.") from None
    keys, _, hashed = columns.user_keys(ids, "users")
    return keys, hashed
