from .collapsed_margin_bound import collapsed_margin_bound as collapsed_margin_bound
from .collapsed_margin_bound import informative_sample_size as informative_sample_size
from .margin_bound import MarginBound as MarginBound
from .margin_bound import margin_bound as margin_bound
from .margin_bound import uniform_margin_bound as uniform_margin_bound
from .mohri2018 import mohri_margin_bound as mohri_margin_bound
from .pair_margin_bound import PairMarginBound as PairMarginBound
from .pair_margin_bound import pair_margin_bound as pair_margin_bound
