from .configs import expand as expand
from .configs import run_name as run_name
from .sweep import sweep as sweep
