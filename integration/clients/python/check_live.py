"""Live requests, and keys."""

import asyncio

import openai
from checks import API_KEY, BASE_URL, DIRECT_URL, MODEL, async_client, check, client, equal, raises, that
from openai import OpenAI


def messages(text: str):
    return [{"role": "user", "content": text}]


@check
def live_models():
    models = client.models.list()
    equal([model.id for model in models], [MODEL])
    model = client.models.retrieve(MODEL)
    equal((model.id, model.object), (MODEL, "model"))
    error = raises(openai.NotFoundError, lambda: client.models.retrieve("fish"))
    equal((error.code, error.param), ("model_not_found", "model"))


@check
def live_chat():
    answer = client.chat.completions.create(model=MODEL, messages=messages("Hello"))
    equal((answer.object, answer.model), ("chat.completion", MODEL))
    that(answer.choices[0].message.content.startswith("sim-"), answer)
    that(answer.choices[0].finish_reason == "stop" and answer.usage.completion_tokens > 0, answer)


@check
def live_chat_streamed():
    stream = client.chat.completions.create(
        model=MODEL, messages=messages("Stream"), stream=True, stream_options={"include_usage": True}
    )
    text, usage, finish = "", None, None
    for chunk in stream:
        equal(chunk.object, "chat.completion.chunk")
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
        usage = chunk.usage or usage
    that(text.startswith("sim-") and finish == "stop", (text, finish))
    that(usage and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage)


@check
def live_chat_streamed_async():
    async def one(c, i):
        stream = await c.chat.completions.create(model=MODEL, messages=messages(f"Stream {i}"), stream=True)
        text = ""
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
        return text

    async def go():
        async with async_client() as c:
            texts = await asyncio.gather(*(one(c, i) for i in range(20)))
        equal(len(set(texts)), 20)
        that(all(text.startswith("sim-") for text in texts), texts)

    asyncio.run(go())


@check
def live_streams_without_usage():
    # The gateway asks for the usage itself; the client must see what a server sends it without the gateway.
    def shape(value):
        if isinstance(value, dict):
            return {name: shape(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [shape(inner) for inner in value]
        return "text" if isinstance(value, str) else value

    def seen(c, options):
        chat = c.chat.completions.create(model=MODEL, messages=messages("A [[sim:tokens=9]]"), stream=True, **options)
        text = c.completions.create(model=MODEL, prompt="A [[sim:tokens=9]]", stream=True, **options)
        # The simulated server derives created from the body.
        return [[shape(chunk.model_dump() | {"created": 0}) for chunk in stream] for stream in (chat, text)]

    with OpenAI(base_url=DIRECT_URL, api_key="none", max_retries=0, timeout=60) as direct:
        for options in ({}, {"stream_options": None}, {"stream_options": {"include_usage": False}}):
            want = seen(direct, options)
            equal([len(chunks) for chunks in want], [10, 9])
            equal(seen(client, options), want)


@check
def live_stream_abandoned():
    # That the server sees it is checked from outside.
    stream = client.chat.completions.create(
        model=MODEL, messages=messages("sim-id:python-abandons [[sim:tokens=100000]]"), stream=True
    )
    for count, _ in enumerate(stream):
        if count == 3:
            break
    stream.close()


@check
def live_completions():
    answer = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=5)
    equal((answer.object, answer.choices[0].finish_reason), ("text_completion", "length"))
    chunks = list(client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=5, stream=True))
    that("".join(c.choices[0].text for c in chunks if c.choices).startswith("sim-"), chunks)


@check
def live_embeddings():
    for encoding in ("float", "base64"):
        answer = client.embeddings.create(model=MODEL, input=["one", "two"], encoding_format=encoding)
        equal([one.index for one in answer.data], [0, 1])
    answer = client.embeddings.create(model=MODEL, input=["one", "two"])  # the library asks for base64 and decodes it
    that(all(len(one.embedding) == 16 for one in answer.data), answer)


@check
def live_responses():
    answer = client.responses.create(model=MODEL, input="Hello")
    equal((answer.object, answer.status), ("response", "completed"))
    that(answer.output_text.startswith("sim-"), answer)
    text, last = "", None
    for event in client.responses.create(model=MODEL, input="Hello", stream=True):
        if event.type == "response.output_text.delta":
            text += event.delta
        last = event
    that(text.startswith("sim-"), text)
    equal(last.type, "response.completed")
    equal(last.response.output_text, text)


@check
def live_errors():
    error = raises(openai.NotFoundError, lambda: client.chat.completions.create(model="fish", messages=messages("x")))
    equal((error.status_code, error.code, error.param), (404, "model_not_found", "model"))
    equal(error.type, "invalid_request_error")
    marked = messages("[[sim:status=400]]")
    raises(openai.BadRequestError, lambda: client.chat.completions.create(model=MODEL, messages=marked))
    error = raises(openai.NotFoundError, lambda: client.post("/fishing", cast_to=object, body={}))
    equal(error.type, "invalid_request_error")


@check
def live_stream_that_breaks():
    stream = client.chat.completions.create(
        model=MODEL, messages=messages("[[sim:cut-mid]] [[sim:tokens=30]]"), stream=True
    )
    error = raises(openai.APIError, lambda: list(stream))
    that(error.message, error)


@check
def key_is_wanted():
    wrong = OpenAI(base_url=BASE_URL, api_key=API_KEY + "x", max_retries=0)
    for call in (
        wrong.models.list,
        wrong.files.list,
        wrong.batches.list,
        lambda: wrong.chat.completions.create(model=MODEL, messages=messages("x")),
        lambda: wrong.files.create(file=("a.jsonl", b"{}"), purpose="batch"),
    ):
        error = raises(openai.AuthenticationError, call)
        equal((error.status_code, error.code, error.type), (401, "invalid_api_key", "invalid_request_error"))
