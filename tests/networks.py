"""The network that the tests train: as small as one can be that has every part."""

from refsr.model.config import SSENConfig

TINY = SSENConfig(
    channels=8,
    feature_blocks=1,
    reconstruction_blocks=1,
    deform_layers=1,
    offset_channels=8,
    attention_window=8,
)
