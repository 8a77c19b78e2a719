"""Made-up donors of a simulated cohort: one latent severity drives all staging of a donor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

STAGE_NOISE = 0.08  # standard deviation of each stage's error, on the severity scale 0 to 1
DEMENTIA_AT = 0.55  # severity at which half of the donors are demented
DEMENTIA_SLOPE = 9.0

_APOE = ["23", "33", "34", "44"]
_APOE_LOW = np.array([0.22, 0.66, 0.11, 0.01])  # genotype frequencies at severity 0
_APOE_HIGH = np.array([0.05, 0.45, 0.38, 0.12])  # and at severity 1


def donors(
    n: int, n_reference: int, braak_stages: Sequence[int], rng: np.random.Generator
) -> pd.DataFrame:
    """Make up donors whose stages agree with one another.

    Parameters
    ----------
    n
        Number of donors.
    n_reference
        How many of them are neurotypical reference donors, of severity 0.
    braak_stages
        Braak stages that the source knows, ascending.
    rng
        Source of chance.

    Returns
    -------
    pandas.DataFrame
        ``severity`` (0–1), ``is_reference, female`` (bool), ``age_death`` (years), ``pmi`` (hours),
        ``education`` (years), ``apoe`` (such as "34"), ``braak, thal, cerad, adnc`` (ordinals from
        least to most severe), ``cogdx`` (1 no impairment, 2–3 mild, 4–6 dementia), ``mmse``
        (0–30), ``cps`` (0.150–0.929).
    """
    severity = _severity(n, n_reference, rng)
    reference = severity == 0
    braak = np.asarray(braak_stages)[_stage(severity, len(braak_stages), rng)]
    thal, cerad = _stage(severity, 6, rng), _stage(severity, 4, rng)
    cogdx = _cogdx(severity, rng)
    noisy = np.clip(severity + rng.normal(0, STAGE_NOISE / 2, n), 0, 1)
    age = np.clip(rng.normal(np.where(reference, 58, 87), 7.5), 43, 102).round()
    return pd.DataFrame(
        {
            "severity": severity,
            "is_reference": reference,
            "female": rng.random(n) < 0.6,
            "age_death": age.astype(int),
            "pmi": np.clip(rng.lognormal(1.9, 0.35, n), 2.5, 24).round(2),
            "education": rng.integers(10, 22, n),
            "apoe": _apoe(severity, rng),
            "braak": braak,
            "thal": thal,
            "cerad": cerad,
            "adnc": [adnc(t, b, c) for t, b, c in zip(thal, braak, cerad, strict=True)],
            "cogdx": cogdx,
            "mmse": _mmse(cogdx, rng),
            "cps": (0.15 + 0.779 * noisy).round(3),
        }
    )


def adnc(thal: int, braak: int, cerad: int) -> int:
    """Return AD neuropathological change, 0 not AD to 3 high, from Thal, Braak and CERAD.

    The table of the NIA-AA guidelines (Montine et al. 2012, Acta Neuropathologica 123:1–11).
    """
    amyloid = (0, 1, 1, 2, 3, 3)[thal]  # A score
    tangles = (braak + 1) // 2  # B score
    if amyloid == 0:
        return 0
    if tangles < 2 or (amyloid == 1 and cerad < 2):
        return 1
    return 3 if amyloid == 3 and tangles == 3 and cerad >= 2 else 2


def _severity(n: int, n_reference: int, rng: np.random.Generator) -> np.ndarray:
    """Return severities spread evenly over 0–1 in random order, exactly 0 for reference donors."""
    staged = n - n_reference
    spread = (np.arange(staged) + rng.uniform(0.05, 0.95, staged)) / staged
    return rng.permutation(np.concatenate([np.zeros(n_reference), spread]))


def _stage(severity: np.ndarray, n_stages: int, rng: np.random.Generator) -> np.ndarray:
    noisy = severity + rng.normal(0, STAGE_NOISE, len(severity))
    return np.clip(np.floor(noisy * n_stages), 0, n_stages - 1).astype(int)


def _cogdx(severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    chance = 1 / (1 + np.exp(-DEMENTIA_SLOPE * (severity - DEMENTIA_AT)))
    demented = rng.random(len(severity)) < chance
    impaired = rng.random(len(severity)) < 0.7 * severity
    kind = np.where(demented, rng.choice([4, 5, 6], len(severity), p=[0.8, 0.15, 0.05]), 1)
    mild = rng.choice([2, 3], len(severity), p=[0.85, 0.15])
    return np.where(~demented & impaired, mild, kind)


def _mmse(cogdx: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    centre = np.select([cogdx == 1, cogdx <= 3], [28.5, 26.0], 15.0)
    spread = np.where(cogdx >= 4, 5.0, 1.2)
    return np.clip(rng.normal(centre, spread), 0, 30).round().astype(int)


def _apoe(severity: np.ndarray, rng: np.random.Generator) -> list[str]:
    weights = (1 - severity[:, None]) * _APOE_LOW + severity[:, None] * _APOE_HIGH
    return [_APOE[rng.choice(4, p=w / w.sum())] for w in weights]
