import datetime as dt

import numpy as np
import pandas as pd
import pytest

from attribution import AttributionWarning, InputError, Journey, Journeys, Touchpoint

DAY = 86_400_000_000


def at(day, hour=0, zone=None):
    return dt.datetime(1970, 1, day, hour, tzinfo=zone)


def path(*channels, **options):
    return Journey([Touchpoint(channel) for channel in channels], **{"conversions": 1, **options})


def refusal(*journeys):
    with pytest.raises(InputError) as error:
        Journeys.from_journeys(journeys)
    return str(error.value)


# --- what is read ---------------------------------------------------------------------


def test_paths_and_outcomes_become_columns():
    journeys = Journeys.from_journeys(
        [path("b", "a", "b", conversions=2, value=9.5), path("a", conversions=0), path("b")]
    )
    assert journeys.channels == ("a", "b")
    assert journeys.codes.tolist() == [1, 0, 1, 0, 1]
    assert journeys.offsets.tolist() == [0, 3, 4, 5]
    assert journeys.conversions.tolist() == [2.0, 0.0, 1.0]
    assert journeys.nulls.tolist() == [0.0, 1.0, 0.0]
    assert journeys.values.tolist() == [9.5, 0.0, 0.0]
    assert journeys.audit == {"rows_read": 3, "conversions_read": 3}


def test_what_is_never_given_is_none():
    journeys = Journeys.from_journeys([path("a")])
    assert journeys.values is None
    assert journeys.times is None
    assert journeys.ends is None
    assert journeys.users is None
    assert journeys.conversion_types is None
    assert journeys.ages is None


def test_a_generator_is_read_once():
    assert len(Journeys.from_journeys(path("a") for _ in range(3))) == 3


def test_names_are_trimmed_and_numbers_become_text():
    assert Journeys.from_journeys([path(" a ", 3)]).channels == ("3", "a")


def test_a_journey_without_touches_keeps_its_conversions():
    journeys = Journeys.from_journeys([path(conversions=2), path("a")])
    assert journeys.lengths.tolist() == [0, 1]
    assert journeys.conversions.tolist() == [2.0, 1.0]


def test_ages_are_days_before_the_end():
    touches = [Touchpoint("a", at(2)), Touchpoint("b", at(3, 12))]
    journeys = Journeys.from_journeys([Journey(touches, 1, end=at(5))])
    assert journeys.times.tolist() == [DAY, 2.5 * DAY]
    assert journeys.ends.tolist() == [4 * DAY]
    assert journeys.ages.tolist() == [3.0, 1.5]


def test_times_with_a_zone_are_brought_to_utc():
    zone = dt.timezone(dt.timedelta(hours=2))
    journey = Journey([Touchpoint("a", at(2, 2, zone))], 1, end=at(3, 2, zone))
    journeys = Journeys.from_journeys([journey])
    assert journeys.times.tolist() == [DAY]
    assert journeys.ends.tolist() == [2 * DAY]


def test_whole_numbers_are_their_own_customer_key():
    journeys = Journeys.from_journeys([path("a", customer=7), path("a", customer=-1)])
    assert journeys.users.tolist() == [7, -1]


def test_text_customers_have_the_key_they_have_in_an_event_log():
    events = pd.DataFrame(
        {"user_id": ["zoë"], "timestamp": ["2025-01-01"], "channel": ["a"], "converted": [1]}
    )
    users = Journeys.from_journeys([path("a", customer="zoë"), path("a", customer="bob")]).users
    assert users[0] == Journeys.from_events(events).users[0]
    assert users[0] != users[1]


def test_types_select_journeys():
    journeys = [path("a", conversion_type="lead"), path("b"), path("c", conversion_type="sale")]
    chosen = Journeys.from_journeys(journeys).of_type("sale")
    assert [journey.touchpoints[0].channel for journey in chosen] == ["c"]


def test_attributes_become_columns_with_gaps():
    touches = [Touchpoint("a", attributes={"device": "phone"}), Touchpoint("b")]
    journeys = Journeys.from_journeys(
        [Journey(touches, 1, attributes={"region": "EU"}), path("a", attributes={"age": 40})]
    )
    assert journeys.touch_attributes["device"].to_numpy().tolist() == ["phone", None, None]
    assert journeys.journey_attributes["region"].to_numpy().tolist() == ["EU", None]
    assert journeys.journey_attributes["age"].to_numpy().tolist() == [None, 40]


# --- what does not fit ----------------------------------------------------------------


