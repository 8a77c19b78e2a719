import subprocess
import sys

import pytest


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


def test_the_vocabulary_of_the_package_says_what_it_lacks():
    from scgpt.tokenizer.gene_tokenizer import GeneVocab

    with pytest.raises(NotImplementedError, match="needs torchtext"):
        GeneVocab.from_dict({"<pad>": 0, "APP": 1})
