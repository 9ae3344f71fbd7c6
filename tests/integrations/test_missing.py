import subprocess
import sys

CODE = """
import sys
import neuralcollapse as nc
nc.watch
for library in ("lightning", "pytorch_lightning", "transformers"):
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        del sys.modules[name]
    sys.modules[library] = None  # as if it were not installed
for name in ("CollapseCallback", "CollapseTrainerCallback"):
    try:
        getattr(nc.integrations, name)
    except ImportError as error:
        print(error)
"""


def test_a_missing_library_is_named_and_the_rest_works():
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [
        "CollapseCallback needs Lightning: pip install 'neuralcollapse[lightning]'",
        "CollapseTrainerCallback needs transformers: pip install 'neuralcollapse[transformers]'",
    ]
