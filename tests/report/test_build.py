"""The whole report: files, the word simulated, escaping, no number that is not in the tables."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from scsw.errors import ScswError
from scsw.report import build, limits, style
from scsw.report.checks import checks
from scsw.report.figures import DRAW
from scsw.report.methods import methods_text
from scsw.report.names import FORMATS, figure_names
from scsw.report.numbers import collect
from scsw.report.provenance_records import read_records
from scsw.report.sections import SECTIONS
from scsw.report.summary import print_summary
from scsw.report.tables import read_tables
from tests.report.conftest import NASTY_TYPES, NASTY_WARNING
from tests.report.prose import unsupported
from tests.report.tables import Shape, write_run


class Page(HTMLParser):
    """Collects what a page holds and fails on tags that do not match."""

    VOID = ("meta", "img", "br", "hr", "link")

    def __init__(self, html: str):
        super().__init__()
        self.open, self.ids, self.links, self.sources, self.text = [], [], [], [], []
        self.tags = set()
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.add(tag)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if "href" in given else []
        self.sources += [given["src"]] if "src" in given else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.text.append(data)


def test_every_figure_is_written_in_every_format(written):
    names = figure_names(written.run.config, written.run.cohort)
    found = {path.name for path in (written.out / "figures").iterdir()}
    assert found == {f"{name}.{kind}" for name in names for kind in FORMATS}
    assert set(names) == set(DRAW) == set(SECTIONS)
    assert {p.name for p in written.out.iterdir()} == {
        "figures",
        "report.html",
        "methods.md",
        "numbers.json",
        "report.provenance.json",
    }


def test_its_own_provenance_names_every_table_it_read(written, monkeypatch):
    record = json.loads((written.out / "report.provenance.json").read_text())
    assert record["simulated"] is True
    opened = set()
    from scsw.report import read, tables

    places = [(read, "read"), *((tables, n) for n in ("read", "read_optional", "cohort_facts"))]
    for module, name in places:
        original = getattr(module, name)

        def noted(path, *args, original=original, **kwargs):
            opened.add(str(path))
            return original(path, *args, **kwargs)

        monkeypatch.setattr(module, name, noted)
    _tables(written.run)
    assert opened == {entry["path"] for entry in record["inputs"].values()}


def test_figures_say_simulated_and_keep_their_text_as_text(written):
    for path in (written.out / "figures").glob("*.svg"):
        svg = path.read_text()
        assert ">simulated</text>" in svg
        sizes = [float(size) for size in re.findall(r"font(?:-size)?: (?:\w+ )*?([\d.]+)px", svg)]
        assert sizes and min(sizes) >= style.FONT
    assert "Astrocyte" in (written.out / "figures" / "collapse.svg").read_text()


def test_figures_fit_a_journal_page(written):
    for path in (written.out / "figures").glob("*.png"):
        with Image.open(path) as image:
            width, height = (side / 300 * 25.4 for side in image.size)
        assert width <= style.DOUBLE + 0.1
        assert height <= style.MAX_HEIGHT + 0.1


def test_pdf_fonts_are_editable(written):
    for path in (written.out / "figures").glob("*.pdf"):
        pdf = path.read_bytes()
        assert b"/FontFile2" in pdf and b"/Type3" not in pdf
        assert b"CreationDate" not in pdf


def test_a_figure_has_the_same_bytes_each_time(written, tmp_path):
    tables = _tables(written.run)
    with style.applied():
        style.save_figure(DRAW["controls"](tables), "controls", tmp_path, simulated=True)
    for kind in FORMATS:
        again = (tmp_path / f"controls.{kind}").read_bytes()
        assert again == (written.out / "figures" / f"controls.{kind}").read_bytes()


def test_the_last_digits_of_the_layout_do_not_reach_a_file():
    with style.applied():
        fig = style.new_figure(style.SINGLE, 40)
        ax = fig.subplots()
        style.fix_layout(fig)
        assert all(value == round(value, 5) for value in ax.get_position().bounds)


def test_page_is_whole_and_needs_no_network(written):
    page = Page(written.html)
    assert page.sources and all(
        src.startswith("data:image/svg+xml;base64,") for src in page.sources
    )
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert len(page.sources) == len(figure_names(written.run.config, written.run.cohort))
    assert not re.search(r"https?://|url\(|@import", written.html)
    assert "script" not in page.tags
    inlined = base64.b64decode(page.sources[0].split(",", 1)[1])
    assert inlined == (written.out / "figures" / "cohort.svg").read_bytes()


def test_page_begins_with_the_verdict_and_says_simulated(written):
    text = " ".join(Page(written.html).text)
    sentence = written.numbers["verdict_sentence"]
    assert "simulated" in sentence
    assert text.index("Simulated data") < text.index(sentence) < text.index("Verdicts")


def test_what_to_look_at_before_belief_stands_above_the_sections(written):
    page, numbers = Page(written.html), written.numbers
    text = " ".join(" ".join(page.text).split())
    for check in checks(numbers):
        place = text.index(f"{check['name']} : {check['text']}")
        assert text.index(numbers["verdict_sentence"]) < place < text.index("After quality control")
        assert check["section"] in page.ids
        assert unsupported(check["text"], numbers) == []


def test_a_placard_is_a_file_but_not_shown_twice_on_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "figure_names", lambda *_: ["cohort", "pruning", "finetuning"])
    run = write_run(tmp_path, Shape(seeds=(0,), arms=(), n_candidates=0, n_controls=5))
    build.report(run.folder, tmp_path / "out", config=run.config, cohort=run.cohort)
    html = (tmp_path / "out" / "report.html").read_text()
    shown = [title for title in re.findall(r'alt="([^"]*), as described', html)]
    assert "Cohort" in shown and "Pruning" not in shown
    assert (tmp_path / "out" / "figures" / "pruning.svg").exists()
    numbered = [int(number) for number in re.findall(r"<b>Figure (\d+)\.</b>", html)]
    assert numbered == list(range(1, len(shown) + 1))


def test_tables_name_their_headers_for_screen_readers(written):
    heads = re.findall(r"<th\b[^>]*>", written.html)
    assert heads and all("scope=" in head for head in heads)
    assert '<th scope="row">seed 0</th>' in written.html


@pytest.mark.parametrize("height", [17, style.MAX_HEIGHT])
def test_the_word_simulated_lies_on_the_page(height):
    with style.applied():
        fig = style.new_figure(style.SINGLE, height)
        style.mark_simulated(fig)
        fig.draw_without_rendering()
        box = fig.texts[0].get_window_extent()
        assert box.y1 <= fig.bbox.y1 - 0.3 * style.MM * fig.dpi


def test_what_users_wrote_is_escaped(written):
    assert "<script>" not in written.html and "<b onclick" not in written.html
    text = " ".join(" ".join(Page(written.html).text).split())
    assert NASTY_WARNING in text
    named = written.numbers["sections"]["collapse"]["cell_type"]
    assert named in NASTY_TYPES and named in text
    svg = (written.out / "figures" / "cohort.svg").read_text()
    assert "<b onclick" not in svg and "&lt;b onclick" in svg


def test_prose_holds_no_number_that_numbers_json_does_not(written):
    numbers = written.numbers
    prose = [numbers["verdict_sentence"], *limits.sentences(numbers)]
    for name, (_, module) in SECTIONS.items():
        prose += module.reading(numbers["sections"][name])
    shown = " ".join(" ".join(Page(written.html).text).split())
    for paragraph in prose:
        assert paragraph in shown
        assert unsupported(paragraph, numbers) == []
    methods = re.sub(
        r"(et al\.|Hochberg|Tibshirani|Simes|Rüger) \d{4}",
        "",
        (written.out / "methods.md").read_text(),
    )
    assert unsupported(methods.split("## References")[0], numbers) == []


def test_the_check_of_prose_finds_an_invented_number(written):
    assert unsupported("It rises by 0.98765 nats.", written.numbers) == ["0.98765"]


def test_numbers_come_from_the_tables(written):
    n, tables = written.numbers, _tables(written.run)
    first = tables.verdicts[tables.verdicts["verdict"] == "causal, constant"].iloc[0]
    assert n["verdict"]["largest"]["effect_nll"] == pytest.approx(first["effect_nll"], rel=1e-5)
    assert n["sections"]["cohort"]["n_cells"] == len(tables.obs)
    assert n["sections"]["cohort"]["count_share"] == pytest.approx(0.97)
    random = tables.effects.query("weight_set == 'random'")["effect_nll"]
    assert n["sections"]["pruning"]["random_largest"] == pytest.approx(
        np.abs(random).max(), rel=1e-5
    )
    real = tables.performance.query("arm == 'real' and predictor == 'scgpt'")
    accuracy = real.query("metric == 'accuracy' and cell_type == 'all'")["donor_mean"]
    assert n["sections"]["finetuning"]["test"]["accuracy"]["scgpt"] == pytest.approx(
        {"low": accuracy.min(), "high": accuracy.max()}, rel=1e-5
    )
    assert n["simulated"] is True and n["reductions"] == n["limits"]["reductions"]


def test_effects_of_candidates_agree_with_their_verdicts(written):
    tables = _tables(written.run)
    own = tables.effects.query("weight_set == 'candidate'").set_index(["seed", "candidate_id"])
    judged = tables.verdicts.set_index(["seed", "candidate_id"])["effect_nll"]
    measured = own["effect_nll"].reindex(judged.index)
    np.testing.assert_allclose(measured, judged, rtol=1e-12)


def test_donors_are_counted_by_part_and_none_is_named(written):
    text = " ".join(" ".join(Page(written.html).text).split())
    rows = written.numbers["sections"]["cohort"]["stratification"]["rows"]
    assert [row["donors"] for row in rows] == [4, 2, 2, 4, 12]
    for row in rows:
        counts = [row["donors"], row["reference"], *row["counts"], row["cells"]]
        assert " ".join([row["part"], *(f"{n:,}" for n in counts)]) in text
    figures = [path.read_text() for path in (written.out / "figures").glob("*.svg")]
    donors = _tables(written.run).donors["donor_id"]
    assert len(donors) == 12
    for donor in donors:
        assert not any(donor in shown for shown in (written.html, str(written.numbers), *figures))


def test_provenance_is_told_but_not_the_host(written):
    assert "scgpt 0.2.4" in written.html and "abc1234" in written.html
    assert "somewhere" not in written.html
    assert written.numbers["versions"]["torch"] == "2.13.0"


@pytest.mark.parametrize("folder", [lambda out: out, lambda out: out.parent])
def test_print_summary(written, capsys, folder):
    print_summary(folder(written.out))
    path, sentence, *arms = capsys.readouterr().out.splitlines()
    assert path == str(written.out / "report.html")
    assert sentence == written.numbers["verdict_sentence"]
    told = written.numbers["sections"]["controls"]["arms"]
    assert len(arms) == len(told) > 0
    for line, arm in zip(arms, told, strict=True):
        assert line.startswith(f"  control “{arm['label']}”, ") and line.endswith(arm["outcome"])


def test_a_summary_of_nothing_is_an_error(tmp_path):
    with pytest.raises(ScswError, match=r"holds no report\.html"):
        print_summary(tmp_path)


def test_data_that_are_not_simulated_are_not_called_so(tmp_path):
    run = write_run(tmp_path, Shape(seeds=(0,), arms=(), n_controls=5, simulated=False))
    tables = _tables(run)
    numbers = collect(tables, read_records(run.folder, tables.config, tables.cohort))
    with style.applied():
        style.save_figure(style.placard("No gene set."), "pathways", tmp_path, tables.simulated)
    assert "simulated" not in (tmp_path / "pathways.svg").read_text()
    assert "imulated" not in methods_text(numbers) + numbers["verdict_sentence"]
    assert not any("imulated" in sentence for sentence in limits.sentences(numbers))


def test_nothing_is_left_behind_when_a_table_is_missing(tmp_path):
    run = write_run(tmp_path / "run", Shape(seeds=(0,), arms=(), n_controls=5))
    (run.folder / "real" / "0" / "prune" / "effects.parquet").unlink()
    with pytest.raises(ScswError, match=r"effects\.parquet does not exist"):
        build.report(run.folder, tmp_path / "out", config=run.config, cohort=run.cohort)
    assert not (tmp_path / "out").exists()


def _tables(run):
    return read_tables(
        run.folder, config=run.config, cohort=run.cohort, replication_dir=run.replication
    )
