package upstreams

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// sims are simulated vLLM servers that share a ledger: "the first n receptions"
// counts over all of them.
func newSims(t *testing.T, n int) ([]*vllmsim.Server, []string) {
	t.Helper()
	ledger := vllmsim.NewLedger()
	var sims []*vllmsim.Server
	var urls []string
	for range n {
		sim := vllmsim.New(vllmsim.Config{Models: []string{model}, Ledger: ledger})
		srv := httptest.NewServer(sim)
		t.Cleanup(func() {
			sim.Close()
			srv.CloseClientConnections()
			srv.Close()
		})
		sims, urls = append(sims, sim), append(urls, srv.URL)
	}
	return sims, urls
}

// bodies are a request for every route.
var bodies = map[string]string{
	"/v1/chat/completions":      `"messages":[{"role":"user","content":"TEXT"}]`,
	"/v1/completions":           `"prompt":"TEXT"`,
	"/v1/responses":             `"input":"TEXT"`,
	"/v1/messages":              `"max_tokens":20,"messages":[{"role":"user","content":"TEXT"}]`,
	"/v1/messages/count_tokens": `"messages":[{"role":"user","content":"TEXT"}]`,
	"/v1/embeddings":            `"input":"TEXT"`,
	"/v1/moderations":           `"input":"TEXT"`,
	"/v1/rerank":                `"query":"TEXT","documents":["a"]`,
	"/v2/rerank":                `"query":"TEXT","documents":["a"]`,
	"/rerank":                   `"query":"TEXT","documents":["a"]`,
	"/v1/score":                 `"text_1":"TEXT","text_2":"a"`,
	"/score":                    `"text_1":"TEXT","text_2":"a"`,
	"/v1/classify":              `"input":"TEXT"`,
	"/classify":                 `"input":"TEXT"`,
	"/v1/pooling":               `"input":"TEXT"`,
	"/pooling":                  `"input":"TEXT"`,
	"/tokenize":                 `"prompt":"TEXT"`,
	"/detokenize":               `"tokens":[1,2]`,
}

func simBody(path, text string, stream bool) string {
	body := `{"model":"m",` + strings.ReplaceAll(bodies[path], "TEXT", text)
	if stream {
		body += `,"stream":true`
	}
	return body + "}"
}

// Every route gives what the server gives.
func TestSimulatedRoutes(t *testing.T) {
	sims, urls := newSims(t, 1)
	g := newGateway(t, startPool(t, calm(urls...)))
	for path := range bodies {
		a := g.post(t, path, simBody(path, "hello", false))
		if a.status != 200 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
		if want, err := vllmsim.Expected(routes[path].target, []byte(simBody(path, "hello", false))); err == nil && a.body != string(want) {
			t.Errorf("%s: body %s, want %s", path, a.body, want)
		}
		if routes[path].end {
			if a := g.post(t, path, simBody(path, "hello", true)); a.status != 200 || a.err != nil || a.header.Get("Content-Type") == "application/json" {
				t.Errorf("%s streamed: %+v", path, a)
			}
		}
	}
	if s := sims[0].Stats(); s.ControlCalls != 0 {
		t.Errorf("control routes were called: %+v", s)
	}
	n := 0
	for i := range g.done {
		if g.done[i].HasUsage {
			n++
		}
	}
	if n < 10 {
		t.Errorf("usage of %d requests", n)
	}
}

// What the first of three servers does wrong is made good by the others.
func TestSimulatedFaults(t *testing.T) {
	_, urls := newSims(t, 3)
	p := startPool(t, quick(urls...))
	g := newGateway(t, p)
	for _, fault := range []string{"cut", "status=503", "status=503,retry-after=1", "status=429", "html", "html=200", "redirect", "short", "cut-mid", "truncated"} {
		for _, times := range []string{"1", "2"} {
			body := simBody("/v1/chat/completions", "[[sim:"+fault+",times="+times+"]] "+fault, false)
			want, err := vllmsim.Expected("/v1/chat/completions", []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			if a := g.post(t, "/v1/chat/completions", body); a.status != 200 || a.body != string(want) {
				t.Errorf("%s: %d %s", fault, a.status, a.body)
			}
			until(t, "all take requests", func() bool { return count(p, StateUp)+count(p, StateSuspect) == 3 })
		}
	}
	for _, fault := range []string{"cut-mid", "truncated"} {
		a := g.post(t, "/v1/chat/completions", simBody("/v1/chat/completions", "[[sim:"+fault+"]]", true))
		if a.status != 200 || a.err == nil || !strings.Contains(a.body, `data: {"error"`) || strings.Contains(a.body, "[DONE]") {
			t.Errorf("%s streamed: %+v", fault, a)
		}
	}
}

// A server sees the abort of a client that leaves.
func TestSimulatedAbort(t *testing.T) {
	for _, fault := range []string{"hang", "hang-mid"} {
		t.Run(fault, func(t *testing.T) {
			sims, urls := newSims(t, 1)
			g := newGateway(t, startPool(t, calm(urls...)))
			ctx, leave := context.WithCancel(t.Context())
			left := make(chan struct{})
			go func() {
				defer close(left)
				r, err := http.NewRequestWithContext(ctx, "POST", g.URL+"/v1/chat/completions", strings.NewReader(simBody("/v1/chat/completions", "[[sim:"+fault+"]]", fault == "hang-mid")))
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("Content-Type", "application/json")
				if answer, err := g.Client().Do(r); err == nil {
					_, _ = io.Copy(io.Discard, answer.Body)
					answer.Body.Close()
				}
			}()
			until(t, "the server runs the request", func() bool { return sims[0].Stats().Running == 1 })
			leave()
			receive(t, "the client is gone", left)
			wantIdle(t, g.pool)
			until(t, "the server counts the abort", func() bool { return sims[0].Stats().Aborted == 1 })
		})
	}
}
