"""`init`: a checkpoint becomes the starting model of a cohort."""

import json

import anndata
import numpy as np
import pytest
import torch

from scsw.errors import ScswError
from scsw.files import read_table
from scsw.scgpt.checkpoint.inspect import inspect, lines, require_trainable
from scsw.scgpt.finetune import finetune
from scsw.scgpt.init import init
from scsw.scgpt.model import load_model, new_model, read_vocabulary
from scsw.scgpt.model_args import read_args
from scsw.settings import section_settings
from scsw.superweight.controls.implant import implant
from tests.tiny import COMPUTE, TYPES, model_settings, write_cohort

EMBEDDING = "encoder.embedding.weight"
ARGS = {"embsize": 16, "nheads": 2, "d_hid": 24, "nlayers": 3, "dropout": 0.1, "n_bins": 51}
ARGS |= {"max_seq_len": 24}


@pytest.fixture
def cohort(tmp_path):
    return write_cohort(tmp_path / "cohort")


def checkpoint(folder, vocabulary, change=lambda state: state, **args):
    """Write a folder as scGPT's scripts do; its embeddings say which token they are of."""
    folder.mkdir()
    (folder / "args.json").write_text(json.dumps(ARGS | args))
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    torch.manual_seed(3)
    state = dict(new_model(ARGS | args, vocabulary, 4).state_dict())
    numbers = torch.tensor([float(sum(map(ord, token))) for token in vocabulary])
    state[EMBEDDING] = numbers[:, None].repeat(1, 16)
    torch.save(change(state), folder / "best_model.pt")
    return folder


def started(cohort, folder, out, **options):
    init(cohort, out, model=model_settings(checkpoint=str(folder)), seed=0, **options)
    return load_model(out), read_table(out / "checkpoint_keys.tsv").set_index("key")


def own_vocabulary(cohort):
    return json.loads(cohort.with_name("vocab.json").read_text())


def in_order(tokens):
    return {token: index for index, token in enumerate(tokens)}


OTHERS = {
    "reordered": lambda own: in_order(reversed(own)),
    "larger": lambda own: in_order(["NEW1", *own, "NEW2", "NEW3"]),
    "without <eoc>": lambda own: in_order(token for token in own if token != "<eoc>"),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_embeddings_are_moved_to_the_rows_of_their_tokens(cohort, tmp_path, other):
    own = own_vocabulary(cohort)
    theirs = other(own)
    folder = checkpoint(tmp_path / "given", theirs)
    model, keys = started(cohort, folder, tmp_path / "out")
    embedding = model.state_dict()[EMBEDDING]
    assert read_vocabulary(tmp_path / "out") == own and len(embedding) == len(own)
    for token, row in own.items():
        if token in theirs:
            assert (embedding[row] == sum(map(ord, token))).all(), token
        else:
            assert embedding[row].abs().max() <= 0.1  # as drawn
    shared = len({*own} & {*theirs})
    assert keys.loc[EMBEDDING, "action"] == "loaded"
    assert f"{shared} of {len(own)} tokens" in keys.loc[EMBEDDING, "reason"]
    assert "`scsw init` moves each embedding" in "\n".join(lines(inspect(folder, cohort)))


def test_the_moved_model_gives_the_same_numbers(cohort, tmp_path):
    """A gene is told by its name: ids of the checkpoint or of the cohort make no difference."""
    own = own_vocabulary(cohort)
    theirs = OTHERS["reordered"](own)
    folder = checkpoint(tmp_path / "given", theirs)
    moved, _ = started(cohort, folder, tmp_path / "out")
    given = load_model(folder)
    tokens = ["<cls>", "GENE03", "GENE17", "GENE40"]
    values, padding = torch.tensor([[0.0, 3, 9, 30]]), torch.zeros(1, 4, dtype=torch.bool)
    expected, found = (
        model(torch.tensor([[ids[t] for t in tokens]]), values, padding, MVC=True)
        for model, ids in ((given, theirs), (moved, own))
    )
    for name in ("cell_emb", "mlm_output", "mvc_output"):
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0)


