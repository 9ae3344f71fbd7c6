from .adapters import from_hugging_face as from_hugging_face
from .adapters import from_torch as from_torch
from .download import download_dataset as download_dataset
from .idx import read_idx as read_idx
from .image_data import ImageData as ImageData
from .registry import DATASETS as DATASETS
from .registry import load_dataset as load_dataset
from .source import DataSource as DataSource
