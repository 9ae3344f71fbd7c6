"""Text that every machine has: Python's documentation strings, as sequences of byte pairs."""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.integrations.missing import MissingLibrary

LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3"}
END = "<|end|>"
HELD_OUT = 10  # every tenth document is not trained on


@dataclass(frozen=True)
class Corpus:
    """Sequences of tokens, documents one after the other with an end between them.

    Attributes
    ----------
    train, test
        (sequences, length) tokens, of different documents.
    num_words
        Size of the vocabulary.
    characters
        Number of characters of all documents.
    """

    train: Int[Tensor, "s length"]
    test: Int[Tensor, "t length"]
    num_words: int
    characters: int


def documentation() -> list[str]:
    """Return the documentation strings of the running Python's standard library, each once.

    The files are parsed, and nothing of them is run.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    found: dict[str, None] = {}
    for path in sorted(root.rglob("*.py")):
        if LEFT_OUT & set(path.relative_to(root).parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # templates, and files of older Pythons
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                found[ast.get_docstring(node) or ""] = None
    found.pop("", None)
    return list(found)


def documents(path: Path | None) -> list[str]:
    """Return the paragraphs of a text file, or the documentation strings if there is none.

    Raises
    ------
    NeuralCollapseError
        If the file cannot be read as text, or has fewer than two paragraphs.
    """
    if path is None:
        return documentation()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NeuralCollapseError(
            "--text", "a text file in UTF-8", f"{path}: {error}", "pass another, or none"
        ) from error
    found = list(dict.fromkeys(part.strip() for part in text.split("\n\n") if part.strip()))
    if len(found) < 2:
        expected = "paragraphs with empty lines between them"
        raise NeuralCollapseError("--text", expected, str(len(found)), "pass a longer text")
    return found


def corpus(texts: Sequence[str], num_words: int, length: int) -> Corpus:
    """Learn a byte-pair vocabulary from documents, and cut them into sequences.

    Parameters
    ----------
    texts
        The documents.
    num_words
        Size of the vocabulary, above 257.
    length
        Tokens of a sequence.

    Raises
    ------
    NeuralCollapseError
        If the text is too short for one sequence of each part.
    MissingLibrary
        If Transformers, which brings the tokenizers, is not installed.
    """
    try:
        from tokenizers import ByteLevelBPETokenizer
    except ImportError as error:
        raise MissingLibrary("study language-model", "Transformers", "transformers") from error
    held = [text for i, text in enumerate(texts) if i % HELD_OUT == HELD_OUT - 1]
    kept = [text for i, text in enumerate(texts) if i % HELD_OUT != HELD_OUT - 1]
    words = ByteLevelBPETokenizer()
    words.train_from_iterator(kept, num_words, special_tokens=[END], show_progress=False)
    train, test = (_sequences(words, part, length) for part in (kept, held))
    if not (len(train) and len(test)):
        expected = f"enough text for sequences of {length} tokens to train on and to test"
        got = f"{len(train)} and {len(test)} sequences"
        raise NeuralCollapseError("--text", expected, got, "pass a longer text")
    return Corpus(train, test, words.get_vocab_size(), sum(map(len, texts)))


def _sequences(words: Any, texts: Sequence[str], length: int) -> Tensor:
    end = words.token_to_id(END)
    tokens = torch.tensor([t for text in texts for t in [*words.encode(text).ids, end]])
    return tokens[: len(tokens) // length * length].view(-1, length)
