from .configs import expand as expand
from .configs import read_sweep as read_sweep
from .configs import run_name as run_name
from .engines import ENGINES as ENGINES
from .progress_table import progress_table as progress_table
from .runs import SweepRun as SweepRun
from .sweep import SweepReport as SweepReport
from .sweep import sweep as sweep
