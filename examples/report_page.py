"""
A training loop that ends with a report
=======================================

A training loop of your own that ends with the report of its run.

Each epoch is measured and added to the history; some leave a snapshot of their geometry. The page
is the one that the front page of the site shows.
"""

import shutil
import sys
from pathlib import Path

import torch
from torch import nn

import neuralcollapse as nc
from neuralcollapse.report.html import write_page
from neuralcollapse.runs import Schedule, append_record, read_runs, write_snapshot
from neuralcollapse.training import build_network, load_dataset

epochs = 4 if "--smoke" in sys.argv else 200
torch.set_num_threads(1)
torch.manual_seed(0)
data = load_dataset("digits")
(images, labels), test = data.train.tensors, data.test.tensors
model = build_network("mlp", data.input_shape, data.num_classes)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)

run = Path("digits")
shutil.rmtree(run, ignore_errors=True)
run.mkdir()
kept = Schedule(every=None).epochs(epochs)
for epoch in range(1, epochs + 1):
    for rows in torch.randperm(len(labels)).split(256):
        loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    schedule.step()
    report = nc.measure(model, [(images, labels)], test_loader=[test], class_names=data.class_names)
    append_record(run / "history.jsonl", {"epoch": epoch, "num_classes": 10, **report.to_dict()})
    if epoch in kept:
        write_snapshot(run, epoch, report)

page = write_page(read_runs([run]), "report.html")
print(f"{page}: {page.stat().st_size / 1e6:.2f} MB")
