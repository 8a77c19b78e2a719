"""From a candidate parameter to genes, pathways, disease stages and other cohorts."""
