"""Joint denoisers: networks that predict video and audio together."""
