"""A server of the official Python SDK over HTTP+SSE on a free port of 127.0.0.1; prints {"url":...} when it listens."""

import asyncio
import json
import socket

import uvicorn
from mcp.server import MCPServer

server = MCPServer("python-sse")


@server.tool()
def add(a: int, b: int) -> str:
    return str(a + b)


async def main() -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = uvicorn.Config(server.sse_app(), log_level="warning")
    serving = asyncio.create_task(uvicorn.Server(config).serve(sockets=[listener]))
    print(json.dumps({"url": f"http://127.0.0.1:{port}/sse"}, separators=(",", ":")), flush=True)
    await serving


asyncio.run(main())
