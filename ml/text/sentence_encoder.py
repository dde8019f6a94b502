"""An encoder of sentences (BERT and its kin) built from bytes: mean pooling, vectors of length 1.

Nothing is read from disk or asked from a hub here, and no code of a folder with weights is run. Mean pooling is that of
Sentence-BERT (Reimers and Gurevych, 2019).
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ml.device import Device, deterministic_torch
from ml.errors import UsageError
from ml.fit_storage import NO_STORAGE, FitStorage
from ml.text.embedding_cache import cached_embeddings
from ml.text.encoder_files import (
    CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    VOCABULARY,
    WEIGHTS,
    count_layer_weights,
)
from ml.text.token_batches import length_sorted_batches

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# More unused rows of the embedding than this share means that another tokenizer belongs to the weights.
MAX_UNUSED_SHARE = 0.05


@dataclass(frozen=True)
class SentenceEncoder:
    """The files of an encoder, and the tokens of a message that count.

    With `int8` the linear layers are computed in 8-bit integers, on the CPU.
    """

    files: Mapping[str, bytes] = field(repr=False)
    max_tokens: int
    int8: bool = False

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], max_tokens: int, int8: bool = False) -> Self:
        """Take what `ml.text.encoder_files.read_encoder` read, with a vocabulary made into a tokenizer.

        Raises UsageError where configuration, weights and tokenizer do not belong together.
        """
        config = _parse_config(files[CONFIG])
        tokenizer = files.get(TOKENIZER) or _tokenizer_of_vocabulary(files)
        encoder = cls(
            {CONFIG: files[CONFIG], WEIGHTS: files[WEIGHTS], TOKENIZER: tokenizer}, max_tokens, int8
        )
        rows, entries = int(config["vocab_size"]), encoder.tokenizer.get_vocab_size()
        if not (1.0 - MAX_UNUSED_SHARE) * rows <= entries <= rows:
            raise UsageError(
                "a tokenizer that belongs to the weights",
                f"a tokenizer of {entries:,} tokens for weights of {rows:,}",
                "take both from the same folder",
            )
        return encoder

    @property
    def config(self) -> dict[str, Any]:
        """The configuration as parsed JSON."""
        return _parse_config(self.files[CONFIG])

    @property
    def layer_weights(self) -> int:
        """Count the weights of its layers, roughly."""
        return count_layer_weights(self.config)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of files, tokens that count and precision."""
        digest = hashlib.sha256(f"{self.max_tokens} {self.int8}".encode())
        for name in sorted(self.files):
            digest.update(name.encode() + b"\0" + hashlib.sha256(self.files[name]).digest())
        return digest.hexdigest()

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """The tokenizer, which cuts messages and does not pad."""
        # No more threads than a fit was given.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_buffer(self.files[TOKENIZER])
        except Exception as error:  # the library raises Exception itself
            raise UsageError(
                "a tokenizer of the library tokenizers",
                f"{type(error).__name__} on reading it",
                "restore the file",
            ) from None
        # Some encoders have two positions more than they use.
        positions = int(self.config.get("max_position_embeddings", self.max_tokens + 2)) - 2
        tokenizer.no_padding()
        tokenizer.enable_truncation(min(self.max_tokens, positions))
        return tokenizer

    def token_ids(self, messages: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each message, at least one."""
        encodings = self.tokenizer.encode_batch_fast(list(messages))
        return [encoding.ids or [self.padding_id] for encoding in encodings]

    @property
    def padding_id(self) -> int:
        """The token that fills batches; it is masked."""
        return int(self.config.get("pad_token_id") or 0)

    def embed(
        self,
        messages: Sequence[str],
        threads: int = 1,
        device: Device = "cpu",
        storage: FitStorage = NO_STORAGE,
    ) -> np.ndarray:
        """Embed messages as vectors of length 1, float32, shape (messages, hidden size).

        The last bits of a vector depend on the batch that its message is in, and so on the other messages; not on
        `threads`. Vectors of the same list of messages are computed once in a process, and once for a `storage`.
        """
        device = "cpu" if self.int8 else device
        key = (self.digest, device)
        return cached_embeddings(
            key, messages, lambda distinct: self._embed(distinct, threads, device), storage
        )

    def _embed(self, messages: Sequence[str], threads: int, device: Device) -> np.ndarray:
        import torch

        from ml.text.encoder_network import mean_of_tokens, to_tensors

        network = self.network
        # Asking for a move costs a tenth of a single message.
        if next(network.parameters()).device.type != device:
            network.to(device)
        ids = self.token_ids(messages)
        vectors = np.zeros((len(messages), int(self.config["hidden_size"])), np.float32)

        def compute(rows: np.ndarray) -> None:
            with torch.inference_mode():
                batch = to_tensors([ids[row] for row in rows], self.padding_id, device)
                vectors[rows] = mean_of_tokens(network, *batch).cpu().numpy()

        from ml.text.worker_threads import run_all

        with deterministic_torch(0, device):
            run_all(compute, length_sorted_batches([len(tokens) for tokens in ids]), threads)
        return vectors

    @cached_property
    def network(self) -> Any:
        """The network in evaluation mode, float32 but for linear layers with `int8`."""
        from ml.text.encoder_network import load_network
        from ml.text.int8_linear import quantise_linear_layers

        network = load_network(self.config, self.files[WEIGHTS])
        if self.int8:
            quantise_linear_layers(network)
        return network


def _parse_config(data: bytes) -> dict[str, Any]:
    """Parse a configuration without entries that name code, caches or other forms of weights."""
    try:
        config = json.loads(data)
        missing = {"model_type", "vocab_size", "hidden_size"} - set(config)
    except (ValueError, TypeError):
        raise UsageError("a configuration in JSON", "another text", f"restore {CONFIG}") from None
    if missing:
        raise UsageError("the configuration of an encoder", f"none of {sorted(missing)}", f"restore {CONFIG}")
    unused = (
        "auto_map",
        "quantization_config",
        "torch_dtype",
        "dtype",
        "transformers_version",
        "architectures",
    )
    return {name: value for name, value in config.items() if name not in unused and not name.startswith("_")}


def _tokenizer_of_vocabulary(files: Mapping[str, bytes]) -> bytes:
    """Make BERT's tokenizer of a vocabulary with one token a line."""
    from tokenizers import BertWordPieceTokenizer

    tokens = files[VOCABULARY].decode("utf-8", errors="replace").split("\n")
    vocabulary = {token.rstrip("\r"): number for number, token in enumerate(tokens) if token.rstrip("\r")}
    settings = json.loads(files.get(TOKENIZER_CONFIG, b"{}"))
    missing = [token for token in ("[UNK]", "[CLS]", "[SEP]") if token not in vocabulary]
    if missing:
        raise UsageError("a vocabulary of BERT", f"one without {', '.join(missing)}", f"add {TOKENIZER}")
    tokenizer = BertWordPieceTokenizer(vocabulary, lowercase=bool(settings.get("do_lower_case", True)))
    return str(tokenizer.to_str()).encode()
