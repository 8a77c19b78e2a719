"""What a config names on disk is looked at before any step runs."""

import pytest

from scsw.errors import ScswError
from scsw.named_files import check_named_files
from scsw.settings import validate_config
from tests.test_settings import COHORT, config


def test_the_shipped_gene_sets_pass_and_missing_inputs_are_left_to_snakemake():
    check_named_files(validate_config(config()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cohorts": [{**COHORT, "path": "~/x.h5ad"}]}, "cohorts.0.path is '~/x.h5ad'"),
        ({"cohorts": [{**COHORT, "path": "a/{x}.h5ad"}]}, "cohorts.0.path"),
        ({"cohorts": [{**COHORT, "path": ""}]}, "cohorts.0.path is ''"),
        ({"cohorts": [{**COHORT, "cps_table": "~/x.csv"}]}, "cohorts.0.cps_table"),
        ({"results": "$HOME/results"}, "results is '.HOME/results'"),
        ({"spatial": {"path": "~/x"}}, "spatial.path"),
        ({"external": {"bulk": [{"name": "adni", "path": "~/x"}]}}, "external.bulk.0.path"),
        ({"enrich": {"gene_sets": ["~/x.gmt"]}}, "enrich.gene_sets.0"),
        ({"enrich": {"prerank_gene_sets": ["none.gmt"]}}, "none.gmt does not exist"),
        ({"enrich": {"primary_gene_sets": ["README.md"]}}, "line 1 of .*README.md"),
        ({"biomarkers": {"gwas_gene_sets": "none.gmt"}}, "none.gmt does not exist"),
        ({"biomarkers": {"gwas_set": "NONE"}}, "has no gene set NONE"),
    ],
)
def test_a_path_that_cannot_serve_is_told_with_its_key(change, message):
    with pytest.raises(ScswError, match=message):
        check_named_files(validate_config(config(**change)))


def test_results_may_be_new_or_a_folder_but_no_file(tmp_path):
    (tmp_path / "file").write_text("")
    for name in (".", "new"):
        check_named_files(validate_config(config(results=str(tmp_path / name))))
    with pytest.raises(ScswError, match=r"results is .*file, which is no folder"):
        check_named_files(validate_config(config(results=str(tmp_path / "file"))))
