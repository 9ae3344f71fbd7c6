from .collapse_report import CollapseReport as CollapseReport
from .feature_files import read_features as read_features
from .feature_files import write_features as write_features
from .feature_tap import FeatureTap as FeatureTap
from .layer_moments import LayerMoments as LayerMoments
from .measure import measure as measure
from .measure_features import measure_features as measure_features
