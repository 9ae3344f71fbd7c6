from .layer_peeled import LayerPeeledModel as LayerPeeledModel
