"""The mel spectrogram that the binders of Bounce hear."""

RATE, MELS = 16_000, 64
LOG_SCALE, POWER_FLOOR = 10.0, 10.0  # features are log(mel power + floor) / scale, which suppresses quiet bands
