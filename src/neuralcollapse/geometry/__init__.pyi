from .sel import simplex_encoded_labels as simplex_encoded_labels
from .sel import simplex_encoded_spectrum as simplex_encoded_spectrum
from .simplex_etf import NearestETF as NearestETF
from .simplex_etf import etf_gram as etf_gram
from .simplex_etf import nearest_etf as nearest_etf
from .simplex_etf import simplex_etf as simplex_etf
from .simplex_etf import standard_simplex as standard_simplex
