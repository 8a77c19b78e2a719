"""The search on models as people have them: wrapped, compiled, with adapters, scaled, in place."""

import pytest
import torch
from torch import nn
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils.data import DataLoader, IterableDataset

from scsw.superweight.ablate import ablate
from scsw.superweight.families import other_families
from scsw.superweight.find import find_candidates
from scsw.superweight.norms import norms_around
from scsw.superweight.observe import observe
from scsw.superweight.origins import BlockParts, spike_origins

D, HIDDEN, N = 12, 20, 3
BLOCK, ROW, COLUMN = 1, 4, 9
DOWNS = [f"blocks.{block}.down" for block in range(N)]


class Block(nn.Module):
    """A pre-norm block whose feed-forward part stands beside another, as in Falcon or GPT-J."""

    def __init__(self, form):
        super().__init__()
        self.form = form
        self.norm, self.mixer = nn.LayerNorm(D), nn.Linear(D, D)
        self.up, self.down = nn.Linear(D, HIDDEN), nn.Linear(HIDDEN, D)
        self.gate = nn.Linear(D, 1)

    def forward(self, x):
        normed = self.norm(x)
        mixed, out = self.mixer(normed), self.down(torch.relu(self.up(normed)))
        if self.form == "in place":
            out += 3 * mixed
            return x + out
        if self.form == "scaled":
            return x + 0.2 * out
        if self.form == "gated":
            return x + torch.sigmoid(self.gate(x)) * out
        return x + out


class Model(nn.Module):
    def __init__(self, form=""):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.Sequential(*(Block(form) for _ in range(N)))
        self.last = nn.LayerNorm(D)
        self.eval()

    def forward(self, x):
        return self.last(self.blocks(x))


def planted(form=""):
    model = Model(form)
    with torch.no_grad():
        model.blocks[BLOCK].down.weight[ROW, COLUMN] = 60.0
        model.blocks[BLOCK].up.bias[COLUMN] = 1.0
    return model


def batches():
    return list(torch.randn(6, 7, D, generator=torch.Generator().manual_seed(1)).split(3))


def every_token(x):
    return torch.ones(x.shape[:2], dtype=torch.bool)


def find(model, downs=DOWNS, data=None, **settings):
    return find_candidates(
        model,
        data or batches(),
        list(downs),
        forward=lambda m, x: m(x),
        token_mask=every_token,
        **settings,
    )


def place(row):
    return row["block"], row["row"], row["column"], row["found_by"]


FOUND = (BLOCK, ROW, COLUMN, "spike")
NEXT = ["blocks.1.norm", "blocks.2.norm", "last"]


@pytest.mark.parametrize(
    ("form", "after"),
    [("", NEXT), ("in place", NEXT), ("scaled", [None] * N), ("gated", [None] * N)],
)
def test_a_sum_is_one_only_where_the_output_arrives_as_it_is(form, after):
    model = planted(form)
    around = norms_around(model, batches()[0], DOWNS, lambda m, x: m(x))
    assert [norms.after for norms in around] == after
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("form", ["", "in place", "scaled", "gated"])
def test_the_share_is_that_of_the_closed_form(form):
    """What else a model does to the output, or adds to it, is no residual of another size."""
    model = planted(form)
    best = find(model).iloc[0]
    assert place(best) == FOUND
    block, x = model.blocks[BLOCK], batches()[best["batch"]][best["cell"], best["token"]][None]
    with torch.no_grad():
        x = model.blocks[:BLOCK](x)
        h = torch.relu(block.up(block.norm(x)))
        residual = (block(x) - block.down(h))[0, ROW].abs().item() if form in NEXT_TO else 0.0
    terms = (block.down.weight[ROW] * h[0]).detach()
    total = terms.abs().sum() + block.down.bias[ROW].abs() + residual
    assert best["contribution"] == pytest.approx((terms[COLUMN] / total).item(), rel=1e-4)


NEXT_TO = ("", "in place")  # forms whose sums are looked at


