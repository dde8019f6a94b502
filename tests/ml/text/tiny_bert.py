"""A BERT small enough for tests, in a folder of the same layout as published ones."""

import json
from pathlib import Path

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write_tiny_bert(folder: Path, words: list[str], hidden: int = 48) -> Path:
    """Write configuration, weights and vocabulary of a BERT with random weights; it knows words as whole tokens."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    vocabulary = [
        *SPECIAL_TOKENS,
        *words,
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
    ]
    vocabulary = list(dict.fromkeys(vocabulary))
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = BertModel(config)
        # Words count for much more than positions and layers, as in an encoder that has learned something.
        torch.nn.init.normal_(network.embeddings.word_embeddings.weight)
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    save_file(network.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    return folder
