// What is checked with OpenAI's Node library, in order, and how it is reported.

import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import OpenAI, { toFile } from "openai";

export const baseURL = process.env.CLIENT_BASE_URL;
export const apiKey = process.env.CLIENT_API_KEY;
export const model = process.env.CLIENT_MODEL;
export const directURL = process.env.CLIENT_DIRECT_URL; // of a server behind the gateway

// Without retries of its own the library shows every failure of the gateway.
export const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 60_000 });

const checks = [];

/** Registers a check; its name is what is reported. */
export function check(name, run) {
  checks.push({ name, run });
}

/** Runs every check and prints one line for each: "ok NAME" or "not ok NAME", the reason below it. */
export async function runAll() {
  let good = true;
  for (const { name, run } of checks) {
    try {
      await run();
      console.log(`ok ${name}`);
    } catch (error) {
      good = false;
      console.log(`not ok ${name}`);
      for (const line of String(error?.stack ?? error).split("\n")) console.log(`# ${line}`);
    }
  }
  return good;
}

/** Asserts that a call fails with this very class of error and returns it. */
export async function rejects(kind, call) {
  let result;
  try {
    result = await call();
  } catch (error) {
    if (error.constructor !== kind) throw error;
    return error;
  }
  throw new assert.AssertionError({ message: `want ${kind.name}, got the answer ${JSON.stringify(result)}` });
}

/** A batch input of chat completions. */
export function batchLines(name, count, marker = "") {
  let text = "";
  for (let i = 0; i < count; i++) {
    text += JSON.stringify({
      custom_id: `${name}-${i}`,
      method: "POST",
      url: "/v1/chat/completions",
      body: { model, messages: [{ role: "user", content: `${marker} ${name} ${i}` }] },
    });
    text += "\n";
  }
  return text;
}

/** Uploads a batch input from memory. */
export async function upload(name, content) {
  return client.files.create({ file: await toFile(Buffer.from(content), `${name}.jsonl`), purpose: "batch" });
}

/** Uploads an input and makes a batch of it. */
export async function submit(name, content, options = {}) {
  const file = await upload(name, content);
  return client.batches.create({
    input_file_id: file.id,
    endpoint: "/v1/chat/completions",
    completion_window: "24h",
    ...options,
  });
}

const terminal = ["completed", "failed", "expired", "cancelled"];

/** Retrieves a batch until it has ended, or until something else is so. */
export async function poll(id, until = (batch) => terminal.includes(batch.status), limit = 60_000) {
  for (const deadline = Date.now() + limit; ; await pause(20)) {
    const batch = await client.batches.retrieve(id);
    if (until(batch)) return batch;
    assert.ok(Date.now() < deadline, `after ${limit} ms the batch is ${JSON.stringify(batch)}`);
  }
}

/** The text of a file. */
export async function content(id) {
  return (await client.files.content(id)).text();
}

/** The lines of an output or error file. */
export async function results(id) {
  return (await content(id)).trimEnd().split("\n").map((line) => JSON.parse(line));
}

/** All items of a list, page by page. */
export async function collect(list) {
  const items = [];
  for await (const item of list) items.push(item);
  return items;
}
