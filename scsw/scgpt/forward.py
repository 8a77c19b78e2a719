"""scGPT's forward pass: the package's own over padded cells, and ours over packed ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from scsw.errors import ScswError
from scsw.scgpt.encoder_layer import EncoderLayer
from scsw.scgpt.kernels.available import has_kernels
from scsw.scgpt.tokens.packed import PackedBatch
from scsw.scgpt.tokens.token_batch import TokenBatch


def forward_padded(model: nn.Module, batch: TokenBatch, *, mvc: bool = False) -> dict[str, Tensor]:
    """Run the package's own forward pass with classification, and MVC on request.

    Raises
    ------
    ScswError
        If the model embeds cells otherwise than by `<cls>`, or reads their experimental batch.
    """
    _refuse(model)
    if model.use_batch_labels or model.domain_spec_batchnorm:
        raise ScswError(
            "the model reads the experimental batch of each cell (batch labels or batch norm)",
            expected="a model that reads genes and values alone",
            fix="make a starting model with `scsw init`, of this one or of the checkpoint that it "
            "was fine-tuned from",
        )
    return model(batch.genes, batch.values, batch.padding, CLS=True, MVC=mvc)


def forward_packed(
    model: nn.Module,
    batch: PackedBatch,
    *,
    mvc: bool = False,
    decode: Tensor | None = None,
    compiled: bool = False,
    checkpointing: bool = False,
) -> dict[str, Tensor]:
    """Run the package's sub-modules on packed cells: the same numbers, and no padding computed.

    One thing differs, on purpose: while a model with batch norm is trained, the package's norm
    counts padding among the tokens, and this one does not.

    Parameters
    ----------
    model
        ``scgpt.model.TransformerModel`` with our encoder layers.
    batch
        Packed cells, on the model's device.
    mvc
        Whether to decode expression from the cell embedding too.
    decode
        Positions whose expression is decoded, int64; all tokens by default. A loss over hidden
        values needs no others.
    compiled
        Whether to compile the parts of the pass (``torch.compile``), where scsw has kernels for the
        device.
    checkpointing
        Whether the inside of each block is computed again in the backward pass instead of kept.

    Returns
    -------
    dict of torch.Tensor
        ``mlm_output`` and ``mvc_output``, shape (tokens,) or that of `decode`; ``cls_output``,
        shape (cells, types); ``cell_emb``, shape (cells, d_model); where the model has these
        parts, ``mlm_zero_probs`` and ``mvc_zero_probs``, shape as the outputs, and ``dab_output``,
        shape (cells, batches).

    Raises
    ------
    ScswError
        If the model embeds cells otherwise than by `<cls>`, or has domain-specific batch norm and
        the batch holds several domains.
    """
    _refuse(model)
    layers = model.transformer_encoder.layers
    weight = model.encoder.embedding.weight
    heads = layers[0].self_attn.num_heads
    fast = has_kernels(weight.device, stream_dtype(weight), model.d_model, heads)
    fast = fast and len(batch.lengths) * heads < 2**16  # the most that one launch can have
    run = _compiled if compiled and fast else _as_it_is
    lengths = None if fast else batch.lengths

    x, genes = run(embed)(model, batch.genes, batch.values, batch.levels)
    x = batch_norm(model, x, batch)
    block = run(EncoderLayer.forward_packed)
    if checkpointing:
        block = partial(checkpoint, block, use_reentrant=False)
    for layer in layers:
        x = block(layer, x, batch.offsets, lengths, batch.longest)

    cells = x.index_select(0, batch.offsets[:-1])
    output = {"cell_emb": cells, "cls_output": model.cls_decoder(cells)}
    if model.do_dab:
        output["dab_output"] = model.grad_reverse_discriminator(cells)
    batch_embs = model.batch_encoder(batch.batch_labels) if model.use_batch_labels else None
    cell_of = token_cells(batch.offsets, batch.n_tokens)
    if decode is not None:
        x, genes, cell_of = (each.index_select(0, decode) for each in (x, genes, cell_of))
    output |= _named("mlm", run(decode_expression)(model, x, batch_embs, cell_of))
    if mvc:
        output |= _named("mvc", run(decode_mvc)(model, genes, cells, batch_embs, cell_of))
    return output


def embed(model: nn.Module, genes: Tensor, values: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the input of the first block and the gene embeddings, shape (tokens, d_model) each."""
    gene_embs = model.encoder(genes)
    tokens = gene_embs + embed_values(model.value_encoder, values, levels)
    half = stream_dtype(gene_embs)
    return tokens.to(half), gene_embs.to(half)


