"""The protocol: training, selection on dev, one look at test, and a folder that explains the numbers."""

from dgl_merc.training.run import fit
from dgl_merc.training.settings import Settings, load_settings, preset_names

__all__ = ["Settings", "fit", "load_settings", "preset_names"]
