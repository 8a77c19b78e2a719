"""`load_model`: what the package saves, in every form, and what scGPT's scripts say of it."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch

import scsw.scgpt
from scsw.errors import ScswError
from scsw.scgpt.folder import write_folder
from scsw.scgpt.model import new_model, read_vocabulary
from scsw.scgpt.model_args import complete_args, read_args
from tests.scgpt.forms import CATEGORY, FORMS, N_BATCHES, N_BINS, N_CLS, POOLED, VOCABULARY, stock
from tests.scgpt.test_parity import EVEN, UNEVEN, assert_close, packed_cells, run_padded

EVERY = FORMS | POOLED
# What scGPT's pre-training script writes, but for paths.
SCRIPT = {
    "input_style": "binned",
    "input_emb_style": "continuous",
    "n_bins": N_BINS,
    "max_seq_len": 1200,
    "training_tasks": "both",
    "mask_ratio": [0.25, 0.5, 0.75],
    "n_hvg": None,
    "no_cls": True,
    "no_cce": True,
    "fp16": True,
    "fast_transformer": True,
    "embsize": 32,
    "nheads": 4,
    "d_hid": 48,
    "nlayers": 3,
    "dropout": 0.0,
    "n_layers_cls": 3,
    "pad_token": "<pad>",
    "pad_value": -2,
    "mask_value": -1,
    "USE_GENERATIVE_TRAINING": True,
    "MVC": True,
}
# What it sets where `--input-emb-style category` is given.
SCRIPT_CATEGORY = {
    "input_emb_style": "category",
    "pad_value": N_BINS,
    "mask_value": N_BINS + 1,
}


def write(folder, state, args=SCRIPT, vocabulary=VOCABULARY, labels=None):
    folder.mkdir(exist_ok=True)
    (folder / "args.json").write_text(json.dumps(args))
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    torch.save(state, folder / "best_model.pt")
    if labels is not None:
        (folder / "labels.json").write_text(json.dumps(labels))
    return folder


def script_args(form):
    style = SCRIPT_CATEGORY if form.get("input_emb_style") == "category" else {}
    return SCRIPT | style | {k: v for k, v in form.items() if k.startswith(("cell_", "mvc_"))}


def flash(state):
    return {k.replace("self_attn.in_proj_", "self_attn.Wqkv."): v for k, v in state.items()}


def test_the_package_is_light_and_load_model_comes_late():
    code = (
        "import sys, scsw.scgpt; assert 'scgpt' not in sys.modules; "
        "assert 'scsw.scgpt.model' not in sys.modules; "
        "from scsw.scgpt import load_model; print(load_model.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "scsw.scgpt.model"
    with pytest.raises(AttributeError, match="no_such_name"):
        scsw.scgpt.no_such_name  # noqa: B018


@pytest.mark.parametrize("naming", [dict, flash], ids=["plain", "flash"])
@pytest.mark.parametrize("form", EVERY.values(), ids=EVERY)
def test_what_the_package_saves_loads_here(tmp_path, form, naming):
    """The scripts do not save batches, norms or heads: the weights tell."""
    theirs = stock(form).eval()
    options = {k: v for k, v in form.items() if v == "do_affine"}  # it leaves no trace in weights
    ours = scsw.scgpt.load_model(
        write(tmp_path / "m", naming(theirs.state_dict()), script_args(form)), **options
    )
    batch = packed_cells(form, EVEN)
    with torch.no_grad():
        assert_close(run_padded(ours, batch, form), run_padded(theirs, batch, form), 1e-5)
    assert set(ours.checkpoint_keys["action"]) == {"loaded"}
    assert not ours.training


@pytest.mark.parametrize("form", EVERY.values(), ids=EVERY)
def test_what_is_saved_loads_in_the_package(tmp_path, form):
    from scgpt.model import TransformerModel
    from scgpt.utils import load_pretrained

    given = scsw.scgpt.load_model(
        write(tmp_path / "given", stock(form).state_dict(), script_args(form)),
        domain_spec_batchnorm=form.get("domain_spec_batchnorm", False),
    )
    # args.json may say too little or nothing of the parts; what is saved says what was built.
    write_folder(
        tmp_path / "m", given, read_args(tmp_path / "given"), tmp_path / "given/vocab.json", ["a"]
    )
    args = json.loads((tmp_path / "m" / "args.json").read_text())
    parts = {name: args[name] for name in form}
    assert parts == form
    vocabulary = read_vocabulary(tmp_path / "m")
    state = torch.load(tmp_path / "m" / "best_model.pt", weights_only=True)

    def package():
        torch.manual_seed(9)
        return TransformerModel(
            len(vocabulary),
            *(args[name] for name in ("embsize", "nheads", "d_hid", "nlayers")),
            nlayers_cls=args["n_layers_cls"],
            n_cls=N_CLS,
            vocab=vocabulary,
            dropout=args["dropout"],
            do_mvc=args["MVC"],
            use_fast_transformer=args["fast_transformer"],
            **parts,
        )

    strict = package()
    strict.load_state_dict(state, strict=True)
    lenient = load_pretrained(package(), state, verbose=False)
    for name, value in given.state_dict().items():
        assert strict.state_dict()[name].equal(value), name
        assert lenient.state_dict()[name].equal(value), name


def test_leftovers_of_pre_training_and_a_new_classifier(tmp_path):
    theirs = stock(FORMS["continuous"])
    state = {k: v for k, v in flash(theirs.state_dict()).items() if "cls_decoder" not in k}
    folder = write(tmp_path / "m", state | {"flag_encoder.weight": torch.zeros(2, 32)})
    for n_cls, labels in ((7, None), (None, 1)):
        with pytest.warns(UserWarning, match=r"drawn anew: cls_decoder\._decoder"):
            model = scsw.scgpt.load_model(folder, n_cls=n_cls)
        assert model.cls_decoder.out_layer.out_features == (n_cls or labels)
    keys = model.checkpoint_keys.set_index("key")["action"]
    assert keys["flag_encoder.weight"] == "dropped"
    assert set(keys[keys.index.str.startswith("cls_decoder")]) == {"re-initialised"}
    assert set(keys[~keys.index.str.startswith(("cls_decoder", "flag"))]) == {"loaded"}


def test_its_own_classifier_is_kept_where_there_are_no_labels(tmp_path):
    model = scsw.scgpt.load_model(write(tmp_path / "m", stock(FORMS["continuous"]).state_dict()))
    assert model.cls_decoder.out_layer.out_features == N_CLS


@pytest.mark.parametrize("form", ["batch labels", "DSBN", "adversary", "all"])
def test_batch_parts_of_another_number_of_batches_are_drawn_anew(tmp_path, form):
    theirs = stock(FORMS[form])
    folder = write(tmp_path / "m", theirs.state_dict(), script_args(FORMS[form]))
    with pytest.warns(UserWarning, match="drawn anew"):
        model = scsw.scgpt.load_model(folder, num_batch_labels=N_BATCHES + 2)
    keys = model.checkpoint_keys.set_index("key")["action"]
    own = keys.index.str.startswith(("batch_encoder.", "dsbn.", "grad_reverse_discriminator."))
    # The first of three batches is not the first of five others.
    assert set(keys[own]) == {"re-initialised"} and set(keys[~own]) == {"loaded"}
    if form in ("DSBN", "all"):
        assert (model.dsbn.bns[0].running_mean == 0).all()
    with pytest.warns(UserWarning, match="drawn anew"):
        model = scsw.scgpt.load_model(folder, num_batch_labels=N_BATCHES - 1)
    keys = model.checkpoint_keys.set_index("key")["action"]
    left = "dsbn.bns.2.running_mean"
    assert left not in keys or keys[left] == "dropped"


def test_parts_can_be_left_out_on_purpose(tmp_path):
    form = FORMS["all"]
    folder = write(tmp_path / "m", stock(form).state_dict(), script_args(form))
    with pytest.warns(UserWarning, match=r"drawn anew: decoder\.fc\.0\.weight"):
        model = scsw.scgpt.load_model(
            folder,
            use_batch_labels=False,
            domain_spec_batchnorm=False,
            do_dab=False,
            explicit_zero_prob=False,
        )
    actions = model.checkpoint_keys.set_index("key")["action"]
    for start in ("batch_encoder", "dsbn", "grad_reverse", "decoder.zero_logit"):
        assert set(actions[actions.index.str.startswith(start)]) == {"dropped"}, start
    assert actions["decoder.fc.2.weight"] == "loaded"
    assert actions["mvc_decoder.W.weight"] == "re-initialised"


def test_parts_can_be_added_on_purpose(tmp_path):
    folder = write(tmp_path / "m", stock(FORMS["continuous"]).state_dict(), labels=list("abcde"))
    with pytest.warns(UserWarning, match="grad_reverse_discriminator"):
        model = scsw.scgpt.load_model(folder, do_dab=True, num_batch_labels=4)
    fresh = model.checkpoint_keys.query("action == 're-initialised'")["key"]
    assert fresh.str.startswith("grad_reverse_discriminator.").all() and len(fresh)
    with pytest.raises(ScswError, match="not for how many experimental batches"):
        scsw.scgpt.load_model(folder, do_dab=True)


def test_a_part_that_args_name_and_the_weights_lack_is_an_error(tmp_path):
    state = stock(FORMS["continuous"]).state_dict()
    folder = write(
        tmp_path / "m", state, SCRIPT | {"DSBN": True, "num_batch_labels": 2}, labels=list("abcde")
    )
    with pytest.raises(ScswError, match=r"no fitting weights for dsbn\.bns\.0"):
        scsw.scgpt.load_model(folder)
    # A weight of no known part is never dropped in silence.
    write(folder, state | {"own_encoder.embedding.weight": torch.zeros(2, 32)}, SCRIPT)
    with pytest.raises(ScswError, match=r"own_encoder\.embedding\.weight \(2, 32\) has no place"):
        scsw.scgpt.load_model(folder)


@pytest.mark.parametrize(
    ("key", "name"), [("pert_encoder", "TransformerGenerator"), ("mod_encoder", "MultiOmic")]
)
def test_another_model_of_the_package_is_called_by_its_name(tmp_path, key, name):
    state = stock(FORMS["continuous"]).state_dict() | {f"{key}.weight": torch.zeros(3, 32)}
    with pytest.raises(ScswError, match=name):
        scsw.scgpt.load_model(write(tmp_path / "m", state))


def test_the_depth_of_the_classifier_is_that_of_its_weights(tmp_path):
    folder = write(
        tmp_path / "m", stock(FORMS["continuous"]).state_dict(), SCRIPT | {"n_layers_cls": 4}
    )
    assert set(scsw.scgpt.load_model(folder).checkpoint_keys["action"]) == {"loaded"}


def test_sizes_that_are_not_those_of_the_weights_are_named(tmp_path):
    """scGPT's tutorials log settings that they do not use where they load a checkpoint."""
    stale = SCRIPT | {"embsize": 128, "nlayers": 4, "nheads": 4}
    folder = write(tmp_path / "m", stock(FORMS["continuous"]).state_dict(), stale)
    text = "says nlayers 4 and embsize 128, but the weights are of nlayers 3 and embsize 32"
    with pytest.raises(ScswError, match=text):
        scsw.scgpt.load_model(folder)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"dropout": -1}, "says dropout -1. Expected: a number from 0 to below 1"),
        ({"dropout": "0.2"}, "says dropout '0.2'"),
        ({"pad_value": "x"}, "says pad_value 'x'. Expected: a number"),
    ],
)
def test_other_numbers_are_numbers(tmp_path, said, text):
    with pytest.raises(ScswError, match=text):
        read_args(write(tmp_path / "m", {}, SCRIPT | said))


