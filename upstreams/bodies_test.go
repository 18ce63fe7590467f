package upstreams

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestBackgroundResponsesAreRefused(t *testing.T) {
	f := newFake(t)
	g := newGateway(t, startPool(t, calm(f.URL)))
	const body = `{"model":"m","input":"x","stream":true,"background":true}`
	g.post(t, "/v1/responses", body).wantError(t, http.StatusBadRequest, "unsupported_parameter")
	if n := f.calls.Load(); n != 0 {
		t.Errorf("the server got %d requests, want none", n)
	}
	g.post(t, "/v1/responses", `{"model":"m","input":"x","background":false}`).wantOK(t, jsonAnswer)
	g.post(t, "/v1/chat/completions", body).wantOK(t, jsonAnswer)
}

// TestMixedLineEndsAreFlushed has a server that waits for the client to have
// each event before it sends the next.
func TestMixedLineEndsAreFlushed(t *testing.T) {
	const event = `data: {"id":"x","choices":[]}`
	ends := []string{"\n\r\n", "\r\n\n", "\n\n", "\r\n\r\n", "\r\r", "\n\r"}
	arrived := make(chan struct{})
	f := newFake(t)
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		for _, end := range ends {
			io.WriteString(w, event+end)
			w.(http.Flusher).Flush()
			select {
			case <-arrived:
			case <-r.Context().Done():
				return
			}
		}
		io.WriteString(w, sseDone)
	})
	g := newGateway(t, startPool(t, calm(f.URL)))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+"/v1/chat/completions", strings.NewReader(chatBody(model)))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := g.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	for _, end := range ends {
		got := make(chan string, 1)
		go func() {
			text := make([]byte, len(event+end))
			n, _ := io.ReadFull(answer.Body, text)
			got <- string(text[:n])
		}()
		if text := receive(t, "the event arrives", got); text != event+end {
			t.Fatalf("got %q, want %q", text, event+end)
		}
		arrived <- struct{}{}
	}
	if rest, err := io.ReadAll(answer.Body); err != nil || string(rest) != sseDone {
		t.Errorf("got %q, %v; want %q", rest, err, sseDone)
	}
}
