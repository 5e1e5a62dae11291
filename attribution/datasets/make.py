"""Make the sample data: ``python -m attribution.datasets.make [FOLDER]``.

Writes ``events.parquet``, ``spend.parquet``, ``truth.parquet`` and ``paths.parquet`` (into the
folder of the package unless told otherwise); the same seed gives the same tables. The world
which the data come from is described in `attribution.datasets.world`, how people live in it in
`attribution.datasets.simulation`. This module keeps the log of it, with the flaws that logs
have: for three days tracking and checkout were down (touches happen but are not recorded,
nobody can convert), and a bot clicks day and night for three weeks. The spend of a campaign in
a week is shared equally, to the cent, over the touches recorded.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from attribution.datasets.simulation import (
    DAY,
    Outcome,
    Touches,
    carry_over,
    decide_without,
    draw_bot,
    draw_customer_touches,
    draw_seconds,
    draw_touches,
    make_truth,
)
from attribution.datasets.world import (
    CAMPAIGNS,
    CHANNEL_OF,
    CHANNELS,
    CPM,
    DEVICES,
    FIRST_DAY,
    N_ACCOUNTS,
    N_DAYS,
    N_WEEKS,
    NAMES,
    OUTAGE,
    ROLES,
    Ints,
    Needs,
    People,
    daily_reach,
    make_needs,
    make_people,
    make_spend,
)
from attribution.journeys import Journeys

SEED = 20240101
BROWSING = np.array([0.60, 0.30, 0.15])  # phone, laptop, tablet
BUYING = np.array([0.40, 0.60, 0.15])


def build_tables() -> dict[str, pd.DataFrame]:
    """Simulate the world and return its tables: events, spend and truth."""
    rng = np.random.default_rng(SEED)
    people = make_people(rng)
    needs = make_needs(people, rng)
    spend = make_spend(rng)
    reach = daily_reach(spend)
    touches = draw_touches(people, needs, reach, rng)
    first, _ = decide_without(people, needs, carry_over(touches, people, needs))
    touches += draw_customer_touches(needs, first, rng)
    actual, without = decide_without(people, needs, carry_over(touches, people, needs))
    touches += draw_bot(reach, rng)
    recorded = touches.take(np.flatnonzero(~np.isin(touches.day, OUTAGE)))
    return {
        "events": make_events(people, needs, recorded, actual, spend, rng),
        "spend": make_spend_table(spend, rng),
        "truth": make_truth(needs, actual, without),
    }


def make_events(
    people: People,
    needs: Needs,
    touches: Touches,
    outcome: Outcome,
    spend: Ints,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the event log, in order of time and user."""
    conversions = date_conversions(touches, needs, outcome, rng)
    in_store = conversions["touch"].to_numpy()
    visits = touches.take(in_store)
    log = pd.DataFrame(
        {**vars(touches), "cents": share_costs(touches, spend), "need": -1, "purchase": 0}
    )
    conversions["campaign"] = np.where(in_store >= 0, visits.campaign, -1)
    log = log.drop(index=pd.Index(in_store[in_store >= 0]))
    log = pd.concat([log, conversions.drop(columns="touch").assign(cents=0)], ignore_index=True)
    log = log.sort_values(["day", "second", "person", "need"], kind="stable", ignore_index=True)
    return _name(log, people, needs, rng)


def date_conversions(
    touches: Touches, needs: Needs, outcome: Outcome, rng: np.random.Generator
) -> pd.DataFrame:
    """Return leads and purchases with person, day, second, need, purchase (0 or 1) and touch.

    A conversion comes after the touches of its day, a purchase after its lead. ``touch`` is the
    row of the store visit during which the purchase was made, else -1.
    """
    lead_need = np.flatnonzero(outcome.lead < len(needs.need))
    purchase_need = np.flatnonzero(outcome.purchase < len(needs.need))
    need = np.append(lead_need, purchase_need)
    purchase = np.repeat([0, 1], [len(lead_need), len(purchase_need)])
    cell = np.append(outcome.lead[lead_need], outcome.purchase[purchase_need])
    person, day = needs.person[need], needs.day[cell]
    last = _last_touches(touches, person, day)
    afterwards = touches.second[last] + 60 + rng.exponential(900.0, len(need)).astype(np.int64)
    second = np.maximum(draw_seconds(len(need), rng), np.where(last >= 0, afterwards, 0))
    with_lead = (purchase == 1) & (cell == outcome.lead[need])
    lead_second = second[np.searchsorted(lead_need, need)]
    second = np.where(with_lead, np.maximum(second, lead_second + 300), second)
    store = CHANNEL_OF[touches.campaign[last]] == NAMES.index("store_visit")
    in_store = store & (last >= 0) & (purchase == 1) & ~with_lead
    return pd.DataFrame(
        {
            "person": person,
            "day": day,
            "second": np.where(in_store, touches.second[last], np.minimum(second, DAY - 1)),
            "need": need,
            "purchase": purchase,
            "touch": np.where(in_store, last, -1),
        }
    )


def _last_touches(touches: Touches, person: Ints, day: Ints) -> Ints:
    """Return the row of the last touch of each person on the day, -1 where there is none."""
    order = np.lexsort((touches.second, touches.day, touches.person))
    keys = (touches.person * N_DAYS + touches.day)[order]
    wanted = person * N_DAYS + day
    place = np.searchsorted(keys, wanted, side="right") - 1
    return np.where(keys[place] == wanted, order[place], -1)


