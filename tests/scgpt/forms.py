"""Every form of the package's model that public checkpoints may have."""

import torch

N_GENES, N_BINS, PAD_ID, CLS_ID, N_CLS, N_BATCHES = 40, 21, 40, 41, 5, 3
VOCABULARY = {f"g{i}": i for i in range(N_GENES)} | {"<pad>": PAD_ID, "<cls>": CLS_ID}
CONTINUOUS = {"pad_value": -2}
CATEGORY = {
    "input_emb_style": "category",
    "n_input_bins": N_BINS + 2,
    "pad_value": N_BINS,
}
LABELS = {"use_batch_labels": True, "num_batch_labels": N_BATCHES}
DSBN = {"domain_spec_batchnorm": "dsbn", "num_batch_labels": N_BATCHES}
FORMS = {
    "continuous": CONTINUOUS,
    "category": CATEGORY,
    "batch labels": CONTINUOUS | LABELS,
    "batch labels, category": CATEGORY | LABELS,
    "DSBN": CONTINUOUS | DSBN,
    "DSBN, category": CATEGORY | DSBN,
    "batch norm": CONTINUOUS | {"domain_spec_batchnorm": "batchnorm"},
    "do_affine": CONTINUOUS | {"domain_spec_batchnorm": "do_affine"},
    "zeros": CONTINUOUS | {"explicit_zero_prob": True},
    "detached MVC": CONTINUOUS | {"mvc_decoder_style": "inner product, detach"},
    "adversary": CONTINUOUS | {"do_dab": True, "num_batch_labels": N_BATCHES},
    "all": CATEGORY | LABELS | DSBN | {"explicit_zero_prob": True, "do_dab": True},
}
POOLED = {
    "average": CONTINUOUS | {"cell_emb_style": "avg-pool"},
    "weighted": CONTINUOUS | {"cell_emb_style": "w-pool"},
}


def stock(form, *, sizes=(32, 4, 48, 3), vocabulary=VOCABULARY, n_cls=N_CLS):
    """Return the package's own model, no weight of which is left at 0 or 1."""
    from scgpt.model import TransformerModel

    torch.manual_seed(0)
    model = TransformerModel(
        len(vocabulary),
        *sizes,
        nlayers_cls=3,
        n_cls=n_cls,
        vocab=vocabulary,
        dropout=0.0,
        do_mvc=True,
        **form,
    )
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and not name.startswith("encoder."):
                shift = 0.05 * torch.randn(tensor.shape)
                tensor += shift.abs() if name.endswith("running_var") else shift
    return model
