from .simplex_etf import NearestETF as NearestETF
from .simplex_etf import etf_gram as etf_gram
from .simplex_etf import nearest_etf as nearest_etf
from .simplex_etf import simplex_etf as simplex_etf
from .simplex_etf import standard_simplex as standard_simplex
