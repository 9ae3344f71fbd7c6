"""References straight from the definitions: numpy, float64, loops over classes and pairs."""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass
class NaiveMoments:
    """Two passes over the data: means first, then everything about them."""

    features: np.ndarray
    labels: np.ndarray
    num_classes: int

    def __post_init__(self):
        self.features = np.asarray(torch.as_tensor(self.features).to(torch.float64))
        self.labels = np.asarray(torch.as_tensor(self.labels))
        dim = self.features.shape[1]
        self.counts = np.zeros(self.num_classes, dtype=int)
        self.means = np.full((self.num_classes, dim), np.nan)
        self.variances = np.full(self.num_classes, np.nan)
        self.scatters = np.zeros((self.num_classes, dim, dim))  # sums, not means
        for k in range(self.num_classes):
            rows = self.features[self.labels == k]
            self.counts[k] = len(rows)
            if len(rows):
                # The mean of differences: a plain float64 mean would itself be off at 1e-10.
                self.means[k] = rows[0] + (rows - rows[0]).mean(0)
                centered = rows - self.means[k]
                self.variances[k] = (centered**2).sum() / len(rows)
                self.scatters[k] = centered.T @ centered

    @property
    def present(self):
        return [k for k in range(self.num_classes) if self.counts[k]]

    def weight(self, k, weighting):
        return (
            self.counts[k] / self.counts.sum() if weighting == "pooled" else 1 / len(self.present)
        )

    def center(self, kind):
        if kind == "class_mean":
            return np.mean([self.means[k] for k in self.present], axis=0)
        return self.features.mean(0)

    def within(self, weighting="pooled"):
        return sum(
            self.weight(k, weighting) * self.scatters[k] / self.counts[k] for k in self.present
        )

    def between(self, weighting="balanced", center="class_mean"):
        total = np.zeros((self.features.shape[1],) * 2)
        for k in self.present:
            row = self.means[k] - self.center(center)
            total += self.weight(k, weighting) * np.outer(row, row)
        return total

    def nc1_pinv(self, within="pooled", between="balanced", center="class_mean", normalize=True):
        inverse = pinv_of_rank(self.between(between, center), len(self.present) - 1)
        value = np.trace(self.within(within) @ inverse)
        return value / len(self.present) if normalize else value

    def nc1_trace_ratio(
        self, within="pooled", between="balanced", center="class_mean", denominator="between"
    ):
        spread = np.trace(self.within(within))
        apart = np.trace(self.between(between, center))
        return spread / (apart + spread if denominator == "total" else apart)

    def cdnv(self, reduce="mean", ddof=0):
        values = []
        for i in self.present:
            for j in self.present:
                if i != j:
                    spread = sum(
                        self.variances[k] * self.counts[k] / (self.counts[k] - ddof) for k in (i, j)
                    )
                    values.append(spread / (2 * ((self.means[i] - self.means[j]) ** 2).sum()))
        if reduce == "median":  # the lower of two in the middle; each pair is here twice
            return sorted(values)[(len(values) - 1) // 2]
        return {"mean": np.mean, "max": np.max}[reduce](values)

    def vci(self, rank="numerical"):
        between = self.between("pooled", "sample_mean")
        total = between + self.within("pooled")
        scale = np.linalg.norm(between, 2)
        directions = np.linalg.matrix_rank(between, tol=1e-10 * scale)
        if rank == "full":
            directions = min(len(between), len(self.present) - 1)
        return 1 - np.trace(np.linalg.pinv(total, rcond=1e-12) @ between) / directions

    def separation_fuzziness(self):
        between = self.between("pooled", "sample_mean")
        return np.trace(self.within() @ pinv_of_rank(between, len(self.present) - 1))


def pinv_of_rank(matrix, rank):
    """Pseudo-inverse of a symmetric matrix known to have at most this rank."""
    left, values, right = np.linalg.svd(matrix)
    kept = [r for r in range(min(rank, len(values))) if values[r] > 1e-10 * values[0]]
    return sum(np.outer(right[r], left[:, r]) / values[r] for r in kept)


def cosine(a, b):
    return float(a @ b) / np.sqrt(float(a @ a) * float(b @ b))


def equinorm(vectors, center=None, ddof=0):
    rows = centered(vectors, center)
    lengths = [np.sqrt(float(row @ row)) for row in rows]
    return np.std(lengths, ddof=ddof) / np.mean(lengths)


def equiangularity(vectors, center=None, reduce="mean"):
    rows = centered(vectors, center)
    num = len(rows)
    cosines = np.array([cosine(rows[i], rows[j]) for i in range(num) for j in range(num) if i != j])
    if reduce == "std":
        return cosines.std()
    return {"mean": np.mean, "max": np.max}[reduce](np.abs(cosines + 1 / (num - 1)))


def etf_distance(vectors, center=None):
    rows = centered(vectors, center)
    return product_distance(rows, rows)


def product_distance(left, right):
    """Distance of L R^T from the ETF's Gram matrix, both of norm 1, entry by entry."""
    num = len(left)
    product = np.array([[float(a @ b) for b in right] for a in left])
    target = np.array([[float(i == j) - 1 / num for j in range(num)] for i in range(num)])
    return np.linalg.norm(product / np.linalg.norm(product) - target / np.linalg.norm(target))


def gram_distance(vectors, target, center=None):
    rows = centered(vectors, center)
    gram = np.array([[float(a @ b) for b in rows] for a in rows])
    target = np.asarray(target, dtype=float)
    return np.linalg.norm(gram / np.linalg.norm(gram) - target / np.linalg.norm(target))


def uniformity(vectors, center=None):
    units = [row / np.linalg.norm(row) for row in centered(vectors, center)]
    energies = [
        -np.log(np.linalg.norm(units[i] - units[j])) for i in range(len(units)) for j in range(i)
    ]
    return np.mean(energies), np.var(energies)


def self_duality(weight, means, center=None, center_head=True, variant="distance"):
    head, rows = _head_and_rows(weight, means, center, center_head)
    if variant == "cosine":
        return np.mean([1 - cosine(w, m) for w, m in zip(head, rows, strict=True)])
    distance = np.sqrt(((head / np.linalg.norm(head) - rows / np.linalg.norm(rows)) ** 2).sum())
    return distance**2 if variant == "squared" else distance


def product_duality(weight, means, center=None, center_head=True):
    return product_distance(*_head_and_rows(weight, means, center, center_head))


def centered(vectors, center=None):
    vectors = np.asarray(vectors, dtype=np.float64)
    return vectors - (vectors.mean(0) if center is None else np.asarray(center))


def _head_and_rows(weight, means, center, center_head):
    weight = np.asarray(weight, dtype=np.float64)
    return (centered(weight) if center_head else weight), centered(means, center)


def nearest_center(features, means):
    found = []
    for x in np.asarray(features, dtype=np.float64):
        distances = [np.inf if np.isnan(mu).any() else ((x - mu) ** 2).sum() for mu in means]
        found.append(int(np.argmin(distances)))
    return np.array(found)


def sample_margins(logits, labels):
    logits = np.asarray(logits, dtype=np.float64)
    return np.array(
        [row[y] - max(np.delete(row, y)) for row, y in zip(logits, labels, strict=True)]
    )
