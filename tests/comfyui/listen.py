"""Queues a prompt as a page does, and prints the previews that it is sent. Run by ComfyUI's Python, which has aiohttp.

argv: the URL of the server, and a JSON object with "prompt" and optionally "extra_data", "ask", a node whose audio to ask for, and
"pictures": whether ComfyUI's own previews are printed in place of Duet's, as base64.
"""

import asyncio
import base64
import json
import sys

import aiohttp

PAGE = "test-page"
ENDS = ("execution_success", "execution_error", "execution_interrupted")


async def listen(url: str, prompt: dict, extra_data: dict | None = None, ask: str | None = None, pictures: bool = False) -> list:
    """Returns the details of the events `duet.preview`, or the pictures that ComfyUI sends."""
    found: list = []
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/ws?clientId={PAGE}", max_msg_size=0) as socket:
        if ask is not None:
            async with session.post(f"{url}/duet/preview_audio", json={"node": ask}) as answer:
                assert answer.status == 204, await answer.text()
        body = {"prompt": prompt, "client_id": PAGE, "extra_data": extra_data or {}}
        async with session.post(f"{url}/prompt", json=body) as answer:
            assert answer.status == 200, await answer.text()
        async for message in socket:
            if message.type != aiohttp.WSMsgType.TEXT:
                if pictures and message.type == aiohttp.WSMsgType.BINARY:
                    found.append(base64.b64encode(message.data[8:]).decode())  # behind the kinds of event and of picture
                continue
            event = json.loads(message.data)
            if event["type"] == "duet.preview" and not pictures:
                found.append(event["data"])
            if event["type"] in ENDS:
                break
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(listen(sys.argv[1], **json.loads(sys.argv[2])))))
