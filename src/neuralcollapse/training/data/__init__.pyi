from .idx import read_idx as read_idx
from .image_data import ImageData as ImageData
from .registry import DATASETS as DATASETS
from .registry import load_dataset as load_dataset
