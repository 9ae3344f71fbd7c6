"""
A callback for the Hugging Face Trainer
=======================================

Collapse in a run of the Hugging Face Trainer: a small vision transformer on digits.

The network has random weights from a configuration; nothing is downloaded. Needs the extra: pip
install 'neuralcollapse[transformers]'. Runs in some fifteen seconds.
"""

import sys
import warnings

import torch

import neuralcollapse as nc
from neuralcollapse.training import load_dataset

try:
    import accelerate  # type: ignore[import-untyped] # noqa: F401 - the Trainer needs it
    from transformers import (
        PrinterCallback,
        Trainer,
        TrainingArguments,
        ViTConfig,
        ViTForImageClassification,
        logging,
    )
except ModuleNotFoundError as error:
    print(f"left out: {error}; pip install 'neuralcollapse[transformers]'")
    sys.exit()

torch.set_num_threads(1)
logging.set_verbosity_error()
warnings.filterwarnings("ignore", category=UserWarning, module="torch")

data = load_dataset("digits")
train, test = (
    [
        {"pixel_values": image, "labels": int(label)}
        for image, label in zip(*split.tensors, strict=True)
    ]
    for split in (data.train, data.test)
)
torch.manual_seed(0)
model = ViTForImageClassification(
    ViTConfig(
        image_size=8,
        patch_size=4,
        num_channels=1,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        num_labels=10,  # type: ignore[call-arg] # of every configuration
    )
)
trainer = Trainer(
    model=model,
    args=TrainingArguments(
        output_dir="logs/digits",
        num_train_epochs=3 if "--smoke" in sys.argv else 12,
        per_device_train_batch_size=64,
        per_device_eval_batch_size=360,
        learning_rate=3e-3,
        report_to=[],  # "tensorboard" has the same values
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        log_level="error",
    ),
    train_dataset=train,
    eval_dataset=test,
)
trainer.remove_callback(PrinterCallback)
trainer.add_callback(nc.integrations.CollapseTrainerCallback(trainer, schedule=3))
trainer.train()

names = ("nc1_trace_ratio", "nc2_etf", "nc3_self_duality", "accuracy", "test_accuracy")
print("epoch" + "".join(f"{name:>18}" for name in names))
for entry in trainer.state.log_history:
    if "collapse/nc1_pinv" in entry:
        values = "".join(f"{entry[f'collapse/{name}']:18.3g}" for name in names)
        print(f"{entry['epoch']:5.0f}{values}")
