r"""Build the project's own Alzheimer's gene sets, gene_sets/ad_axes.gmt.

Each axis is a recipe over sets that were published: terms of the Gene Ontology, pathways of the
three libraries beside it, short lists of markers, and single genes. The recipe is the set's
description in the GMT. Run it again with::

    apt-get download r-bioc-org.hs.eg.db=3.16.0-1
    dpkg -x r-bioc-org.hs.eg.db_3.16.0-1_all.deb org
    python resources/make_ad_axes.py $(find org -name org.Hs.eg.sqlite)

A recipe is read from left to right; ``+`` adds a set, ``&`` keeps what it has in common, ``-``
takes it away. Of a GO term, genes of its child terms count too; annotations that no curator saw
(evidence IEA) and those without data (ND) do not. Symbols become today's, and what is not a
protein-coding gene of genes.csv.gz (microRNAs, pseudogenes, withdrawn symbols) is left out.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from scsw.biology.gene_sets import read_gmt

HERE = Path(__file__).parent
LIBRARIES = ("hallmark", "reactome", "wikipathways")
GO_SHA256 = "bba36057dd3100a099e8054511b34d831349761971829a72b84859d2efe34605"

AXES = {
    "AD_AMYLOID_PROCESSING": "GO:0042982 + GO:0050435 + GO:0070765 + APP",
    "AD_TAU_KINASES_PHOSPHATASES": "MAPT + GO:0050321 + GO:0016533 + GO:0000159",
    "AD_TREM2_TYROBP_APOE": (
        "WP_TYROBP_CAUSAL_NETWORK_IN_MICROGLIA + REACTOME_DAP12_SIGNALING + APOE"
    ),
    "AD_MICROGLIA_DAM": "DAM_2017",
    "AD_MICROGLIA_HOMEOSTATIC": "DAM_2017_DOWN + HOMEOSTATIC_2021 + HOMEOSTATIC_2022",
    "AD_NEUROINFLAMMATION": (
        "GO:0150076 + REACTOME_THE_NLRP3_INFLAMMASOME + REACTOME_INTERLEUKIN_1_PROCESSING"
    ),
    "AD_AMPK_FOXO3": (
        "REACTOME_ENERGY_DEPENDENT_REGULATION_OF_MTOR_BY_LKB1_AMPK"
        " + REACTOME_REGULATION_OF_LOCALIZATION_OF_FOXO_TRANSCRIPTION_FACTORS"
        " + REACTOME_REGULATION_OF_FOXO_TRANSCRIPTIONAL_ACTIVITY_BY_ACETYLATION"
        " + REACTOME_FOXO_MEDIATED_TRANSCRIPTION_OF_OXIDATIVE_STRESS_METABOLIC_AND_NEURONAL_GENES"
    ),
    "AD_OXPHOS": (
        "WP_ELECTRON_TRANSPORT_CHAIN_OXPHOS_SYSTEM_IN_MITOCHONDRIA"
        " & REACTOME_RESPIRATORY_ELECTRON_TRANSPORT_ATP_SYNTHESIS_BY_CHEMIOSMOTIC_COUPLING"
        "_AND_HEAT_PRODUCTION_BY_UNCOUPLING_PROTEINS"
    ),
    "AD_OXIDATIVE_STRESS": (
        "HALLMARK_REACTIVE_OXYGEN_SPECIES_PATHWAY"
        " + REACTOME_DETOXIFICATION_OF_REACTIVE_OXYGEN_SPECIES + WP_OXIDATIVE_STRESS_RESPONSE"
    ),
    # The vesicle machinery that both kinds of synapse share tells neither from the other.
    "AD_GLUTAMATERGIC_SYNAPSE": (
        "GO:0035249 + REACTOME_GLUTAMATE_NEUROTRANSMITTER_RELEASE_CYCLE"
        " + REACTOME_UNBLOCKING_OF_NMDA_RECEPTORS_GLUTAMATE_BINDING_AND_ACTIVATION"
        " + REACTOME_TRAFFICKING_OF_AMPA_RECEPTORS"
        " - REACTOME_ACETYLCHOLINE_NEUROTRANSMITTER_RELEASE_CYCLE"
    ),
    "AD_CHOLINERGIC_SYNAPSE": (
        "REACTOME_ACETYLCHOLINE_NEUROTRANSMITTER_RELEASE_CYCLE"
        " - REACTOME_GLUTAMATE_NEUROTRANSMITTER_RELEASE_CYCLE"
        " + REACTOME_ACETYLCHOLINE_BINDING_AND_DOWNSTREAM_EVENTS"
        " + REACTOME_MUSCARINIC_ACETYLCHOLINE_RECEPTORS + WP_ACETYLCHOLINE_SYNTHESIS + GO:0007271"
    ),
    "AD_ASTROCYTE_REACTIVE": "PAN_REACTIVE_2018 + DAA_2020 + NON_HOMEOSTATIC_2022",
    "AD_ASTROCYTE_METABOLIC": (
        "GO:0098712 & REACTOME_GLUTAMATE_NEUROTRANSMITTER_RELEASE_CYCLE"
        " + REACTOME_GLUTAMATE_AND_GLUTAMINE_METABOLISM + WP_AEROBIC_GLYCOLYSIS"
        " + REACTOME_GLYCOGEN_BREAKDOWN_GLYCOGENOLYSIS"
        " + REACTOME_PROTON_COUPLED_MONOCARBOXYLATE_TRANSPORT"
    ),
    "AD_LIPID_CHOLESTEROL": (
        "REACTOME_CHOLESTEROL_BIOSYNTHESIS"
        " + REACTOME_PLASMA_LIPOPROTEIN_ASSEMBLY_REMODELING_AND_CLEARANCE"
        " + REACTOME_NR1H3_NR1H2_REGULATE_GENE_EXPRESSION_LINKED_TO_CHOLESTEROL_TRANSPORT"
        "_AND_EFFLUX + REACTOME_ABC_TRANSPORTERS_IN_LIPID_HOMEOSTASIS"
    ),
    "AD_AUTOPHAGY_LYSOSOME": (
        "WP_AUTOPHAGY + REACTOME_PINK1_PRKN_MEDIATED_MITOPHAGY"
        " + REACTOME_LYSOSOME_VESICLE_BIOGENESIS + GO:0007040"
    ),
    "AD_GWAS_2022": "BELLENGUEZ_2022 + BELLENGUEZ_2022_LOCI",
}

# Markers as the repositories in README.md list them; mouse symbols as their human orthologues.
LISTS = {
    "DAM_2017": (
        "APOE B2M CSTB TYROBP TIMP2 HLA-A HLA-B HLA-C FTH1 LYZ CTSB CTSD "
        "ANK1 SPP1 AXL CSF1 CST7 CD9 CADM1 CLEC7A ITGAX CD63 CD68 CTSA LPL GUSB SERPINE2 CTSZ "
        "CD52 CTSL HIF1A"
    ),
    "DAM_2017_DOWN": "P2RY12 P2RY13 SERINC3 CX3CR1 TGFBR1 TMEM119 TXNIP GLUL",
    "HOMEOSTATIC_2021": "SH3RF3 TMEM163 P2RY12 CX3CR1 SOX5",
    "HOMEOSTATIC_2022": "FRMD4A P2RY12 SYNDIG1 CX3CR1",
    "PAN_REACTIVE_2018": "LCN2 STEAP4 S1PR3 TIMP1 CXCL10 CD44 OSMR CP SERPINA3 ASPG VIM GFAP",
    "DAA_2020": "APOE GFAP CTSB VIM OSMR SERPINA3 GSN CTSD CTSL CHI3L1",
    "NON_HOMEOSTATIC_2022": "GFAP SERPINA3 OSMR TPST1 IGFBP7 CHI3L1",
    "BELLENGUEZ_2022": (
        "SORT1 CR1 ADAM17 PRKD3 NCK2 BIN1 WDR12 INPP5D MME IDUA CLNK RHOH ANKH COX7C TNIP1 "
        "RASGEF1C HLA-DQA1 UNC5CL TREM2 TREML2 CD2AP HS3ST5 UMAD1 ICA1 TMEM106B JAZF1 EPDR1 "
        "SEC61G SPDYE3 EPHA1 CTSB PTK2B CLU SHARPIN ABCA1 USP6NL ANK3 TSPAN14 BLNK PLEKHA1 SPI1 "
        "MS4A4A EED SORL1 TPCN1 FERMT2 SLC24A4 SPPL2A MINDY2 APH1B SNX1 CTSH DOC2A BCKDK IL34 "
        "MAF PLCG2 FOXF1 PRDM7 WDR81 SCIMP MYO15A GRN WNT3 ABI3 TSPOAP1 ACE ABCA7 KLF16 APOE "
        "SIGLEC11 LILRB2 RBCK1 CASS4 SLC2A4RG APP ADAMTS1"
    ),
    # Genes that name a locus known before, beside the one nearest to its lead variant.
    "BELLENGUEZ_2022_LOCI": (
        "HS3ST1 NME8 ZCWPW1 NYAP1 ECHDC3 CELF1 PICALM RIN3 ADAM10 KAT8 RABEP1 MAPT"
    ),
}


def gene_ontology(database: Path) -> Callable[[str], set[str]]:
    """Return a function from a GO term to its genes, after a check of the database's sum."""
    if (found := hashlib.sha256(database.read_bytes()).hexdigest()) != GO_SHA256:
        sys.exit(f"{database} has the sha256 {found}, expected {GO_SHA256}")
    query = " union ".join(
        f"select symbol from go_{part}_all join gene_info using (_id)"
        " where go_id = :term and evidence not in ('IEA', 'ND')"
        for part in ("bp", "mf", "cc")
    )
    connection = sqlite3.connect(database)
    return lambda term: {row[0] for row in connection.execute(query, {"term": term})}


