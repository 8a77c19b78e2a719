"""Which parameters are trained: freezing, low-rank adapters, the batch adversary."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import nn

from scsw.errors import ScswError

# scGPT's tutorials call it freezing to train neither of these.
EMBEDDINGS = ("encoder", "value_encoder")
# Trained with adapters too: they are small, and often new.
DECODERS = ("decoder", "cls_decoder", "mvc_decoder", "grad_reverse_discriminator")
# The query, key and value weights are one tensor that the layer multiplies with itself, so that an
# adapter, which stands in the place of a linear layer, has no hold on them.
ADAPTED = r"transformer_encoder\.layers\.\d+\.(self_attn\.out_proj|linear1|linear2)"


def freeze(model: nn.Module, settings: SimpleNamespace) -> None:
    """Leave the parts untrained that the config freezes or that no objective reaches.

    Parameters
    ----------
    model
        The model, changed in place.
    settings
        Section ``finetune`` of the config.

    Raises
    ------
    ScswError
        If nothing is left to train.
    """
    frozen = list(EMBEDDINGS) if settings.freeze != "none" else []
    if settings.freeze == "encoder":
        frozen.append("transformer_encoder")
    reached = {"decoder": settings.weight_gep, "mvc_decoder": settings.weight_mvc}
    reached["cls_decoder"] = settings.weight_cls
    reached["grad_reverse_discriminator"] = settings.weight_dab
    frozen += [name for name, weight in reached.items() if not weight]
    for name in frozen:
        if getattr(model, name, None) is not None:
            getattr(model, name).requires_grad_(False)
    for layer in model.transformer_encoder.layers[: settings.freeze_blocks]:
        layer.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ScswError(
            "finetune.freeze leaves nothing to train: no objective that has a weight decodes cells",
            fix="give weight_cls, weight_gep or weight_mvc a weight, or freeze less",
        )


def add_adversary(model: nn.Module, n_batches: int) -> None:
    """Give a model scGPT's discriminator of experimental batches, with fresh weights.

    Raises
    ------
    ScswError
        If there are not two batches to tell apart.
    """
    if n_batches < 2:
        raise ScswError(
            f'finetune.weight_dab is given, but obs["batch"] of the training cells has '
            f"{n_batches} value",
            expected="at least two experimental batches to tell apart",
            fix="set finetune.weight_dab to 0, or give the cohort a batch column",
        )
    from scgpt.model.model import AdversarialDiscriminator  # takes seconds

    device = model.cls_decoder.out_layer.weight.device
    adversary = AdversarialDiscriminator(model.d_model, n_cls=n_batches, reverse_grad=True)
    model.grad_reverse_discriminator = adversary.to(device)
    model.do_dab = True


def remove_adversary(model: nn.Module) -> None:
    """Take the discriminator away again: it is of use in training only."""
    if model.do_dab:
        del model.grad_reverse_discriminator
        model.do_dab = False


def add_adapters(model: nn.Module, settings: SimpleNamespace) -> Any:
    """Put low-rank adapters (LoRA) in the encoder blocks, and freeze all but these and decoders.

    Parameters
    ----------
    model
        The model, changed in place.
    settings
        Section ``finetune`` of the config; nothing is done where ``lora_rank`` is null.

    Returns
    -------
    peft.LoraModel or None
        What `merge_adapters` takes.
    """
    if settings.lora_rank is None:
        return None
    from peft import LoraConfig, LoraModel

    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=ADAPTED,
    )
    adapters = LoraModel(model, config, "default")
    for name in DECODERS:
        if getattr(model, name, None) is not None:
            getattr(model, name).requires_grad_(True)
    return adapters


def merge_adapters(adapters: Any) -> None:
    """Add the adapters to the weights, in place: the model is a plain one again."""
    if adapters is not None:
        adapters.merge_and_unload()
