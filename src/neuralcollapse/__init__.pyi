from . import generalization as generalization
from . import geometry as geometry
from . import integrations as integrations
from . import measurement as measurement
from . import metrics as metrics
from . import ood as ood
from . import report as report
from . import runs as runs
from . import studies as studies
from . import theory as theory
from . import training as training
from .citations import cite as cite
from .geometry import etf_gram as etf_gram
from .geometry import nearest_etf as nearest_etf
from .geometry import simplex_etf as simplex_etf
from .integrations import watch as watch
from .measurement import CollapseReport as CollapseReport
from .measurement import FeatureTap as FeatureTap
from .measurement import LayerProfile as LayerProfile
from .measurement import extract_features as extract_features
from .measurement import measure as measure
from .measurement import measure_features as measure_features
from .measurement import measure_layers as measure_layers
from .metrics import CollapseMetrics as CollapseMetrics
from .moments import ClassMoments as ClassMoments
from .theory import predicted_geometry as predicted_geometry

__version__: str
