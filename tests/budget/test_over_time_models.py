"""Every model by period: the periods add up to its attribution, on a log and where it lies."""

import numpy as np
import pandas as pd
import pytest

from attribution import MODELS, Journeys
from attribution.budget.over_time import attribute_by
from attribution.datasets import load_events
from attribution.engines.duckdb import scan

OPTIONS = {"value": "value", "lookback": "30D", "channel_missing": "drop"}


@pytest.fixture(scope="module")
def log():
    events = load_events()
    some = events["user_id"].isin(events["user_id"].unique()[:600])
    return events[some & (events["conversion_type"] != "lead")]


@pytest.fixture(scope="module")
def journeys(log):
    return Journeys.from_events(log, **OPTIONS)


@pytest.mark.filterwarnings("ignore:In .* journeys the first")
@pytest.mark.parametrize("name", MODELS)
def test_periods_of_every_model_add_up_to_its_attribution(journeys, name):
    model = MODELS[name]()
    result = model.attribute(journeys)
    frame = result.to_frame()
    for by in ("conversion", "touch"):
        found = attribute_by(journeys, model, by=by, period="MS", attribution=result)
        assert found.channels == result.channels
        for of in ("conversions", "value"):
            if of in frame:
                # the models' own tolerance of conservation
                sums = found.credit(of).sum(axis=0)
                np.testing.assert_allclose(sums, frame[of], rtol=1e-9, atol=1e-9)
        assert found.unattributed.sum() == result.unattributed
        assert found.totals.sum() == result.total_conversions


@pytest.mark.filterwarnings("ignore:In .* journeys the first")
@pytest.mark.parametrize("model", ["last_click", "markov"])
@pytest.mark.parametrize("by", ["conversion", "touch"])
def test_a_scan_is_the_same_as_in_memory(tmp_path, log, journeys, model, by):
    log.to_parquet(tmp_path / "log.parquet")
    with scan(str(tmp_path / "log.parquet"), partitions=5, **OPTIONS) as stream:
        found = attribute_by(stream, model, by=by, tz="Europe/Berlin")
    expected = attribute_by(journeys, model, by=by, tz="Europe/Berlin")
    pd.testing.assert_frame_equal(found.to_frame(), expected.to_frame(), rtol=1e-9)
    assert found.complete.tolist() == expected.complete.tolist()
    assert found.totals.tolist() == expected.totals.tolist()
