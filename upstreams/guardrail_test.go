package upstreams

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tidegate/tidegate/internal/guardrail"
)

// guardService is a guardrail service whose response can be replaced.
type guardService struct {
	*httptest.Server
	response atomic.Pointer[string] // "" refuses with 500
	asked    atomic.Int64
	last     atomic.Pointer[string]
}

func newGuardService(t *testing.T, response string) *guardService {
	t.Helper()
	g := new(guardService)
	g.response.Store(&response)
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		text := string(body)
		g.last.Store(&text)
		g.asked.Add(1)
		if answer := *g.response.Load(); answer != "" {
			_, _ = io.WriteString(w, answer)
			return
		}
		http.Error(w, "down", http.StatusInternalServerError)
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *guardService) config() guardrail.Config {
	return guardrail.Config{URL: g.URL, Timeout: deadline}
}

// received makes f store the bodies that it receives.
func received(f *fake) *atomic.Pointer[string] {
	var last atomic.Pointer[string]
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		text := string(body)
		last.Store(&text)
		answerJSON(w, r)
	})
	return &last
}

const (
	passes    = `{"action":"pass"}`
	rejects   = `{"action":"reject","message":"no names","code":"pii"}`
	replaces  = `{"action":"replace","body":{"model":"m","messages":[]}}`
	undecided = ""
)

// A live request is sent, refused or replaced as the guardrail decides; without a
// decision it is sent only if the guardrail fails open.
func TestGuardrailOfLiveRequests(t *testing.T) {
	own := chatBody(model)
	for name, tt := range map[string]struct {
		response, path, body string
		change               func(*Config)
		status               int
		sent                 string // to the server; "" for nothing
		answer               string // contained
		counted              string
	}{
		"passes":                {passes, endpoint, own, nil, 200, own, jsonAnswer, "pass"},
		"rejected":              {rejects, endpoint, own, nil, 400, "", `{"error":{"message":"no names","type":"invalid_request_error","param":null,"code":"pii"}}`, "reject"},
		"rejected, Anthropic":   {rejects, "/v1/messages", own, nil, 400, "", `"message":"no names"`, "reject"},
		"replaced":              {replaces, endpoint, own, nil, 200, `{"model":"m","messages":[]}`, jsonAnswer, "replace"},
		"replaced, other model": {`{"action":"replace","body":{"model":"nope"}}`, endpoint, own, nil, 404, "", "nope", "replace"},
		"closed":                {undecided, endpoint, own, nil, 503, "", "guardrail does not respond", "failed_closed"},
		"open":                  {undecided, endpoint, own, func(c *Config) { c.Guardrail.FailOpen = true }, 200, own, jsonAnswer, "failed_open"},
		"batch only":            {rejects, endpoint, own, func(c *Config) { c.Guardrail.SkipLive = true }, 200, own, jsonAnswer, ""},
		"not JSON":              {passes, endpoint, `{"model":"m","stream":false,"x":NaN,"messages":[]}`, nil, 400, "", "not a valid JSON object", ""},
		"not JSON, open":        {undecided, endpoint, `{"model":"m","stream":false,"x":NaN}`, func(c *Config) { c.Guardrail.FailOpen = true }, 400, "", "not a valid JSON object", ""},
		"too large":             {passes, endpoint, own, func(c *Config) { c.RetryBuffer = 20 }, 413, "", "retry_buffer (20 bytes)", "failed_closed"},
		"too large, open": {rejects, endpoint, own, func(c *Config) {
			c.RetryBuffer, c.Guardrail.FailOpen = 20, true
		}, 200, own, jsonAnswer, "failed_open"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			last := received(f)
			service := newGuardService(t, tt.response)
			cfg := calm(f.URL)
			cfg.Guardrail = service.config()
			if tt.change != nil {
				tt.change(&cfg)
			}
			p := startPool(t, cfg)
			g := newGateway(t, p)
			a := g.post(t, tt.path, tt.body)
			if a.status != tt.status || !strings.Contains(a.body, tt.answer) {
				t.Errorf("got %d %s, want %d with %s", a.status, a.body, tt.status, tt.answer)
			}
			sent := ""
			if text := last.Load(); text != nil {
				sent = *text
			}
			if sent != tt.sent {
				t.Errorf("the server received %q, want %q", sent, tt.sent)
			}
			if (a.status == 503) != (a.header.Get("Retry-After") == "5") {
				t.Errorf("status %d has Retry-After %q", a.status, a.header.Get("Retry-After"))
			}
			want := ""
			if tt.counted != "" {
				want = `# HELP tidegate_guardrail_requests_total Requests that the guardrail had to decide about, by decision; failed_open and failed_closed: it made no decision, and the request was sent or refused.
# TYPE tidegate_guardrail_requests_total counter
tidegate_guardrail_requests_total{class="live",decision="` + tt.counted + `"} 1
`
			}
			if err := testutil.CollectAndCompare(p.Collector(), strings.NewReader(want), "tidegate_guardrail_requests_total"); err != nil {
				t.Error(err)
			}
		})
	}
}