def test_a_null_is_as_good_as_nothing(tmp_path):
    folder = write(tmp_path / "m", {}, SCRIPT | {"max_seq_len": None, "pad_token": None})
    assert read_args(folder)["max_seq_len"] == 1200
    with pytest.raises(ScswError, match="lacks n_bins"):
        read_args(write(tmp_path / "m", {}, SCRIPT | {"n_bins": None}))


@pytest.mark.parametrize(
    ("vocabulary", "text"),
    [
        (list(VOCABULARY), "not an object"),
        ({t: str(i) for t, i in VOCABULARY.items()}, "ids .* are not 0 to"),
        ({t: i for t, i in VOCABULARY.items() if t[0] != "<"}, r"with the ids from \d+ on"),
    ],
)
def test_a_vocabulary_that_gives_no_ids_is_refused(tmp_path, vocabulary, text):
    with pytest.raises(ScswError, match=text):
        read_vocabulary(write(tmp_path / "m", {}, vocabulary=vocabulary))


def test_the_wrong_style_names_keys_and_shapes(tmp_path):
    folder = write(tmp_path / "m", stock(FORMS["category"]).state_dict(), SCRIPT)
    with pytest.raises(ScswError, match=r"value_encoder\.linear1\.weight \(32, 1\) is missing"):
        scsw.scgpt.load_model(folder)
    # The caller knows better than args.json; pad and mask value follow the style.
    model = scsw.scgpt.load_model(folder, input_emb_style="category")
    assert model.value_encoder.embedding.padding_idx == N_BINS
    with pytest.raises(ScswError, match=r"embedding\.weight is \(23, 32\), the model's \(30, 32\)"):
        scsw.scgpt.load_model(folder, input_emb_style="category", n_input_bins=30)


