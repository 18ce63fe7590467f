// Live requests, and keys.

import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";
import { apiKey, baseURL, check, client, collect, directURL, model, rejects } from "./checks.mjs";

const messages = (content) => [{ role: "user", content }];

check("live models", async () => {
  assert.deepEqual((await collect(client.models.list())).map((m) => m.id), [model]);
  assert.equal((await client.models.retrieve(model)).id, model);
  const error = await rejects(OpenAI.NotFoundError, () => client.models.retrieve("fish"));
  assert.deepEqual([error.code, error.param], ["model_not_found", "model"]);
});

check("live chat", async () => {
  const answer = await client.chat.completions.create({ model, messages: messages("Hello") });
  assert.equal(answer.object, "chat.completion");
  assert.match(answer.choices[0].message.content, /^sim-/);
  assert.ok(answer.usage.completion_tokens > 0);
});

check("live chat streamed", async () => {
  const stream = await client.chat.completions.create({
    model,
    messages: messages("Stream"),
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = "";
  let usage;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.match(text, /^sim-/);
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
});

check("live streams side by side", async () => {
  const one = async (i) => {
    const stream = await client.chat.completions.create({ model, messages: messages(`Stream ${i}`), stream: true });
    return (await collect(stream)).map((c) => c.choices[0]?.delta.content ?? "").join("");
  };
  const texts = await Promise.all(Array.from({ length: 20 }, (_, i) => one(i)));
  assert.equal(new Set(texts).size, 20);
  for (const text of texts) assert.match(text, /^sim-/);
});

// The gateway asks for the usage itself; the client must see what a server sends it without the gateway.
check("live streams without usage", async () => {
  const shape = (value) => {
    if (Array.isArray(value)) return value.map(shape);
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, shape(inner)]));
    }
    return typeof value === "string" ? "text" : value;
  };
  const seen = async (c, options) => {
    const content = "A [[sim:tokens=9]]";
    const chat = await c.chat.completions.create({ model, messages: messages(content), stream: true, ...options });
    const text = await c.completions.create({ model, prompt: content, stream: true, ...options });
    // The simulated server derives created from the body.
    const chunks = async (stream) => (await collect(stream)).map((chunk) => shape({ ...chunk, created: 0 }));
    return [await chunks(chat), await chunks(text)];
  };
  const direct = new OpenAI({ baseURL: directURL, apiKey: "none", maxRetries: 0, timeout: 60_000 });
  for (const options of [{}, { stream_options: null }, { stream_options: { include_usage: false } }]) {
    const want = await seen(direct, options);
    assert.deepEqual(want.map((chunks) => chunks.length), [10, 9]);
    assert.deepEqual(await seen(client, options), want);
  }
});

check("live stream abandoned", async () => {
  // That the server sees it is checked from outside.
  const stream = await client.chat.completions.create({
    model,
    messages: messages("sim-id:node-abandons [[sim:tokens=100000]]"),
    stream: true,
  });
  let count = 0;
  for await (const _ of stream) if (++count === 4) break;
  assert.equal(count, 4);
});

check("live request abandoned", async () => {
  const abort = new AbortController();
  const answer = client.chat.completions.create(
    { model, messages: messages("sim-id:node-aborts [[sim:hang]]") },
    { signal: abort.signal },
  );
  setTimeout(() => abort.abort(), 200);
  await rejects(OpenAI.APIUserAbortError, () => answer);
});

check("live completions", async () => {
  const answer = await client.completions.create({ model, prompt: "Once upon a time", max_tokens: 5 });
  assert.deepEqual([answer.object, answer.choices[0].finish_reason], ["text_completion", "length"]);
});

check("live embeddings", async () => {
  // The library asks for base64 by default and decodes it.
  const packed = await client.embeddings.create({ model, input: ["one", "two"] });
  const plain = await client.embeddings.create({ model, input: ["one", "two"], encoding_format: "float" });
  assert.deepEqual(packed.data.map((d) => d.embedding.length), [16, 16]);
  assert.deepEqual(plain.data.map((d) => d.embedding.length), [16, 16]);
});

check("live responses", async () => {
  const answer = await client.responses.create({ model, input: "Hello" });
  assert.match(answer.output_text, /^sim-/);
  let text = "";
  let last;
  for await (const event of await client.responses.create({ model, input: "Hello", stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
    last = event;
  }
  assert.equal(last.type, "response.completed");
  assert.match(text, /^sim-/);
});

check("live errors", async () => {
  let error = await rejects(OpenAI.NotFoundError, () => client.chat.completions.create({ model: "fish", messages: messages("x") }));
  assert.deepEqual([error.code, error.param, error.type], ["model_not_found", "model", "invalid_request_error"]);
  error = await rejects(OpenAI.NotFoundError, () => client.post("/fishing", { body: {} }));
  assert.equal(error.type, "invalid_request_error");
});

check("live stream that breaks", async () => {
  const stream = await client.chat.completions.create({
    model,
    messages: messages("[[sim:cut-mid]] [[sim:tokens=30]]"),
    stream: true,
  });
  await rejects(OpenAI.APIError, () => collect(stream));
});

check("key is wanted", async () => {
  const wrong = new OpenAI({ baseURL, apiKey: `${apiKey}x`, maxRetries: 0 });
  for (const call of [
    () => wrong.models.list(),
    () => wrong.files.list(),
    () => wrong.batches.list(),
    () => wrong.chat.completions.create({ model, messages: messages("x") }),
    async () => wrong.files.create({ file: await toFile(Buffer.from("{}"), "a.jsonl"), purpose: "batch" }),
  ]) {
    const error = await rejects(OpenAI.AuthenticationError, call);
    assert.deepEqual([error.status, error.code, error.type], [401, "invalid_api_key", "invalid_request_error"]);
  }
});
