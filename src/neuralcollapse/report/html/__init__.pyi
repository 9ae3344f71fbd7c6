from .page import render_page as render_page
from .page import write_page as write_page
from .single import write_report as write_report
from .verdicts import verdicts as verdicts
