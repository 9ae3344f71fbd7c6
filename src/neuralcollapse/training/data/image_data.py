"""A labelled image data set in memory, and what can be made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import TensorDataset

from neuralcollapse.errors import NeuralCollapseError


@dataclass(frozen=True)
class ImageData:
    """A labelled image data set, split into training and test images.

    Attributes
    ----------
    name
        Of the data set.
    train, test
        Images (n, channels, height, width), float32, and labels (n,), int64.
    class_names
        One a class; label k is ``class_names[k]``.
    true_labels
        (n,) int64, the training labels before noise; None if none was added.

    Examples
    --------
    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> from neuralcollapse.training import ImageData
    >>> images, labels = torch.arange(12.0).reshape(6, 1, 1, 2), torch.arange(6) % 2
    >>> split = TensorDataset(images, labels)
    >>> data = ImageData("tiny", split, split, ("even", "odd"))
    >>> data.input_shape, data.num_classes, data.class_sizes.tolist()
    ((1, 1, 2), 2, [3, 3])
    >>> data.long_tailed(3.0).class_sizes.tolist()
    [3, 1]
    """

    name: str
    train: TensorDataset
    test: TensorDataset
    class_names: tuple[str, ...]
    true_labels: Int[Tensor, " n"] | None = None

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(channels, height, width) of an image."""
        return tuple(self.train.tensors[0].shape[1:])

    @property
    def class_sizes(self) -> Int[Tensor, " K"]:
        """Number of training images of every class, by their labels."""
        return torch.bincount(self.train.tensors[1], minlength=self.num_classes)

    def subset(self, per_class: int | None = None, test_per_class: int | None = None) -> ImageData:
        """Return the same data with the first so many images of every class.

        Parameters
        ----------
        per_class, test_per_class
            Of the training and of the test images: at least 1, at most the size of the smallest
            class; all if None.

        Raises
        ------
        NeuralCollapseError
            If a class has not so many.
        """
        data = self
        parts = (("train", "per_class", per_class), ("test", "test_per_class", test_per_class))
        for part, name, size in parts:
            if size is None:
                continue
            labels = getattr(self, part).tensors[1]
            smallest = int(torch.bincount(labels, minlength=self.num_classes).min())
            if not 1 <= size <= smallest:
                expected = f"1 to {smallest} images a class"
                remedy = "choose fewer, or leave it out for all images"
                raise NeuralCollapseError(name, expected, str(size), remedy)
            data = data._first(part, [size] * self.num_classes)
        return data

    def long_tailed(self, imbalance: float) -> ImageData:
        r"""Return the same data with training classes that get smaller exponentially.

        .. math:: n_k = \lfloor n_0 \, \rho^{-k/(K-1)} \rfloor

        with :math:`n_0` as large as the sizes of all classes allow; of every class the first
        images. The test images stay as they are.

        Parameters
        ----------
        imbalance
            rho >= 1, the size of class 0 over that of class K-1.

        Raises
        ------
        NeuralCollapseError
            If it is below 1, or the last class would have no image.

        References
        ----------
        Cui, Jia, Lin, Song & Belongie 2019, "Class-balanced loss based on effective number of
        samples", Section 4.1 (exponential profile, their mu to the k).
        """
        if not 1 <= imbalance < math.inf:
            raise NeuralCollapseError(
                "imbalance", "a finite number of at least 1", str(imbalance), "use 1 for no tail"
            )
        last = max(self.num_classes - 1, 1)
        shares = [imbalance ** (-k / last) for k in range(self.num_classes)]
        counts = self.class_sizes.tolist()
        largest = min(n / share for n, share in zip(counts, shares, strict=True))
        # A size that is whole but for rounding, such as 500 * 10**-1, must not lose an image.
        sizes = [math.floor(largest * share * (1 + 1e-12)) for share in shares]
        if sizes[-1] < 1:
            expected = f"at most {largest:g}, the images of the largest class"
            remedy = "choose a smaller imbalance, or more images a class"
            raise NeuralCollapseError("imbalance", expected, f"{imbalance:g}", remedy)
        return self._first("train", sizes)

    def with_label_noise(self, fraction: float, seed: int = 0) -> ImageData:
        """Return the same data with some training labels wrong; the true ones are kept.

        Exactly ``round(fraction * n)`` training images, chosen uniformly, get a label drawn
        uniformly from the K - 1 other classes. The test labels stay as they are.

        Parameters
        ----------
        fraction
            Share of wrong labels, in [0, 1).
        seed
            Of the choice, which depends on nothing else.

        Returns
        -------
        ImageData
            With `true_labels`.

        Raises
        ------
        NeuralCollapseError
            If the fraction is out of range, or there is one class only.
        """
        if not 0 <= fraction < 1:
            raise NeuralCollapseError(
                "label_noise", "a number in [0, 1)", str(fraction), "use 0 for no noise"
            )
        if self.num_classes < 2:
            raise NeuralCollapseError(
                "label_noise", "at least 2 classes", str(self.num_classes), "use 0 for no noise"
            )
        generator = torch.Generator().manual_seed(seed)
        images, labels = self.train.tensors
        wrong = torch.randperm(len(labels), generator=generator)[: round(fraction * len(labels))]
        steps = torch.randint(1, self.num_classes, (len(wrong),), generator=generator)
        noisy = labels.clone()
        noisy[wrong] = (labels[wrong] + steps) % self.num_classes
        true = labels if self.true_labels is None else self.true_labels
        return replace(self, train=TensorDataset(images, noisy), true_labels=true)

    def standardized(self) -> ImageData:
        """Return the same data with training pixels of mean 0 and standard deviation 1.

        Each channel is shifted and scaled by the numbers of the training images, the test images
        by the same; a constant channel is only shifted.
        """
        train, test = self.train.tensors[0], self.test.tensors[0]
        # Channel by channel in float64: a float32 sum over 150 million pixels is too coarse.
        pixels = [channel.double() for channel in train.unbind(1)]
        mean = torch.stack([channel.mean() for channel in pixels])
        spread = torch.stack([channel.std(correction=0) for channel in pixels])
        scale = torch.where(spread > 0, spread, 1.0)
        shift, factor = mean.float()[:, None, None], (1 / scale).float()[:, None, None]
        return replace(
            self,
            train=TensorDataset((train - shift) * factor, self.train.tensors[1]),
            test=TensorDataset((test - shift) * factor, self.test.tensors[1]),
        )

    def _first(self, part: str, sizes: list[int]) -> ImageData:
        """Keep the first so many images of every class in one part, in their order."""
        images, labels = getattr(self, part).tensors
        chosen = [torch.nonzero(labels == k)[:size, 0] for k, size in enumerate(sizes)]
        rows = torch.cat(chosen).sort().values
        kept: dict[str, Any] = {part: TensorDataset(images[rows], labels[rows])}
        if part == "train" and self.true_labels is not None:
            kept["true_labels"] = self.true_labels[rows]
        return replace(self, **kept)