def test_a_checkpoint_that_lacks_a_gene_of_the_cohort_is_refused(cohort, tmp_path):
    own = own_vocabulary(cohort)
    folder = checkpoint(tmp_path / "given", in_order(t for t in own if t != "GENE07"))
    with pytest.raises(ScswError, match=r"lacks 1 of the cohort's 60 genes: GENE07.*preprocess"):
        started(cohort, folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_embeddings_that_are_not_the_vocabularys_are_refused(cohort, tmp_path):
    """As many rows as the cohort has tokens, by chance, must not be taken for its rows."""
    own = own_vocabulary(cohort)
    folder = checkpoint(
        tmp_path / "given",
        in_order(["NEW", *own]),
        lambda state: state | {EMBEDDING: state[EMBEDDING][1:]},
    )
    with pytest.raises(ScswError, match=r"embedding\.weight of the checkpoint is \(63, 16\)"):
        started(cohort, folder, tmp_path / "out")


def test_the_same_tokens_in_another_file_are_no_reason_to_move(cohort, tmp_path):
    folder = checkpoint(tmp_path / "given", own_vocabulary(cohort))
    (folder / "vocab.json").write_text(json.dumps(own_vocabulary(cohort), indent=4))
    _, keys = started(cohort, folder, tmp_path / "out")
    assert keys.loc[EMBEDDING].to_list()[0] == "loaded"
    assert "moved" not in str(keys.loc[EMBEDDING, "reason"])


def test_parts_of_the_checkpoints_own_batches_are_dropped_and_listed(cohort, tmp_path):
    folder = checkpoint(
        tmp_path / "given",
        own_vocabulary(cohort),
        use_batch_labels=True,
        do_dab=True,
        num_batch_labels=3,
    )
    _, keys = started(cohort, folder, tmp_path / "out")
    assert keys.loc["batch_encoder.embedding.weight", "action"] == "dropped"
    assert keys.loc["grad_reverse_discriminator.out_layer.weight", "action"] == "dropped"
    assert keys.loc["decoder.fc.0.weight", "action"] == "re-initialised"
    assert keys.loc["decoder.fc.2.weight", "action"] == "loaded"
    args = read_args(tmp_path / "out")
    assert not args["use_batch_labels"] and not args["do_dab"]


@pytest.mark.parametrize("labels", [None, TYPES[::-1], TYPES])
def test_a_classifier_of_as_many_other_types_is_drawn_anew(cohort, tmp_path, labels):
    """The first of its types is not the first of the cohort's."""
    folder = checkpoint(
        tmp_path / "given",
        own_vocabulary(cohort),
        lambda state: {k: x[:3] if "cls_decoder.out" in k else x for k, x in state.items()},
    )
    if labels:
        (folder / "labels.json").write_text(json.dumps(labels))
    model, keys = started(cohort, folder, tmp_path / "out")
    given = torch.load(folder / "best_model.pt", weights_only=True)
    name, same = "cls_decoder.out_layer.weight", labels == TYPES
    assert keys.loc[name, "action"] == ("loaded" if same else "re-initialised")
    assert model.state_dict()[name].equal(given[name]) == same
    told = inspect(folder, cohort).keys.set_index("key")["action"]
    assert told[name] == keys.loc[name, "action"]


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({"domain_spec_batchnorm": "dsbn", "num_batch_labels": 2}, "by their experimental batch"),
        ({"domain_spec_batchnorm": "batchnorm"}, "by their experimental batch"),
        ({"cell_emb_style": "avg-pool"}, "embeds cells by `avg-pool`"),
    ],
)
def test_an_encoder_that_the_steps_cannot_run_is_refused(cohort, tmp_path, args, text):
    folder = checkpoint(tmp_path / "given", own_vocabulary(cohort), **args)
    with pytest.raises(ScswError, match=text):
        started(cohort, folder, tmp_path / "out")
    with pytest.raises(ScswError, match=text):
        inspect(folder, cohort)
    inspect(folder)  # by itself it is a scGPT folder like others


def test_args_are_of_the_checkpoint_and_its_style_is_kept(cohort, tmp_path):
    folder = checkpoint(
        tmp_path / "given", own_vocabulary(cohort), input_emb_style="category", input_style="binned"
    )
    model, keys = started(cohort, folder, tmp_path / "out")
    args = read_args(tmp_path / "out")
    assert (args["pad_value"], args["mask_value"], args["n_input_bins"]) == (51, 52, 53)
    assert model.input_emb_style == "category" and not args["fast_transformer"]
    assert keys.loc["value_encoder.embedding.weight", "action"] == "loaded"
    fresh, keys = started(cohort, folder, tmp_path / "fresh", fresh=True)
    assert set(keys["action"]) == {"re-initialised"}
    given = torch.load(folder / "best_model.pt", weights_only=True)
    assert not fresh.state_dict()[EMBEDDING].equal(given[EMBEDDING])


