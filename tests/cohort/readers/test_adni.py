"""ADNI: expression of blood against diagnosis, an external table and never training input."""

import gzip

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scsw.cohort.external import OBS, VAR, ExternalCohort
from scsw.cohort.genes import ensembl_id_by_symbol
from scsw.cohort.preprocess import preprocess
from scsw.cohort.qc import QcLog
from scsw.cohort.readers import adni
from scsw.cohort.request import Request
from scsw.cohort.sources import choose, input_files
from scsw.errors import ScswError
from scsw.settings import section_settings
from tests.cohort import layouts
from tests.cohort.readers import layout_adni as layout

SETTINGS = section_settings("preprocess", layouts.SETTINGS)


@pytest.fixture
def folder(tmp_path):
    return layout.write(tmp_path / "adni")


def read(path, **asked):
    return adni.read(Request(path, **asked))


@pytest.mark.parametrize("name", [None, layout.EXPRESSION])
def test_it_is_told_from_folder_or_file(folder, name):
    path = folder / name if name else folder
    source, how = choose("auto", path)
    assert source == "adni"
    assert (layout.EXPRESSION if name is None else "Phase, Visit, SubjectID") in how
    assert input_files("auto", str(path)) == [
        str(folder / layout.EXPRESSION),
        str(folder / layout.DIAGNOSES),
    ]


def test_a_file_is_told_by_its_lines_whatever_its_name(folder, tmp_path):
    other = tmp_path / "blood.csv.gz"
    other.write_bytes(gzip.compress((folder / layout.EXPRESSION).read_bytes()))
    assert choose("auto", other)[0] == "adni"
    tables = {"clinical": str(folder / layout.DIAGNOSES)}
    assert np.array_equal(read(other, tables=tables).expression, read(folder).expression)


@pytest.mark.parametrize("content", [b"Phase\nVisit\n", b"", b"\xff\xfe\x00", b"a,b\n1,2\n"])
def test_other_text_is_not_claimed(tmp_path, content):
    path = tmp_path / layout.EXPRESSION
    path.write_bytes(content)
    with pytest.raises(ScswError, match="no known layout"):
        choose("auto", path)


def test_files_are_named_before_they_exist(tmp_path):
    public = [str(tmp_path / "no" / name) for name in (layout.EXPRESSION, layout.DIAGNOSES)]
    assert adni.files(tmp_path / "no", {}) == public
    assert adni.files(tmp_path / "no" / layout.EXPRESSION, {"clinical": "dx.csv"})[1] == "dx.csv"


def test_samples(folder):
    found = read(folder)
    assert isinstance(found, ExternalCohort) and found.not_for_training
    obs = found.obs
    assert tuple(obs.columns) == OBS
    assert obs["donor_id"].tolist() == [layout.subject(number) for number in range(12)]
    assert obs["phase"].tolist() == layout.phases() and obs["visit"].tolist() == layout.visits()
    assert obs["sample_id"].tolist()[:2] == ["999_S_9000_ADNI2_v03", "999_S_9001_ADNIGO_bl"]
    assert obs["plate"].tolist() == ["1", "2", "3"] * 4
    assert np.isnan(obs["rin"].iloc[3]) and set(obs["rin"].drop(obs.index[3])) == {7.7}
    assert obs["year"].iloc[4] == -1 and set(obs["year"]) == {2011, -1}


def test_each_code_of_a_diagnosis(folder):
    assert read(folder).obs["diagnosis"].tolist() == [code for *_, code in layout.GIVEN]


def test_probe_sets_of_one_symbol_are_averaged(folder):
    found = read(folder)
    names = np.array([symbol for _, symbol in layout.SYMBOLS])
    assert found.var.index.tolist() == ["APP", "MAPT", "NOSUCHGENE", "SEPT7"]
    assert tuple(found.var.columns) == VAR
    assert found.var["n_probe_sets"].tolist() == [2, 3, 1, 1]
    expected = np.stack([layout.values()[names == gene].mean(0) for gene in found.var.index], 1)
    assert found.expression.dtype == np.float32
    np.testing.assert_allclose(found.expression, expected, rtol=1e-6)


def test_pieces_of_any_size_give_the_same(folder, monkeypatch):
    expected = read(folder).expression
    monkeypatch.setattr("scsw.cohort.adni_expression._LINES_AT_ONCE", 2)
    assert np.array_equal(read(folder).expression, expected)


def test_genes_get_their_ensembl_id_by_former_symbols_too(folder):
    ids = read(folder).var["ensembl_id"]
    assert ids["APP"] == "ENSG00000142192"
    assert ids["SEPT7"] == ensembl_id_by_symbol()["SEPTIN7"]
    assert ids["NOSUCHGENE"] == ""


