from .lightning import CollapseCallback as CollapseCallback
from .loggers import sink as sink
from .transformers import CollapseTrainerCallback as CollapseTrainerCallback
from .watch import watch as watch
