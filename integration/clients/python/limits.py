"""The limits of a key, as OpenAI's client sees them: 20 requests a minute."""

import os
import time

import openai

LIMIT = 20


def ask(client):
    return client.chat.completions.with_raw_response.create(
        model=os.environ["CLIENT_MODEL"], messages=[{"role": "user", "content": "hi"}], max_tokens=1
    )


def main():
    hasty = openai.OpenAI(base_url=os.environ["CLIENT_BASE_URL"], api_key=os.environ["CLIENT_API_KEY"], max_retries=0)
    first = ask(hasty).headers
    assert first["x-ratelimit-limit-requests"] == str(LIMIT), first
    assert first["x-ratelimit-remaining-requests"] == str(LIMIT - 1), first
    assert first["x-ratelimit-reset-requests"].endswith("s"), first
    refused = None
    for _ in range(2 * LIMIT):
        try:
            ask(hasty)
        except openai.RateLimitError as error:
            refused = error
            break
    assert refused is not None, "no request was refused"
    assert refused.code == "rate_limit_exceeded", refused.code
    assert refused.response.headers["x-ratelimit-remaining-requests"] == "0", refused.response.headers
    wait = int(refused.response.headers["retry-after-ms"]) / 1000
    assert 0 < wait <= 60 / LIMIT and int(refused.response.headers["retry-after"]) >= wait, refused.response.headers

    # Its own backoff begins with half a second: it would be refused again.
    began = time.monotonic()
    answer = ask(hasty.with_options(max_retries=1))
    took = time.monotonic() - began
    assert answer.retries_taken == 1 and took >= wait / 2, (answer.retries_taken, took, wait)
    print("obeyed")


main()
