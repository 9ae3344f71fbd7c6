"""What measuring a language model costs beside running it: tokens are samples, words classes.

    python benchmarks/language_model.py [--smoke]

time     measure(model, loader), all that it does but for intervals, over the bare forward passes
         of the same loader: process CPU time, one thread, in pairs, median of the ratios.
memory   MiB that it takes at its peak, above model and data, in a process of its own. The
         forward pass itself takes some: the logits of one batch.

Two transformer blocks of width 128, K = 8,192 words and 65,000 tokens. Logits are never kept: all
of them would take 2 GiB.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import neuralcollapse as nc
from measure import peak_of

MOST_TIME, MOST_MEMORY = 2.0, 250


class LanguageModel(nn.Module):
    """Embeddings of words and positions, causal transformer blocks, and a head of all words."""

    def __init__(self, words: int, dim: int, length: int, blocks: int = 2) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(words, dim), nn.Embedding(length, dim)
        layer = [
            nn.TransformerEncoderLayer(dim, 4, 4 * dim, 0.0, batch_first=True, norm_first=True)
            for _ in range(blocks)
        ]
        self.blocks, self.norm = nn.ModuleList(layer), nn.LayerNorm(dim)
        self.head = nn.Linear(dim, words)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits of the next word after each token, (sequences x length, words)."""
        length = tokens.shape[1]
        mask = torch.full((length, length), float("-inf")).triu(1)
        hidden = self.words(tokens) + self.positions.weight[:length]
        for block in self.blocks:
            hidden = block(hidden, src_mask=mask)
        return self.head(self.norm(hidden).flatten(0, 1))


def case(smoke: bool) -> tuple[LanguageModel, list[tuple[Tensor, Tensor]]]:
    """Return the model, at rest, and batches of tokens with those that follow them."""
    torch.manual_seed(0)
    words, length, sequences = (300, 16, 40) if smoke else (8192, 128, 512)
    # Words as frequent as in a language, about: some thousand never occur.
    frequencies = 1 / torch.arange(1.0, words + 1)
    tokens = torch.multinomial(frequencies, sequences * (length + 1), replacement=True)
    tokens = tokens.view(sequences, length + 1)
    model = LanguageModel(words, 32 if smoke else 128, length).eval()
    return model, [(part[:, :-1], part[:, 1:].flatten()) for part in tokens.split(8)]


def bare(model: nn.Module, loader: list[tuple[Tensor, Tensor]]) -> None:
    with torch.no_grad():
        for tokens, _ in loader:
            model(tokens)


def measured(model: nn.Module, loader: list[tuple[Tensor, Tensor]]) -> None:
    nc.measure(model, loader, progress=False, intervals=False)


def seconds(work: partial[None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, loader = case(options.smoke)
    if options.memory:
        measured(*case(smoke=True))  # libraries load
        print(peak_of(partial(measured, model, loader)))
        return
    runs = [partial(work, model, loader) for work in (bare, measured)]
    pairs = [[seconds(run) for run in runs] for _ in range(1 if options.smoke else 3)]
    ratio = statistics.median(full / alone for alone, full in pairs)
    command = [sys.executable, __file__, "--memory", *(["--smoke"] if options.smoke else [])]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}  # what is freed goes back
    memory = float(subprocess.check_output(command, text=True, env=environment))
    table = Table("tokens", "words", "time", "at most", "MiB", "at most")
    tokens, words = sum(labels.numel() for _, labels in loader), model.head.out_features
    sizes = (f"{tokens:,}", f"{words:,}")
    table.add_row(*sizes, f"{ratio:.2f}", f"{MOST_TIME}", f"{memory:.0f}", f"{MOST_MEMORY}")
    Console().print(table)


if __name__ == "__main__":
    main()
