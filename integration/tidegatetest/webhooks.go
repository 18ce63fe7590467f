package tidegatetest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// WebhookSecret is the secret of webhooks in tests, and WebhookEnv the variable that has it.
const (
	WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	WebhookEnv    = "TEST_WEBHOOK_SECRET"
)

// Webhook is a webhook that a Receiver got.
type Webhook struct {
	ID      string            `json:"id"` // of the header
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Type    string            `json:"-"`
	BatchID string            `json:"-"`
}

// Receiver receives webhooks on loopback.
type Receiver struct {
	*httptest.Server

	mu  sync.Mutex
	got []Webhook // guarded by mu
}

// StartReceiver starts a receiver that answers the nth webhook, from 0, with the status that
// answer returns; nil: always 200.
func StartReceiver(tb testing.TB, answer func(n int, w Webhook) int) *Receiver {
	tb.Helper()
	r := new(Receiver)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		hook := Webhook{ID: request.Header.Get("Webhook-Id"), Body: string(body), Headers: make(map[string]string)}
		for name := range request.Header {
			hook.Headers[name] = request.Header.Get(name)
		}
		var event struct {
			Type string
			Data struct{ ID string }
		}
		if err := json.Unmarshal(body, &event); err != nil {
			tb.Errorf("webhook %s: %v", body, err)
		}
		hook.Type, hook.BatchID = event.Type, event.Data.ID
		r.mu.Lock()
		n := len(r.got)
		r.got = append(r.got, hook)
		r.mu.Unlock()
		if answer != nil {
			w.WriteHeader(answer(n, hook))
		}
	}))
	tb.Cleanup(r.Close)
	return r
}

// Got returns the webhooks so far.
func (r *Receiver) Got() []Webhook {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Webhook(nil), r.got...)
}

// App returns the configuration of a gateway that sends webhooks to the receiver. Its
// environment must have WebhookEnv.
func (r *Receiver) App() string {
	return "webhook " + r.URL + "/hook?token=hidden {\nsecret {env." + WebhookEnv + "}\nallow_private\n}\n"
}

// Env is the environment of a gateway with App.
func (*Receiver) Env() string { return WebhookEnv + "=" + WebhookSecret }
