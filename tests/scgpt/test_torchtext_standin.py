import subprocess
import sys
import time

import pytest

from scsw.scgpt.torchtext_standin import Vocab, vocab


def run(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return result.stdout.strip().splitlines()[-1]


def test_scgpt_imports_in_a_fresh_process():
    assert run(
        "import scsw.scgpt; from scgpt.model import TransformerModel as T; print(T.__name__)"
    ) == ("TransformerModel")


def test_a_torchtext_that_loads_is_left_alone(tmp_path):
    package = tmp_path / "torchtext"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "vocab.py").write_text("Vocab = 'the real one'; vocab = None")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import scsw.scgpt; "
        "import torchtext.vocab; print(torchtext.vocab.Vocab)"
    )
    assert run(code) == "the real one"


def test_gene_vocab_of_a_checkpoint_loads_quickly():
    from scgpt.tokenizer.gene_tokenizer import GeneVocab

    table = {"<pad>": 0, **{f"g{i}": i + 1 for i in range(60_000)}}
    started = time.perf_counter()
    loaded = GeneVocab.from_dict(table)
    assert time.perf_counter() - started < 20  # inserting at the end is O(1); O(n) takes minutes
    assert loaded["g59999"] == 60_000
    assert loaded["never seen"] == 0
    assert loaded.get_stoi() == table


def test_vocab_behaves_like_torchtexts():
    table = vocab({"b": 2, "a": 1, "rare": 0}, min_freq=1)
    assert table.get_itos() == ["b", "a"]
    table.insert_token("first", 0)
    assert table(["first", "b", "a"]) == [0, 1, 2]
    assert "a" in table and len(table) == 3 and table.lookup_token(2) == "a"
    with pytest.raises(RuntimeError, match="not found"):
        table["unknown"]
    with pytest.raises(RuntimeError, match="Cannot insert"):
        table.insert_token("a", 0)
    table.append_token("last")
    assert Vocab(table).get_stoi() == {"first": 0, "b": 1, "a": 2, "last": 3}
