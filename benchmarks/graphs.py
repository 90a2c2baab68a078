"""Graphs in API format for the table of files."""

from __future__ import annotations

from typing import Any

Graph = dict[str, dict[str, Any]]


def score_graph(file: str) -> Graph:
    """Load Video → Sync Report."""
    return {"1": _load(file), "2": node("DuetSyncReport", video=["1", 0], fps=16.0)}


def load_graph(file: str) -> Graph:
    """Load Video → Get Video Components → Sync Report, and the first picture saved."""
    return {
        "1": _load(file),
        "2": node("GetVideoComponents", video=["1", 0]),
        "3": node("DuetSyncReport", images=["2", 0], audio=["2", 1], fps=["2", 2]),
        "4": node("ImageFromBatch", image=["2", 0], batch_index=0, length=1),
        "5": node("SaveImage", images=["4", 0], filename_prefix="first"),
    }


def mux_graph(file: str) -> Graph:
    """Load Video → Get Video Components → Save Video + Audio."""
    codecs = {"container": "mp4", "container.video_codec": "h264", "container.audio_codec": "aac"}
    options = {"filename_prefix": "mux", "crf": -1.0, "audio_kbps": 192, "audio_fit": "fade"}
    parts = {"images": ["2", 0], "audio": ["2", 1], "fps": ["2", 2]}
    return {
        "1": _load(file),
        "2": node("GetVideoComponents", video=["1", 0]),
        "3": node("DuetMux", **parts, **codecs, **options),
    }


def new_audio_graph(file: str, audio: str) -> Graph:
    """Load Video and Load Audio → Save Video with New Audio."""
    return {
        "1": _load(file),
        "2": node("LoadAudio", audio=audio),
        "3": node("DuetReplaceSound", video=["1", 0], audio=["2", 0], filename_prefix="new", audio_kbps=64),
    }


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def _load(file: str) -> dict[str, Any]:
    return node("LoadVideo", file=file)
