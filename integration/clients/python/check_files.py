"""Files and Uploads."""

import asyncio
import hashlib
import io
import tempfile
from pathlib import Path

import openai
from checks import async_client, batch_lines, check, client, equal, raises, that, upload


@check
def files_upload_from_path():
    content = batch_lines("path", 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "from path ü.jsonl"
        path.write_bytes(content)
        file = client.files.create(file=path, purpose="batch")
    equal(file.object, "file")
    equal(file.filename, "from path ü.jsonl")
    equal(file.bytes, len(content))
    equal(file.purpose, "batch")
    equal(file.status, "processed")
    that(file.expires_at and file.expires_at > file.created_at, file)
    equal(client.files.content(file.id).content, content)


@check
def files_upload_from_bytes():
    content = batch_lines("bytes", 2)
    equal(client.files.content(upload("bytes", content).id).read(), content)


@check
def files_upload_from_stream():
    content = batch_lines("stream", 2000)
    file = client.files.create(file=("stream.jsonl", io.BytesIO(content), "application/jsonl"), purpose="batch")
    equal(file.bytes, len(content))
    with client.files.with_streaming_response.content(file.id) as answer:
        equal(int(answer.headers["content-length"]), len(content))
        equal(b"".join(answer.iter_bytes()), content)


@check
def files_upload_with_expiry():
    file = client.files.create(
        file=("expiring.txt", b"text"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    equal(file.expires_at, file.created_at + 3600)


@check
def files_upload_async():
    async def go():
        async with async_client() as c:
            files = await asyncio.gather(
                *(c.files.create(file=(f"a{i}.jsonl", batch_lines(f"a{i}", 5)), purpose="batch") for i in range(8))
            )
            equal(len({file.id for file in files}), 8)
            for file in files:
                equal((await c.files.retrieve(file.id)).filename, file.filename)

    asyncio.run(go())


@check
def files_wait_for_processing():
    file = upload("waiting", batch_lines("waiting", 1))
    equal(client.files.wait_for_processing(file.id, poll_interval=0.01, max_wait_seconds=5).status, "processed")


@check
def files_list_auto_paging():
    mine = [upload(f"page{i}", batch_lines(f"page{i}", 1)).id for i in range(7)]
    newest_first = [file.id for file in client.files.list(limit=3, purpose="batch")]
    equal(len(newest_first), len(set(newest_first)))
    equal(newest_first[:7], mine[::-1])
    equal([file.id for file in client.files.list(limit=3, purpose="batch", order="asc")], newest_first[::-1])
    page = client.files.list(limit=3, purpose="batch")
    equal([file.id for file in page.data], newest_first[:3])
    that(page.has_next_page(), page)
    equal([file.id for file in page.get_next_page().data], newest_first[3:6])
    that(all(file.purpose == "user_data" for file in client.files.list(purpose="user_data")), "purposes")


@check
def files_delete():
    file = upload("deleted", batch_lines("deleted", 1))
    deleted = client.files.delete(file.id)
    equal((deleted.id, deleted.object, deleted.deleted), (file.id, "file", True))
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        error = raises(openai.NotFoundError, lambda: call(file.id))
        equal((error.status_code, error.type, error.param), (404, "invalid_request_error", "id"))
        equal(error.body["message"], f"No such File object: {file.id}")
        that("code" in error.body, error.body)


@check
def files_refused():
    error = raises(openai.BadRequestError, lambda: client.files.create(file=("a.jsonl", b"no json"), purpose="batch"))
    equal(error.status_code, 400)
    that("Must be .jsonl" in error.body["message"], error.body)
    error = raises(openai.BadRequestError, lambda: client.files.create(file=("a.jsonl", b"{}"), purpose="fishing"))
    equal(error.param, "purpose")
    error = raises(openai.BadRequestError, lambda: client.files.list(limit=10001))
    equal(error.param, "limit")


@check
def uploads_chunked_from_memory():
    content = batch_lines("chunks", 3000)
    done = client.uploads.upload_file_chunked(
        file=content,
        filename="chunks.jsonl",
        bytes=len(content),
        mime_type="application/jsonl",
        purpose="batch",
        part_size=100_000,
        md5=hashlib.md5(content).hexdigest(),
    )
    equal((done.status, done.bytes), ("completed", len(content)))
    equal((done.file.filename, done.file.bytes, done.file.status), ("chunks.jsonl", len(content), "processed"))
    equal(client.files.content(done.file.id).content, content)


@check
def uploads_chunked_from_path():
    content = batch_lines("chunked path", 500)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chunked.jsonl"
        path.write_bytes(content)
        done = client.uploads.upload_file_chunked(file=path, mime_type="application/jsonl", purpose="batch", part_size=20_000)
    equal(client.files.content(done.file.id).content, content)


@check
def uploads_parts_in_another_order():
    content = batch_lines("parts", 100)
    half = len(content) // 2
    begun = client.uploads.create(bytes=len(content), filename="parts.jsonl", mime_type="application/jsonl", purpose="batch")
    equal((begun.object, begun.status), ("upload", "pending"))
    second = client.uploads.parts.create(begun.id, data=content[half:])
    first = client.uploads.parts.create(begun.id, data=content[:half])
    equal((first.object, first.upload_id), ("upload.part", begun.id))
    done = client.uploads.complete(begun.id, part_ids=[first.id, second.id])
    equal(client.files.content(done.file.id).content, content)


@check
def uploads_cancel():
    begun = client.uploads.create(bytes=10, filename="no.jsonl", mime_type="application/jsonl", purpose="batch")
    part = client.uploads.parts.create(begun.id, data=b"0123456789")
    equal(client.uploads.cancel(begun.id).status, "cancelled")
    error = raises(openai.ConflictError, lambda: client.uploads.complete(begun.id, part_ids=[part.id]))
    equal(error.body["message"], "Cannot complete an upload with status 'cancelled'.")


@check
def uploads_size_must_fit():
    begun = client.uploads.create(bytes=10, filename="no.jsonl", mime_type="application/jsonl", purpose="batch")
    part = client.uploads.parts.create(begun.id, data=b"01234")
    raises(openai.BadRequestError, lambda: client.uploads.complete(begun.id, part_ids=[part.id]))
