"""Duet's guidance for the joint models that ComfyUI runs itself: LTX-2 and MiniMax-H3."""
