"""Read and write video files: frames and a waveform to one file, and any video file to tensors."""

from .audio import fit_audio
from .read import Clip, VideoFile, open_video, read_metadata, read_video
from .settings import AUDIO_CODECS, CONTAINERS, POLICIES, VIDEO_CODECS, MuxReport, MuxSettings
from .target import expand_prefix, split_prefix, target_path
from .write import write_video

__all__ = [
    "AUDIO_CODECS",
    "CONTAINERS",
    "Clip",
    "MuxReport",
    "MuxSettings",
    "POLICIES",
    "VIDEO_CODECS",
    "VideoFile",
    "expand_prefix",
    "fit_audio",
    "open_video",
    "read_metadata",
    "read_video",
    "split_prefix",
    "target_path",
    "write_video",
]