def test_an_attention_beside_the_feed_forward_part_is_in_the_sum_of_the_next_norm():
    """The norm before the feed-forward part, which stands for both, ran before it."""
    model, run = Model("in place"), {"forward": lambda m, x: m(x), "token_mask": every_token}
    with torch.no_grad():
        model.blocks[BLOCK].mixer.weight[ROW, COLUMN] = 60.0
    around = norms_around(model, batches()[0], DOWNS, run["forward"])
    blocks = [
        BlockParts(down, norms, down.replace("down", "mixer"))
        for down, norms in zip(DOWNS, around, strict=True)
    ]
    seen = observe(model, batches(), DOWNS, [norms.after for norms in around], **run)
    origins = spike_origins(model, batches(), blocks, seen, **run)
    best = other_families(model, batches(), blocks, origins, max_candidates=5, **run).iloc[0]
    assert best["candidate_id"] == f"attn_out.b{BLOCK}.r{ROW}.c{COLUMN}"
    assert best["found_by"] == "spike" and best["share"] > 0.7
    with pytest.raises(RuntimeError, match="name a norm that runs after"):
        find(model, [blocks[0].attention_output], sums=[around[0].before])


def test_nothing_is_found_where_nothing_is_planted():
    for form in ("", "in place", "scaled", "gated"):
        assert (find(Model(form))["found_by"] == "below_rule").all()


@pytest.mark.parametrize("how", ["wrapped", "wrapped, under its own names", "in place"])
def test_a_compiled_model_is_searched_as_it_is_written(how):
    calls = []

    def backend(graph, _inputs):
        calls.append(1)
        return graph.forward

    expected, model, prefix = find(planted()), planted(), ""
    if how != "in place":
        model = torch.compile(model, backend=backend)
    if how == "wrapped":
        prefix = "_orig_mod."
    else:
        model.compile(backend=backend)
    with torch.no_grad():
        model(batches()[0])
    calls.clear()
    found = find(model, [prefix + name for name in DOWNS])
    assert found.drop(columns="module").equals(expected.drop(columns="module"))
    assert not calls  # with the hooks in it, it would be compiled again for each of them
    with torch.no_grad():
        model(batches()[0])


def test_data_parallel_is_searched_under_its_names():
    found = find(nn.DataParallel(planted()), [f"module.{name}" for name in DOWNS])
    assert place(found.iloc[0]) == FOUND


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    model = planted().to(dtype)
    found = find(model, data=[x.to(dtype) for x in batches()])
    assert place(found.iloc[0]) == FOUND and (found["found_by"] == "spike").sum() == 1


def test_an_edit_is_seen_inside_autocast_and_forgotten_after_it():
    model, x = planted(), batches()[0]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = model(x)
        with ablate(model, [(DOWNS[BLOCK], ROW, COLUMN)]):
            assert not model(x).equal(before)
        assert model(x).equal(before)
        assert place(find(model).iloc[0]) == FOUND


class Adapter(nn.Module):
    """As in PEFT: it shows the weight of the layer that it wraps, and adds to its output."""

    def __init__(self, layer):
        super().__init__()
        self.base_layer, self.more = layer, nn.Linear(HIDDEN, D)

    @property
    def weight(self):
        return self.base_layer.weight

    def forward(self, x):
        return self.base_layer(x) + self.more(x)


def adapted(model):
    for block in model.blocks:
        block.down = Adapter(block.down)


def normalised(model):
    for block in model.blocks:
        nn.utils.parametrizations.weight_norm(block.down)


def elsewhere(model):
    model.to("meta")


def subclassed(model):
    """As torchao's quantised weights and DTensor are."""
    for block in model.blocks:
        weight = block.down.weight.detach()
        block.down.weight = nn.Parameter(TwoTensor(weight, weight), requires_grad=False)


def whole_numbers(model):
    for block in model.blocks:
        block.down.weight = nn.Parameter(block.down.weight.to(torch.int8), requires_grad=False)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (adapted, "no parameter weight of its own"),
        (normalised, "no parameter weight of its own"),
        (elsewhere, "on meta"),
        (whole_numbers, "int8"),
        (subclassed, "is TwoTensor of torch.float32"),
    ],
)
def test_a_weight_that_cannot_be_edited_is_refused(change, text):
    """An edit of it would do nothing, or stay."""
    model = planted()
    change(model)
    with pytest.raises(ValueError, match=text):
        find(model)
    with pytest.raises(ValueError, match=text), ablate(model, [(DOWNS[1], ROW, COLUMN)]):
        pass


def test_an_output_that_the_weight_does_not_explain_is_an_error():
    model = planted()
    model.blocks[BLOCK].down.register_forward_hook(lambda _m, _x, out: 2 * out)
    with pytest.raises(RuntimeError, match=r"1\.mlp_out is not weight x input \+ bias"):
        find(model)


