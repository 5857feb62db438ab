"""What stands on a model: from an utterance's representation to an answer."""

from dgl_merc.heads.dynamics import DynamicsOptions, EmotionDynamics
from dgl_merc.heads.emotion import EmotionHead
from dgl_merc.heads.reconstruction import ReconstructionHead

__all__ = ["DynamicsOptions", "EmotionDynamics", "EmotionHead", "ReconstructionHead"]
