"""Train a causal transformer on byte pairs, and measure its collapse as it learns."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.files import write_whole
from neuralcollapse.measurement import measure, measure_head
from neuralcollapse.studies.figure_job import FigureJob
from neuralcollapse.studies.language_model.collapse_by_frequency import by_frequency
from neuralcollapse.studies.language_model.text import Corpus

Record = dict[str, float]


@dataclass(frozen=True)
class Design:
    """The network and its training; runs of a study differ by the seed and the tie alone.

    Attributes
    ----------
    words, length
        Size of the vocabulary; tokens in a sequence.
    dim, blocks, heads
        Width, transformer blocks, attention heads.
    epochs, batch, rate, decay
        Passes over the text, sequences in a batch, highest learning rate (AdamW, one cycle), and
        weight decay of all weights.
    measurements
        How often collapse is measured at most, the start included: early steps that coincide count
        once.
    measured
        Sequences of training text that are measured.
    tied
        Whether the head is the embedding.
    seed
        Seed for weights and batch order.
    """

    words: int
    length: int
    dim: int
    blocks: int
    heads: int
    epochs: int
    batch: int
    rate: float
    decay: float
    measurements: int
    measured: int
    tied: bool = False
    seed: int = 0

    @property
    def name(self) -> str:
        """Name of the file of its records, without the ending."""
        return f"{'tied' if self.tied else 'untied'}_seed{self.seed}"


def finished(design: Design, text: Corpus, job: FigureJob) -> list[Record]:
    """Return the records of a run, from its file if it was finished before.

    Raises
    ------
    NeuralCollapseError
        If the file is of other settings or of another text, or missing and nothing is trained.
    """
    path = job.folder / "runs" / f"{design.name}.json"
    settings = asdict(design) | {"characters": text.characters, "vocabulary": text.num_words}
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["settings"] != settings:
            raise NeuralCollapseError(
                "out", "runs of these settings and this text", str(path), "choose another folder"
            )
        records: list[Record] = kept["records"]
        return records
    job.require_training(f"no {path}")
    records = list(learning(design, text))
    write_whole(path, json.dumps({"settings": settings, "records": records}, indent=1))
    return records


def learning(design: Design, text: Corpus) -> Iterator[Record]:
    """Train a network and yield a record at steps that are even in their logarithm."""
    torch.manual_seed(design.seed)
    model = network(design, text.num_words)
    optimizer = torch.optim.AdamW(model.parameters(), lr=design.rate, weight_decay=design.decay)
    steps = len(text.train) // design.batch * design.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, design.rate, total_steps=steps)
    # Most changes early.
    due = set(np.geomspace(max(1, steps // 100), steps, design.measurements - 1).round().tolist())
    entropy = unigram_entropy(text)
    step = 0
    yield {"step": 0, "unigram_entropy": entropy, **state_of(model, design, text, head=True)}
    for _ in range(design.epochs):
        order = torch.randperm(len(text.train))
        for rows in order[: len(order) // design.batch * design.batch].split(design.batch):
            tokens = text.train[rows]
            model(input_ids=tokens, labels=tokens).loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            if step in due:
                record = state_of(model, design, text, head=step == steps)
                yield {"step": step, "unigram_entropy": entropy, **record}


def network(design: Design, num_words: int) -> Any:
    """Return a causal transformer, GPT-2 of the library Transformers in small."""
    from transformers import GPT2Config, GPT2LMHeadModel  # seconds to import

    config: Any = GPT2Config(
        vocab_size=num_words, n_positions=design.length, n_embd=design.dim, n_layer=design.blocks,
        n_head=design.heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        tie_word_embeddings=design.tied, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    config.loss_type = "ForCausalLM"
    return GPT2LMHeadModel(config)


def state_of(model: Any, design: Design, text: Corpus, head: bool) -> Record:
    """Return losses, the collapse of each third of the words and, if asked, of the head alone."""
    parts = [text.train[: design.measured], text.test[: design.measured]]
    loaders = [
        [{"input_ids": rows, "labels": rows} for rows in part.split(design.batch)] for part in parts
    ]
    report = measure(model, loaders[0], test_loader=loaders[1], scatter=False, progress=False)
    weight = model.lm_head.weight.detach()
    alone = {}
    if head:
        found = measure_head(weight, class_sizes=report.train.moments.counts.clamp(min=1)).values
        kept = ("rho_lower", "rho_upper", "rho_bound", "norm_frequency", "head_mean_share")
        alone = {name: found[name] for name in kept if name in found}
    loss, test_loss = (_loss(model, loader) for loader in loaders)
    return {"loss": loss, "test_loss": test_loss, **by_frequency(report, weight), **alone}


def unigram_entropy(text: Corpus) -> float:
    """Return the entropy of single training words in nats, the least loss without context."""
    counts = torch.bincount(text.train.flatten(), minlength=text.num_words).double()
    return float(torch.special.entr(counts / counts.sum()).sum())


@torch.no_grad()
def _loss(model: Any, loader: list[dict[str, Tensor]]) -> float:
    model.eval()
    losses = [float(model(**batch).loss) * len(batch["labels"]) for batch in loader]
    model.train()
    loss = math.fsum(losses) / sum(len(batch["labels"]) for batch in loader)
    if not math.isfinite(loss):
        raise NeuralCollapseError("rate", "a finite loss", str(loss), "lower the learning rate")
    return loss
