"""scGPT's encoder layer, written out so that its inside can be read and edited."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scsw.scgpt.kernels.dropout import draw
from scsw.scgpt.packed_attention import attend_packed


class EncoderLayer(nn.TransformerEncoderLayer):
    """A post-norm ReLU encoder layer with the parameter names of ``nn.TransformerEncoderLayer``.

    ``x = norm1(x + attention(x)); x = norm2(x + linear2(relu(linear1(x))))``

    The stock layer may take a fused path in eval mode that skips the hooks of its sub-modules. This
    one always calls them, one after the other, so that a hook on ``self_attn.out_proj``,
    ``norm1``, ``linear1``, ``linear2`` or ``norm2`` sees every token.
    """

    @classmethod
    def from_stock(cls, layer: nn.TransformerEncoderLayer) -> EncoderLayer:
        """Return our layer with the sizes and weights of a stock layer.

        Raises
        ------
        ValueError
            If the layer is not post-norm, ReLU and batch-first, the only form scGPT uses.
        """
        relu = getattr(layer, "activation_relu_or_gelu", 1) == 1 or layer.activation is F.relu
        if layer.norm_first or not relu or not layer.self_attn.batch_first:
            raise ValueError("only post-norm, ReLU, batch-first encoder layers are supported")
        ours = cls(
            layer.self_attn.embed_dim,
            layer.self_attn.num_heads,
            layer.linear1.out_features,
            layer.dropout.p,
            layer_norm_eps=layer.norm1.eps,
            batch_first=True,
            device=layer.linear1.weight.device,
            dtype=layer.linear1.weight.dtype,
        )
        ours.load_state_dict(layer.state_dict())
        return ours.train(layer.training)  # a new module would have its dropout on

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Run the layer on (cells, tokens, d_model); True or -inf in the mask is padding."""
        attended = self.attend(src, src, src_key_padding_mask)
        return self.feed_forward(self.norm1(src + self.dropout1(attended)))

    def forward_cls(self, src: Tensor, src_key_padding_mask: Tensor | None) -> Tensor:
        """Run the layer for the first token only; shape (cells, 1, d_model).

        In the last block the classifier reads nothing but `<cls>`, so the other tokens are needed
        as keys and values only.
        """
        first = src[:, :1]
        attended = self.attend(first, src, src_key_padding_mask)
        return self.feed_forward(self.norm1(first + self.dropout1(attended)))

    def forward_packed(
        self, x: Tensor, offsets: Tensor, lengths: list[int] | None, longest: int
    ) -> Tensor:
        """Run the layer on packed tokens, shape (tokens, d_model); see `PackedBatch`."""
        qkv = F.linear(x, self.self_attn.in_proj_weight, self.self_attn.in_proj_bias)
        qkv = qkv.view(len(x), 3, self.self_attn.num_heads, -1)
        dropout = self.self_attn.dropout if self.training else 0.0
        attended = attend_packed(qkv, offsets, lengths, longest, dropout)
        attended = self.self_attn.out_proj(attended.flatten(1))
        kernels = lengths is None
        x = self._residual(x, attended, self.norm1, self.dropout1, kernels)
        hidden = self.linear2(self.dropout(F.relu(self.linear1(x))))
        return self._residual(x, hidden, self.norm2, self.dropout2, kernels)

    def _residual(
        self, x: Tensor, y: Tensor, norm: nn.LayerNorm, dropout: nn.Dropout, kernels: bool
    ) -> Tensor:
        """Return ``norm(x + dropout(y))``, summed in float32 also where x is in half precision."""
        if not kernels:
            return norm(at_least_float(x) + dropout(y)).to(x.dtype)
        from scsw.scgpt.kernels.residual_norm import residual_norm  # needs Triton

        p = dropout.p if self.training else 0.0
        numbers = draw((len(x),), x.shape[1], p, x.device)
        return residual_norm(x, y, norm.weight, norm.bias, norm.eps, p, *numbers)[0]

    def attend(self, queries: Tensor, tokens: Tensor, padding: Tensor | None) -> Tensor:
        """Multi-head attention of `queries` over `tokens`."""
        d_model, heads = self.self_attn.embed_dim, self.self_attn.num_heads
        weight, bias = self.self_attn.in_proj_weight, self.self_attn.in_proj_bias
        q = F.linear(queries, weight[:d_model], bias[:d_model])
        k, v = F.linear(tokens, weight[d_model:], bias[d_model:]).chunk(2, dim=-1)
        q, k, v = (split_heads(x, heads) for x in (q, k, v))
        attended = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=None if padding is None else keep_mask(padding)[:, None, None, :],
            dropout_p=self.self_attn.dropout if self.training else 0.0,
        )
        return self.self_attn.out_proj(attended.transpose(1, 2).flatten(2))

    def feed_forward(self, x: Tensor) -> Tensor:
        """Everything after norm1."""
        hidden = self.dropout(F.relu(self.linear1(x)))
        return self.norm2(x + self.dropout2(self.linear2(hidden)))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Reshape (cells, tokens, d_model) to (cells, heads, tokens, d_model / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def keep_mask(padding: Tensor) -> Tensor:
    """Return True where a token is real; ``nn.TransformerEncoder`` passes padding as -inf."""
    return ~padding if padding.dtype == torch.bool else padding == 0


def at_least_float(x: Tensor) -> Tensor:
    """Return `x` in float32 if it is in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
