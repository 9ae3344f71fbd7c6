from .lightning import CollapseCallback as CollapseCallback
from .loggers import sink as sink
from .schedules import SCHEDULES as SCHEDULES
from .schedules import Schedule as Schedule
from .schedules import schedule as schedule
from .transformers import CollapseTrainerCallback as CollapseTrainerCallback
from .watch import CollapseWatch as CollapseWatch
from .watch import watch as watch
