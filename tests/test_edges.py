"""Sizes at the edge: ten thousand channels, a journey of a hundred thousand touches."""

import numpy as np
import pandas as pd
import pytest

from attribution import AttributionWarning, Journeys, compare

TIMELESS = ["first_click", "last_click", "linear", "position_based", "shapley", "markov"]
N_CHANNELS = 10_000
N_TOUCHES = 100_000


NUMBERS = np.arange(N_CHANNELS)
STEPS = [NUMBERS, NUMBERS // 2, NUMBERS // 4, NUMBERS // 8]
COUNTS = np.where(NUMBERS < 8, 0, NUMBERS % 3)  # the first eight paths repeat a channel


@pytest.fixture(scope="module")
def many_channels():
    """Return one path of four touches for every channel; channel i leads to channel i // 2."""
    names = np.array([f"channel {i:05d}" for i in NUMBERS])
    paths = [" > ".join(path) for path in zip(*(names[step] for step in STEPS), strict=True)]
    return pd.DataFrame({"path": paths, "conversions": COUNTS, "nulls": 2, "value": COUNTS * 10.0})


@pytest.fixture(scope="module")
def compared(many_channels):
    journeys = Journeys.from_paths(many_channels, nulls="nulls", value="value")
    assert len(journeys.channels) == N_CHANNELS
    return compare(journeys, TIMELESS)


@pytest.mark.parametrize("of", ["conversions", "value"])
def test_ten_thousand_channels_share_out_every_conversion(many_channels, compared, of):
    credit = compared.to_frame(of=of)
    assert credit.shape == (N_CHANNELS, len(TIMELESS))
    # A sum of ten thousand terms; the guarantee of the library is 1e-9.
    assert credit.sum().to_numpy() == pytest.approx(many_channels[of].sum(), rel=1e-9)
    assert (credit.to_numpy() >= 0).all()


def test_ten_thousand_channels_get_the_credit_of_their_own_paths(compared):
    credit = compared.to_frame()
    as_touch = [np.bincount(step, COUNTS, N_CHANNELS) for step in STEPS]  # 1st, 2nd, 3rd, last
    assert np.array_equal(credit["first_click"], as_touch[0])
    assert np.array_equal(credit["last_click"], as_touch[3])
    # Quarters of whole numbers are exact.
    assert np.array_equal(credit["linear"], sum(as_touch) / 4)
    assert np.array_equal(credit["shapley"], sum(as_touch) / 4)
    ends, middle = as_touch[0] + as_touch[3], as_touch[1] + as_touch[2]
    # Hundreds of terms of 0.1 and 0.4, each rounded.
    np.testing.assert_allclose(credit["position_based"], 0.4 * ends + 0.1 * middle, rtol=1e-12)


@pytest.fixture(scope="module")
def long_path():
    return np.array(["a", "b", "c", "d"])[np.arange(N_TOUCHES) % 4]


def test_a_journey_of_a_hundred_thousand_touches_as_a_path(long_path):
    frame = pd.DataFrame(
        {"path": [" > ".join(long_path), "a > b"], "conversions": [4, 1], "nulls": [0, 3]}
    )
    journeys = Journeys.from_paths(frame, nulls="nulls")
    assert journeys.lengths.tolist() == [N_TOUCHES, 2]
    credit = compare(journeys, TIMELESS).to_frame()
    expected = {
        "first_click": [5, 0, 0, 0],
        "last_click": [0, 1, 0, 4],
        "linear": [1.5, 1.5, 1, 1],
        "position_based": [1.6 + 0.2 + 0.5, 0.2 + 0.5, 0.2, 1.6 + 0.2],
        "shapley": [1.5, 1.5, 1, 1],
    }
    for model, column in expected.items():
        # The middle of the long path is 99,998 touches, so one touch is 8e-6 of its share.
        tolerance = 1e-5 if model == "position_based" else 1e-9
        assert credit[model].tolist() == pytest.approx(column, abs=tolerance)
    assert credit["markov"].sum() == pytest.approx(5, rel=1e-9)


def test_a_journey_of_a_hundred_thousand_touches_can_be_written_and_summed_up(long_path):
    frame = pd.DataFrame({"path": [" > ".join(long_path)] * 2, "conversions": [4, 1]})
    journeys = Journeys.from_paths(frame)
    table = journeys.to_paths()
    assert table["path"].tolist() == [" > ".join(long_path)]
    assert table["conversions"].tolist() == [5.0]
    summary = journeys.summary()
    assert summary.figures["touches"] == 5 * N_TOUCHES
    assert summary.quality["long_journey_touch_share"] == 1


def test_a_journey_of_a_hundred_thousand_touches_from_events(long_path):
    seconds = np.arange(N_TOUCHES, dtype="timedelta64[s]")
    events = pd.DataFrame(
        {
            "user_id": 1,
            "timestamp": np.datetime64("2025-01-01") + seconds,
            "channel": long_path,
            "converted": np.arange(N_TOUCHES) == N_TOUCHES - 1,
        }
    )
    journeys = Journeys.from_events(events.sample(frac=1, random_state=1))
    assert journeys.lengths.tolist() == [N_TOUCHES]
    assert journeys.codes.tolist() == (np.arange(N_TOUCHES) % 4).tolist()
    with pytest.warns(AttributionWarning, match="base rate"):
        credit = compare(journeys).to_frame()
    assert credit["first_click"].tolist() == [1, 0, 0, 0]
    assert credit["last_click"].tolist() == [0, 0, 0, 1]
    assert credit["linear"].tolist() == pytest.approx([0.25] * 4, rel=1e-9)
    # Over some hours of a half-life of seven days the weights differ by 2^(-1.16 / 7).
    assert credit["time_decay"].tolist() == pytest.approx([0.25] * 4, rel=1e-5)
    assert credit.sum().tolist() == pytest.approx([1] * 7, rel=1e-9)
