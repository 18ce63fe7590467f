package upstreams

import (
	"errors"
	"net/http"
	"testing"
	"time"
)

// TestModelsAreRecalled checks that a model that its servers listed before the gateway was
// started is known while they are unavailable: live requests get 503, lines wait, and the
// models that the servers list once they are up count.
func TestModelsAreRecalled(t *testing.T) {
	const stored = `[{"id":"` + model + `","object":"model","created":1,"owned_by":"vllm","max_model_len":4096}]`
	for name, tt := range map[string]struct {
		recalled map[string]string
		status   int
		err      error
	}{
		"stored":          {map[string]string{"http://a": stored}, http.StatusServiceUnavailable, ErrDown},
		"not stored":      {nil, http.StatusNotFound, ErrUnknownModel},
		"of others":       {map[string]string{"http://b": stored}, http.StatusNotFound, ErrUnknownModel},
		"cannot be read":  {map[string]string{"http://a": "{"}, http.StatusNotFound, ErrUnknownModel},
		"has other types": {map[string]string{"http://a": `[{"id":7}]`}, http.StatusNotFound, ErrUnknownModel},
	} {
		late := false
		check := func(t *testing.T) {
			inTime(t, func(t *testing.T, w *timed) {
				if told := w.pool.DiscoveredModels(); len(told) != 2 || told["http://a"] != stored {
					t.Errorf("told %v", told)
				}
				set(&w.a.health, answerStatus(500, "text/plain", "away"))
				w.a.models = []string{"other"}
				w.pool.Close()
				w.pool = newPool(w.pool.log, w.net.dial)
				cfg := Config{Upstreams: []UpstreamConfig{{URL: "http://a"}}, LoadTime: time.Second}
				if late {
					w.apply(t, cfg)
				}
				w.pool.RecallModels(tt.recalled)
				if !late {
					w.apply(t, cfg)
				}
				w.pool.Start()
				defer w.pool.Close()
				pass(time.Minute)
				if status := w.ask(t, model); status != tt.status {
					t.Errorf("status %d, want %d", status, tt.status)
				}
				if _, err := w.pool.Reserve(model, ""); !errors.Is(err, tt.err) {
					t.Errorf("a line: %v, want %v", err, tt.err)
				}
				if told := w.pool.DiscoveredModels(); len(told) != 0 {
					t.Errorf("told %v before a server told any", told)
				}
				set(&w.a.health, func(http.ResponseWriter, *http.Request) {})
				pass(time.Minute)
				if known, _ := w.pool.Serves(model); known {
					t.Error("the model is known although its server tells another")
				}
				if status := w.ask(t, "other"); status != http.StatusOK {
					t.Errorf("status %d for what the server tells", status)
				}
			})
		}
		t.Run(name, check)
		late = true
		t.Run(name+" and recalled late", check)
	}
}
