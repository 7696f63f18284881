// express-idempotency in front of a counter, with answers that are lost on request after the work was done.

import express from "express";
import { idempotency, getSharedIdempotencyService } from "express-idempotency";

const app = express();
const done = new Map();
const lost = new Set();

app.get("/done/:name", (request, response) => response.json({ done: done.get(request.params.name) ?? 0 }));
app.use(express.json());
app.use(idempotency());
app.post("/work", async (request, response) => {
  const service = getSharedIdempotencyService();
  if (service.isHit(request)) return;
  const { name, seconds = 0, lose = false } = request.body;
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  done.set(name, (done.get(name) ?? 0) + 1);
  if (lose && !lost.has(name)) {
    lost.add(name);
    const socket = request.socket;
    response.write = () => true;
    const end = response.end;
    response.end = () => {
      response.end = end;
      socket.destroy();
      return response;
    };
  }
  response.status(201).send({ name, number: done.get(name) });
});

const server = app.listen(0, "127.0.0.1", () => console.log(`READY http://127.0.0.1:${server.address().port}`));
