"""A running ComfyUI that holds this pack alone, if no other is asked for, and what of its HTTP interface the tests need."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

PACK = Path(__file__).parent.parent.parent
NATIVE_PACK = Path(__file__).parent / "native_pack"  # small models of ComfyUI's own classes
NAME = "duet-av"
UNNAMED = "COMFYUI_PATH is not set; give the folder of a ComfyUI checkout"
START, RUN = 300, 300  # seconds


@dataclass(frozen=True)
class Run:
    """What became of a prompt: `messages` by event and `outputs` by node, as ComfyUI's history has them, and files saved."""

    messages: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]
    files: list[Path]

    @property
    def texts(self) -> dict[str, list[str]]:
        """The text of each node that shows one."""
        return {key: output["text"] for key, output in self.outputs.items() if "text" in output}

    @property
    def succeeded(self) -> bool:
        return "execution_success" in self.messages

    @property
    def error(self) -> str:
        """What the page says of the node that failed."""
        return self.messages["execution_error"]["exception_message"].strip()

    @property
    def ended(self) -> float:
        """When, in seconds since the epoch."""
        return max(message["timestamp"] for message in self.messages.values()) / 1000

    @property
    def seconds(self) -> float:
        return self.ended - self.messages["execution_start"]["timestamp"] / 1000


class Server:
    """A ComfyUI at `url`, the process `pid`, that reads and writes below `base`."""

    def __init__(self, url: str, base: Path, pid: int) -> None:
        self.url, self.base, self.pid = url, base, pid

    def get(self, path: str) -> str:
        with urlopen(self.url + path, timeout=60) as answer:
            return answer.read().decode()

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, str]:
        """The status and the text of the answer, of a refusal too."""
        request = Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    def submit(self, prompt: dict[str, Any]) -> str:
        """The id under which `prompt` waits to be run."""
        status, text = self.post("/prompt", {"prompt": prompt})
        assert status == 200, text
        return json.loads(text)["prompt_id"]

    def wait_until_running(self, prompt_id: str) -> None:
        _wait(lambda: any(prompt_id in each for each in json.loads(self.get("/queue"))["queue_running"]), RUN)

    def finish(self, prompt_id: str) -> Run:
        """Waits for the end of a prompt."""
        entry = _wait(lambda: json.loads(self.get(f"/history/{prompt_id}")).get(prompt_id), RUN)
        shown = [each for output in entry["outputs"].values() for each in output.get("images", [])]
        files = [self.path(each) for each in shown if each["type"] == "output"]
        return Run(dict(entry["status"]["messages"]), entry["outputs"], files)

    def path(self, shown: dict[str, str]) -> Path:
        """Where a file is that a node shows."""
        return self.base / shown["type"] / shown["subfolder"] / shown["filename"]

    def run(self, prompt: dict[str, Any]) -> Run:
        return self.finish(self.submit(prompt))

    def is_up(self) -> bool:
        try:
            return bool(self.get("/system_stats"))
        except (URLError, OSError):
            return False


def is_named() -> bool:
    return bool(os.environ.get("COMFYUI_PATH"))


def named_by_environment(
    base: Path, *options: str, packs: Sequence[Path] = (), ours: bool = True
) -> AbstractContextManager[Server]:
    """The ComfyUI of COMFYUI_PATH, a checkout, run by COMFYUI_PYTHON, a Python that has its requirements and ours.

    packs: others to load beside this one. ours: whether this one is loaded.
    """
    if not is_named():
        raise ValueError(UNNAMED)
    path = os.environ["COMFYUI_PATH"]
    checkout = Path(path).resolve()
    if not (checkout / "main.py").is_file():
        raise ValueError(f"COMFYUI_PATH is {path}, which has no main.py; give the folder of a ComfyUI checkout")
    return started(checkout, os.environ.get("COMFYUI_PYTHON", "python3"), base, *options, packs=packs, ours=ours)


@contextmanager
def started(
    checkout: Path, python: str, base: Path, *options: str, packs: Sequence[Path] = (), ours: bool = True
) -> Iterator[Server]:
    """The ComfyUI of `checkout`, with the folder `base` for all that it reads and writes."""
    for folder in ("custom_nodes", "input", "output"):
        (base / folder).mkdir()
    if ours:
        (base / "custom_nodes" / NAME).symlink_to(PACK)
    for pack in packs:
        (base / "custom_nodes" / pack.name).symlink_to(pack.resolve())
    port, log = _free_port(), base / "comfyui.log"
    command = [
        python, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(base),
        "--database-url", "sqlite:///:memory:", "--disable-auto-launch", "--disable-api-nodes", *options,
    ]  # fmt: skip
    with log.open("w") as out:
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(command, cwd=checkout, stdout=out, stderr=subprocess.STDOUT, env=environment)
    server = Server(f"http://127.0.0.1:{port}", base, process.pid)
    try:
        _wait(lambda: process.poll() is not None or server.is_up(), START)
        assert process.poll() is None, f"ComfyUI ended while starting:\n{log.read_text()[-3000:]}"
        yield server
    finally:
        _stop(process)


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()


def _wait(ready, seconds: float):
    """What `ready()` gives, once that is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := ready():
            return found
        time.sleep(0.2)
    raise TimeoutError(f"waited {seconds} s in vain")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
