// Verifies webhooks with OpenAI's Node library: see python/unwrap.py.
import { createInterface } from 'node:readline';
import OpenAI from 'openai';

const client = new OpenAI({ apiKey: 'none', webhookSecret: process.env.CLIENT_WEBHOOK_SECRET });
for await (const line of createInterface({ input: process.stdin })) {
  const hook = JSON.parse(line);
  try {
    const event = await client.webhooks.unwrap(hook.body, new Headers(hook.headers));
    console.log(event.type, event.data.id, event.id);
  } catch (error) {
    if (!(error instanceof OpenAI.InvalidWebhookSignatureError)) throw error;
    console.log('refused');
  }
}
