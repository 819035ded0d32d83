"""A bridge as people write it with FastAPI. Like bench/src/bin/naive.rs it promises nothing."""

import contextlib
import json
import os

import nats
import uvicorn
from fastapi import FastAPI, Request

PATIENCE_SECONDS = 15


@contextlib.asynccontextmanager
async def connected(app: FastAPI):
    app.state.nats = await nats.connect(os.environ["NATS_URL"])
    yield
    await app.state.nats.close()


app = FastAPI(lifespan=connected)


@app.post("/connectors/{name}")
async def decide(name: str, claims: dict, request: Request) -> dict:
    subject = f"connectors.{name}.before-create"
    reply = await request.app.state.nats.request(subject, json.dumps(claims).encode(), timeout=PATIENCE_SECONDS)
    return json.loads(reply.data)


host, port = os.environ["LISTEN"].split(":")
uvicorn.run(app, host=host, port=int(port), log_level="warning", access_log=False)
