"""Where weight decay takes classes of unequal sizes: the minimum, certified, and its thresholds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import fmin_l_bfgs_b
from scipy.sparse.linalg import LinearOperator, minres
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.theory.round_off import regular_systems
from neuralcollapse.theory.unequal_objective import Bias, ConvexProblem, FactorPoint
from neuralcollapse.validation import (
    Array,
    check_choice,
    check_size,
    class_counts,
    decay_strength,
    finite_tensor,
    smoothing_share,
    whole_number,
)

NEARLY = 1e-5  # gradient at which Newton's method takes over, until rounding stops it
NEWTON_STEPS = 10
RESTARTS = 8  # where d < K - 1 and the factors are no longer free of local minima


@dataclass(frozen=True)
class UnequalMinimizer:
    r"""The minimum of a loss with weight decay on head and features, for any class sizes.

    Attributes
    ----------
    W
        (K, d) head; every other minimum is a rotation of it.
    means
        (K, d) the feature that all samples of a class share.
    bias
        (K,); zeros without one.
    value
        The objective, in nats for cross-entropy.
    gap
        `value` less a dual bound that no head and features go below. Both are computed in doubles,
        to a relative 1e-14 or so, and a gap of less, or below 0, is their rounding. With d < K - 1
        the bound is that of more dimensions. 0 in closed form (squared loss).
    strength
        r = sqrt(lambda_W lambda_H).
    merge_strength
        (K,) the r from which on a class has merged with the others of its size and weight;
        infinite where there are no others.
    status
        ``"minimum"``, ``"origin"`` where the decay leaves only the bias, or ``"best found"``
        where d < K - 1 leaves local minima.
    class_sizes
        (K,).

    Examples
    --------
    >>> from neuralcollapse.theory import unequal_minimizer
    >>> best = unequal_minimizer([100, 2, 2], 2, lambda_w=0.02, lambda_h=0.02)
    >>> best.status, best.merged  # the two small classes have become one
    ('minimum', [[1, 2]])
    """

    W: Float[Tensor, "K d"]
    means: Float[Tensor, "K d"]
    bias: Float[Tensor, " K"]
    value: float
    gap: float
    strength: float
    merge_strength: Float[Tensor, " K"]
    status: Literal["minimum", "origin", "best found"]
    class_sizes: Int[Tensor, " K"]

    @property
    def labels(self) -> Int[Tensor, " N"]:
        """Class-major labels: n_1 zeros, n_2 ones, ..."""
        return torch.repeat_interleave(self.class_sizes)

    @property
    def H(self) -> Float[Tensor, "N d"]:
        """Features of all samples, in the order of `labels`."""
        return self.means[self.labels]

    @property
    def head_gram(self) -> Float[Tensor, "K K"]:
        """W W^T, the same for every minimum."""
        return self.W @ self.W.T

    @property
    def mean_gram(self) -> Float[Tensor, "K K"]:
        """Inner products of the class means, the same for every minimum."""
        return self.means @ self.means.T

    @property
    def margins(self) -> Float[Tensor, "K K"]:
        """How far the score of class k (row) lies above that of class j (column); 0 for j = k."""
        scores = self.means @ self.W.T + self.bias
        return scores.diagonal()[:, None] - scores

    @property
    def merged(self) -> list[list[int]]:
        """Groups of classes that have become one: same row, same mean, same logits."""
        groups: dict[tuple[int, float], list[int]] = {}
        for k, (size, merge) in enumerate(
            zip(self.class_sizes.tolist(), self.merge_strength.tolist(), strict=True)
        ):
            if self.strength >= merge:
                groups.setdefault((size, merge), []).append(k)
        return list(groups.values())


@regular_systems("lambda_w and lambda_h")
def unequal_minimizer(
    class_sizes: Any,
    dim: int,
    lambda_w: float,
    lambda_h: float,
    bias: Bias = None,
    label_smoothing: float = 0.0,
    class_weights: Any = None,
    loss: Literal["cross_entropy", "mse"] = "cross_entropy",
) -> UnequalMinimizer:
    r"""Minimise a loss with weight decay over head, features and bias, for any class sizes.

    .. math:: \frac1N \sum_i \ell(W h_i + b, y_i) + \frac{\lambda_W}{2} \|W\|^2
        + \frac{\lambda_H}{2} \|H\|^2 \; \Bigl( + \frac{\lambda_b}{2} \|b\|^2 \Bigr)

    Cross-entropy: the features of a class coincide, and what remains is convex in the K x K logits
    of the classes, with a nuclear norm (see `unequal_objective`). It is minimised over its factors
    by Newton's method, and a dual point proves how near the minimum the answer is. Squared loss,
    1/(2N) ||Z - Y||^2: in closed form.

    Classes of one size n (and weight) are one class, with the same row, mean and logits, exactly
    for r = sqrt(lambda_W lambda_H) >= sqrt(n)/N, whatever the other classes, with or without a
    bias ((1-s) sqrt(n)/N with label smoothing s, (1-s) c/sqrt(n) with shares c): the minority
    collapse that a decay must stay below.

    Parameters
    ----------
    class_sizes
        (K,) samples n_k >= 1 of each class.
    dim
        d >= 1. With cross-entropy and d < K - 1 several starts are tried and the best is returned;
        the squared loss has a closed form for every d.
    lambda_w, lambda_h
        Strengths of decay, above 0.
    bias
        None, ``"free"``, or its decay lambda_b > 0, which the squared loss does not take.
    label_smoothing
        s in [0, 1): targets (1 - s) e_k + s/K. Cross-entropy alone.
    class_weights
        (K,) shares c_k > 0 of the classes in the loss, of sum 1; n_k/N if omitted. A loss with
        weights w_k per sample, normalised as torch does, has c_k = w_k n_k / sum_j w_j n_j.
        Cross-entropy alone.
    loss
        ``"cross_entropy"`` or ``"mse"``.

    Returns
    -------
    UnequalMinimizer
        Head, class means, bias, value, duality gap, and the strengths at which classes merge.

    Raises
    ------
    NeuralCollapseError
        If a size, strength, weight or smoothing is out of range, or the squared loss has no closed
        form for what is asked.

    References
    ----------
    Hong & Ling 2023, "Neural collapse for unconstrained feature model under cross-entropy loss
    with imbalanced data", for the convex form; Fang et al. 2021 for minority collapse; the dual
    bound, the exact threshold and the closed forms of the squared loss are ours.

    Examples
    --------
    >>> from neuralcollapse.theory import unequal_minimizer
    >>> best = unequal_minimizer([8, 4, 2], 2, lambda_w=5e-3, lambda_h=1e-3)
    >>> round(best.value, 9), best.gap < 1e-10
    (0.059854624, True)
    """
    sizes = class_counts("class_sizes", class_sizes).cpu()
    dim = whole_number("dim", dim)
    check_size("class_sizes", len(sizes), len(sizes))
    check_size("dim", len(sizes), dim)
    lambda_w, lambda_h = decay_strength("lambda_w", lambda_w), decay_strength("lambda_h", lambda_h)
    strength = math.sqrt(lambda_w * lambda_h)
    label_smoothing = smoothing_share(label_smoothing)
    check_choice("loss", loss, ("cross_entropy", "mse"))
    if bias is not None and not (isinstance(bias, str) and bias == "free"):
        bias = decay_strength("bias", bias)
    shares = _shares(class_weights, sizes)
    problem = ConvexProblem(sizes.numpy().astype(float), shares, label_smoothing, strength, bias)
    if loss == "mse":
        _require_plain(bias, label_smoothing, class_weights)
        product, offset, value, gap, status = _squared_loss(problem, dim)
    else:
        product, offset, value, gap, status = _cross_entropy(problem, dim)
    left, singular, right = np.linalg.svd(product)
    width = min(dim, len(left))
    balance = (lambda_h / lambda_w) ** 0.25
    roots = np.zeros((2, len(left), dim))
    roots[0, :, :width] = right.T[:, :width] * np.sqrt(singular[:width]) * balance
    roots[1, :, :width] = left[:, :width] * np.sqrt(singular[:width]) / balance
    head, scaled = torch.from_numpy(roots)
    return UnequalMinimizer(
        W=head,
        means=scaled / sizes.to(torch.float64).sqrt()[:, None],
        bias=torch.from_numpy(offset),
        value=value,
        gap=gap,
        strength=strength,
        merge_strength=_merge_strength(problem, loss),
        status=status,
        class_sizes=sizes,
    )


Solution = tuple[Array, Array, float, float, Literal["minimum", "origin", "best found"]]


def _cross_entropy(problem: ConvexProblem, dim: int) -> Solution:
    """Return D^{1/2} M^T, the bias, value, gap and status."""
    num = len(problem.sizes)
    roots = np.sqrt(problem.sizes)[:, None]
    nothing = np.zeros((num, num))
    bias = problem.best_bias(nothing, np.zeros(num))
    pull = problem.loss(nothing + bias)[2] / roots
    if np.linalg.norm(pull, 2) <= problem.strength:
        value, dual = problem.certificate(nothing, bias)
        return nothing, bias, value, value - dual, "origin"
    best: tuple[float, Array, Array, float] | None = None
    width = min(dim, num)
    for start in _starts(problem, width):
        point = _descend(problem, start)
        bias = problem.best_bias(point.logits, point.b)
        value, dual = problem.certificate(point.logits, bias)
        if best is None or value < best[0]:
            best = value, roots * point.logits, bias, value - dual
    assert best is not None
    value, product, bias, gap = best
    return product, bias, value, gap, "minimum" if dim >= num - 1 else "best found"


def _descend(problem: ConvexProblem, start: Array) -> FactorPoint:
    """Go most of the way by L-BFGS, which is cheap, and the rest by Newton's method."""

    def value_and_gradient(argument: Array) -> tuple[float, Array]:
        point = FactorPoint(problem, argument)
        return point.value, point.gradient

    near, _, _ = fmin_l_bfgs_b(value_and_gradient, start, factr=0, pgtol=NEARLY, maxiter=2000)
    best = FactorPoint(problem, near)
    for _ in range(NEWTON_STEPS):
        slope = float(np.linalg.norm(best.gradient))
        hessian = LinearOperator((start.size,) * 2, matvec=best.hessian, dtype=float)
        # MINRES, since rotations of the factors leave the Hessian singular.
        step, _ = minres(hessian, -best.gradient, rtol=min(1e-2, slope), maxiter=500)
        trial = FactorPoint(problem, best.argument + step)
        if np.linalg.norm(trial.gradient) >= slope:
            break
        best = trial
    return best


