"""A worker that lets everybody in: `worker.py NATS_URL SUBJECT`. Says "ready" when it listens."""

import asyncio
import json
import sys

import nats


async def main(server, subject):
    connection = await nats.connect(server)

    async def decide(call):
        await call.respond(json.dumps({"action": "Continue", "extension_Tier": "gold"}).encode())

    await connection.subscribe(subject, queue="workers", cb=decide)
    await connection.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
