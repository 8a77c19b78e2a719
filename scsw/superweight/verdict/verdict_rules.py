"""The rules of a verdict, in the order in which they are asked (docs/verdicts.md)."""

from __future__ import annotations

import math

from scsw.superweight.verdict.judged_run import JudgedRun
from scsw.superweight.verdict.matched_controls import NOISE, RIVALS, Comparison

STABLE_SHARE = 0.9  # structural: the spike must be seen in this share of the discovery donors
RESTORED_SHARE = 0.8  # constant: the mean contribution must restore this share of the effect
NOT_CAUSAL, UNABLE = "not causal", "not assessable"


def structural(candidate, run: JudgedRun) -> bool:
    """Tell whether a candidate makes a stable spike.

    A find of a later round was seen in a model without the earlier ones, so that its stability in
    the intact model is another weight's.
    """
    return bool(
        candidate.iteration <= 1
        and candidate.spike_ratio >= run.search.spike_ratio
        and abs(candidate.contribution) >= run.search.min_share
        and candidate.stability >= STABLE_SHARE
    )


def verdict(row, matched: dict[str, Comparison], run: JudgedRun) -> tuple[str, str]:
    """Return the verdict of one candidate and one sentence that says why.

    Parameters
    ----------
    row
        Its ``effect_nll, effect_low, effect_mean_nll, unrestored_low, floor_nll, min_effect, q``.
    matched
        Its comparisons by set.
    run
        The model's test.
    """
    if not run.assessable:
        return UNABLE, run.why_not_assessable()
    failed = _by_itself(row, run) or _against_rivals(row, matched)
    if failed:
        return failed
    if asks_noise(row, run):
        failed = _against_noise(row, matched[NOISE])
        if failed:
            return failed
    restored = restored_share(row)
    base = f"q = {row.q:.3g}, lower donor bound {row.effect_low:.3g} nats"
    if restored < 0:
        base += "; its mean contribution restores nothing and does more harm than zeroing it"
    else:
        base += f"; its mean contribution restores {100 * restored:.0f} %"
    if restored >= RESTORED_SHARE:
        return "causal, constant", f"{base}: it acts as a bias"
    if not row.unrestored_low > 0:
        return (
            "causal, constant",
            f"{base}, and that this is less than {100 * RESTORED_SHARE:.0f} % is not sure over "
            f"donors (lower bound of the difference {row.unrestored_low:.3g} nats): it is not "
            "shown to be more than a bias",
        )
    return "causal, informative", base


def restored_share(row) -> float:
    """Return the share of the effect that the mean contribution restores; NaN without effect."""
    return 1 - row.effect_mean_nll / row.effect_nll if row.effect_nll else math.nan


def asks_noise(row, run: JudgedRun) -> bool:
    """Tell whether a candidate must do more than an edit of its own size in another channel.

    By default one that acts as a constant need not: taking away a large constant and adding one
    of that size elsewhere both take every token to where the model has never been.
    """
    return run.prune.noise_rule == "all" or not restored_share(row) >= RESTORED_SHARE


def _by_itself(row, run: JudgedRun) -> tuple[str, str] | None:
    """Ask what needs no matched controls."""
    if math.isnan(row.min_effect):
        return (
            NOT_CAUSAL,
            "the intact model is not shown to be better than the training frequencies, "
            "so there is nothing that could collapse",
        )
    if row.unresolved:
        return (
            NOT_CAUSAL,
            f"its effect is unresolved: {row.effect_nll:.2g} nats is within the numerical floor "
            f"of {row.floor_nll:.2g}",
        )
    if row.q > run.statistics.alpha:
        return NOT_CAUSAL, f"its effect is within that of random weights (q = {row.q:.3g})"
    if not row.effect_low > row.min_effect:
        return (
            NOT_CAUSAL,
            f"beyond random weights (q = {row.q:.3g}), but the lower donor bound "
            f"{row.effect_low:.3g} is not above the smallest effect that counts, "
            f"{row.min_effect:.3g} nats",
        )
    return None


def _against_rivals(row, matched: dict[str, Comparison]) -> tuple[str, str] | None:
    """Ask whether it does more than each weight that is alike; an empty set cannot be asked."""
    beyond = f"beyond random weights (q = {row.q:.3g})"
    empty = None
    for name, text in RIVALS.items():
        set_ = matched[name]
        if not set_.n:
            empty = empty or (UNABLE, f"not assessable against {text}: there are none")
        elif not row.effect_nll > set_.max:
            return (
                NOT_CAUSAL,
                f"{beyond}, but not beyond {text}: one of {set_.n} has an effect of "
                f"{set_.max:.3g} nats, the candidate {row.effect_nll:.3g}",
            )
        elif not set_.low > 0:
            return (
                NOT_CAUSAL,
                f"{beyond}, but its lead over the mean of {set_.n} {text} is not sure over donors "
                f"(lower bound {set_.low:.3g} nats)",
            )
    return empty


def _against_noise(row, noise: Comparison) -> tuple[str, str] | None:
    """Ask whether it does more than an edit of its own size in another channel."""
    if not noise.n:
        return UNABLE, "not assessable against edits of equal L2 norm in another channel: none"
    if not noise.low > 0:
        return (
            NOT_CAUSAL,
            f"beyond random weights (q = {row.q:.3g}), but not beyond its own size: an edit of "
            f"equal L2 norm in another channel raises the NLL by {noise.mean:.3g} nats (mean of "
            f"{noise.n}), the candidate by {row.effect_nll:.3g} (lower bound of the difference "
            f"{noise.low:.3g})",
        )
    return None
