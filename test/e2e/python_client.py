"""The official Python SDK as a client: runs one script against a server and prints what it was told as one JSON object.

Arguments: URL (HTTP+SSE where it ends in /sse), token (or ""), mode (legacy or auto). The server is test/fakes/stateful-server.ts or a gateway before it.
"""

import asyncio
import json
import sys
import warnings

import anyio
import httpx2
from mcp.client.client import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference

warnings.simplefilter("ignore")


def plain(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def script(client, logs):
    told = {"protocolVersion": client.protocol_version}
    tools = []
    cursor = None
    while True:
        page = await client.list_tools(cursor=cursor)
        tools.extend(page.tools)
        cursor = page.next_cursor
        if cursor is None:
            break
    told["tools"] = sorted((plain(tool) for tool in tools), key=lambda tool: tool["name"])
    told["echo"] = plain(await client.call_tool("echo", {"text": "grüße", "times": 2}))
    told["fail"] = plain(await client.call_tool("fail", {}))
    told["count"] = [plain(await client.call_tool("count", {}))["content"] for _ in range(3)]
    told["prompts"] = [plain(prompt) for prompt in (await client.list_prompts()).prompts]
    told["prompt"] = plain(await client.get_prompt("greet", {"name": "Ada"}))
    told["resources"] = [plain(resource) for resource in (await client.list_resources()).resources]
    told["templates"] = [plain(one) for one in (await client.list_resource_templates()).resource_templates]
    told["read"] = plain(await client.read_resource("stateful://motto"))
    told["template"] = plain(await client.read_resource("stateful://person/ada"))
    told["completePrompt"] = plain(
        await client.complete(PromptReference(type="ref/prompt", name="greet"), {"name": "name", "value": "a"})
    )
    told["completeTemplate"] = plain(
        await client.complete(
            ResourceTemplateReference(type="ref/resource", uri="stateful://person/{name}"),
            {"name": "name", "value": "g"},
        )
    )
    steps = []

    async def on_progress(progress, total, message):
        steps.append([progress, total])

    told["slow"] = plain(await client.call_tool("slow", {"steps": 5}, progress_callback=on_progress))
    told["progress"] = steps

    before = int(plain(await client.call_tool("cancelled", {}))["content"][0]["text"])
    started = anyio.Event()

    async def on_start(progress, total, message):
        started.set()

    async with anyio.create_task_group() as group:

        async def run():
            await client.call_tool("slow", {"steps": 500}, progress_callback=on_start)

        group.start_soon(run)
        with anyio.fail_after(20):
            await started.wait()
        group.cancel_scope.cancel()
    for _ in range(200):
        now = int(plain(await client.call_tool("cancelled", {}))["content"][0]["text"])
        if now > before:
            break
        await anyio.sleep(0.025)
    told["cancelled"] = now - before

    if client.protocol_version < "2026":
        await client.set_logging_level("warning")
        logs.clear()
        await client.call_tool("log", {})
        told["logs"] = [[line.level, line.data] for line in logs]
    try:
        await client.call_tool("no such tool", {})
        told["unknown"] = "answered"
    except MCPError as error:
        told["unknown"] = error.error.code
    return told


async def main():
    url, token, mode = sys.argv[1:4]
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    logs = []

    async def on_log(params):
        logs.append(params)

    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        if url.endswith("/sse"):
            transport = sse_client(url, headers=headers)
        else:
            transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode, logging_callback=on_log) as client:
            print(json.dumps(await script(client, logs)))


asyncio.run(main())