def _starts(problem: ConvexProblem, width: int) -> list[Array]:
    """Simplex-encoded labels at the size of the optimum; with few dimensions, random ones too."""
    num = len(problem.sizes)
    size = max(1.0, math.log(1 / problem.strength))
    spread = np.sqrt(problem.sizes)[:, None] * (np.eye(num) - 1 / num)
    left, singular, right = np.linalg.svd(size * spread)
    scales = np.sqrt(singular[:width])
    factors = [(right.T[:, :width] * scales, left[:, :width] * scales)]
    if width < num - 1:
        generator = np.random.default_rng(0)
        for _ in range(RESTARTS):
            rows = generator.standard_normal((num, width))
            factors.append((rows, rows * problem.sizes[:, None] ** 0.25))
    offset = np.zeros(0 if problem.bias is None else num)
    return [np.concatenate([a.ravel(), b.ravel(), offset]) for a, b in factors]


def _squared_loss(problem: ConvexProblem, dim: int) -> Solution:
    """Shrink the singular values of the centred targets by N r, and keep the d largest."""
    num, sizes = len(problem.sizes), problem.sizes
    total = sizes.sum()
    free = problem.bias == "free"
    offset = sizes / total if free else np.zeros(num)
    target = np.sqrt(sizes)[:, None] * (np.eye(num) - offset)
    left, singular, right = np.linalg.svd(target)
    kept = np.maximum(singular - total * problem.strength, 0.0)
    kept[dim:] = 0.0
    product = left * kept @ right
    if free:
        offset = offset - offset @ (product / np.sqrt(sizes)[:, None])
    lost = np.minimum(singular, total * problem.strength)  # singular - kept, uncancelled
    lost[dim:] = singular[dim:]
    value = float(lost @ lost) / (2 * total) + problem.strength * float(kept.sum())
    return product, offset, value, 0.0, "minimum" if kept.any() else "origin"