// The failure of the last check is known until the next decision.
func TestGuardrailFailureIsKnown(t *testing.T) {
	f := newFake(t)
	service := newGuardService(t, undecided)
	cfg := calm(f.URL)
	cfg.Guardrail = service.config()
	p := startPool(t, cfg)
	g := newGateway(t, p)
	if got := p.GuardrailFailure(); got != "" {
		t.Errorf("before a request: %q", got)
	}
	g.post(t, endpoint, chatBody(model))
	if got := p.GuardrailFailure(); !strings.Contains(got, "status 500") {
		t.Errorf("got %q, want the status", got)
	}
	pass := passes
	service.response.Store(&pass)
	if a := g.post(t, endpoint, chatBody(model)); a.status != 200 || p.GuardrailFailure() != "" {
		t.Errorf("got %d and %q after a decision", a.status, p.GuardrailFailure())
	}
	no := undecided
	service.response.Store(&no)
	g.post(t, endpoint, chatBody(model))
	cfg.Guardrail = guardrail.Config{}
	if err := p.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	if a := g.post(t, endpoint, chatBody(model)); a.status != 200 || p.GuardrailFailure() != "" {
		t.Errorf("without a guardrail: got %d and %q", a.status, p.GuardrailFailure())
	}
}

// A client that disconnects ends the check of its request.
func TestGuardrailOfAClientThatLeaves(t *testing.T) {
	f := newFake(t)
	begun := make(chan struct{})
	ended := make(chan struct{})
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(begun)
		<-r.Context().Done()
		close(ended)
	}))
	t.Cleanup(service.Close)
	cfg := calm(f.URL)
	cfg.Guardrail = guardrail.Config{URL: service.URL, Timeout: time.Hour}
	g := newGateway(t, startPool(t, cfg))
	go func() {
		<-begun
		g.CloseClientConnections()
	}()
	response, err := g.Client().Post(g.URL+endpoint, "application/json", strings.NewReader(chatBody(model)))
	if err == nil {
		response.Body.Close()
		t.Fatalf("got status %d, want a broken connection", response.StatusCode)
	}
	receive(t, "the end of the check", ended)
	if done := g.recorded(t, 1); done.Status != statusClientGone || f.calls.Load() != 0 {
		t.Errorf("recorded %+v, and the server has %d requests; want status 499 and none", done, f.calls.Load())
	}
	if got := g.pool.GuardrailFailure(); got != "" {
		t.Errorf("a client that left counts as a failure: %q", got)
	}
}

// A batch line that is rejected has its result, and one without a decision is tried
// again elsewhere, which uses up no retry.
func TestGuardrailOfLines(t *testing.T) {
	own := chatBody(model)
	for name, tt := range map[string]struct {
		response string
		change   func(*Config)
		status   int
		next     Next
		sent     string
	}{
		"passes":   {passes, nil, 200, Final, own},
		"rejected": {rejects, nil, 400, Final, ""},
		"replaced": {replaces, nil, 200, Final, `{"model":"m","messages":[]}`},
		"closed":   {undecided, nil, 0, Elsewhere, ""},
		// These find a replaced body that is sent without a check of its model.
		"replaced, other model": {`{"action":"replace","body":{"model":"zzz","messages":[]}}`, nil, 400, Final, ""},
		"replaced, two models":  {`{"action":"replace","body":{"model":"m","stream":false,"model":"zzz"}}`, nil, 400, Final, ""},
		"replaced, no model":    {`{"action":"replace","body":{"messages":[]}}`, nil, 400, Final, ""},
		"open":                  {undecided, func(c *Config) { c.Guardrail.FailOpen = true }, 200, Final, own},
		"live only":             {rejects, func(c *Config) { c.Guardrail.SkipBatch = true }, 200, Final, own},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			last := received(f)
			service := newGuardService(t, tt.response)
			cfg := calm(f.URL)
			cfg.Guardrail = service.config()
			if tt.change != nil {
				tt.change(&cfg)
			}
			p := startPool(t, cfg)
			s := reserve(t, p, "")
			a, err := s.Send(t.Context(), endpoint, []byte(own))
			s.Release()
			if err != nil || a.Status != tt.status || a.Next != tt.next {
				t.Fatalf("got %+v, %v, want status %d and next %d", a, err, tt.status, tt.next)
			}
			sent := ""
			if text := last.Load(); text != nil {
				sent = *text
			}
			if sent != tt.sent {
				t.Errorf("the server received %q, want %q", sent, tt.sent)
			}
			if name == "rejected" {
				var body struct {
					Error struct{ Message, Code string }
				}
				if err := json.Unmarshal(a.Body, &body); err != nil || body.Error.Message != "no names" || body.Error.Code != "pii" {
					t.Errorf("got body %s, want message and code of the guardrail", a.Body)
				}
			}
			if tt.status == 400 && name != "rejected" && !strings.Contains(string(a.Body), codeModelReplaced) {
				t.Errorf("got body %s, want the code %s", a.Body, codeModelReplaced)
			}
			wantIdle(t, p)
			reserve(t, p, "").Release() // the model is still there for all
		})
	}
}
