import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import bootstrap
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.preprocessing import StandardScaler

from scsw.cohort.read import read_cohort
from scsw.errors import ScswError
from scsw.scgpt.evaluation.baselines import log_normalised, sample_cells
from scsw.scgpt.evaluation.evaluate import (
    ALL,
    GEP_MASK_RATIO,
    evaluate,
    mean_bins,
    with_donor_means,
)
from scsw.scgpt.evaluation.inference import embeddings, hidden_values, type_probabilities
from scsw.scgpt.init import init
from scsw.scgpt.model import load_model
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.scgpt.tokens.streamed_cohort import streamed_cells
from tests.tiny import COMPUTE, TYPES, model_settings, write_cohort

CPU = torch.device("cpu")
SIZES = {"baseline_cells": 20_000, "gep_cells_per_donor": 500}
KEYS = ["predictor", "metric", "donor_id", "cell_type"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return cohort, starting folder, model, cells, tokenizer and all rows of the evaluation."""
    folder = tmp_path_factory.mktemp("run")
    cohort = write_cohort(folder, cells=9)
    init(cohort, folder / "init", model=model_settings(), seed=0)
    init(cohort, folder / "other", model=model_settings(init_seed=4), seed=0)
    cells = read_cohort(cohort)
    tokenizer = cohort_tokenizer(cells, folder / "init")
    model = load_model(folder / "init")
    given = (model, cells, tokenizer, TYPES, COMPUTE, CPU)
    table = evaluate(*given, start=folder / "other", **SIZES)
    return cohort, folder / "other", given, table


def of(table, predictor, metric, donor=ALL, cell_type=ALL):
    return table.set_index(KEYS).loc[(predictor, metric, donor, cell_type)]


def rows_of(cells, split):
    return np.flatnonzero((cells.obs["split"] == split).to_numpy())


def truth_of(cells, rows):
    return cells.obs["cell_type"].map(TYPES.index).to_numpy(np.int64)[rows]


def test_every_row_is_there_once(run):
    table = run[3]
    assert not table.duplicated(KEYS).any()
    assert (table["split"] == "test").all()
    overall = table[(table["donor_id"] == ALL) & (table["cell_type"] == ALL)]
    classified = {"accuracy", "balanced_accuracy", "macro_f1", "nll", "ece", "brier"}
    rebuilt = {"gep_mse", "gep_pearson", "gep_spearman"}
    found = overall.groupby("predictor")["metric"].agg(set).to_dict()
    assert found == {
        "scgpt": classified | rebuilt,
        "majority": classified | rebuilt,
        "pca_logistic": classified,
        "frozen_encoder": classified,
    }
    of_types = table[(table["donor_id"] == ALL) & (table["cell_type"] != ALL)]
    assert set(of_types["cell_type"]) == set(TYPES)
    assert set(of_types["metric"]) == {"accuracy", "f1", "nll", "ece", "brier"} | rebuilt
    assert table["donor_id"].nunique() == 13 and (overall["n_donors"] == 12).all()
    assert (table.loc[table["donor_id"] != ALL, "n_donors"] == 1).all()
    assert (overall["n_cells"] == 12 * 9).all()


def test_the_models_scores_are_those_of_sklearn(run):
    _, _, (model, cells, tokenizer, *_), table = run
    test = rows_of(cells, "test")
    probabilities = type_probabilities(model, tokenizer, test, COMPUTE, CPU)
    truth = truth_of(cells, test)
    assert of(table, "scgpt", "nll")["value"] == pytest.approx(log_loss(truth, probabilities))
    batch = tokenizer.batch(test)
    with torch.no_grad():
        logits = model(batch.genes, batch.values, batch.padding, CLS=True)["cls_output"]
    assert probabilities == pytest.approx(logits.double().softmax(1).numpy(), abs=1e-5)
    donor = cells.obs["donor_id"].to_numpy(str)[test] == "test3"
    expected = balanced_accuracy_score(truth[donor], probabilities[donor].argmax(1))
    assert of(table, "scgpt", "balanced_accuracy", "test3")["value"] == pytest.approx(expected)
    own = donor & (truth == 1)
    expected = log_loss(truth[own], probabilities[own], labels=range(3))
    row = of(table, "scgpt", "nll", "test3", TYPES[1])
    assert row["value"] == pytest.approx(expected) and row["n_cells"] == own.sum()


def test_the_mean_over_donors_has_a_bootstrap_interval(run):
    table = run[3]
    for predictor in ("scgpt", "pca_logistic", "frozen_encoder"):
        row = of(table, predictor, "nll")
        values = table[
            (table["predictor"] == predictor)
            & (table["metric"] == "nll")
            & (table["cell_type"] == ALL)
            & (table["donor_id"] != ALL)
        ]["value"].to_numpy()
        assert len(values) == 12 and row["donor_mean"] == pytest.approx(values.mean())
        assert row["donor_low"] < values.mean() < row["donor_high"]
        found = bootstrap((values,), np.mean, method="BCa", rng=np.random.default_rng(0))
        low, high = found.confidence_interval
        # Two methods for one interval: with twelve donors they differ, but not by half.
        assert row["donor_high"] - row["donor_low"] == pytest.approx(high - low, rel=0.5)
    others = table[(table["donor_id"] != ALL) | (table["cell_type"] != ALL)]
    assert others[["donor_mean", "donor_low", "donor_high"]].isna().all(axis=None)


def test_one_donor_has_no_interval_and_a_missing_value_is_left_out():
    rows = [("scgpt", "nll", d, ALL, v) for d, v in [(ALL, 1.0), ("a", 2.0), ("b", math.nan)]]
    table = pd.DataFrame(rows, columns=[*KEYS, "value"])
    found = with_donor_means(table).iloc[0]
    assert found["donor_mean"] == 2.0 and math.isnan(found["donor_low"])


def test_the_baselines_are_fitted_on_the_training_donors(run):
    _, start, (_, cells, tokenizer, *_), table = run
    train, test = rows_of(cells, "train"), rows_of(cells, "test")
    fit, new = (log_normalised(tokenizer, rows).toarray() for rows in (train, test))
    counts = cells.X[train].toarray()
    expected = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)
    assert fit == pytest.approx(expected)
    pca = PCA(min(50, min(fit.shape) - 1), svd_solver="full").fit(fit)
    by_pca = LogisticRegression(max_iter=1000).fit(pca.transform(fit), truth_of(cells, train))
    nll = log_loss(truth_of(cells, test), by_pca.predict_proba(pca.transform(new)))
    assert of(table, "pca_logistic", "nll")["value"] == pytest.approx(nll, rel=1e-3)

    model = load_model(start)  # as it was before any fine-tuning
    known, unknown = (embeddings(model, tokenizer, rows, COMPUTE, CPU) for rows in (train, test))
    assert known.shape == (len(train), 16)
    scaler = StandardScaler().fit(known)
    frozen = LogisticRegression(max_iter=1000).fit(scaler.transform(known), truth_of(cells, train))
    nll = log_loss(truth_of(cells, test), frozen.predict_proba(scaler.transform(unknown)))
    assert of(table, "frozen_encoder", "nll")["value"] == pytest.approx(nll, rel=1e-3)
    assert of(table, "majority", "nll")["value"] == pytest.approx(math.log(3), abs=0.01)


def test_hidden_values_are_scored_beside_the_mean_bin_of_a_gene(run):
    _, _, (model, cells, tokenizer, *_), table = run
    test, train = rows_of(cells, "test"), rows_of(cells, "train")
    cell, gene, truth, predicted = hidden_values(
        model, tokenizer, test, COMPUTE, CPU, GEP_MASK_RATIO
    )
    batch = tokenizer.batch(test, mask_ratio=GEP_MASK_RATIO)
    with torch.no_grad():
        output = model(batch.genes, batch.values, batch.padding)["mlm_output"]
    assert np.array_equal(cell, batch.hidden.nonzero()[:, 0].numpy())
    assert np.array_equal(truth, batch.target[batch.hidden].numpy())
    assert predicted == pytest.approx(output[batch.hidden].numpy(), abs=1e-4)
    expected = np.square(predicted.astype(float) - truth).mean()
    assert of(table, "scgpt", "gep_mse")["value"] == pytest.approx(expected)
    own = np.isin(cell, np.flatnonzero(cells.obs["donor_id"].to_numpy(str)[test] == "test5"))
    expected = np.corrcoef(predicted[own], truth[own])[0, 1]
    assert of(table, "scgpt", "gep_pearson", "test5")["value"] == pytest.approx(expected)

    whole = tokenizer.batch(train)
    real = whole.real & (whole.genes != tokenizer.cls_id)
    seen = pd.Series(whole.target[real].numpy()).groupby(whole.genes[real].numpy()).mean()
    means = mean_bins(tokenizer, train, 8)
    assert means[seen.index] == pytest.approx(seen.to_numpy(), rel=1e-5)
    expected = np.square(means[gene] - truth).mean()
    assert of(table, "majority", "gep_mse")["value"] == pytest.approx(expected)


def test_counts_may_stay_on_disk(run):
    cohort, start, (model, _, _, labels, compute, device), table = run
    cells, rows = streamed_cells(cohort, ["train", "test"])
    tokenizer = cohort_tokenizer(cells, start, rows=rows)
    assert cells.X is None
    streamed = evaluate(model, cells, tokenizer, labels, compute, device, start=start, **SIZES)
    # The cells stand in another order, so that sums are rounded otherwise.
    both = streamed.merge(table, on=KEYS, how="outer")
    assert len(both) == len(table) and both["value_x"].to_numpy() == pytest.approx(
        both["value_y"].to_numpy(), rel=1e-3, abs=1e-3
    )


def test_what_is_read_is_bounded(run, monkeypatch):
    _, start, (model, cells, tokenizer, *rest), _ = run
    asked = []
    rows = tokenizer.rows.rows
    monkeypatch.setattr(tokenizer.rows, "rows", lambda x: asked.append(np.array(x)) or rows(x))
    found = evaluate(
        model, cells, tokenizer, *rest, start=start, baseline_cells=12, gep_cells_per_donor=2
    )
    seen = np.unique(np.concatenate(asked))
    split = cells.obs["split"].to_numpy(str)
    assert (split[seen] == "train").sum() == 12
    # Twelve cells, of every type, are enough for 11 components.
    kinds = cells.obs["cell_type"].to_numpy(str)[seen[split[seen] == "train"]]
    assert sorted(set(kinds)) == TYPES
    assert of(found, "scgpt", "gep_mse")["n_cells"] == 12 * 2
    assert of(found, "pca_logistic", "accuracy")["n_cells"] == 12 * 9


def test_sampled_cells_keep_proportions_and_rare_types_and_ignore_order():
    obs = pd.DataFrame(
        {
            "cell_id": [f"c{i:04d}" for i in range(1000)],
            "cell_type": ["a"] * 700 + ["b"] * 298 + ["c"] * 2,
        }
    )
    rows = np.arange(1000)
    drawn = sample_cells(obs, rows, 100, seed=0)
    counts = obs["cell_type"].iloc[drawn].value_counts()
    assert counts["a"] in (69, 70, 71) and counts["c"] == 1 and len(set(drawn)) == 100
    shuffled = obs.sample(frac=1, random_state=1).reset_index(drop=True)
    again = shuffled.iloc[sample_cells(shuffled, rows, 100, seed=0)]["cell_id"]
    assert set(again) == set(obs["cell_id"].iloc[drawn])
    assert set(sample_cells(obs, rows, 100, seed=1)) != set(drawn)
    assert np.array_equal(sample_cells(obs, rows, 1000, seed=0), rows)


def test_cells_of_an_unknown_type_are_counted_nowhere(run):
    _, _, (model, cells, _, labels, compute, device), _ = run
    other = cells.copy()
    test = rows_of(other, "test")
    other.obs["cell_type"] = other.obs["cell_type"].astype(str)
    other.obs.iloc[test[:5], other.obs.columns.get_loc("cell_type")] = "Never seen"
    tokenizer = cohort_tokenizer(other, run[1])
    given = (model, other, tokenizer, labels, compute, device)
    found = evaluate(*given, start=run[1], **SIZES)
    assert of(found, "scgpt", "accuracy")["n_cells"] == len(test) - 5
    other.obs["split"] = "train"
    with pytest.raises(ScswError, match="no test donor of tiny holds a cell"):
        evaluate(*given, start=run[1], **SIZES)