def _merge_strength(problem: ConvexProblem, loss: str) -> Float[Tensor, " K"]:
    pairs = np.stack([problem.sizes, problem.shares], 1)
    _, group, count = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    threshold = (1 - problem.smoothing) * problem.shares / np.sqrt(problem.sizes)
    alone = count[group.ravel()] == 1
    if loss == "mse":
        # Their logits differ until both vanish: n <= N^2 r^2.
        threshold = np.sqrt(problem.sizes) / problem.sizes.sum()
    return torch.from_numpy(np.where(alone, np.inf, threshold))


def _shares(class_weights: Any, sizes: Tensor) -> Array:
    if class_weights is None:
        return (sizes / sizes.sum().double()).numpy()
    shares = finite_tensor("class_weights", class_weights).cpu()
    if shares.shape != sizes.shape or not bool((shares > 0).all()):
        expected = f"{len(sizes)} positive shares"
        got = str(shares.tolist())
        raise NeuralCollapseError("class_weights", expected, got, "pass one share for each class")
    if abs(float(shares.sum()) - 1) > 1e-9:
        got = f"a sum of {float(shares.sum()):.6g}"
        remedy = "weights w per sample have shares w * n / (w * n).sum()"
        raise NeuralCollapseError("class_weights", "shares of the loss that sum to 1", got, remedy)
    return (shares / shares.sum()).numpy()


def _require_plain(bias: Bias, label_smoothing: float, class_weights: Any) -> None:
    if isinstance(bias, float) or label_smoothing or class_weights is not None:
        expected = "'cross_entropy' where the bias decays, labels are smoothed or classes weighted"
        remedy = "the squared loss is solved in closed form without these"
        raise NeuralCollapseError("loss", expected, "'mse'", remedy)