def test_an_unknown_option_is_one_clear_error(tmp_path):
    folder = write(tmp_path / "m", stock(FORMS["continuous"]).state_dict())
    with pytest.raises(ScswError, match="no option `num_batch_label`; `num_batch_labels`"):
        scsw.scgpt.load_model(folder, num_batch_label=3)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"input_emb_style": "scaling"}, "the mask value is no mask"),
        ({"input_emb_style": "onehot"}, "input_emb_style `onehot`"),
        ({"pre_norm": True}, "pre_norm `True`: without the flash backend"),
        ({"mvc_decoder_style": "concat query"}, "forward pass fails"),
        ({"cell_emb_style": "max"}, "cell_emb_style `max`"),
        ({"input_style": "log1p"}, "scsw makes bins"),
        ({"pad_token": "[PAD]"}, "pad_token"),
        ({"domain_spec_batchnorm": "batch"}, "domain_spec_batchnorm `batch`"),
        ({"DSBN": True, "domain_spec_batchnorm": False}, "contradicts itself"),
        ({"ecs_thres": 0.8, "ecs_threshold": 0.3}, "contradicts itself"),
        ({"DSBN": True}, "not for how many experimental batches"),
        ({"use_batch_labels": True}, "use_batch_labels, but not for how many"),
        ({"input_emb_style": "category"}, "pad_value -2 and mask_value -1"),
        (SCRIPT_CATEGORY | {"n_input_bins": N_BINS}, "in a table of 21"),
        ({"mask_value": 3}, "mask_value 3 beside n_bins 21"),
        ({"nheads": 5}, "embsize 32 and nheads 5"),
        ({"embsize": "32"}, "embsize '32'. Expected: a whole number"),
        ({"n_bins": 21.0}, "n_bins 21.0. Expected: a whole number"),
    ],
)
def test_what_cannot_be_built_is_refused(tmp_path, changes, text):
    folder = write(tmp_path / "m", {}, SCRIPT | changes)
    with pytest.raises(ScswError, match=re.escape(text)):
        read_args(folder)


