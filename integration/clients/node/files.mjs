// Files and Uploads.

import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI, { toFile } from "openai";
import { batchLines, check, client, collect, content, rejects, upload } from "./checks.mjs";

check("files upload from path", async () => {
  const lines = batchLines("path", 2);
  const folder = await mkdtemp(join(tmpdir(), "client-"));
  try {
    const path = join(folder, "from path ü.jsonl");
    await writeFile(path, lines);
    const file = await client.files.create({ file: createReadStream(path), purpose: "batch" });
    assert.equal(file.filename, "from path ü.jsonl");
    assert.equal(file.bytes, Buffer.byteLength(lines));
    assert.deepEqual([file.object, file.purpose, file.status], ["file", "batch", "processed"]);
    assert.ok(file.expires_at > file.created_at);
    assert.equal(await content(file.id), lines);
  } finally {
    await rm(folder, { recursive: true });
  }
});

check("files upload from bytes", async () => {
  const lines = batchLines("bytes", 2);
  assert.equal(await content((await upload("bytes", lines)).id), lines);
});

check("files upload from stream", async () => {
  const lines = batchLines("stream", 2000);
  async function* pieces() {
    for (let at = 0; at < lines.length; at += 10_000) yield Buffer.from(lines.slice(at, at + 10_000));
  }
  const file = await client.files.create({ file: await toFile(pieces(), "stream.jsonl"), purpose: "batch" });
  assert.equal(file.bytes, Buffer.byteLength(lines));
  const answer = await client.files.content(file.id);
  assert.equal(Number(answer.headers.get("content-length")), file.bytes);
  assert.equal(await answer.text(), lines);
});

check("files upload with expiry", async () => {
  const file = await client.files.create({
    file: await toFile(Buffer.from("text"), "expiring.txt"),
    purpose: "user_data",
    expires_after: { anchor: "created_at", seconds: 3600 },
  });
  assert.equal(file.expires_at, file.created_at + 3600);
});

check("files wait for processing", async () => {
  const { id } = await upload("waiting", batchLines("waiting", 1));
  assert.equal((await client.files.waitForProcessing(id, { pollInterval: 10, maxWait: 5000 })).status, "processed");
});

check("files list auto-paging", async () => {
  const mine = [];
  for (let i = 0; i < 7; i++) mine.push((await upload(`page${i}`, batchLines(`page${i}`, 1))).id);
  const ids = async (query) => (await collect(client.files.list({ purpose: "batch", limit: 3, ...query }))).map((f) => f.id);
  const newestFirst = await ids({});
  assert.equal(new Set(newestFirst).size, newestFirst.length);
  assert.deepEqual(newestFirst.slice(0, 7), mine.toReversed());
  assert.deepEqual(await ids({ order: "asc" }), newestFirst.toReversed());
  const page = await client.files.list({ purpose: "batch", limit: 3 });
  assert.ok(page.hasNextPage());
  assert.deepEqual((await page.getNextPage()).data.map((f) => f.id), newestFirst.slice(3, 6));
});

check("files delete", async () => {
  const { id } = await upload("deleted", batchLines("deleted", 1));
  assert.deepEqual(await client.files.delete(id), { id, object: "file", deleted: true });
  for (const call of ["retrieve", "content", "delete"]) {
    const error = await rejects(OpenAI.NotFoundError, () => client.files[call](id));
    assert.deepEqual([error.status, error.type, error.param, error.code], [404, "invalid_request_error", "id", null]);
    assert.match(error.message, /No such File object/);
  }
});

check("files refused", async () => {
  let error = await rejects(OpenAI.BadRequestError, () => upload("a", "no json"));
  assert.match(error.message, /Must be \.jsonl/);
  error = await rejects(OpenAI.BadRequestError, async () =>
    client.files.create({ file: await toFile(Buffer.from("{}"), "a.jsonl"), purpose: "fishing" }),
  );
  assert.equal(error.param, "purpose");
});

check("uploads in parts", async () => {
  const bytes = Buffer.from(batchLines("parts", 100));
  const half = bytes.length >> 1;
  const begun = await client.uploads.create({
    bytes: bytes.length,
    filename: "parts.jsonl",
    mime_type: "application/jsonl",
    purpose: "batch",
  });
  assert.deepEqual([begun.object, begun.status], ["upload", "pending"]);
  const [second, first] = await Promise.all(
    [bytes.subarray(half), bytes.subarray(0, half)].map(async (part) =>
      client.uploads.parts.create(begun.id, { data: await toFile(part, "part") }),
    ),
  );
  const done = await client.uploads.complete(begun.id, { part_ids: [first.id, second.id] });
  assert.deepEqual([done.status, done.file.filename, done.file.bytes], ["completed", "parts.jsonl", bytes.length]);
  assert.equal(await content(done.file.id), bytes.toString());
});

check("uploads cancel", async () => {
  const begun = await client.uploads.create({ bytes: 1, filename: "no.jsonl", mime_type: "application/jsonl", purpose: "batch" });
  assert.equal((await client.uploads.cancel(begun.id)).status, "cancelled");
  await rejects(OpenAI.ConflictError, async () =>
    client.uploads.parts.create(begun.id, { data: await toFile(Buffer.from("x"), "part") }),
  );
});
