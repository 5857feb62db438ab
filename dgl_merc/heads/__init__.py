"""What stands on a model: from an utterance's representation to an answer."""

from dgl_merc.heads.emotion import EmotionHead

__all__ = ["EmotionHead"]
