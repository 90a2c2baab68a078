"""Decodes latents into frames and audio."""

from __future__ import annotations

import torch

from .host import io
from .latents import clip_shape, unpack_latent
from .placement import decode_clips
from .reports import report
from .sockets import JointModelSocket


class DuetDecode(io.ComfyNode):
    """Decodes exactly the requested number of frames, and audio of the same length."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetDecode",
            display_name="Decode Video + Audio",
            category="Duet/make",
            description="Decodes a sampled latent into frames and audio.",
            search_aliases=["duet", "vae decode", "audio video decode", "sound"],
            inputs=[
                JointModelSocket.Input("model", tooltip="The model that the clip was sampled with."),
                io.Latent.Input("latent", tooltip="From the sampler."),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The frames. For a batch, one clip after another."),
                io.Audio.Output(display_name="audio", tooltip="The audio, as long as the frames."),
                io.Float.Output(display_name="fps", tooltip="Frames per second. Connect it to the node that saves the video."),
            ],
        )

    @classmethod
    def execute(cls, model, latent) -> io.NodeOutput:
        shape, said = clip_shape(latent, model), []
        with torch.no_grad():
            images, waveform = decode_clips(model, unpack_latent(latent), shape, said.append)
        audio = {"waveform": waveform.float().cpu(), "sample_rate": shape.audio.sample_rate}
        ui = report(warnings=said) if said else None
        return io.NodeOutput(images.float().cpu().flatten(0, 1), audio, float(shape.video.fps), ui=ui)