def published_sets() -> dict[str, set[str]]:
    """Return the sets of the shipped libraries and the lists of markers by name."""
    libraries = [read_gmt(HERE / "gene_sets" / f"{name}.gmt") for name in LIBRARIES]
    sets = {name: set(genes) for library in libraries for name, genes in library.items()}
    return sets | {name: set(genes.split()) for name, genes in LISTS.items()}


def cook(recipe: str, genes_of: Callable[[str], set[str]]) -> set[str]:
    """Return the genes of a recipe: names of sets with ``+``, ``&`` or ``-`` between them."""
    first, *rest = recipe.split()
    genes = genes_of(first)
    for operator, name in zip(rest[::2], rest[1::2], strict=True):
        more = genes_of(name)
        genes = {"+": genes | more, "&": genes & more, "-": genes - more}[operator]
    return genes


def todays_symbols() -> dict[str, str]:
    """Return today's symbol of each protein-coding gene by its names, old and new."""
    columns = ["id", "symbol", "version", "length", "biotype"]
    genes = pd.read_csv(HERE / "genes.csv.gz", names=columns, dtype=str, keep_default_na=False)
    coding = set(genes.loc[genes["biotype"] == "protein_coding", "symbol"])
    aliases = pd.read_csv(HERE / "gene_aliases.csv.gz", dtype=str, keep_default_na=False)
    aliases = aliases[aliases["symbol"].isin(coding)]
    return dict(zip(aliases["alias"], aliases["symbol"], strict=True)) | {g: g for g in coding}


if __name__ == "__main__":
    go, sets, today = gene_ontology(Path(sys.argv[1])), published_sets(), todays_symbols()

    def genes_of(name: str) -> set[str]:
        """Return the genes of a GO term, a published set, or a single gene."""
        if name in today:
            return {name}
        found = go(name) if re.fullmatch(r"GO:\d{7}", name) else sets.get(name)
        return found or sys.exit(f"{name} is no gene and no set with genes")

    with open(HERE / "gene_sets" / "ad_axes.gmt", "w", encoding="utf-8", newline="\n") as out:
        for axis, recipe in AXES.items():
            named = cook(recipe, genes_of)
            genes = sorted({today[gene] for gene in named & today.keys()})
            out.write("\t".join([axis, recipe, *genes]) + "\n")
            print(f"{axis}: {len(genes)} genes; left out: {sorted(named - today.keys())}")
