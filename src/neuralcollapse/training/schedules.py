"""The learning rate along a run."""

from __future__ import annotations

import math

from neuralcollapse.training.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    r"""Return the learning rate of a step.

    A linear warm-up over the first :math:`w` steps, then, with t the share that is done of the
    steps after it,

    .. math:: \text{cosine: } \tfrac12 (1 + \cos \pi t)\,\eta, \quad
        \text{step: } f^{m}\,\eta \text{ after } m \text{ milestones}, \quad \text{constant: } \eta

    Parameters
    ----------
    config
        Its `lr`, `lr_schedule`, `milestones`, `lr_factor`, `warmup_epochs` and `epochs` are read.
    step
        From 0.
    steps_per_epoch
        At least 1.

    References
    ----------
    Loshchilov & Hutter 2017 (cosine); Papyan, Han & Donoho 2020 (a tenth at each third);
    Goyal et al. 2017, Section 2.2 (warm-up).

    Examples
    --------
    Of Tirer et al. 2023, Figure 3: a tenth every 40 epochs.

    >>> from neuralcollapse.training import TrainConfig, learning_rate
    >>> config = TrainConfig(lr=0.05, lr_schedule="step", milestones=(40, 80), epochs=120)
    >>> [round(learning_rate(config, epoch * 10, 10), 6) for epoch in (0, 39, 40, 119)]
    [0.05, 0.05, 0.005, 0.0005]
    """
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.lr * ((step + 1) / warmup)
    if config.lr_schedule == "cosine":
        done = (step - warmup) / (config.epochs * steps_per_epoch - warmup)
        return config.lr * (1 + math.cos(math.pi * done)) / 2
    if config.lr_schedule == "step":
        thirds = (config.epochs / 3, 2 * config.epochs / 3)
        passed = sum(step / steps_per_epoch >= mark for mark in config.milestones or thirds)
        return config.lr * (0.1 if config.lr_factor is None else config.lr_factor) ** passed
    return config.lr
