from .configs import expand as expand
from .configs import run_name as run_name
from .progress_table import progress_table as progress_table
from .runs import SweepRun as SweepRun
from .sweep import SweepReport as SweepReport
from .sweep import sweep as sweep
