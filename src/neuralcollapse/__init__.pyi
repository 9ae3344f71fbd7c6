from . import geometry as geometry
from . import theory as theory
from .geometry import etf_gram as etf_gram
from .geometry import nearest_etf as nearest_etf
from .geometry import simplex_etf as simplex_etf
