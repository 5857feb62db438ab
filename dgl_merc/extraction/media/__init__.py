"""Sound and pictures of a stretch of a recording, decoded by PyAV: containers and codecs that FFmpeg reads.

A file is never trusted: whatever is wrong with it is a :class:`MediaError`, whose reason is a few words for people. What can't be told from
what was recorded is not mended: a stretch with a packet that can't be decoded, or that ends after the recording does, is a fault.

Seconds count from where a recording begins, as players show them: from the first thing to be heard or seen in it, whatever time its
container gives that (half a second in MPEG), and after what a codec puts before it (the priming of AAC, MP3 and Opus).
"""

from dgl_merc.extraction.media.file import MOST_PIXELS, MediaError
from dgl_merc.extraction.media.pictures import Frame, read_frames
from dgl_merc.extraction.media.recording import LONGEST, TOLERANCE
from dgl_merc.extraction.media.sound import Sound, read_sound

__all__ = ["LONGEST", "MOST_PIXELS", "TOLERANCE", "Frame", "MediaError", "Sound", "read_frames", "read_sound"]