def test_losses_are_counted(folder):
    qc = read(folder).qc.table().set_index("filter")
    columns = ["axis", "before", "removed", "after"]
    assert qc.loc["no_diagnosis", columns].tolist() == ["samples", 12, 0, 12]
    assert "kept with diagnosis −1: 1 (0 without" in qc.loc["no_diagnosis", "detail"]
    assert qc.loc["blank_symbol", columns].tolist() == ["genes", 9, 1, 8]
    assert qc.loc["ambiguous_symbol", columns].tolist() == ["genes", 8, 1, 7]
    assert qc.loc["probe_sets_averaged", columns].tolist() == ["genes", 7, 3, 4]


def test_reasons_for_a_missing_diagnosis_are_told_apart(tmp_path):
    def edit(table):
        first = table["PTID"] == layout.subject(0)
        twice = table[table["PTID"] == layout.subject(1)].assign(DXCHANGE="3")
        return pd.concat([table[~first], twice])

    found = read(layout.write(tmp_path / "adni", edit_diagnoses=edit))
    assert found.obs["diagnosis"].tolist()[:3] == [-1, -1, 0]
    sentence, _ = found.warnings
    assert sentence == (
        "Samples without a diagnosis: 3 of 12 (1 without a row in the table of diagnoses, 1 with a "
        "row that gives none, 1 with two different ones)."
    )


def test_rows_that_agree_are_one(tmp_path):
    folder = layout.write(tmp_path / "adni", edit_diagnoses=lambda table: pd.concat([table] * 2))
    assert read(folder).obs["diagnosis"].tolist() == [code for *_, code in layout.GIVEN]


def test_later_releases_write_phase_in_capitals(tmp_path):
    folder = layout.write(
        tmp_path / "adni", edit_diagnoses=lambda table: table.rename(columns={"Phase": "PHASE"})
    )
    (folder / layout.DIAGNOSES).rename(folder / "DXSUM_01Jan2030.csv")
    assert read(folder).obs["diagnosis"].tolist() == [code for *_, code in layout.GIVEN]


def test_the_last_column_is_dropped_only_if_it_describes_the_genes(tmp_path):
    folder = layout.write(tmp_path / "adni", edit=lambda table: [row[:-1] for row in table])
    assert len(read(folder).obs) == layout.N_SAMPLES


def test_trailing_blank_columns(tmp_path):
    folder = layout.write(tmp_path / "adni", edit=lambda table: [[*row, ""] for row in table])
    assert len(read(folder).obs) == layout.N_SAMPLES


def test_the_whole_step_writes_an_external_table(folder, tmp_path):
    out = tmp_path / "out"
    preprocess(folder, out, cohort="blood", settings=SETTINGS)
    assert {file.name for file in out.iterdir()} == {
        "external.h5ad",
        "qc.tsv",
        "preprocess.provenance.json",
    }
    stored, found = ad.read_h5ad(out / "external.h5ad"), read(folder)
    assert np.array_equal(stored.X, found.expression)
    assert stored.obs_names.tolist() == found.obs["sample_id"].tolist()
    assert stored.obs["diagnosis"].tolist() == found.obs["diagnosis"].tolist()
    assert stored.var["ensembl_id"].tolist() == found.var["ensembl_id"].tolist()
    facts = stored.uns["scsw"]
    assert facts["source"] == "adni" and facts["not_for_training"] == adni.NOT_FOR_TRAINING
    assert list(facts["diagnoses"]) == ["CN", "MCI", "AD"] and facts["n_donors"] == 12
    assert list(facts["warnings"]) == found.warnings
    qc = pd.read_csv(out / "qc.tsv", sep="\t")
    assert qc.columns.tolist() == ["axis", "filter", "before", "removed", "after", "detail"]


def test_it_is_refused_as_training_input(folder, tmp_path):
    with pytest.raises(ScswError, match="no model can be fine-tuned on it"):
        preprocess(folder, tmp_path / "out", cohort="b", settings=SETTINGS, training=True)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def set_cell(row, column, value):
    def edit(table):
        table[row][column] = value
        return table

    return {"edit": edit}


def set_first(**values):
    def edit(table):
        for name, value in values.items():
            table.loc[0, name] = value
        return table

    return {"edit_diagnoses": edit}


def linear(table):
    head, body = table[:9], table[9:]
    return head + [[*row[:3], *(str(2 ** float(v)) for v in row[3:-1]), row[-1]] for row in body]


def same_sample(table):
    for row in table[:3]:
        row[5] = row[3]
    return table


