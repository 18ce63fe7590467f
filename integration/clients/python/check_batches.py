"""Batches."""

import asyncio
import json

import openai
from checks import MODEL, async_client, batch_lines, check, client, equal, poll, raises, results, submit, that, upload


@check
def batches_run():
    batch = submit("run", batch_lines("run", 50), metadata={"who": "python", "empty": ""})
    equal((batch.object, batch.status), ("batch", "validating"))
    equal((batch.endpoint, batch.completion_window), ("/v1/chat/completions", "24h"))
    equal(batch.metadata, {"who": "python", "empty": ""})
    that(batch.expires_at == batch.created_at + 24 * 3600, batch)
    batch = poll(batch.id)
    equal(batch.status, "completed")
    equal(batch.model, MODEL)
    equal((batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed), (50, 50, 0))
    equal((batch.error_file_id, batch.errors), (None, None))
    that(batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at, batch)
    lines = results(batch.output_file_id)
    equal([line["custom_id"] for line in lines], [f"run-{i}" for i in range(50)])
    for line in lines:
        that(line["error"] is None and line["response"]["status_code"] == 200, line)
        that(line["response"]["body"]["choices"][0]["message"]["content"].startswith("sim-"), line)
    sums = [line["response"]["body"]["usage"] for line in lines]
    equal(batch.usage.input_tokens, sum(usage["prompt_tokens"] for usage in sums))
    equal(batch.usage.output_tokens, sum(usage["completion_tokens"] for usage in sums))
    equal(batch.usage.total_tokens, sum(usage["total_tokens"] for usage in sums))
    output = client.files.retrieve(batch.output_file_id)
    equal((output.purpose, output.status), ("batch_output", "processed"))


@check
def batches_with_failing_lines():
    good, bad = batch_lines("good", 3), batch_lines("bad", 2, marker="[[sim:status=400]]")
    batch = poll(submit("mixed", good + bad).id)
    equal(batch.status, "completed")
    equal((batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed), (5, 3, 2))
    equal([line["custom_id"] for line in results(batch.output_file_id)], ["good-0", "good-1", "good-2"])
    failures = results(batch.error_file_id)
    equal([line["custom_id"] for line in failures], ["bad-0", "bad-1"])
    for line in failures:
        equal(line["response"]["status_code"], 400)
        that("error" in line["response"]["body"], line)


@check
def batches_all_lines_fail():
    batch = poll(submit("all bad", batch_lines("all-bad", 2, marker="[[sim:status=400]]")).id)
    equal((batch.status, batch.output_file_id, batch.request_counts.failed), ("completed", None, 2))
    equal(len(results(batch.error_file_id)), 2)


@check
def batches_fail_validation():
    lines = batch_lines("invalid", 2) + b"no json\n" + batch_lines("invalid", 1)
    batch = poll(submit("invalid", lines).id)
    equal((batch.status, batch.output_file_id, batch.error_file_id), ("failed", None, None))
    equal((batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed), (0, 0, 0))
    equal(
        [(e.code, e.line, e.param) for e in batch.errors.data],
        [("invalid_json_line", 3, None), ("duplicate_custom_id", 4, "custom_id")],
    )
    that(batch.failed_at, batch)


@check
def batches_unknown_model():
    line = json.loads(batch_lines("model", 1))
    line["body"]["model"] = MODEL + "x"
    batch = poll(submit("model", json.dumps(line).encode()).id)
    equal((batch.status, batch.errors.data[0].code, batch.errors.data[0].param), ("failed", "model_not_found", "body.model"))
    that(MODEL in batch.errors.data[0].message, batch.errors)


@check
def batches_unknown_file():
    batch = client.batches.create(input_file_id="file-nowhere", endpoint="/v1/chat/completions", completion_window="24h")
    batch = poll(batch.id)
    equal((batch.status, batch.errors.data[0].param), ("failed", "file_id"))


@check
def batches_cancel():
    batch = submit("cancelled", batch_lines("cancelled", 5) + batch_lines("hanging", 5, marker="[[sim:hang]]"))
    poll(batch.id, until=lambda b: b.request_counts.completed == 5)
    that(client.batches.cancel(batch.id).status in ("cancelling", "cancelled"), batch)
    batch = poll(batch.id)
    equal(batch.status, "cancelled")
    equal((batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed), (10, 5, 0))
    equal(len(results(batch.output_file_id)), 5)
    equal({line["error"]["code"] for line in results(batch.error_file_id)}, {"batch_cancelled"})
    equal(client.batches.cancel(batch.id).status, "cancelled")


@check
def batches_cancel_when_completed():
    batch = poll(submit("too late", batch_lines("late", 1)).id)
    error = raises(openai.ConflictError, lambda: client.batches.cancel(batch.id))
    equal((error.status_code, error.type), (409, "invalid_request_error"))
    equal(error.body["message"], "Cannot cancel a batch with status 'completed'.")
    equal(error.response.headers["x-should-retry"], "false")


@check
def batches_list_auto_paging():
    file = upload("listed", batch_lines("listed", 1))
    mine = [
        client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h").id
        for _ in range(7)
    ]
    newest_first = [batch.id for batch in client.batches.list(limit=3)]
    equal(newest_first[:7], mine[::-1])
    equal(len(newest_first), len(set(newest_first)))
    page = client.batches.list(limit=3)
    equal(len(page.data), 3)
    that(page.has_next_page(), page)
    for batch_id in mine:
        equal(poll(batch_id).status, "completed")


@check
def batches_async():
    async def go():
        async with async_client() as c:
            file = await c.files.create(file=("async.jsonl", batch_lines("async", 3)), purpose="batch")
            batch = await c.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
            ids = []
            async for one in c.batches.list(limit=2):
                ids.append(one.id)
            that(batch.id in ids, ids)

    asyncio.run(go())


@check
def batches_refused():
    def create(**changes):
        fields = {"input_file_id": "file-x", "endpoint": "/v1/chat/completions", "completion_window": "24h", **changes}
        return lambda: client.batches.create(**fields)

    error = raises(openai.BadRequestError, create(endpoint="/v1/fishing"))
    equal((error.code, error.param), ("invalid_value", "endpoint"))
    that(error.body["message"].startswith("Invalid value: '/v1/fishing'. Supported values are: "), error.body)
    error = raises(openai.BadRequestError, create(completion_window="soon"))
    equal((error.code, error.param), ("invalid_value", "completion_window"))
    error = raises(openai.BadRequestError, create(input_file_id=openai.omit))
    equal((error.code, error.param), ("missing_required_parameter", "input_file_id"))
    equal(error.body["message"], "Missing required parameter: 'input_file_id'.")
    error = raises(openai.BadRequestError, create(metadata={"k": ["v"]}))
    equal((error.code, error.param), ("invalid_type", "metadata.k"))
    error = raises(openai.NotFoundError, lambda: client.batches.retrieve("batch_nowhere"))
    equal(error.body["message"], "No batch found with id 'batch_nowhere'.")
    raises(openai.NotFoundError, lambda: client.batches.cancel("batch_nowhere"))
    error = raises(openai.BadRequestError, lambda: client.batches.list(limit=101))
    equal(error.param, "limit")


@check
def batches_idempotency():
    file = upload("once", batch_lines("once", 1))

    def create(window):
        return client.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window=window,
            extra_headers={"Idempotency-Key": "python-once"},
        )

    equal(create("24h").id, create("24h").id)
    raises(openai.ConflictError, lambda: create("1h"))
