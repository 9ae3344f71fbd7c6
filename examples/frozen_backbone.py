"""
A frozen backbone and classes it never saw
==========================================

What a frozen backbone promises for classes that it never saw, and what it keeps.

A perceptron learns the digits 0 to 6 and is frozen. ``few_shot_bound`` says from its features how
often two classes can be confused by the means of a few samples: averaged over the classes that it
was trained on, a promise for others if they are like these. The digits 7 to 9 are not: they
spread more, and the bound from their own features says little. Their error stays below the
promise here, and nothing but the likeness of classes says that it must. Some seconds.
"""

import sys

import torch
from torch import nn

import neuralcollapse as nc
from neuralcollapse.metrics import few_shot_bound
from neuralcollapse.training import load_dataset

SHOTS = (1, 5, 20)
DRAWS, STEPS = (2, 20) if "--smoke" in sys.argv else (40, 400)
torch.manual_seed(0)
data = load_dataset("digits", per_class=130).standardized()
images, labels = data.train.tensors
images, seen = images.flatten(1), labels < 7

backbone = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32))
head = nn.Linear(32, 7)
parameters = [*backbone.parameters(), *head.parameters()]
optimizer = torch.optim.Adam(parameters, lr=3e-3, weight_decay=1e-4)
for _ in range(STEPS):
    loss = nn.functional.cross_entropy(head(backbone(images[seen])), labels[seen])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

with torch.no_grad():
    features = backbone(images).double()


def bound(classes, shots):
    """Return the mean over pairs of the bound, from the features of these classes."""
    chosen = torch.isin(labels, classes)
    local = torch.searchsorted(classes, labels[chosen])
    moments = nc.ClassMoments(len(classes), 32, "per_class").update(features[chosen], local)
    return float(few_shot_bound(moments, shots).nanmean())


def simulated(classes, shots):
    """Return how often a sample is nearer to the mean of another class, over random draws."""
    wrong = []
    for i in classes.tolist():
        for j in classes[classes != i].tolist():
            own, other = features[labels == i], features[labels == j]
            for _ in range(DRAWS):
                order = torch.randperm(len(own))
                ours, rest = own[order[:shots]].mean(0), own[order[shots:]]
                theirs = other[torch.randperm(len(other))[:shots]].mean(0)
                far, near = (rest - ours).norm(dim=1), (rest - theirs).norm(dim=1)
                wrong.append((far >= near).double().mean())
    return float(torch.stack(wrong).mean())


old, new = torch.arange(7), torch.arange(7, 10)
print("shots   promised   for the new classes   simulated error of the new classes")
for shots in SHOTS:
    promise, own, error = bound(old, shots), bound(new, shots), simulated(new, shots)
    print(f"{shots:5}   {promise:8.3f}   {own:19.3f}   {error:34.3f}")
