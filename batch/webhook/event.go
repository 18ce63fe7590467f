package webhook

import (
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// event is the body of a webhook, in OpenAI's shape
// (https://platform.openai.com/docs/api-reference/webhook-events).
type event struct {
	ID        string    `json:"id"`
	Object    string    `json:"object"` // "event"
	CreatedAt int64     `json:"created_at"`
	Type      string    `json:"type"`
	Data      eventData `json:"data"`
}

type eventData struct {
	ID string `json:"id"` // of the batch
}

// testType is the type of events that an operator sends to test an endpoint. It is none of
// OpenAI's, so that receivers do not look for a batch.
const testType = "webhook.test"

// EventTypes returns the types of events by the final state of a batch.
func EventTypes() map[string]batch.Status {
	types := make(map[string]batch.Status)
	for _, s := range []batch.Status{batch.Completed, batch.Failed, batch.Cancelled, batch.Expired} {
		types[eventType(s)] = s
	}
	return types
}

func eventType(s batch.Status) string { return "batch." + string(s) }

// eventOf returns the event of a delivery: the same for every attempt and endpoint.
func eventOf(d batch.Delivery) event {
	return event{
		ID: eventID(d.BatchID + " " + eventType(d.Event)), Object: "event", CreatedAt: d.CreatedAt.Unix(),
		Type: eventType(d.Event), Data: eventData{d.BatchID},
	}
}

// testEvent returns an event of testType. Its id differs for each call at another time.
func testEvent(now time.Time) event {
	return event{ID: eventID(testType + " " + now.String()), Object: "event", CreatedAt: now.Unix(), Type: testType, Data: eventData{"batch_test"}}
}

func eventID(of string) string { return "evt_" + hex.EncodeToString(batch.ShortHash(of)) }

func (e event) body() ([]byte, error) { return json.Marshal(e) }
