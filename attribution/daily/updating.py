"""The update of a state by the events since."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attribution.compare import choose
from attribution.daily.cutter import Cutter
from attribution.daily.state import Kept, State, added, write_state
from attribution.durations import Moment
from attribution.errors import InputError, warn
from attribution.ingest.batches import Batches, fill, in_memory
from attribution.ingest.store import STORE_SHARE, EventStore, Run
from attribution.models import DEFAULT_MODELS
from attribution.models.base import Model
from attribution.sizes import Size, n_bytes
from attribution.spec import EventSpec
from attribution.storage import require_savable

if TYPE_CHECKING:
    from attribution.ingest.identity import Identity


def update(
    path: str | Path,
    events: Any,
    *,
    observed_until: Moment,
    models: Sequence[str | Model] = DEFAULT_MODELS,
    exclude: Collection[str] | None = None,
    conversion_events: Any = None,
    only_type: str | None = None,
    identity: Identity | None = None,
    memory_limit: Size = "1GB",
    **options: Any,
) -> State:
    """Add events to a state, or begin one, and return what is known then.

    Parameters
    ----------
    path
        File of the statistics, made by the first update. All later ones must have the same
        options and models. One update at a time.
    events
        The events since the last update: a table, or whatever `attribution.engines.duckdb.scan`
        reads. Events up to the last `observed_until` are late: refused and counted in the audit,
        with a warning. Events after this `observed_until` wait in the file of open journeys.
    observed_until
        Up to when the events are complete.
    models, exclude
        As for `compare`.
    conversion_events
        A table of conversions of its own, likewise.
    only_type
        Keep only the journeys towards this type of conversion.
    identity
        Which ids are one person, as known today. Journeys already closed stay as they are.
    memory_limit
        About how much memory the update may take; see `attribution.engines.duckdb.scan`.
    **options
        The columns and options of `Journeys.from_events`. `lookback` is needed, and
        `conversion_types` where there are types. Ids of conversions are compared within the events
        of one update. A session (`session=`) is over once a lookback and the pause that ends a
        journey have passed without a touch of it: an id that comes back later begins another,
        where one run would go on with the first.

    Returns
    -------
    State
        As of `observed_until`.

    Raises
    ------
    InputError
        If an option or the data do not fit, or `observed_until` is not after that of the state.
    StorageError
        If the disk is full; the state is then as before.
    """
    path = Path(path)
    spec = EventSpec.of(**options, observed_until=observed_until)
    _refuse_options(spec, only_type)
    chosen = choose(models, exclude)
    for model in chosen.values():
        require_savable(model)
    now = spec.observed_until
    assert now is not None
    spec = replace(spec, observed_until=None)
    kept = Kept.read(path) if path.exists() else None
    if kept is not None:
        kept.require_same(spec, chosen, only_type)
        if now <= kept.observed_until:
            raise InputError(
                f"observed_until={observed_until!r} is not after that of {str(path)!r}, "
                f"{np.datetime64(kept.observed_until, 'us')}. Hint: an update goes on from the "
                "last; restore an older state to repeat one."
            )
    memory = n_bytes(memory_limit, "memory_limit")
    before = None if kept is None else kept.observed_until
    store = EventStore(memory // STORE_SHARE)
    try:
        with _tables(events, conversion_events, spec, store, memory) as tables:
            after = -(2**62) if before is None else before
            fill(store, tables, spec, identity, after)
        read = {} if store.facts is None else store.facts.audit
        audit = added({} if kept is None else kept.about["audit"], read)
        _warn_of_late(read)
        for log in () if kept is None else kept.open_logs(identity):
            store.add(Run(log))
        if kept is None and not store.n_events:
            raise InputError(
                "There is no event to begin a state with. Hint: begin it with the first day that "
                "has any."
            )
        cutter = Cutter(spec, chosen, only_type, now, before)
        return write_state(path, kept, cutter, cutter.cut(store), audit)
    finally:
        store.close()


def _refuse_options(spec: EventSpec, only_type: str | None) -> None:
    """Refuse what a state cannot keep up to date."""
    if spec.lookback is None:
        raise InputError(
            "An update needs a lookback: without one no journey is ever closed. "
            "Hint: lookback='90D'."
        )
    if spec.closed_only:
        raise InputError(
            "closed_only picks a cohort as of one moment, which an update cannot keep. Hint: a "
            "reporting window (report_from, report_until)."
        )
    if spec.conversion_type is not None and spec.conversion_types is None:
        raise InputError(
            "An update needs all types of conversion from the beginning: journeys towards a type "
            "exist before its first conversion. Hint: conversion_types=['purchase', ...]."
        )
    if only_type is not None and only_type not in (spec.conversion_types or ()):
        raise InputError(f"only_type={only_type!r} is none of conversion_types.")
    if spec.attributes or spec.journey_attributes:
        raise InputError(
            "Attributes are no part of a statistic, which is all that an update keeps. Hint: "
            "leave attributes= and journey_attributes= out, or make them part of channel=."
        )


@contextmanager
def _tables(
    events: Any, conversion_events: Any, spec: EventSpec, store: EventStore, memory: int
) -> Iterator[list[Batches]]:
    """Open tables in memory, or through DuckDB what lies elsewhere."""
    if isinstance(events, str | Path | list | tuple):
        from attribution.engines.duckdb import tables_of

        with tables_of(events, conversion_events, spec, store, memory) as tables:
            yield tables
        return
    alone = conversion_events is None
    tables = [in_memory(events, with_conversions=alone)]
    if not alone:
        tables.append(in_memory(conversion_events, of_conversions=True))
    yield tables


def _warn_of_late(audit: Any) -> None:
    """Warn of events that came after the update that should have had them."""
    late = [int(audit.get(f"{kind}_late", 0)) for kind in ("touches", "conversions")]
    if any(late):
        warn(
            f"{late[0]:,} touches and {late[1]:,} conversions are not after the observed_until of "
            "the last update and are left out. Hint: let an update wait until its events are "
            "complete, or begin a new state from all of them."
        )
