package upstreams

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
)

// Streams that are cut when the gateway stops end as those whose server fails.
func TestCutStreams(t *testing.T) {
	for path, want := range map[string]string{
		"/v1/chat/completions": `data: {"error":{"message"`,
		"/v1/completions":      `data: {"error":{"message"`,
		"/v1/responses":        "event: error\ndata: {\"type\":\"error\",\"code\":\"upstream_error\"",
		"/v1/messages":         "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"",
	} {
		t.Run(path, func(t *testing.T) {
			f := newFake(t)
			p := startPool(t, calm(f.URL))
			set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
				streamed(sseEvent)(w, r)
				<-r.Context().Done()
			})
			g := newGateway(t, p)
			answer, err := g.Client().Post(g.URL+path, "application/json", strings.NewReader(chatBody(model)))
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if _, err := io.ReadFull(answer.Body, make([]byte, len(sseEvent))); err != nil {
				t.Fatal(err)
			}
			p.CutLive()
			last, err := io.ReadAll(answer.Body)
			if err == nil {
				t.Error("got the end of the stream, want a connection that is cut")
			}
			if !strings.HasPrefix(string(last), want) || !strings.Contains(string(last), "The gateway is stopping") || strings.Contains(string(last), "[DONE]") {
				t.Errorf("got %q, want an error event that says why", last)
			}
			if done := g.recorded(t, 1); !done.Broken || done.Status != http.StatusOK {
				t.Errorf("recorded %+v, want a broken answer", done)
			}
			if s := statusOf(t, p, f.URL); s.State != StateUp {
				t.Errorf("the server is %s, want up", s.State)
			}
		})
	}
}

// Requests whose answer has not begun are refused when the gateway has no time left:
// at a server, in the queue, and those that come later.
func TestCutRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{}, 1, 1)
		all := []*request{w.send("first", "k"), w.send("second", "k"), w.send("waits", "k")}
		w.CutLive()
		synctest.Wait()
		all = append(all, w.send("late", "k"))
		synctest.Wait()
		for _, q := range all {
			q.wantRefused(t, http.StatusServiceUnavailable, "")
		}
		w.finish()
	})
}
