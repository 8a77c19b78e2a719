"""Steps `search-screen` and `search-slopes`: the part of a search that can be done in shards.

One backward pass over the cells serves the weights of all blocks, so the first-order screen is one
job. The slopes at three scales are taken weight by weight, and only by running what comes after a
weight; so these are divided over the blocks. `scsw search` then reads both.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from scsw.files import require, write_table
from scsw.shards import check_shard
from scsw.superweight.search.screen import first_order_screen, slopes
from scsw.superweight.search.screen_files import read_first_order, slopes_file, write_screen
from scsw.superweight.search.searched_model import opened


def search_screen(
    model_folder: str | Path,
    cohort: str | Path,
    out: str | Path,
    *,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
) -> None:
    """Search for spikes and take the first-order screen of a model, without slopes.

    Parameters
    ----------
    model_folder, cohort, settings, compute
        As for `scsw.superweight.search.search.search`.
    out
        Folder that `search_slopes` and `search` read.
    """
    out = Path(out)
    given = {"settings": settings, "compute": compute}
    with opened("search-screen", model_folder, cohort, out, inputs={}, parameters={}, **given) as (
        searched,
        _,
    ):
        spiking = searched.spiking()
        found = first_order_screen(
            searched.model,
            searched.tokenizer,
            searched.cells.rows,
            device=searched.device,
            also=zip(spiking["block"], spiking["row"], spiking["column"], strict=True),
            **given,
        )
        write_screen(out, spiking, found)


def search_slopes(
    model_folder: str | Path,
    cohort: str | Path,
    folder: str | Path,
    *,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    shard: int,
) -> None:
    """Take the slopes of the weights of some blocks: of every ``search.shards``-th from `shard` on.

    Parameters
    ----------
    model_folder, cohort, settings, compute
        As for `scsw.superweight.search.search.search`.
    folder
        Folder of `search_screen`; the shard is written into its folder ``slopes``.
    shard
        Which of ``search.shards``, from 0 on. One that no weight falls to is empty.

    Raises
    ------
    ScswError
        If there is no such shard.
    """
    check_shard("search", shard, settings.shards)
    folder = require(folder)
    out = slopes_file(folder, shard, settings.shards)
    given = {"settings": settings, "compute": compute}
    with opened(
        f"search-slopes-{shard}-of-{settings.shards}",
        model_folder,
        cohort,
        out.parent,
        inputs={"first_order": require(folder / "first_order.parquet")},
        parameters={"shard": shard},
        **given,
    ) as (searched, _):
        _, found = read_first_order(folder)
        places = found.places()
        table = slopes(
            searched.model,
            searched.tokenizer,
            searched.cells.rows,
            places[places[:, 0] % settings.shards == shard],
            device=searched.device,
            **given,
        )
        write_table(table, out)
