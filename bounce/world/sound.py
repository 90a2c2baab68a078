"""Renders the audio of Bounce clips: each contact excites a resonator.

The material sets the partials and their decay, the radius sets the pitch, and the impact speed sets the gain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .world import MATERIALS, PX, SECONDS, Worlds

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Resonator:
    """The sound of a material.

    pitch: in Hz, at a radius of 5.5/64 frame widths. partials: (frequency ratio, amplitude, decay time in seconds).
    click: amplitude of the noise burst at the onset.
    """

    pitch: float
    partials: tuple[tuple[float, float, float], ...]
    click: float


RESONATORS = {
    "metal": Resonator(640, ((1, 1.0, 0.34), (2.76, 0.7, 0.26), (5.40, 0.45, 0.18), (8.93, 0.25, 0.12)), 0.25),
    "wood": Resonator(470, ((1, 1.0, 0.045), (2.57, 0.6, 0.030), (4.95, 0.35, 0.020)), 0.5),
    "glass": Resonator(1500, ((1, 1.0, 0.15), (2.32, 0.6, 0.11), (4.25, 0.3, 0.08)), 0.2),
    "rubber": Resonator(150, ((1, 1.0, 0.075), (1.9, 0.4, 0.05)), 0.12),
}
LOUDEST, QUIETEST, FULL_SPEED = 0.34, 0.10, 140 * PX
HIGHEST = 7_500  # Hz: partials above are left out
CLICK_SECONDS = 0.004
INAUDIBLE = 11.5  # decay times until a partial has fallen by 100 dB


def impulse_responses(material: np.ndarray, radius: np.ndarray, seconds: float = SECONDS) -> np.ndarray:
    """Computes the impulse response of each ball. Returns float32 [N, samples] with a peak of about 1.

    material: [N], indices into MATERIALS. radius: [N], in frame widths.
    """
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    out = np.zeros((len(material), len(t)), np.float32)
    noise = np.random.Generator(np.random.Philox(7)).standard_normal(len(t)) * np.exp(-t / CLICK_SECONDS)
    for index, name in enumerate(MATERIALS):
        rows = np.flatnonzero(material == index)
        body = RESONATORS[name]
        pitch = body.pitch * 5.5 * PX / radius[rows, None]
        total = sum(a for _, a, _ in body.partials)
        for ratio, amplitude, decay in body.partials:
            heard = (ratio * pitch < HIGHEST) * amplitude / total
            audible = t[: round(INAUDIBLE * decay * SAMPLE_RATE)]
            ring = np.sin(2 * np.pi * ratio * pitch * audible)
            out[rows, : len(audible)] += (heard * np.exp(-audible / decay) * ring).astype(np.float32)
        out[rows] += (body.click * noise).astype(np.float32)
    return out


def gain(speed: np.ndarray) -> np.ndarray:
    """Returns the amplitude of a contact with the given impact speed (frame widths per second)."""
    return QUIETEST + (LOUDEST - QUIETEST) * np.clip(speed / FULL_SPEED, 0, 1)


def render_sound(worlds: Worlds) -> np.ndarray:
    """Renders the waveforms of all clips. Returns float32 [N, samples] in −1..1: two seconds, mono, 16 kHz."""
    n = len(worlds)
    samples = round(SECONDS * SAMPLE_RATE)
    out = np.zeros((n, samples), np.float32)
    responses = np.zeros((n, 2, samples), np.float32)
    responses[worlds.exists] = impulse_responses(worlds.material[worlds.exists], worlds.radius[worlds.exists])
    for row in range(n):
        for time, speed, ball in zip(worlds.contact_time[row], worlds.contact_speed[row], worlds.contact_ball[row]):
            start = round(time * SAMPLE_RATE) if time < SECONDS else samples
            out[row, start:] += gain(speed) * responses[row, ball, : samples - start]
    return out