@pytest.mark.parametrize("name", ["blocks.0", "blocks.0.norm", "blocks.0.down_proj"])
def test_a_name_that_is_no_linear_module_is_refused(name):
    with pytest.raises(ValueError, match=name):
        find(Model(), [name])
    with pytest.raises(ValueError, match="twice"):
        find(Model(), [DOWNS[0], DOWNS[0]])


def test_torchscript_is_refused():
    with pytest.raises(ValueError, match="TorchScript"):
        find(torch.jit.trace(planted(), batches()[0]))


class Experts(nn.Module):
    """Each token goes to one of two experts."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.router, self.downs = nn.Linear(D, 2), nn.ModuleList(nn.Linear(D, D) for _ in "ab")

    def forward(self, x):
        chosen, out = self.router(x).argmax(-1), torch.zeros_like(x)
        for number, down in enumerate(self.downs):
            out[chosen == number] = down(x[chosen == number])
        return out


def test_experts_that_see_some_tokens_only_are_refused():
    with pytest.raises(RuntimeError, match="no experts that see some tokens only"):
        find(Experts(), ["downs.0", "downs.1"])


def test_batches_in_another_order_each_time_are_refused():
    data = torch.cat(batches())
    loader = DataLoader(data, batch_size=3, shuffle=True)
    with pytest.raises(ValueError, match="shuffle=False"):
        find(planted(), data=loader)
    found = find(planted(), data=DataLoader(data, batch_size=3))
    assert found.equals(find(planted()))


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (lambda x: torch.ones(x.shape[:2], dtype=torch.long), "returns torch.int64"),
        (lambda x: every_token(x).numpy(), "returns bool, expected a torch.bool tensor"),
        (lambda x: ~every_token(x), "False at every token"),
    ],
)
def test_a_mask_that_is_none_is_refused(mask, text):
    """Without a real token the table would be empty, and look like a null result."""
    with pytest.raises(ValueError, match=text):
        find_candidates(
            planted(), batches(), DOWNS, forward=lambda m, x: m(x), token_mask=mask, sums=[None] * N
        )


def test_names_and_batches_that_are_no_lists_are_refused():
    found = find_candidates(
        planted(), batches(), (n for n in DOWNS), forward=lambda m, x: m(x), token_mask=every_token
    )
    assert place(found.iloc[0]) == FOUND
    run = {"forward": lambda m, x: m(x), "token_mask": every_token}
    for names, text in (([], "names no module"), (DOWNS[0], "give a list of names")):
        with pytest.raises(ValueError, match=text):
            find_candidates(planted(), batches(), names, **run)
    for data in (batches()[0], {"x": batches()[0]}):
        with pytest.raises(ValueError, match="give a list of batches"):
            find_candidates(planted(), data, DOWNS, **run)


class Once(IterableDataset):
    """Cells that can be walked only once, whatever the loader around them says."""

    def __init__(self, spike):
        data = torch.cat(batches())
        data[0] *= spike  # in the first batch
        self.cells = iter(data)

    def __iter__(self):
        yield from self.cells

    def __len__(self):
        return 6


def test_batches_that_end_for_good_are_seen_whole_or_refused():
    found = find(Model(), data=DataLoader(Once(5), batch_size=3))
    assert (found["batch"] == 0).any()  # the norms were found on this batch
    with pytest.raises(ValueError, match="batches"):
        find(planted(), data=DataLoader(Once(1), batch_size=3))


def test_a_find_can_go_to_its_mean():
    model = planted()
    best, block, inputs = find(model).head(1), model.blocks[BLOCK], []
    assert place(best.iloc[0]) == FOUND
    handle = block.down.register_forward_hook(lambda _m, x, _y: inputs.append(x[0]))
    with torch.no_grad():
        for x in batches():
            model(x)
    handle.remove()
    mean = torch.cat(inputs)[..., COLUMN].mean().item()
    assert best.loc[0, "mean_input"] == pytest.approx(mean, rel=1e-5)
    bias = block.down.bias[ROW].item()
    with torch.no_grad(), ablate(model, best, "mean"):
        assert block.down.bias[ROW].item() == pytest.approx(bias + 60 * mean, rel=1e-5)
        assert block.down.weight[ROW, COLUMN] == 0
