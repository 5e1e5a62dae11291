import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_oracles import Chain, as_journeys, tables

from attribution import InputError, Markov
from attribution.models.thinning import thinning_losses
from attribution.removal import removal_effects

pytestmark = pytest.mark.filterwarnings(
    "ignore:There are no journeys without conversion:attribution.AttributionWarning",
    "ignore:No journey has more than:attribution.AttributionWarning",
)
SOLVED = {"rel": 1e-9, "abs": 1e-11}  # both sides solve small well-conditioned systems


def walked_yield(chain, kept):
    """Expected yield of a journey whose touches are lost one by one, walked step by step."""
    mass = {s: p * np.prod([kept[c] for c in s]) for s, p in chain.start.items()}
    earned = 0.0
    for _ in range(400):
        earned += sum(m * chain.reward.get(s, 0.0) for s, m in mass.items())
        after = dict.fromkeys(chain.states, 0.0)
        for (state, following), probability in chain.step.items():
            after[following] += mass.get(state, 0.0) * probability * kept[following[-1]]
        mass = after
        if sum(mass.values()) < 1e-14:
            break
    return earned


@settings(max_examples=60)
@given(data=st.data(), rows=tables(converting=True, max_length=5), order=st.integers(1, 3))
def test_losses_are_those_of_a_walk_that_loses_touches(data, rows, order):
    journeys = as_journeys(rows)
    kept = {c: data.draw(st.sampled_from([0.0, 0.25, 0.9, 1.0])) for c in journeys.channels}
    got = thinning_losses(
        Markov(order=order).summarize(journeys), np.array([kept[c] for c in journeys.channels])
    )
    for column, of in enumerate(("conversions", "value")):
        chain = Chain(rows, order, of)
        whole = walked_yield(chain, dict.fromkeys(kept, 1.0))
        wanted = 1 - walked_yield(chain, kept) / whole if whole else 0.0
        assert got[column] == pytest.approx(wanted, rel=1e-7, abs=1e-9)  # the walk stops early


@settings(max_examples=60)
@given(rows=tables(converting=True), order=st.integers(1, 4))
def test_a_channel_without_touches_is_a_channel_removed(rows, order):
    counts = Markov(order=order).summarize(as_journeys(rows, values=False))
    effects = removal_effects(counts)["removal_effect"].to_numpy()
    for place, effect in enumerate(effects):
        kept = np.ones(len(effects))
        kept[place] = 0.0
        assert thinning_losses(counts, kept)[0] == pytest.approx(effect, **SOLVED)


def test_factors_out_of_range_are_refused():
    counts = Markov().summarize(as_journeys([]))
    with pytest.raises(InputError, match="0 numbers from 0 to 1"):
        thinning_losses(counts, np.array([1.0]))


def test_no_journeys_lose_nothing():
    counts = Markov().summarize(as_journeys([]))
    assert thinning_losses(counts, np.array([])).tolist() == [0.0, 0.0]
