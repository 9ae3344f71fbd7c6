from .page import render_page as render_page
from .page import write_page as write_page
from .runs import Run as Run
from .runs import read_run as read_run
from .runs import read_runs as read_runs
from .verdicts import Verdict as Verdict
from .verdicts import verdicts as verdicts
