"""The worker of the demo: a NATS service with one endpoint per connector. Its mood is in a file."""

import asyncio
import json
import random
import sys
from pathlib import Path

import nats
from nats import micro


async def decide(call, mood):
    if mood == "nonsense":
        return await call.respond(b"<html>Bad gateway</html>")
    seconds = {"slow": random.uniform(4.2, 7), "busy": random.uniform(0.5, 0.7)}
    await asyncio.sleep(seconds.get(mood, random.lognormvariate(-2.8, 0.6)))
    email = json.loads(call.data).get("email", "")
    if email.endswith("@blocked.example") and "before-token" not in call.subject:
        decision = {"action": "ShowBlockPage", "userMessage": "Sign-up is not open to your organisation."}
    elif email.endswith("@typo.example") and "before-create" in call.subject:
        decision = {"action": "ValidationError", "userMessage": "Please enter a valid postal code."}
    else:
        decision = {"action": "Continue", "extension_Tier": "gold"}
    await call.respond(json.dumps(decision).encode())


async def main(url, mood, subjects):
    connection = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.2)
    service = await micro.add_service(connection, name="demo", version="1.0.0")

    async def handle(call):
        task = asyncio.create_task(decide(call, Path(mood).read_text()))
        running.add(task)
        task.add_done_callback(running.discard)

    running = set()
    for at, subject in enumerate(subjects):
        await service.add_endpoint(
            name=f"decide-{at}", subject=subject, queue_group="workers", handler=handle
        )
    await asyncio.Event().wait()


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
