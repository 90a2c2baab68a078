"""What transformers' own PE-AV, with timm's picture tower, makes of the tiny random model.

`python -m duet_av.tests.pe_av_reference` writes the numbers to pe_av_reference.json. It needs timm and torchvision; Duet does not.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import normalize

from duet_av.av_models.binders.load_pe_av import TIED

NUMBERS = Path(__file__).with_suffix(".json")
TEXTS = ["a ball", "two dogs barking"]
FPS, RATE = 16.0, 48_000


def clip(frames: int = 9, samples: int = 200_777) -> tuple[Tensor, Tensor]:
    """Return frames [2, F, 40, 56, 3] and sound [2, 1, samples] that anyone can write down."""
    count = 2 * frames * 40 * 56 * 3
    wave = torch.sin(torch.arange(count, dtype=torch.float64) ** 1.5 * 0.01).view(2, frames, 40, 56, 3)
    tone = torch.sin(torch.arange(2 * samples, dtype=torch.float64) ** 1.3 * 0.01).view(2, 1, samples)
    return (0.5 + 0.5 * wave).float(), (0.5 * tone).float()


@torch.no_grad()
def theirs(folder: Path, frames: Tensor, wave: Tensor) -> dict[str, Tensor]:
    """Return the embeddings of transformers' processor and model, normalized as those of a binder."""
    from transformers import AutoTokenizer, PeAudioFeatureExtractor, PeAudioVideoConfig, PeAudioVideoModel
    from transformers.models.pe_video.video_processing_pe_video import PeVideoVideoProcessor

    model = PeAudioVideoModel(PeAudioVideoConfig.from_pretrained(folder)).eval()
    tensors = load_file(folder / "model.safetensors")
    tied = {
        other + name.removeprefix(own): x
        for own, others in TIED.items() for other in others for name, x in tensors.items() if name.startswith(own)
    }  # fmt: skip
    model.load_state_dict(tensors | tied)
    inputs = PeAudioFeatureExtractor.from_pretrained(folder)(list(wave[:, 0].numpy()), sampling_rate=RATE, return_tensors="pt")
    shown = [row.movedim(-1, 1) * 255 for row in frames]
    about = [{"total_num_frames": frames.shape[1], "fps": FPS}] * len(frames)
    inputs |= PeVideoVideoProcessor.from_pretrained(folder)(shown, video_metadata=about, return_tensors="pt")
    words = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    out = model(**inputs, input_ids=words["input_ids"], attention_mask=words["attention_mask"])
    found = {name: out[f"{name}_embeds"] for name in ("video", "audio", "audio_video")}
    found |= {name: out[f"{name}_embeds"] for name in ("text_video", "text_audio", "text_audio_video")}
    found["frames"] = model.video_model.video_head(out.video_outputs.last_hidden_state)
    found["steps"] = model.audio_model.audio_head(out.audio_outputs.last_hidden_state)[:, ::20]
    return {name: normalize(x, dim=-1) for name, x in found.items()}


def main() -> None:
    """Write the numbers of the variants that see all frames, and 16."""
    from duet_av.benchmarks.small_models import pe_av

    numbers = {}
    for variant, frames in (("all", None), ("16", 16)):
        with TemporaryDirectory() as folder:
            pe_av.build(Path(folder), frames=frames)
            found = theirs(Path(folder), *clip())
        numbers[variant] = {name: [round(float(value), 7) for value in x[..., ::4].flatten()] for name, x in found.items()}
    NUMBERS.write_text(json.dumps(numbers) + "\n")


if __name__ == "__main__":
    main()
