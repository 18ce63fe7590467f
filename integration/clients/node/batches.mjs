// Batches.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { batchLines, check, client, collect, model, poll, rejects, results, submit, upload } from "./checks.mjs";

check("batches run", async () => {
  const begun = await submit("run", batchLines("run", 50), { metadata: { who: "node" } });
  assert.deepEqual([begun.object, begun.status, begun.metadata], ["batch", "validating", { who: "node" }]);
  const batch = await poll(begun.id);
  assert.deepEqual([batch.status, batch.model, batch.error_file_id, batch.errors], ["completed", model, null, null]);
  assert.deepEqual(batch.request_counts, { total: 50, completed: 50, failed: 0 });
  const lines = await results(batch.output_file_id);
  assert.deepEqual(lines.map((l) => l.custom_id), Array.from({ length: 50 }, (_, i) => `run-${i}`));
  let tokens = 0;
  for (const line of lines) {
    assert.equal(line.error, null);
    assert.equal(line.response.status_code, 200);
    assert.match(line.response.body.choices[0].message.content, /^sim-/);
    tokens += line.response.body.usage.total_tokens;
  }
  assert.equal(batch.usage.total_tokens, tokens);
});

check("batches with failing lines", async () => {
  const input = batchLines("good", 3) + batchLines("bad", 2, "[[sim:status=400]]");
  const batch = await poll((await submit("mixed", input)).id);
  assert.equal(batch.status, "completed");
  assert.deepEqual(batch.request_counts, { total: 5, completed: 3, failed: 2 });
  assert.equal((await results(batch.output_file_id)).length, 3);
  const failures = await results(batch.error_file_id);
  assert.deepEqual(failures.map((l) => [l.custom_id, l.response.status_code]), [["bad-0", 400], ["bad-1", 400]]);
});

check("batches fail validation", async () => {
  const batch = await poll((await submit("invalid", batchLines("invalid", 1) + "no json\n")).id);
  assert.equal(batch.status, "failed");
  assert.deepEqual(batch.request_counts, { total: 0, completed: 0, failed: 0 });
  assert.deepEqual(batch.errors.data.map((e) => [e.code, e.line]), [["invalid_json_line", 2]]);
});

check("batches cancel", async () => {
  const input = batchLines("cancelled", 5) + batchLines("hanging", 5, "[[sim:hang]]");
  const { id } = await submit("cancelled", input);
  await poll(id, (b) => b.request_counts.completed === 5);
  assert.match((await client.batches.cancel(id)).status, /^cancell(ing|ed)$/);
  const batch = await poll(id);
  assert.equal(batch.status, "cancelled");
  assert.deepEqual(batch.request_counts, { total: 10, completed: 5, failed: 0 });
  assert.equal((await results(batch.output_file_id)).length, 5);
  assert.ok((await results(batch.error_file_id)).every((l) => l.error.code === "batch_cancelled"));
});

check("batches cancel when completed", async () => {
  const { id } = await poll((await submit("late", batchLines("late", 1))).id);
  const error = await rejects(OpenAI.ConflictError, () => client.batches.cancel(id));
  assert.deepEqual([error.status, error.type], [409, "invalid_request_error"]);
  assert.match(error.message, /Cannot cancel a batch with status 'completed'\./);
});

check("batches list auto-paging", async () => {
  const file = await upload("listed", batchLines("listed", 1));
  const mine = [];
  for (let i = 0; i < 7; i++) {
    const batch = await client.batches.create({ input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" });
    mine.push(batch.id);
  }
  const ids = (await collect(client.batches.list({ limit: 3 }))).map((b) => b.id);
  assert.equal(new Set(ids).size, ids.length);
  assert.deepEqual(ids.slice(0, 7), mine.toReversed());
});

check("batches refused", async () => {
  const create = (changes) => () =>
    client.batches.create({ input_file_id: "file-x", endpoint: "/v1/chat/completions", completion_window: "24h", ...changes });
  let error = await rejects(OpenAI.BadRequestError, create({ endpoint: "/v1/fishing" }));
  assert.deepEqual([error.code, error.param], ["invalid_value", "endpoint"]);
  error = await rejects(OpenAI.BadRequestError, create({ input_file_id: undefined }));
  assert.deepEqual([error.code, error.param], ["missing_required_parameter", "input_file_id"]);
  error = await rejects(OpenAI.BadRequestError, create({ metadata: { k: ["v"] } }));
  assert.deepEqual([error.code, error.param], ["invalid_type", "metadata.k"]);
  error = await rejects(OpenAI.NotFoundError, () => client.batches.retrieve("batch_nowhere"));
  assert.match(error.message, /No batch found with id 'batch_nowhere'\./);
});
