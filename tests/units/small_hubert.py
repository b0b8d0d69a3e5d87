"""Random models of the HuBERT family, small enough to be saved by a test."""

import hashlib
from pathlib import Path

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
LARGE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
BASE = {"do_stable_layer_norm": False, "feat_extract_norm": "group", "conv_bias": False}


def save_small(folder: Path, kind: str = "hubert", *, large: bool = True) -> str:
    """Save a model and its feature extractor; returns the sha256 of the weights."""
    import torch
    from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SIZES, **(LARGE if large else BASE))
    AutoModel.from_config(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=large).save_pretrained(folder)
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