def test_a_category_model_is_trained_from_scratch_and_loads_in_the_package(cohort, tmp_path):
    from scgpt.model import TransformerModel

    init(cohort, tmp_path / "init", model=model_settings(input_emb_style="category"), seed=0)
    short = section_settings("finetune", {"max_steps": 3, "batch_size": 8, "lr": 0.01})
    finetune(tmp_path / "init", cohort, tmp_path / "model", settings=short, compute=COMPUTE)
    before, after = load_model(tmp_path / "init"), load_model(tmp_path / "model")
    moved = (before.value_encoder.embedding.weight - after.value_encoder.embedding.weight).abs()
    assert moved[1:].max() > 1e-3 and np.isfinite(moved.detach()).all()
    args = json.loads((tmp_path / "model" / "args.json").read_text())
    package = TransformerModel(
        len(read_vocabulary(tmp_path / "model")),
        *(args[name] for name in ("embsize", "nheads", "d_hid", "nlayers")),
        nlayers_cls=args["n_layers_cls"],
        n_cls=len(TYPES),
        vocab=read_vocabulary(tmp_path / "model"),
        dropout=args["dropout"],
        pad_token=args["pad_token"],
        pad_value=args["pad_value"],
        do_mvc=True,
        input_emb_style=args["input_emb_style"],
        n_input_bins=args["n_input_bins"],
    )
    state = torch.load(tmp_path / "model" / "best_model.pt", weights_only=True)
    package.load_state_dict(state, strict=True)


def test_the_cohorts_gene_names_are_its_tokens(cohort):
    """What `init` compares are the names by which the vocabulary gives ids."""
    var, own = anndata.read_h5ad(cohort).var, own_vocabulary(cohort)
    assert [own[symbol] for symbol in var["symbol"]] == var["token_id"].tolist()


def test_tokens_of_a_cell_can_be_other_than_the_checkpoints(cohort, tmp_path):
    folder = checkpoint(tmp_path / "given", own_vocabulary(cohort))
    for name, changes in {
        "as_given": {},
        "longer": {"max_seq_len": 40, "include_zero_gene": True},
    }.items():
        settings = {"max_seq_len": None, "include_zero_gene": None, "checkpoint": str(folder)}
        init(cohort, tmp_path / name, model=model_settings(**settings | changes), seed=0)
    as_given, longer = (read_args(tmp_path / name) for name in ("as_given", "longer"))
    assert (as_given["max_seq_len"], as_given["include_zero_gene"]) == (24, False)
    assert (longer["max_seq_len"], longer["include_zero_gene"]) == (40, True)
    assert (
        load_model(tmp_path / "longer").state_dict().keys()
        == load_model(tmp_path / "as_given").state_dict().keys()
    )


def test_only_a_model_of_scsws_own_is_replaced(cohort, tmp_path):
    """What `init` writes into is emptied first: never a published checkpoint or a user's files."""
    folder = checkpoint(tmp_path / "public", own_vocabulary(cohort))
    (tmp_path / "file").write_text("")
    for out in (folder, tmp_path / "file", tmp_path):
        with pytest.raises(ScswError, match="is no model that scsw wrote"):
            init(cohort, out, model=model_settings(), seed=0)
    assert sorted(path.name for path in folder.iterdir()) == [
        *("args.json", "best_model.pt", "vocab.json")
    ]
    (tmp_path / "empty").mkdir()
    for _ in range(2):
        init(cohort, tmp_path / "empty", model=model_settings(), seed=0)
    with pytest.raises(ScswError, match="is no model that scsw wrote"):
        implant(tmp_path / "empty", cohort, folder, kind="implanted_constant", compute=COMPUTE)
    with pytest.raises(ScswError, match="is no model that scsw wrote"):
        finetune(tmp_path / "empty", cohort, folder, settings=None, compute=COMPUTE)


def test_a_checkpoint_is_tried_before_the_cohort_is_read(cohort, tmp_path):
    require_trainable(checkpoint(tmp_path / "good", own_vocabulary(cohort)))
    batches = {"num_batch_labels": 2, "domain_spec_batchnorm": "dsbn"}
    bad = {
        "lacks embsize": ("args.json", b"{}"),
        "is not a torch checkpoint": ("best_model.pt", b"<html>not found</html>"),
        "normalises cells by": ("args.json", json.dumps(ARGS | batches).encode()),
        "embsize 32, but the weights are of embsize 16": (
            "args.json",
            json.dumps(ARGS | {"embsize": 32}).encode(),
        ),
    }
    for i, (message, (name, content)) in enumerate(bad.items()):
        folder = checkpoint(tmp_path / str(i), own_vocabulary(cohort))
        (folder / name).write_bytes(content)
        with pytest.raises(ScswError, match=message):
            require_trainable(folder)
