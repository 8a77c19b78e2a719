"""The verdict sentence in every outcome."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scsw.report.verdict import verdict_numbers, verdict_sentence


def rows(seed, *verdicts, effect=0.3, low=0.2, high=0.4, reason="r", **more):
    """Return verdict rows of one model."""
    given = {"arm": "real", "min_effect": 0.05, "detectable_effect": 0.06, "q": 0.01} | more
    return pd.DataFrame(
        [
            {
                "seed": seed,
                "rank": rank,
                "candidate_id": f"ffn_down.b{rank}.r1.c2",
                "effect_nll": effect / rank,
                "effect_low": low,
                "effect_high": high,
                "causal": verdict.startswith("causal"),
                "verdict": verdict,
                "reason": reason,
            }
            | given
            for rank, verdict in enumerate(verdicts, 1)
        ]
    )


def sentence(*tables, seeds, simulated=False, **more):
    return verdict_sentence(
        pd.concat(tables, ignore_index=True),
        cohort="sea_ad",
        simulated=simulated,
        seeds=seeds,
        min_effect_share=0.05,
        **more,
    )


def test_causal_in_every_model():
    text = sentence(
        rows(0, "causal, constant", "not causal"),
        rows(1, "causal, informative", effect=0.5, low=0.4, high=0.6),
        seeds=[0, 1],
        simulated=True,
    )
    assert text == (
        "In all 2 fine-tuned models of sea_ad (simulated), at least one candidate weight was "
        "judged causal: ffn_down.b1.r1.c2 (seed 0, acts as a constant) and ffn_down.b1.r1.c2 "
        "(seed 1, carries information); the largest effect of zeroing one was +0.5 nats per cell "
        "(95 % interval +0.4 to +0.6; ffn_down.b1.r1.c2, seed 1)."
    )


def test_causal_in_some_models_tells_of_the_others():
    text = sentence(
        rows(0, "causal, constant"),
        rows(1, "not causal"),
        rows(2, "not assessable", reason="not assessable: one donor"),
        seeds=[0, 1, 2],
    )
    assert text.startswith("In 1 of 3 fine-tuned models of sea_ad, at least one")
    assert "In 1 of 3 models no candidate was judged causal." in text
    assert "Not assessable in 1 of 3 models: one donor." in text


def test_none_causal_tells_the_smallest_effect_that_could_have_been():
    text = sentence(rows(0, "not causal", "not causal"), seeds=[0])
    assert text == (
        "No candidate weight was judged causal in the one fine-tuned model of sea_ad; an effect "
        "below 0.06 nats per cell (6 % of the gap to the majority floor) could not have been "
        "called causal, and a larger one only as far as the donors agree on it."
    )


def test_weights_that_matter_only_together_are_named_once():
    pair = rows(0, "masked pair", "not causal", "masked pair")
    pair["partner"] = ["ffn_down.b3.r1.c2", "", "ffn_down.b1.r1.c2"]
    text = sentence(pair, seeds=[0])
    assert text.startswith("No candidate weight was judged causal in the one fine-tuned model")
    assert text.endswith(
        "Zeroed together, this pair did what neither weight does alone (masked): "
        "ffn_down.b1.r1.c2 with ffn_down.b3.r1.c2 (seed 0)."
    )


def test_none_causal_in_several_models_gives_the_range():
    text = sentence(
        rows(0, "not causal"), rows(1, "not causal", detectable_effect=0.1), seeds=[0, 1]
    )
    assert "in any of the 2 fine-tuned models of sea_ad" in text
    assert "0.06 to 0.1 nats per cell (6 % to 10 % of the gap" in text


def test_each_model_has_the_range_of_its_candidates():
    both = pd.concat([rows(0, "not causal"), rows(0, "not causal", detectable_effect=0.1)])
    model = verdict_numbers(both, seeds=[0], min_effect_share=0.05)["models"][0]
    assert (model["detectable_low"], model["detectable_high"]) == (0.06, 0.1)


def test_none_causal_where_only_some_could_be_assessed():
    text = sentence(
        rows(0, "not causal"), rows(1, "not assessable", reason="few donors"), seeds=[0, 1]
    )
    assert "in the one fine-tuned model that could be assessed of sea_ad" in text
    assert text.endswith("Not assessable in 1 of 2 models: few donors.")


def test_not_assessable():
    unable = rows(0, "not assessable", low=np.nan, high=np.nan, reason="not assessable: one donor")
    assert sentence(unable, seeds=[0]) == "Not assessable in sea_ad: one donor."


def test_nothing_to_collapse_is_no_null_result():
    text = sentence(rows(0, "not causal", min_effect=-0.1, detectable_effect=1e-5), seeds=[0])
    assert text.startswith("No statement is possible for sea_ad.")
    assert "nothing could collapse" in text and "an effect below" not in text


def test_no_candidate_at_all():
    text = sentence(rows(0, "not causal").iloc[:0], seeds=[0, 1])
    assert text == (
        "No statement is possible for sea_ad. In all 2 models the search found no candidate."
    )


def test_interval_that_is_missing_is_said_to_be():
    text = sentence(rows(0, "causal, constant", low=np.nan, high=np.nan), seeds=[0])
    assert "no interval available" in text and "nan" not in text.lower()


def test_control_arms_never_count_as_findings():
    text = sentence(
        rows(0, "not causal"), rows(0, "causal, constant", arm="implanted_constant"), seeds=[0]
    )
    assert text.startswith("No candidate weight was judged causal")


@pytest.mark.parametrize(
    ("failed", "words"),
    [
        (["shuffled labels"], "the control “shuffled labels” did"),
        (["a", "b"], "controls “a” and “b”"),
    ],
)
def test_failed_controls_are_a_caution(failed, words):
    text = sentence(rows(0, "causal, constant"), seeds=[0], failed_controls=failed)
    assert "Read this with caution" in text and words in text


def test_numbers_of_a_model():
    facts = verdict_numbers(
        rows(3, "not causal", "causal, constant"), seeds=[3, 4], min_effect_share=0.05
    )
    first, second = facts["models"]
    assert (first["seed"], first["state"], first["n_causal"]) == (3, "causal", 1)
    assert first["best"]["candidate_id"] == "ffn_down.b1.r1.c2"
    assert (second["seed"], second["state"], second["best"]) == (4, "no candidate", None)
    assert facts["largest"]["candidate_id"] == "ffn_down.b2.r1.c2"
    assert facts["detectable_low"] is None