def test_a_missing_size_is_named_and_other_spellings_are_known(tmp_path):
    args = {k: v for k, v in SCRIPT.items() if k not in ("nheads", "embsize")}
    with pytest.raises(ScswError, match="lacks embsize, nheads"):
        read_args(write(tmp_path / "m", {}, args))
    found = read_args(
        write(
            tmp_path / "m",
            {},
            args
            | {"embsize": 32, "nhead": 4, "DSBN": True, "ecs_thres": 0.8}
            | {"num_batch_labels": 2},
        )
    )
    assert found["nheads"] == 4 and found["domain_spec_batchnorm"] == "dsbn"
    assert found["ecs_threshold"] == 0.8 and "DSBN" not in found
    (tmp_path / "m" / "args.json").write_text("[1]")
    with pytest.raises(ScswError, match="not an object"):
        read_args(tmp_path / "m")


def test_the_published_defaults():
    args = complete_args({"embsize": 8, "nheads": 2, "n_bins": 51})
    assert (args["pad_value"], args["mask_value"]) == (-2, -1)
    args = complete_args({"embsize": 8, "nheads": 2, "n_bins": 51, "input_emb_style": "category"})
    assert (args["pad_value"], args["mask_value"], args["n_input_bins"]) == (51, 52, 53)


def test_hidden_and_padded_values_have_rows_of_their_own():
    model = new_model(SCRIPT | CATEGORY | {"mask_value": N_BINS + 1}, VOCABULARY, N_CLS).eval()
    batch = packed_cells(CATEGORY, UNEVEN)
    shown = run_padded(model, batch, CATEGORY)["mlm_output"]
    batch.values[batch.hidden] = batch.target[batch.hidden]
    assert not torch.allclose(run_padded(model, batch, CATEGORY)["mlm_output"], shown)


class _Malicious:
    def __reduce__(self):
        return os.mkdir, ("should_never_exist",)


def test_a_malicious_pickle_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = stock(FORMS["continuous"]).state_dict()
    folder = write(tmp_path / "m", {**state, "encoder.extra": _Malicious()})
    with pytest.raises(ScswError, match="other than tensors and was not opened"):
        scsw.scgpt.load_model(folder)
    assert not (tmp_path / "should_never_exist").exists()
