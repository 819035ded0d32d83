// A bridge as people write it in Node: the server that comes with it, and the official NATS client.
// Like bench/src/bin/naive.rs it promises nothing.

import { createServer } from "node:http";
import { connect } from "@nats-io/transport-node";

const PATIENCE_MS = 15_000;

const nats = await connect({ servers: process.env.NATS_URL });

async function decide(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const claims = JSON.parse(Buffer.concat(chunks).toString());
  const name = request.url.split("/")[2];
  const reply = await nats.request(`connectors.${name}.before-create`, JSON.stringify(claims), { timeout: PATIENCE_MS });
  return reply.json();
}

const server = createServer(async (request, response) => {
  try {
    const body = JSON.stringify(await decide(request));
    response.setHeader("Content-Type", "application/json");
    response.end(body);
  } catch {
    response.statusCode = 502;
    response.end();
  }
});

const [host, port] = process.env.LISTEN.split(":");
server.listen(Number(port), host);
