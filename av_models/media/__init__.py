"""Read and write video files: frames and a waveform to one file, and any video file to tensors."""

from .audio import fit_audio
from .encoders import VIDEO_CODECS
from .read import Clip, VideoFile, open_video, read_metadata, read_video
from .report import AudioReport, MuxReport
from .settings import AUDIO_CODECS, CONTAINERS, POLICIES, VIDEO_CONTAINERS, MuxSettings
from .target import expand_prefix, split_prefix, target_path
from .write import write_video
from .write_audio import write_audio

__all__ = [
    "AUDIO_CODECS",
    "AudioReport",
    "CONTAINERS",
    "Clip",
    "MuxReport",
    "MuxSettings",
    "POLICIES",
    "VIDEO_CODECS",
    "VIDEO_CONTAINERS",
    "VideoFile",
    "expand_prefix",
    "fit_audio",
    "open_video",
    "read_metadata",
    "read_video",
    "split_prefix",
    "target_path",
    "write_audio",
    "write_video",
]
