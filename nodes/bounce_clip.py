"""A simulated Bounce clip, as test input."""

from __future__ import annotations

import json
from fractions import Fraction

from .host import InputImpl, Types, io
from .reports import report
from .run_sampler import MAX_SEED

ANY = "any"


class DuetBounceClip(io.ComfyNode):
    """Simulates a clip, so video and audio are exactly in sync and the contact times are known."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetBounceClip",
            display_name="Bounce Clip",
            category="Duet/load",
            description="Simulates a clip of bouncing balls with audio, captions and contact times, for use as test input. The "
            "same seed always gives the same clip.",
            search_aliases=["duet", "test clip", "sample video", "dataset"],
            inputs=[
                io.Int.Input(
                    "seed", default=0, min=0, max=MAX_SEED, control_after_generate=True, tooltip="Random seed for the clip."
                ),
                io.Combo.Input(
                    "split", options=["train", "val", "test"], default="val",
                    tooltip="train: the kind of clips the models were trained on. val: other clips of the same kind. test: "
                    "includes balls with combinations of colour, size and material that were left out of training.",
                ),
                io.Combo.Input("balls", options=[ANY, "1", "2"], tooltip="Number of balls. any: the seed decides."),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="32 frames of 64×64 pixels."),
                io.Audio.Output(display_name="audio", tooltip="Two seconds of mono audio."),
                io.String.Output(display_name="video_caption", tooltip="Describes the video; usable as video_prompt."),
                io.String.Output(display_name="audio_caption", tooltip="Describes the audio; usable as audio_prompt."),
                io.Float.Output(display_name="fps", tooltip="Frames per second. Connect it to the node that saves the video."),
                io.String.Output(
                    display_name="contact_times", tooltip="Times when balls hit the floor or walls: a JSON list in seconds."
                ),
                io.Video.Output(display_name="video", tooltip="The clip as a video, with its audio."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, seed: int, split: str, balls: str) -> io.NodeOutput:
        from ..bounce.measure.evaluate import true_clips
        from ..bounce.world.captions import captions  # imports the simulator: only when the node runs
        from ..bounce.world.world import FPS, SECONDS, simulate

        world = simulate(1, split, seed, None if balls == ANY else int(balls))
        ((images, waveform, sample_rate),) = true_clips(world)
        (video_caption,), (audio_caption,) = captions(world, seed, drop=0.0)
        times = [round(float(time), 4) for time in world.contact_time[0] if time < SECONDS]
        audio = {"waveform": waveform[None], "sample_rate": sample_rate}
        parts = Types.VideoComponents(images=images, audio=audio, frame_rate=Fraction(FPS))
        video = InputImpl.VideoFromComponents(parts)
        facts = {"video_caption": video_caption, "audio_caption": audio_caption, "contact_times": times}
        shown = report(video_caption, audio_caption, f"contacts at {', '.join(f'{time:.2f}' for time in times)} s", **facts)
        return io.NodeOutput(images, audio, video_caption, audio_caption, float(FPS), json.dumps(times), video, ui=shown)
