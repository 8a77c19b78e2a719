"""How stable spikes and candidates are over cells, donors, models and starts.

Models that began with the same weights can be compared by coordinates, and then only what
fine-tuning added counts as agreement: the rest they have in common from the start. Channels of
models that began with other weights are permuted; see
`scsw.superweight.stability.profile_agreement`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from scsw.errors import ScswError

SITES = ("mlp_out", "pre_norm2")  # inside a block; its output is normalised
HIDDEN = "mlp_hidden"
UNTUNED = ("untrained", "pretrained")
CLS = ("with_cls", "without_cls")  # the search on some discovery cells, with and without `<cls>`

MODEL = ["cohort", "arm", "seed"]
PLACE = ["block", "site", "channel"]
SHARES = {
    "donor": "share_of_donors",
    "cell_type": "share_of_cell_types",
    "region": "share_of_regions",
}
COUNTS = {"donor": "n_donors", "cell_type": "n_cell_types", "region": "n_regions"}
TOKENS = {"<cls>": "cls_ratio", "genes": "genes_ratio"}
SPIKE_COLUMNS = [
    *MODEL,
    "start",
    *PLACE,
    *"ratio start_ratio passes origin share_of_cells top_gene".split(),
    *[name for by in SHARES for name in (SHARES[by], COUNTS[by])],
    *TOKENS.values(),
    *"n_models of_models counts_as_agreement".split(),
]
SUMMARY_COLUMNS = [
    *MODEL,
    *"start n_positions n_spikes n_inherited n_acquired n_lost largest_ratio".split(),
    *"largest_block largest_site largest_channel share_from_start share_of_start_kept".split(),
    *"n_hidden_spikes largest_hidden_ratio".split(),
]
CANDIDATE_COLUMNS = [
    *"cohort candidate_id n_seeds found_in share_of_seeds comparable origin".split(),
    *SHARES.values(),
    *"passes_at_cls passes_at_genes spikes_with_cls spikes_without_cls".split(),
    "counts_as_agreement",
]


def start_names(
    models: Sequence[tuple[str, int]], *, one_start: bool, checkpoint: bool
) -> dict[tuple[str, int], str]:
    """Name the weights that each model began with.

    Parameters
    ----------
    models
        ``(arm, seed)`` of each.
    one_start
        Whether all seeds began with the same weights.
    checkpoint
        Whether these are a checkpoint's; the arm `untrained` then has others. An implanted arm
        differs from the start of its seed in its scalars alone, so its coordinates mean the same.
    """

    def name(arm: str, seed: int) -> str:
        if arm == "untrained" and checkpoint:
            return f"fresh weights of seed {seed}"
        return "one start" if one_start else f"seed {seed}"

    return {model: name(*model) for model in models}


def spike_stability(
    spikes: pd.DataFrame, *, rule: float, starts: Mapping[tuple[str, int], str]
) -> pd.DataFrame:
    """Return each model at each position that spikes in some model of its start.

    Parameters
    ----------
    spikes
        Rows of ``spikes.parquet`` of all models.
    rule
        A channel of at least this ratio spikes.
    starts
        From `start_names`. Only positions of models of one start are compared.

    Returns
    -------
    pandas.DataFrame
        Contract ``spike_stability.parquet``. A position also has rows if the start alone spikes
        there. ``n_models`` of ``of_models`` fine-tuned models of this start pass there.

    Raises
    ------
    ScswError
        If a fine-tuned model's table does not say what its start was like.
    """
    table = _with_origin(_everywhere(spikes, SITES), rule, starts)
    named = table.loc[table["origin"] != "not a spike", ["cohort", "start", *PLACE]]
    table = table.merge(named.drop_duplicates(), on=["cohort", "start", *PLACE])
    table = table.rename(columns={"stability": "share_of_cells"})
    table = _with_groups(table, spikes, rule)
    real = table["arm"] == "real"
    place = [table[name] for name in ("cohort", "start", *PLACE)]
    table["n_models"] = (real & table["passes"]).groupby(place).transform("sum").astype(int)
    table["of_models"] = real.groupby(place).transform("sum").astype(int)
    gained = real & (table["origin"] == "acquired")
    table["counts_as_agreement"] = gained & (gained.groupby(place).transform("sum") > 1)
    order = [*MODEL, "ratio", *PLACE]
    ascending = [name != "ratio" for name in order]
    return table[SPIKE_COLUMNS].sort_values(order, ascending=ascending, ignore_index=True)


def spike_summary(
    spikes: pd.DataFrame, *, rule: float, starts: Mapping[tuple[str, int], str]
) -> pd.DataFrame:
    """Return one row per model: how many positions spike and how many the start had already.

    Parameters are those of `spike_stability`; contract ``spike_summary.parquet``.
    """
    table = _with_origin(_everywhere(spikes, SITES), rule, starts)
    hidden = _everywhere(spikes, [HIDDEN])
    rows = []
    for key, own in table.groupby(MODEL, sort=False):
        number = own["origin"].value_counts()
        n_inherited, n_lost = (int(number.get(name, 0)) for name in ("inherited", "lost"))
        n_spikes, from_start = int(own["passes"].sum()), n_inherited + n_lost
        tuned = key[1] not in UNTUNED
        known = own.dropna(subset=["ratio"]).sort_values([*PLACE])
        top = known.loc[known["ratio"].idxmax()] if len(known) else pd.Series(dtype=object)
        ratios = hidden.loc[(hidden[MODEL] == list(key)).all(axis=1), "ratio"]
        rows.append(
            dict(zip(MODEL, key, strict=True))
            | {
                "start": own["start"].iloc[0],
                "n_positions": len(known),
                "n_spikes": n_spikes,
                "n_inherited": n_inherited,
                "n_acquired": int(number.get("acquired", 0)),
                "n_lost": n_lost,
                "largest_ratio": top.get("ratio", np.nan),
                "largest_block": top.get("block", -1),
                "largest_site": top.get("site", ""),
                "largest_channel": top.get("channel", -1),
                "share_from_start": n_inherited / n_spikes if tuned and n_spikes else np.nan,
                "share_of_start_kept": n_inherited / from_start if from_start else np.nan,
                "n_hidden_spikes": int((ratios >= rule).sum()),
                "largest_hidden_ratio": ratios.max(),
            }
        )
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def candidate_stability(
    candidates: pd.DataFrame,
    spikes: pd.DataFrame,
    other_inputs: pd.DataFrame,
    *,
    rule: float,
    n_seeds: int,
    one_start: bool,
) -> pd.DataFrame:
    """Return in how many seeds each candidate was found, and how widely its channel spikes.

    Parameters
    ----------
    candidates
        Rows of ``candidates.parquet`` of the real arm, all seeds.
    spikes
        Rows of ``spikes.parquet`` of the same models.
    other_inputs
        Rows of ``other_inputs.parquet`` of the same models.
    rule
        A channel of at least this ratio spikes.
    n_seeds
        Number of fine-tuned models; one without a candidate counts too.
    one_start
        Whether their coordinates can be compared. If not, the same coordinate in two seeds is two
        candidates, each with its own row.

    Returns
    -------
    pandas.DataFrame
        Contract ``stability.parquet``. Shares are means over the seeds that found the candidate.
    """
    starts = dict.fromkeys(zip(spikes["arm"], spikes["seed"], strict=True), "")
    table = _with_origin(_everywhere(spikes, SITES), rule, starts)
    table = table.rename(columns={"channel": "row"})
    own = candidates[[*MODEL, "candidate_id", "block", "row"]]
    own = own.assign(**{f"spikes_{kind}": _spikes_in(own, other_inputs, kind) for kind in CLS})
    table = own.merge(table, on=[*MODEL, "block", "row"])
    # Of the two sites of a channel the one where it stands out more.
    table = table.sort_values(["ratio", "site"], ascending=[False, True], kind="stable")
    spiked_before = table["origin"].isin(["inherited", "lost"])
    channel = [table[name] for name in (*MODEL, "candidate_id")]
    table["before"] = spiked_before.groupby(channel).transform("any")
    table = table.drop_duplicates([*MODEL, "candidate_id"])
    table = _with_groups(table.rename(columns={"row": "channel"}), spikes, rule)
    rows = []
    keys = ["cohort", "candidate_id"] + ["seed"] * (not one_start)
    for key, found in table.groupby(keys):
        passing = found[found["passes"]]
        inherited = bool(passing["before"].any())
        origin = ("inherited" if inherited else "acquired") if len(passing) else "not a spike"
        seeds = sorted(set(found["seed"]))
        rows.append(
            {
                "cohort": key[0],
                "candidate_id": key[1],
                "n_seeds": n_seeds,
                "found_in": ",".join(map(str, seeds)),
                "share_of_seeds": len(seeds) / n_seeds,
                "comparable": one_start,
                "origin": origin,
                **{name: found[name].mean() for name in SHARES.values()},
                "passes_at_cls": bool((found["cls_ratio"] >= rule).any()),
                "passes_at_genes": bool((found["genes_ratio"] >= rule).any()),
                **{f"spikes_{kind}": found[f"spikes_{kind}"].mean() for kind in CLS},
                "counts_as_agreement": one_start and origin == "acquired" and len(passing) > 1,
            }
        )
    result = pd.DataFrame(rows, columns=CANDIDATE_COLUMNS)
    order = ["share_of_seeds", "candidate_id", "found_in"]
    return result.sort_values(order, ascending=[False, True, True], ignore_index=True)


def _spikes_in(candidates: pd.DataFrame, other_inputs: pd.DataFrame, kind: str) -> list[bool]:
    """Tell which candidates the search on other inputs found as spikes too."""
    spiking = other_inputs[(other_inputs["kind"] == kind) & (other_inputs["found_by"] == "spike")]
    keys = [*MODEL, "candidate_id"]
    known = set(spiking[keys].itertuples(index=False, name=None))
    return [key in known for key in candidates[keys].itertuples(index=False, name=None)]


def _everywhere(spikes: pd.DataFrame, sites: Sequence[str]) -> pd.DataFrame:
    """Return the rows over all cells at some sites."""
    wanted = (spikes["group_by"] == "all") & spikes["site"].isin(sites)
    names = [*MODEL, *PLACE, "ratio", "start_ratio", "stability", "top_gene"]
    return spikes.loc[wanted, names]


def _with_origin(
    table: pd.DataFrame, rule: float, starts: Mapping[tuple[str, int], str]
) -> pd.DataFrame:
    """Add ``start, passes`` and ``origin``."""
    tuned = ~table["arm"].isin(UNTUNED)
    if (tuned & table["start_ratio"].isna() & (table["ratio"] >= rule)).any():
        raise ScswError(
            "spikes.parquet does not say how far a channel stood out before fine-tuning",
            expected="start_ratio on the rows over all cells of every fine-tuned model",
            fix="run `scsw search` again with --start",
        )
    passes, before = table["ratio"] >= rule, table["start_ratio"] >= rule
    origin = np.select(
        [passes & ~tuned, passes & before, passes, before & tuned],
        ["own start", "inherited", "acquired", "lost"],
        "not a spike",
    )
    models = zip(table["arm"], table["seed"], strict=True)
    return table.assign(start=[starts[model] for model in models], passes=passes, origin=origin)


def _with_groups(table: pd.DataFrame, spikes: pd.DataFrame, rule: float) -> pd.DataFrame:
    """Add in which share of the groups of each kind a channel passes, and its ratio by token."""
    keys = [*MODEL, *PLACE]
    wanted = spikes["group_by"].isin([*SHARES, "token"]) & (spikes["n_tokens"] > 0)
    places = table[keys].drop_duplicates()
    groups = spikes.loc[wanted, [*keys, "group_by", "group", "ratio"]].merge(places, on=keys)
    for kind in SHARES:
        own = groups[groups["group_by"] == kind]
        passing = (own["ratio"] >= rule).groupby([own[key] for key in keys])
        counted = passing.agg(["mean", "size"]).set_axis([SHARES[kind], COUNTS[kind]], axis=1)
        table = table.merge(counted.reset_index(), on=keys, how="left")
        table[COUNTS[kind]] = table[COUNTS[kind]].fillna(0).astype(int)
    for token, name in TOKENS.items():
        own = groups[(groups["group_by"] == "token") & (groups["group"] == token)]
        own = own[[*keys, "ratio"]].rename(columns={"ratio": name})
        table = table.merge(own, on=keys, how="left")
    return table
