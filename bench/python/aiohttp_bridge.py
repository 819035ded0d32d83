"""A bridge as people write it with aiohttp. Like bench/src/bin/naive.rs it promises nothing."""

import json
import os

import nats
from aiohttp import web

PATIENCE_SECONDS = 15

NATS = web.AppKey("nats", nats.NATS)
routes = web.RouteTableDef()


@routes.post("/connectors/{name}")
async def decide(request: web.Request) -> web.Response:
    claims = await request.json()
    subject = f"connectors.{request.match_info['name']}.before-create"
    reply = await request.app[NATS].request(subject, json.dumps(claims).encode(), timeout=PATIENCE_SECONDS)
    return web.json_response(json.loads(reply.data))


async def connect(app: web.Application) -> None:
    app[NATS] = await nats.connect(os.environ["NATS_URL"])


app = web.Application()
app.add_routes(routes)
app.on_startup.append(connect)
host, port = os.environ["LISTEN"].split(":")
web.run_app(app, host=host, port=int(port), access_log=None)
