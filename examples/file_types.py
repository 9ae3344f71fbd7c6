"""
A network that others trained: types of files
=============================================

A network that others trained: Magika tells 214 types of files apart.

Is it collapsed? The network of the package magika is in ONNX; its last features are exposed as a
further output: pip install 'neuralcollapse[examples]'. The files are those of this Python
installation, labelled by their extension, at most 60 of a type and only types with 20. Prints the
report, then whether what it says is true. Runs in a minute.
"""

import json
import sys
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import torch

import neuralcollapse as nc

torch.set_num_threads(1)
TYPES = {
    ".py": "python", ".pyc": "pythonbytecode", ".so": "elf", ".json": "json", ".md": "markdown",
    ".html": "html", ".css": "css", ".js": "javascript", ".png": "png", ".svg": "svg",
    ".gz": "gzip", ".npy": "npy", ".npz": "npz", ".zip": "zip", ".csv": "csv", ".xml": "xml",
    ".yaml": "yaml", ".toml": "toml", ".rst": "rst", ".ttf": "ttf", ".c": "c", ".cpp": "cpp",
    ".pdf": "pdf", ".sh": "shell",
    ".parquet": "parquet", ".pkl": "pickle", ".java": "java", ".ipynb": "ipynb", ".exe": "pebin",
    ".woff2": "woff2", ".jpg": "jpeg", ".gif": "gif", ".proto": "proto", ".f90": "fortran",
}  # fmt: skip
MOST, LEAST, LENGTH, PADDING = 60, 20, 1024, 256


def files(kinds):
    """Return paths and types; the same for the same installation."""
    found = defaultdict(list)
    folders = {Path(sys.prefix), Path(sys.base_prefix) / "lib"}
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        kind = TYPES.get(path.suffix)
        if kind in kinds and path.is_file() and path.stat().st_size >= 64:
            found[kind].append(path)
    order = torch.Generator().manual_seed(0)
    for kind, paths in sorted(found.items()):
        if len(paths) >= LEAST:
            for i in torch.randperm(len(paths), generator=order)[:MOST].tolist():
                yield paths[i], kind


def bytes_of(path):
    """Return what Magika reads: the first and the last 1,024 bytes, without white space about."""
    content = path.read_bytes()
    first, last = content[:4096].lstrip()[:LENGTH], content[-4096:].rstrip()[-LENGTH:]
    gaps = [PADDING] * (LENGTH - len(first)), [PADDING] * (LENGTH - len(last))
    return [*first, *gaps[0], *gaps[1], *last]


def network(folder):
    """Return a function from bytes to (features, logits), and the head's weight and bias."""
    import onnx
    import onnxruntime

    model = onnx.load(folder / "model.onnx")
    product = [node for node in model.graph.node if node.op_type == "MatMul"][-1]
    addition = next(node for node in model.graph.node if product.output[0] in node.input)
    constants = {
        t.name: torch.tensor(onnx.numpy_helper.to_array(t)) for t in model.graph.initializer
    }
    wanted = [product.input[0], addition.output[0]]
    kind = onnx.TensorProto.FLOAT
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, kind, None) for name in wanted
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    name = session.get_inputs()[0].name

    def run(batch):
        return [torch.from_numpy(part) for part in session.run(wanted, {name: batch.numpy()})]

    bias = next(constants[name] for name in addition.input if name in constants)
    return run, constants[product.input[1]].T, bias.flatten()


def main():
    """Measure the network on the files of this installation."""
    package = find_spec("magika")
    if package is None or package.origin is None or find_spec("onnx") is None:
        raise SystemExit(
            "The network is in the package magika: pip install 'neuralcollapse[examples]'"
        )
    folder = next((Path(package.origin).parent / "models").iterdir())
    kinds = json.loads((folder / "config.min.json").read_text())["target_labels_space"]
    run, weight, bias = network(folder)
    paths, extensions = zip(*files(set(kinds)), strict=True)
    labels = torch.tensor([kinds.index(kind) for kind in extensions])
    inputs = torch.tensor([bytes_of(path) for path in paths], dtype=torch.int32)
    features, logits = (torch.cat(p) for p in zip(*map(run, inputs.split(32)), strict=True))
    assert torch.allclose(features @ weight.T + bias, logits, atol=1e-2)

    present, own = labels.unique(return_inverse=True)  # the other types have no file here
    report = nc.measure_features(
        features, own, weight[present], bias[present], class_names=[kinds[k] for k in present]
    )
    print(f"{len(paths)} files of {len(present)} types, of {len(kinds)} that the network knows\n")
    print(report)

    said = logits.argmax(1)
    print("\nIs it true?")
    print(f"Of all {len(kinds)} types the network names the one of the extension for "
          f"{(said == labels).double().mean():.1%} of the files;")  # fmt: skip
    within = logits[:, present].argmax(1)
    print(f"among the {len(present)} types here for {(within == own).double().mean():.1%}.")
    print("Files that the network calls otherwise, by extension and answer:")
    wrong = [(kinds[a], kinds[b]) for a, b in zip(labels, said, strict=True) if a != b]
    for pair in sorted(set(wrong), key=lambda pair: -wrong.count(pair))[:8]:
        print(f"  {wrong.count(pair):3d}  {pair[0]} called {pair[1]}")
    print("The closest pairs of types:")
    print(report.worst_pairs(5).to_string(index=False))


if __name__ == "__main__":
    main()