def test_no_journeys_are_refused():
    assert refusal() == ("There are no journeys. Hint: from_journeys takes an iterable of Journey.")


def test_what_is_no_journey_is_refused():
    assert refusal(path("a"), "b > c") == (
        "Got a str instead of a Journey. Hint: Journey([Touchpoint('email')], conversions=1)."
    )


def test_a_bare_channel_is_no_touchpoint():
    assert refusal(Journey(["email"], 1)).startswith("Got a str instead of a Touchpoint. Hint:")


@pytest.mark.parametrize("channel", [None, "", "  ", float("nan")])
def test_a_touchpoint_without_channel_is_refused(channel):
    assert refusal(path("a"), path("a", channel), path(channel)) == (
        "2 rows have a touchpoint without a channel, first in row 1. Hint: name its channel."
    )


@pytest.mark.parametrize(
    ("conversions", "shown"), [(None, "nan"), (np.nan, "nan"), (np.inf, "inf"), (-1, "-1.0")]
)
def test_conversions_must_be_a_count(conversions, shown):
    assert refusal(path("a"), path("a", conversions=conversions)) == (
        "1 row has a missing, negative or infinite number of conversions, first in row 1 "
        f"({shown}). Hint: conversions is 0, 1 or another count."
    )


def test_a_value_must_be_finite():
    message = refusal(path("a", value=np.inf))
    assert message.startswith("1 row has a missing or infinite value, first in row 0 (inf). Hint:")


def test_a_value_without_conversion_is_refused():
    assert refusal(path("a", value=1.0), path("a", conversions=0, value=3.0)) == (
        "1 row has a value but no conversion, first in row 1 (3.0). "
        "Hint: set conversions=1, or value=None."
    )


def test_all_touchpoints_have_a_time_or_none():
    assert refusal(Journey([Touchpoint("a", at(1)), Touchpoint("b"), Touchpoint("c")], 1)) == (
        "2 of 3 touchpoints have no time. Hint: give all of them one, or none."
    )


def test_all_journeys_have_an_end_or_none():
    assert "1 of 2 journeys have no end" in refusal(path("a", end=at(1)), path("a"))


def test_zones_are_given_to_all_times_or_none():
    touches = [Touchpoint("a", at(1)), Touchpoint("b", at(2, zone=dt.UTC))]
    assert "Some touchpoints have a time zone in time and some have none" in refusal(
        Journey(touches, 1)
    )


@pytest.mark.parametrize("time", ["1970-01-01", dt.date(1970, 1, 1), 5])
def test_a_time_must_be_a_datetime(time):
    message = refusal(Journey([Touchpoint("a", time)], 1))
    assert message == f"A time of touchpoints is {time!r}, not a datetime."


def test_touchpoints_out_of_order_are_refused():
    sorted_one = Journey([Touchpoint("a", at(3)), Touchpoint("b", at(3))], 1)
    early_next = Journey([Touchpoint("a", at(1))], 1)
    unsorted_one = Journey([Touchpoint("a", at(2)), Touchpoint("b", at(1))], 1)
    assert refusal(sorted_one, early_next, unsorted_one) == (
        "1 row has touchpoints out of order, first in row 2. Hint: sort them by time."
    )


def test_a_touchpoint_after_the_end_is_refused():
    on_time = Journey([Touchpoint("a", at(2))], 1, end=at(2))
    late = Journey([Touchpoint("a", at(2))], 1, end=at(1))
    assert refusal(on_time, late).startswith(
        "1 row has a touchpoint after the end of the journey, first in row 1. Hint:"
    )


@pytest.mark.parametrize(
    ("customer", "message"), [(None, "1 row has no customer"), ("", "1 row has an empty customer")]
)
def test_all_journeys_name_their_customer_or_none(customer, message):
    assert message in refusal(path("a", customer="ann"), path("a", customer=customer))


def test_customers_of_two_kinds_are_refused():
    message = refusal(path("a", customer="ann"), path("a", customer=1))
    assert message == "Some customers are text and some are numbers. Hint: use one kind."


def test_no_message_names_a_customer():
    assert "ann" not in refusal(path("a", customer="ann"), path("a", customer=1))


@pytest.mark.parametrize(
    ("journeys", "message"),
    [
        ([path("a", conversions=0)], "no conversions"),
        ([path("a", "(conversion)")], "look like the end markers"),
    ],
)
def test_surprises_warn(journeys, message):
    with pytest.warns(AttributionWarning, match=message):
        Journeys.from_journeys(journeys)
