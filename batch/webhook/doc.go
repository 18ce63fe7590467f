// Package webhook delivers the ends of batches to the endpoints of their tenants. It sends
// what the transaction that ended a batch put in the outbox of the store, see
// [batch.WebhookStore]. Events have OpenAI's shape and are signed as in Standard Webhooks
// (https://www.standardwebhooks.com), so that the libraries of OpenAI verify them.
//
// A delivery is made at least once: a gateway that is killed between the answer of the
// receiver and the write of the result sends again, under the same webhook-id.
package webhook
