"""Verifies webhooks with OpenAI's Python library.

Standard input has one JSON object per line with the headers and the body of a webhook;
CLIENT_WEBHOOK_SECRET is its secret. Prints the type and the id of each event, and
"refused" for one whose signature is wrong.
"""

import json
import os
import sys

from openai import InvalidWebhookSignatureError, OpenAI

client = OpenAI(api_key="none", webhook_secret=os.environ["CLIENT_WEBHOOK_SECRET"])
for line in sys.stdin:
    hook = json.loads(line)
    try:
        event = client.webhooks.unwrap(hook["body"], hook["headers"])
        print(event.type, event.data.id, event.id)
    except InvalidWebhookSignatureError:
        print("refused")
