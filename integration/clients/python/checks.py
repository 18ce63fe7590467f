"""What is checked with OpenAI's Python library, in order, and how it is reported."""

import json
import os
import time
import traceback
from collections.abc import Callable

from openai import AsyncOpenAI, OpenAI

BASE_URL = os.environ["CLIENT_BASE_URL"]
API_KEY = os.environ["CLIENT_API_KEY"]
MODEL = os.environ["CLIENT_MODEL"]
DIRECT_URL = os.environ["CLIENT_DIRECT_URL"]  # of a server behind the gateway

# Without retries of its own the library shows every failure of the gateway.
client = OpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0, timeout=60)

TERMINAL = ("completed", "failed", "expired", "cancelled")

_checks: list[Callable[[], None]] = []


def async_client() -> AsyncOpenAI:
    """A client for one event loop; close it there."""
    return AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0, timeout=60)


def check(function: Callable[[], None]) -> Callable[[], None]:
    """Registers a check; its name is what is reported."""
    _checks.append(function)
    return function


def run_all() -> bool:
    """Runs every check and prints one line for each: "ok NAME" or "not ok NAME", the reason below it."""
    good = True
    for function in _checks:
        try:
            function()
        except Exception:
            good = False
            print("not ok", function.__name__, flush=True)
            for line in traceback.format_exc().splitlines():
                print("#", line, flush=True)
        else:
            print("ok", function.__name__, flush=True)
    return good


def equal(got: object, want: object) -> None:
    """Asserts that two values are the same; `python -O` does not turn it off."""
    if got != want:
        raise AssertionError(f"got {got!r}, want {want!r}")


def that(condition: object, found: object) -> None:
    """Asserts a condition and shows what was found."""
    if not condition:
        raise AssertionError(f"found {found!r}")


def raises(kind: type[Exception], call: Callable[[], object]):
    """Asserts that a call raises this very class of error and returns it."""
    try:
        result = call()
    except Exception as error:
        if type(error) is not kind:
            raise
        return error
    raise AssertionError(f"want {kind.__name__}, got the answer {result!r}")


def batch_lines(name: str, count: int, marker: str = "") -> bytes:
    """A batch input of chat completions."""
    return b"".join(
        json.dumps(
            {
                "custom_id": f"{name}-{i}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": MODEL, "messages": [{"role": "user", "content": f"{marker} {name} {i}"}]},
            }
        ).encode()
        + b"\n"
        for i in range(count)
    )


def upload(name: str, content: bytes):
    """Uploads a batch input from memory."""
    return client.files.create(file=(f"{name}.jsonl", content), purpose="batch")


def submit(name: str, content: bytes, **options):
    """Uploads an input and makes a batch of it."""
    return client.batches.create(
        input_file_id=upload(name, content).id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        **options,
    )


def poll(batch_id: str, limit: float = 60.0, until: Callable = lambda batch: batch.status in TERMINAL):
    """Retrieves a batch until it has ended, or until something else is so."""
    deadline = time.monotonic() + limit
    while True:
        batch = client.batches.retrieve(batch_id)
        if until(batch):
            return batch
        if time.monotonic() > deadline:
            raise AssertionError(f"after {limit} s the batch is {batch!r}")
        time.sleep(0.02)


def results(file_id: str) -> list[dict]:
    """The lines of an output or error file."""
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]