def embed_values(encoder: nn.Module, values: Tensor, levels: Tensor) -> Tensor:
    """Embed the value of each token, shape (tokens, d_model).

    A cell's values are few different numbers, so the continuous encoder runs once for each level
    and not once for each token. Dropout, its last layer, is drawn for each token as in the package.
    """
    if not hasattr(encoder, "linear1"):  # input_emb_style `category`: a table already
        return encoder(values)
    x = levels.clamp(max=encoder.max_value)[:, None]
    table = encoder.norm(encoder.linear2(encoder.activation(encoder.linear1(x))))
    return encoder.dropout(F.embedding(torch.bucketize(values, levels), table))


def batch_norm(model: nn.Module, x: Tensor, batch: PackedBatch) -> Tensor:
    """Apply the model's batch norm, if it has one, over all tokens; shape (tokens, d_model)."""
    if getattr(model, "dsbn", None) is not None:
        domains = batch.batch_labels.unique().tolist()
        if len(domains) > 1:
            raise ScswError(
                f"a batch holds cells of {len(domains)} experimental batches",
                expected="cells of one, since the model has domain-specific batch norm",
            )
        return model.dsbn(x, domains[0]).to(x.dtype)
    if getattr(model, "bn", None) is not None:
        return model.bn(x).to(x.dtype)
    return x


def decode_expression(
    model: nn.Module, x: Tensor, batch_embs: Tensor | None, cell_of: Tensor
) -> dict[str, Tensor]:
    """Decode the expression of each token from its own output, shape (tokens,)."""
    if batch_embs is not None:
        x = torch.cat([x, batch_embs[cell_of]], dim=1)
    return model.decoder(x)


def decode_mvc(
    model: nn.Module, genes: Tensor, cells: Tensor, batch_embs: Tensor | None, cell_of: Tensor
) -> dict[str, Tensor]:
    """Decode the expression of each token's gene from the embedding of its cell.

    The package multiplies ``W(query)`` of every token with the cell embedding; here ``W`` is
    applied to the cell embedding, once per cell, which is the same product.
    """
    decoder = model.mvc_decoder
    cells = cells if batch_embs is None else torch.cat([cells, batch_embs], dim=1)
    genes = genes.detach() if decoder.do_detach else genes
    query = decoder.query_activation(decoder.gene2query(genes))
    wanted = F.linear(cells, decoder.W.weight.t())
    found = {"pred": (query * wanted[cell_of]).float().sum(-1)}
    if decoder.explicit_zero_prob:
        zero = F.linear(cells, decoder.W_zero_logit.weight.t())
        logits = (query * zero[cell_of]).float().sum(-1)
        found["zero_probs"] = torch.sigmoid(logits + (cells @ decoder.W_zero_logit.bias)[cell_of])
    return found


def token_cells(offsets: Tensor, n_tokens: int) -> Tensor:
    """Return the cell of each token, int64, shape (tokens,)."""
    cells = torch.arange(len(offsets) - 1, device=offsets.device)
    return torch.repeat_interleave(cells, offsets.diff().long(), output_size=n_tokens)


def stream_dtype(x: Tensor) -> torch.dtype:
    """Return the precision in which blocks hand tokens on: autocast's, or that of the weights."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _refuse(model: nn.Module) -> None:
    if model.cell_emb_style != "cls":
        raise ScswError(
            f"the model embeds cells by `{model.cell_emb_style}`",
            expected="`cls`, which every step reads",
        )


def _named(kind: str, decoded: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {"pred": f"{kind}_output", "zero_probs": f"{kind}_zero_probs"}
    return {names[name]: value for name, value in decoded.items()}


def _as_it_is(function: Callable) -> Callable:
    return function


@cache
def _compiled(function: Callable) -> Callable:
    # The kernels are built for one dropout; it may not become a number of the running program.
    torch._dynamo.config.specialize_float = True
    return torch.compile(function, dynamic=True)
