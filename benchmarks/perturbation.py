"""Perturbation analysis: the reduced and structured methods beside the full ones, as sizes grow.

On one core of an AMD EPYC, busy with other work (the ratios are within one process):

- operator: K = 5, d = 16, n = 50 is 3,400 times faster than dense. At K = 100, d = 512, n = 500,
  where nothing dense could be stored, 0.8 s, 2.2 times its two matrix products; it adds 1.4 times
  the memory of the change of H0 (its result among them).
- minimiser: K = 10, d = 64, n = 50 in 6.5 ms, 28 times faster than joint L-BFGS, and 82 times at
  the worst conditioned strengths. Where the minimiser is not proved unique this is the time of two
  descents and two checks for saddles. At a few dozen numbers it takes twice as long as L-BFGS.
- flow: K = 10, d = 64, n = 200 is 9 times faster than the full one, at a cost that does not grow
  with n. At a few dozen numbers it is up to three times slower: calls, not arithmetic.

Every row is measured in one process, one thread, best of three; the ratio is full over ours, at
an agreement checked to the tolerance given. ``--smoke`` runs the smallest sizes only.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

from neuralcollapse.theory import (
    PerturbationOperator,
    central_path,
    near_features_minimizer,
    regularized_mse_minimizer,
)

LAMBDA_W, LAMBDA_H, BETA = 0.5, 0.1, 1.0
STIFF = (0.005, 0.01, 1.0)  # the strengths at which the reduced Hessian is worst conditioned
LARGE = (100, 512, 500)  # K, d, n


class Row(NamedTuple):
    """One size of one comparison: seconds of both methods and how far their answers differ."""

    name: str
    size: str
    ours: float
    full: float
    difference: float


def best_of(call: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        answer = call()
        seconds.append(time.perf_counter() - start)
    return min(seconds), answer


def features(K: int, d: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(K), n)
    means = rng.normal(size=(K, d))
    return (means[labels] + 0.5 * rng.normal(size=(K * n, d))) / np.sqrt(d), labels


def operator_row(K: int, d: int, n: int) -> Row:
    """Structured apply beside building the dense inverse by columns and applying it."""
    means = regularized_mse_minimizer(K, 1, d, LAMBDA_W, LAMBDA_H).means
    labels = torch.arange(K).repeat_interleave(n)
    change = torch.from_numpy(np.random.default_rng(0).normal(size=(K * n, d)))
    ours, answer = best_of(
        lambda: PerturbationOperator(means, labels, LAMBDA_W, LAMBDA_H, BETA).apply(change)
    )
    H, W = means[labels].numpy(), np.sqrt(LAMBDA_H / LAMBDA_W) * means.numpy()

    def dense() -> np.ndarray:
        residual = (H @ W.T - np.eye(K)[labels]).T
        inner = np.einsum("ij,kn->iknj", np.eye(d), residual).reshape(d * K, -1) + np.kron(H.T, W)
        gram = np.kron(H.T @ H + n * LAMBDA_W * np.eye(d), np.eye(K))
        curvature = np.kron(np.eye(K * n), W.T @ W) - inner.T @ np.linalg.solve(gram, inner)
        curvature[np.diag_indices_from(curvature)] += LAMBDA_H + BETA
        return BETA * np.linalg.solve(curvature, change.numpy().ravel())

    full, expected = best_of(dense, 1)
    return Row("operator", f"{K},{d},{n}", ours, full, _gap(answer.ravel(), expected))


def minimizer_row(
    K: int,
    d: int,
    n: int,
    lambda_w: float = LAMBDA_W,
    lambda_h: float = LAMBDA_H,
    beta: float = BETA,
) -> Row:
    """Reduced Newton beside L-BFGS over head and features together."""
    H0, labels = features(K, d, n)
    target = np.eye(K)[labels]
    ours, found = best_of(lambda: near_features_minimizer(H0, labels, lambda_w, lambda_h, beta))

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        W, H = x[: K * d].reshape(K, d), x[K * d :].reshape(-1, d)
        residual, pull = H @ W.T - target, H - H0
        squares = (residual**2).sum() + lambda_h * (H**2).sum() + beta * (pull**2).sum()
        by_head = residual.T @ H / len(H) + lambda_w / K * W
        by_features = (residual @ W + lambda_h * H + beta * pull) / len(H)
        value = squares / (2 * len(H)) + lambda_w * (W**2).sum() / (2 * K)
        return value, np.concatenate([by_head.ravel(), by_features.ravel()])

    start: Any = np.concatenate([np.zeros(K * d), H0.ravel()])
    start[: K * d] = 0.1 * np.random.default_rng(0).normal(size=K * d)
    options: Any = {"gtol": 1e-9, "ftol": 0, "maxiter": 5000}
    full, end = best_of(
        lambda: minimize(loss, start, jac=True, method="L-BFGS-B", options=options),
        3 if K * d * n < 10_000 else 1,
    )
    name = "minimiser" if lambda_w == LAMBDA_W else "minimiser, stiff"
    return Row(name, f"{K},{d},{n}", ours, full, abs(end.fun - found.value) / found.value)


def flow_row(K: int, d: int, n: int) -> Row:
    """Flow on means and scatter beside the flow on all features, both DOP853, to t = 10."""
    H0, labels = features(K, d, n)
    target = np.eye(K)[labels]
    ours, path = best_of(lambda: central_path(H0, labels, LAMBDA_W, LAMBDA_H, [10.0]))

    def velocity(_: float, state: np.ndarray) -> np.ndarray:
        H = state.reshape(-1, d)
        W = np.linalg.solve(H.T @ H + n * LAMBDA_W * np.eye(d), H.T @ target).T
        return -((H @ W.T - target) @ W + LAMBDA_H * H).ravel()

    full, solution = best_of(
        lambda: solve_ivp(velocity, (0, 10), H0.ravel(), "DOP853", rtol=1e-12, atol=1e-14), 1
    )
    return Row(
        "flow", f"{K},{d},{n}", ours, full, _gap(path.features(0).ravel(), solution.y[:, -1])
    )


def _gap(ours: torch.Tensor, full: np.ndarray) -> float:
    return float(np.linalg.norm(ours.numpy() - full) / np.linalg.norm(full))


COMPARISONS: tuple[tuple[Callable[..., Row], float, list[tuple[Any, ...]]], ...] = (
    (operator_row, 1e-11, [(2, 3, 3), (4, 10, 10), (4, 10, 40), (5, 16, 50)]),
    (
        minimizer_row,
        1e-7,
        [(3, 5, 4), (4, 10, 10), (10, 64, 50), (10, 64, 50, *STIFF), (10, 64, 200)],
    ),
    (flow_row, 1e-9, [(3, 5, 4), (4, 10, 10), (10, 64, 50), (10, 64, 200)]),
)


def measure(smoke: bool) -> Iterator[Row]:
    for compare, tolerance, sizes in COMPARISONS:
        for size in sizes[: 1 if smoke else None]:
            row = compare(*size)
            if row.difference > tolerance:
                raise RuntimeError(f"{row.name} {row.size}: methods differ by {row.difference:.3g}")
            yield row


def large_operator() -> str:
    """Time the structured apply where nothing dense could be stored, and the memory it adds."""
    K, d, n = LARGE
    means = regularized_mse_minimizer(K, 1, d, LAMBDA_W, LAMBDA_H).means
    labels = torch.arange(K).repeat_interleave(n)
    change = torch.randn(K * n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    frame = means / means[0].norm()
    operator = PerturbationOperator(means, labels, LAMBDA_W, LAMBDA_H, BETA)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    operator.apply(change)
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    apply, _ = best_of(lambda: operator.apply(change))
    floor, _ = best_of(lambda: (change @ frame.T) @ frame)
    spectrum, _ = best_of(
        lambda: PerturbationOperator(means, labels, LAMBDA_W, LAMBDA_H, BETA).spectrum()
    )
    return (
        f"operator {K},{d},{n}: {apply:.2f} s, {apply / floor:.2f} times its two matrix products; "
        f"memory added: {added / change.nbytes:.2f} times the {change.nbytes / 2**20:.0f} MiB of "
        f"the change; set up and spectrum {1e3 * spectrum:.0f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="smallest sizes only")
    smoke = parser.parse_args().smoke
    torch.set_num_threads(1)
    console = Console()
    if not smoke:
        console.print(large_operator(), highlight=False)
    table = Table("method", "K,d,n", "ours (ms)", "full (ms)", "ratio", "difference")
    for row in measure(smoke):
        table.add_row(
            row.name,
            row.size,
            f"{1e3 * row.ours:.2f}",
            f"{1e3 * row.full:.1f}",
            f"{row.full / row.ours:.2g}",
            f"{row.difference:.0e}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
