"""The dropdown of precisions of the loaders."""

from __future__ import annotations

PRECISIONS = {
    "as stored": {},
    "bf16": {"dtype": "bfloat16"},
    "fp16": {"dtype": "float16"},
    "fp8": {"quantize": "fp8"},
}
AS_STORED = next(iter(PRECISIONS))