def _name(
    log: pd.DataFrame, people: People, needs: Needs, rng: np.random.Generator
) -> pd.DataFrame:
    """Turn the numbers of the log into the columns of the event table."""
    person, campaign, need = (log[name].to_numpy() for name in ("person", "campaign", "need"))
    channel = np.where(campaign >= 0, CHANNEL_OF[campaign], -1)
    device = draw_devices(people, person, channel, rng)
    converted, purchase = need >= 0, log["purchase"].to_numpy() == 1
    ordinal = np.cumsum(converted)
    seconds = (log["day"] * DAY + log["second"]).to_numpy().astype("timedelta64[s]")
    kinds = [(name, CHANNELS[name]) for name in NAMES]
    return pd.DataFrame(
        {
            "timestamp": pd.DatetimeIndex(np.datetime64(FIRST_DAY, "us") + seconds, tz="UTC"),
            "user_id": _number("p", person, 6),
            "account_id": _pick(_number("a", np.arange(N_ACCOUNTS), 4), people.account[person]),
            "role": _pick(ROLES, people.role[person]),
            "device_id": _number("d", people.device_numbers[person, device], 6),
            "device": _pick(DEVICES, device),
            "channel": _pick(NAMES, channel),
            "campaign": _pick([c.name for _, c in CAMPAIGNS], campaign),
            "medium": _pick([c.medium for _, c in kinds], channel),
            "ownership": _pick([c.ownership for _, c in kinds], channel),
            "setting": _pick([c.setting for _, c in kinds], channel),
            "activity": _pick([c.activity for _, c in kinds], channel),
            "touch_type": _pick([c.touch_type for _, c in CAMPAIGNS], campaign),
            "stage": _pick([c.stage for _, c in CAMPAIGNS], campaign),
            "cost": log["cents"] / 100.0,
            "converted": converted.astype(np.int8),
            "conversion_type": _pick(["lead", "purchase"], np.where(converted, purchase, -1)),
            "conversion_id": _pick(
                _number("c", np.arange(ordinal[-1] + 1), 5), np.where(converted, ordinal, -1)
            ),
            "value": np.where(converted, purchase * needs.value[need] / 100.0, np.nan),
        }
    )


def _pick(names: tuple[str, ...] | list[str], codes: Ints) -> npt.NDArray[np.object_]:
    """Return the name of each code, None for -1."""
    return np.array([*names, None], dtype=object)[codes]


def _number(prefix: str, numbers: Ints, width: int) -> list[str]:
    return [f"{prefix}{number:0{width}d}" for number in numbers.tolist()]


def share_costs(touches: Touches, spend: Ints) -> Ints:
    """Return the cost of each touch in cents: the week's spend of its campaign in equal parts."""
    key = touches.campaign * N_WEEKS + touches.day // 7
    order = np.lexsort((touches.second, touches.day, key))
    counts = np.bincount(key, minlength=spend.size)
    rank = np.empty(len(key), dtype=np.int64)
    rank[order] = np.arange(len(key)) - np.repeat(np.cumsum(counts) - counts, counts)
    part, rest = np.divmod(spend.ravel(), np.maximum(counts, 1))
    cents: Ints = part[key] + (rank < rest[key])
    return cents


def draw_devices(people: People, person: Ints, channel: Ints, rng: np.random.Generator) -> Ints:
    """Draw a device the person owns; conversions have channel -1, television its own device."""
    preference = np.where((channel < 0)[:, None], BUYING, BROWSING) * people.owns[person, :3]
    cumulated = np.cumsum(preference, axis=1)
    device: Ints = (rng.random(len(person))[:, None] * cumulated[:, -1:] >= cumulated).sum(axis=1)
    device[channel == NAMES.index("tv")] = DEVICES.index("tv")
    device[channel == NAMES.index("store_visit")] = DEVICES.index("loyalty_card")
    return device


def make_spend_table(spend: Ints, rng: np.random.Generator) -> pd.DataFrame:
    """Return the spend per week, channel and campaign, from the first week with spend on."""
    started = np.cumsum(spend, axis=1).T > 0
    week, campaign = np.nonzero(started)
    cents = spend[campaign, week]
    cpm = np.array([CPM.get(CHANNELS[name].medium, 1.0) for name, _ in CAMPAIGNS])[campaign]
    days = np.datetime64(FIRST_DAY, "us") + 7 * week.astype("timedelta64[D]")
    noise = np.exp(rng.normal(0.0, 0.1, len(cents)))
    return pd.DataFrame(
        {
            "week": pd.DatetimeIndex(days, tz="UTC"),
            "channel": _pick([name for name, _ in CAMPAIGNS], campaign),
            "campaign": _pick([c.name for _, c in CAMPAIGNS], campaign),
            "spend": cents / 100.0,
            "impressions": np.rint(noise * 10.0 * cents / cpm).astype(np.int64),
        }
    )


def aggregate_paths(events: pd.DataFrame) -> pd.DataFrame:
    """Return the path table of the purchases, made by the library itself."""
    journeys = Journeys.from_events(
        events, value="value", conversion_type="conversion_type", conversion_id="conversion_id"
    )
    paths: pd.DataFrame = journeys.of_type("purchase").to_paths()
    return paths


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as compact Parquet; times as differences, all else by dictionary."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in table.column_names if name not in times],
        column_encoding=dict.fromkeys(times, "DELTA_BINARY_PACKED"),
    )


def main(folder: Path) -> None:
    """Write all tables into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = build_tables()
    for name, frame in tables.items():
        write_table(frame, folder / f"{name}.parquet")
    write_table(aggregate_paths(tables["events"]), folder / "paths.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
