from .densenet import DenseNet as DenseNet
from .mlp import MLP as MLP
from .registry import NETWORKS as NETWORKS
from .registry import build_network as build_network
from .resnet import ResNet as ResNet
from .small_cnn import SmallCNN as SmallCNN
from .vgg import VGG as VGG
