"""Gene-set libraries in the GMT format."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace

from scsw.errors import ScswError
from scsw.files import require

Library = dict[str, list[str]]

# The package's folder (an installed wheel) and the repository: where `resources/` may stand.
_ROOTS = Path(__file__).parents[1:3]


def find_gmt(path: str | Path) -> Path:
    """Return a GMT file's path: as given, else below the package's own ``resources/``.

    Raises
    ------
    ScswError
        If there is no such file.
    """
    beside = [root / path for root in _ROOTS]
    return next((p for p in [Path(path), *beside] if p.is_file()), None) or require(path)


def read_gmt(path: str | Path) -> Library:
    """Read a GMT file: one set a line, as name, description and genes, split by tabs.

    Parameters
    ----------
    path
        The GMT file, UTF-8.

    Returns
    -------
    dict
        Set name → its genes in the file's order, each gene once.

    Raises
    ------
    ScswError
        If the file is missing, is not text, holds no set, holds a set without genes, or holds
        two sets of one name.
    """
    path = require(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise ScswError(
            f"{path} cannot be read as a GMT file: {error}", expected="a UTF-8 text file"
        ) from error
    sets: Library = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, *rest = [part.strip() for part in line.split("\t")]
        genes = list(dict.fromkeys(gene for gene in rest[1:] if gene))
        if not name or not genes or name in sets:
            problem = f"repeats the set {name}" if name in sets else "has no set name or no genes"
            raise ScswError(
                f"line {number} of {path} {problem}",
                expected="lines of set name, description and genes, split by tabs",
                fix="correct that line or give another GMT file",
            )
        sets[name] = genes
    if not sets:
        raise ScswError(f"{path} holds no gene set", expected="at least one line in GMT format")
    return sets


def read_libraries(paths: Iterable[str | Path]) -> dict[str, Library]:
    """Read GMT files; the stem of a file's name is the name of its library.

    A file that is given twice is read once.

    Raises
    ------
    ScswError
        If a file is not good GMT, or if two different files have one stem.
    """
    files: dict[str, Path] = {}
    for path in paths:
        file = find_gmt(path)
        if not files.setdefault(file.stem, file).samefile(file):
            raise ScswError(
                f"two gene-set files are named {file.stem}: {files[file.stem]} and {file}",
                expected="file names that differ, since they name the libraries",
            )
    return {name: read_gmt(file) for name, file in files.items()}


def gwas_genes(path: str | Path, name: str) -> set[str]:
    """Read the set of a GMT file that holds the genes of a genome-wide association study.

    Raises
    ------
    ScswError
        If the file is not good GMT or has no such set.
    """
    sets = read_gmt(path)
    if name not in sets:
        raise ScswError(
            f"{path} has no gene set {name}",
            expected=f"one of its sets, such as {next(iter(sets))}",
            fix="correct biomarkers.gwas_set or biomarkers.gwas_gene_sets",
        )
    return set(sets[name])


def within_background(
    library: Mapping[str, Collection[str]],
    background: Collection[str],
    *,
    min_size: int,
    max_size: int,
) -> Library:
    """Cut each set to the background and keep those of a testable size.

    Parameters
    ----------
    library
        Set name → genes.
    background
        All genes that could have been found.
    min_size, max_size
        Smallest and largest number of genes within the background. A set that holds the whole
        background is left out too: it has no genes outside to be compared with.

    Returns
    -------
    dict
        Set name → its genes within the background, names and genes sorted.
    """
    background = set(background)
    largest = min(max_size, len(background) - 1)
    cut = {name: sorted(background.intersection(library[name])) for name in sorted(library)}
    return {name: genes for name, genes in cut.items() if min_size <= len(genes) <= largest}


def testable_sets(
    libraries: Mapping[str, Library], background: Collection[str], settings: SimpleNamespace
) -> dict[str, Library]:
    """Cut every library as `within_background` does.

    Parameters
    ----------
    libraries
        Library → set → genes.
    background
        All genes that could have been found.
    settings
        Section ``enrich`` of the config: ``min_size, max_size``.
    """
    limits = {"min_size": settings.min_size, "max_size": settings.max_size}
    return {name: within_background(sets, background, **limits) for name, sets in libraries.items()}