MALFORMED = [
    ({"edit": lambda table: table[1:]}, "line 1 of .* begins with 'Visit'"),
    ({"edit": lambda table: table[:8] + table[9:]}, "line 9 of .* begins with '1_at'"),
    ({"edit": lambda table: table[:4]}, "line 5 of .* begins with nothing"),
    (set_cell(8, 2, "Gene"), "line 9 .* 'Gene'"),
    (set_cell(2, 6, "patient"), "names the subject 'patient'"),
    (set_cell(2, 6, ""), "names the subject ''"),
    ({"edit": lambda table: [row[:3] for row in table]}, "holds no samples"),
    ({"edit": linear}, "log2 RMA intensities"),
    (set_cell(10, 4, "-3.5"), "holds -3.5 for the probe set 2_at"),
    (set_cell(10, 4, "inf"), "holds inf for the probe set 2_at"),
    (set_cell(10, 4, ""), "holds nan for the probe set 2_at"),
    (set_cell(10, 4, "high"), "cannot be read as ADNI's table"),
    (set_cell(5, 4, "13"), "the line RIN .* none of its values"),
    (set_cell(7, 4, "soon"), "the line YearofCollection"),
    ({"edit": lambda table: table[:9]}, "cannot be read as ADNI's table"),
    (
        {"edit": lambda table: [*table[:9], table[11], table[12]]},
        "no probe set .* symbol of its own",
    ),
    ({"edit": same_sample}, "sample_id '999_S_9000_ADNI2_v03' of adni occurs more than once"),
    ({"edit_diagnoses": lambda t: t.drop(columns="PTID")}, "no column PTID"),
    ({"edit_diagnoses": lambda t: t.drop(columns=list(adni.DIAGNOSIS))}, "no column of diagnoses"),
    ({"edit_diagnoses": lambda t: t.assign(VISCODE="m99")}, "none of the 12 samples has a row"),
    ({"edit_diagnoses": lambda t: t[:0]}, "none of the 12 samples has a row"),
    (set_first(DXCHANGE="12"), "column DXCHANGE .* holds '12'"),
    (set_first(DIAGNOSIS="dementia"), "column DIAGNOSIS .* holds 'dementia'"),
]


@pytest.mark.parametrize("edits, message", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed(tmp_path, edits, message):
    folder, out = layout.write(tmp_path / "adni", **edits), tmp_path / "out"
    with pytest.raises(ScswError, match=message):
        preprocess(folder, out, cohort="blood", source="adni", settings=SETTINGS)
    assert not out.exists() or not list(out.iterdir())


def test_missing_and_doubled_files(folder):
    (folder / "DXSUM_01Jan2030.csv").write_bytes((folder / layout.DIAGNOSES).read_bytes())
    with pytest.raises(ScswError, match="several such tables"):
        read(folder)
    for file in folder.glob("DXSUM*"):
        file.unlink()
    with pytest.raises(ScswError, match=r"DXSUM_PDXCONV_ADNIALL\.csv does not exist"):
        read(folder)


def test_a_file_cut_in_its_compression(folder, tmp_path):
    packed = gzip.compress((folder / layout.EXPRESSION).read_bytes())
    path = folder / "cut.csv.gz"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ScswError, match="cannot be read as ADNI's table"):
        read(path)


@pytest.mark.parametrize("asked", [{"columns": {"sex": "x"}}, {"counts": "X"}])
def test_what_it_does_not_read_is_refused(folder, asked):
    with pytest.raises(ScswError, match="of which ADNI has none"):
        read(folder, **asked)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"expression": np.zeros((2, 2), np.float32)}, "the shape"),
        ({"obs": pd.DataFrame(index=range(12))}, "has the columns"),
        ({"diagnosis": 3}, "holds a diagnosis 3"),
    ],
)
def test_parts_of_an_external_cohort_must_fit(folder, change, message):
    found = read(folder)
    obs = change.get("obs", found.obs)
    if "diagnosis" in change:
        obs = obs.assign(diagnosis=change["diagnosis"])
    with pytest.raises(ScswError, match=message):
        ExternalCohort(change.get("expression", found.expression), obs, found.var, QcLog(), "adni",
                       "", "")  # fmt: skip


def test_age_and_sex_come_from_the_merged_table(folder):
    obs = read(folder).obs
    assert obs["age"].isna().all() and set(obs["sex"]) == {"unknown"}
    assert any("no table of subjects" in sentence for sentence in read(folder).warnings)
    path = folder / "ADNIMERGE.csv"
    layout.people().to_csv(path, index=False)
    found = read(folder, tables={"donors": str(path)})
    assert found.obs["age"].tolist() == [60.5 + number for number in range(12)]
    assert found.obs["sex"].tolist()[:6] == ["female", "male"] * 2 + ["female", "unknown"]
    assert "Age or sex is missing for 1 of 12 samples." in found.warnings
    assert path in found.files
    assert input_files("adni", str(folder), {"donors": str(path)})[2] == str(path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("PTGENDER", "x", "no value of sex"),
        ("AGE", "old", "no value of age"),
        ("AGE", "61.5", "two ages"),
        ("PTID", "another", "names none of the 12 subjects"),
    ],
)
def test_a_wrong_merged_table_is_refused(folder, column, value, message):
    table = layout.people().astype(str)
    if column == "PTID":
        table["PTID"] += value
    else:
        table.loc[0, column] = value
    table.to_csv(folder / "ADNIMERGE.csv", index=False)
    with pytest.raises(ScswError, match=message):
        read(folder, tables={"donors": str(folder / "ADNIMERGE.csv")})
