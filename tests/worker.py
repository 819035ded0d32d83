"""A worker that lets everybody in: `worker.py NATS_URL SUBJECT`. Says "ready" when it listens."""

import asyncio
import json
import sys

import nats


async def main(server, subject):
    # The server may have been started at the same moment.
    connection = await nats.connect(server, reconnect_time_wait=0.1, max_reconnect_attempts=200)

    async def decide(call):
        await connection.publish(call.reply, json.dumps({"action": "Continue", "extension_Tier": "gold"}).encode())

    await connection.subscribe(subject, queue="workers", cb=decide)
    await connection.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
