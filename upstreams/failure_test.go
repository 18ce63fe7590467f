package upstreams

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What one server does wrong, the other makes good: the client notices nothing.
func TestRetriesElsewhere(t *testing.T) {
	for name, bad := range map[string]http.HandlerFunc{
		"429":                    answerStatus(429, "application/json", `{"error":{"message":"busy"}}`),
		"502":                    answerStatus(502, "application/json", `{"error":{"message":"bad"}}`),
		"503":                    answerStatus(503, "application/json", `{"error":{"message":"bad"}}`),
		"504":                    answerStatus(504, "text/plain", "late"),
		"HTML with 200":          answerStatus(200, "text/html; charset=utf-8", "<html>"),
		"HTML with 502":          answerStatus(502, "text/html", "<html>"),
		"a redirect":             redirectTo("http://127.0.0.1:1/elsewhere"),
		"a permanent redirect":   redirectTo("/v1/other"),
		"nothing":                raw(""),
		"half a status line":     raw("HTTP/1.1 2"),
		"half a header":          raw("HTTP/1.1 200 OK\r\nContent-Type: appl"),
		"no HTTP":                raw("SSH-2.0-OpenSSH_9.6\r\n"),
		"a header without limit": raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 2*headerLimit) + "\r\n\r\n"),
		"an early end":           raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"id\":"),
		"no body":                raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"),
		"a length too small":     raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n" + jsonAnswer),
		"half of the JSON":       answerStatus(200, "application/json", jsonAnswer[:40]),
		"a wrong chunk":          raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
		"a stream of nothing":    streamed(),
		"a stream cut at once":   thenCut(streamed()),
		"half an event":          thenCut(streamed(sseEvent[:20])),
		"half an event, ended":   streamed(sseEvent[:20]),
	} {
		t.Run(name, func(t *testing.T) {
			f, h := newFake(t), newFake(t)
			set(&f.serve, bad)
			f.Config.SetKeepAlivesEnabled(false) // or it could be a stale connection
			p := startPool(t, calm(f.URL, h.URL))
			g := newGateway(t, p)
			for n := 1; f.calls.Load() == 0; n++ { // until its first request
				g.post(t, "/v1/chat/completions", chatBody(model)).wantOK(t, jsonAnswer)
				if done := g.recorded(t, n); f.calls.Load() > 0 && (done.Retries != 1 || done.Upstream != h.URL || !done.HasUsage) {
					t.Errorf("recorded %+v", done)
				}
			}
			if n := f.calls.Load(); n != 1 {
				t.Errorf("got %d requests to the bad server", n)
			}
			if s := statusOf(t, p, f.URL); s.Failures != 1 {
				t.Errorf("%d failures", s.Failures)
			}
		})
	}
}

func redirectTo(target string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", target)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// When every server answers badly, the client gets the last answer in a form
// that it understands.
func TestLastBadAnswer(t *testing.T) {
	const vllm = `{"error":{"message":"the server is overloaded","type":"ServiceUnavailable","param":null,"code":503}}`
	for name, tt := range map[string]struct {
		bad    http.HandlerFunc
		status int
		body   string // "" for an envelope of ours
	}{
		"JSON":                {answerStatus(503, "application/json", vllm), 503, vllm},
		"429 in JSON":         {answerStatus(429, "application/json; charset=utf-8", vllm), 429, vllm},
		"502 in HTML":         {answerStatus(502, "text/html", "<html>"), 502, ""},
		"503 without a body":  {answerStatus(503, "", ""), 503, ""},
		"504 in text":         {answerStatus(504, "text/plain", "stream timeout"), 504, ""},
		"200 in HTML":         {answerStatus(200, "text/html", "<html>"), 502, ""},
		"a redirect":          {redirectTo("http://169.254.169.254/"), 502, ""},
		"a cut":               {raw(""), 502, ""},
		"an endless error":    {answerStatus(503, "application/json", strings.Repeat(" ", 2*errorBodyLimit)), 503, ""},
		"400 is not retried":  {answerStatus(400, "application/json", vllm), 400, vllm},
		"500 twice":           {answerStatus(500, "application/json", vllm), 500, vllm},
		"500 in text":         {answerStatus(500, "text/plain", "Internal Server Error"), 500, ""},
		"404 in HTML":         {answerStatus(404, "text/html", "<html>"), 502, ""},
		"a stream of nothing": {streamed(), 502, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f, h := newFake(t), newFake(t)
			for _, server := range []*fake{f, h} {
				set(&server.serve, tt.bad)
				server.Config.SetKeepAlivesEnabled(false)
			}
			g := newGateway(t, startPool(t, calm(f.URL, h.URL)))
			a := g.post(t, "/v1/chat/completions", chatBody(model))
			if a.status != tt.status || a.header.Get("Location") != "" {
				t.Fatalf("%+v", a)
			}
			if tt.body == "" {
				a.wantError(t, tt.status, "")
			} else if a.body != tt.body {
				t.Errorf("body %q", a.body)
			}
			wantCalls := int64(1)
			if strings.Contains(name, "not retried") {
				wantCalls = 0
			}
			if f.calls.Load()+h.calls.Load() != 1+wantCalls {
				t.Errorf("got %d and %d requests to the servers", f.calls.Load(), h.calls.Load())
			}
			if done := g.recorded(t, 1); done.Status != tt.status {
				t.Errorf("recorded %+v", done)
			}
		})
	}
}

// A server that dies in mid-stream: the whole events, one of the error, a cut.
func TestDeathInMidStream(t *testing.T) {
	half := `data: {"id":"half","choi`
	for name, tt := range map[string]struct {
		path string
		bad  http.HandlerFunc
		want string
	}{
		"cut between events": {"/v1/chat/completions", thenCut(streamed(sseEvent, sseEvent)), `data: {"error":{"message"`},
		"cut in an event":    {"/v1/completions", thenCut(streamed(sseEvent, half)), `data: {"error":{"message"`},
		"an end unsaid":      {"/v1/chat/completions", streamed(sseEvent), `data: {"error":{"message"`},
		"an end in an event": {"/v1/chat/completions", streamed(sseEvent, half), `data: {"error":{"message"`},
		"responses":          {"/v1/responses", thenCut(streamed(sseEvent)), "event: error\ndata: {\"type\":\"error\",\"code\":\"upstream_error\""},
		"messages":           {"/v1/messages", thenCut(streamed(sseEvent)), "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\""},
		"a huge event":       {"/v1/chat/completions", thenCut(streamed(sseEvent, "data: \""+strings.Repeat("a", eventLimit))), "\n\ndata: {\"error\":{\"message\""},
	} {
		t.Run(name, func(t *testing.T) {
			f, h := newFake(t), newFake(t)
			set(&f.serve, tt.bad)
			set(&h.serve, tt.bad)
			g := newGateway(t, startPool(t, calm(f.URL, h.URL)))
			a := g.post(t, tt.path, chatBody(model))
			if a.status != 200 || a.err == nil {
				t.Errorf("status %d, and the connection was not cut", a.status)
			}
			if !strings.HasPrefix(a.body, sseEvent) || !strings.Contains(a.body, tt.want) || strings.Contains(a.body, "[DONE]") || !strings.HasSuffix(a.body, "}\n\n") {
				t.Errorf("body %.2000q", a.body)
			}
			if strings.Contains(a.body, half) {
				t.Error("half an event stands before the error")
			}
			if done := g.recorded(t, 1); !done.Broken || done.Status != 200 || done.Retries != 0 || done.TTFT <= 0 {
				t.Errorf("recorded %+v", done)
			}
		})
	}
}

// Where streams have no last event, an end is an end; and a cut after the last
// event is none.
func TestGoodEndsOfStreams(t *testing.T) {
	long := "data: \"" + strings.Repeat("a", 3*eventLimit) + "\"\n\n"
	crlf := strings.ReplaceAll(sseEvent+sseDone, "\n", "\r\n")
	for name, tt := range map[string]struct {
		path  string
		serve http.HandlerFunc
		want  string
	}{
		"done":                  {"/v1/chat/completions", streamed(sseEvent, sseUsage, sseDone), sseEvent + sseUsage + sseDone},
		"in pieces":             {"/v1/chat/completions", streamed(strings.SplitAfter(sseEvent+sseUsage+sseDone, "e")...), sseEvent + sseUsage + sseDone},
		"CRLF":                  {"/v1/chat/completions", streamed(strings.SplitAfter(crlf, "\r")...), crlf},
		"cut after the end":     {"/v1/chat/completions", thenCut(streamed(sseEvent, sseDone)), sseEvent + sseDone},
		"no empty line at end":  {"/v1/chat/completions", streamed(sseEvent, "data: [DONE]"), sseEvent + "data: [DONE]"},
		"a long event":          {"/v1/chat/completions", streamed(sseEvent, long, sseDone), sseEvent + long + sseDone},
		"without a last event":  {"/v1/audio/transcriptions", streamed(sseEvent, "data: rest"), sseEvent + "data: rest"},
		"responses":             {"/v1/responses", streamed("event: response.created\ndata: {}\n\n", "event: response.completed\ndata: {}\n\n"), "event: response.created\ndata: {}\n\nevent: response.completed\ndata: {}\n\n"},
		"messages":              {"/v1/messages", streamed("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"), "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"},
		"nothing, and no event": {"/v1/embeddings", streamed(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			set(&f.serve, tt.serve)
			g := newGateway(t, startPool(t, calm(f.URL)))
			if strings.HasPrefix(tt.path, "/v1/audio") {
				body := "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b--\r\n"
				a := g.sendRaw(t, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n%s", tt.path, len(body), body))
				a.wantOK(t, tt.want)
				return
			}
			g.post(t, tt.path, chatBody(model)).wantOK(t, tt.want)
			done := g.recorded(t, 1)
			reported := done.HasUsage && !done.Estimated
			if strings.Contains(tt.want, "usage") != reported || reported && done.Usage.OutputTokens != 4 || done.Broken {
				t.Errorf("recorded %+v", done)
			}
		})
	}
}

// Every event arrives before the next one is sent.
func TestEventsAreNotHeldBack(t *testing.T) {
	f := newFake(t)
	next := make(chan struct{})
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		for range 5 {
			streamed(sseEvent)(w, r)
			<-next
		}
		streamed(sseDone)(w, r)
	})
	g := newGateway(t, startPool(t, calm(f.URL)))
	answer, err := g.Client().Post(g.URL+"/v1/chat/completions", "application/json", strings.NewReader(chatBody(model)))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	for range 5 {
		text := make([]byte, len(sseEvent))
		if _, err := io.ReadFull(answer.Body, text); err != nil || string(text) != sseEvent {
			t.Fatalf("got %q, %v", text, err)
		}
		next <- struct{}{}
	}
	if text, err := io.ReadAll(answer.Body); err != nil || string(text) != sseDone {
		t.Errorf("the end is %q, %v", text, err)
	}
}

// A large answer that breaks off is cut, not ended.
func TestDeathInLargeAnswer(t *testing.T) {
	f := newFake(t)
	set(&f.serve, thenCut(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", fmt.Sprint(3*wholeAnswer))
		io.WriteString(w, strings.Repeat("a", 2*wholeAnswer))
		w.(http.Flusher).Flush()
	}))
	g := newGateway(t, startPool(t, calm(f.URL)))
	if a := g.post(t, "/v1/embeddings", chatBody(model)); a.err == nil || a.status != 200 {
		t.Errorf("status %d, error %v", a.status, a.err)
	}
	if done := g.recorded(t, 1); !done.Broken {
		t.Errorf("recorded %+v", done)
	}
}

// A connection that the server closed while it was idle costs nothing, even
// where there is no other server.
func TestStaleConnections(t *testing.T) {
	f := makeFake()
	var mu sync.Mutex
	idle := make(map[net.Conn]bool)
	f.Server = httptest.NewUnstartedServer(f)
	f.Config.ConnState = func(c net.Conn, s http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		idle[c] = s == http.StateIdle
	}
	f.Start()
	t.Cleanup(f.Close)
	p := startPool(t, calm(f.URL))
	g := newGateway(t, p)
	var killed atomic.Int64
	// The server closes the connection when a request comes in on one that has
	// carried another: the worst moment.
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Header.Get("Connection") != "close" {
			killed.Add(1)
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				conn.Close()
			}
			return
		}
		answerJSON(w, r)
	})
	for range 5 {
		g.post(t, "/v1/chat/completions", chatBody(model))
	}
	if killed.Load() == 0 {
		t.Fatal("no connection was kept")
	}
	// Closed while idle.
	set(&f.serve, answerJSON)
	for range 50 {
		g.post(t, "/v1/chat/completions", chatBody(model)).wantOK(t, jsonAnswer)
		mu.Lock()
		for c, is := range idle {
			if is {
				c.Close()
				delete(idle, c)
			}
		}
		mu.Unlock()
	}
	if s := statusOf(t, p, f.URL); s.State != StateUp {
		t.Errorf("state %s", s.State)
	}
}

// Four servers, 200 requests a second and more, one is killed again and again.
func TestKilledServers(t *testing.T) {
	var fakes []*fake
	for range 4 {
		fakes = append(fakes, newFake(t))
	}
	slow := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-time.After(2 * time.Millisecond):
			answerJSON(w, r)
		case <-r.Context().Done():
		}
	}
	for _, f := range fakes {
		set(&f.serve, slow)
	}
	p := startPool(t, quick(urlsOf(fakes...)...))
	g := newGateway(t, p)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	defer client.CloseIdleConnections()
	var sent, failed atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	for range 40 {
		clients.Go(func() {
			for ctx.Err() == nil {
				answer, err := client.Post(g.URL+"/v1/chat/completions", "application/json", strings.NewReader(chatBody(model)))
				sent.Add(1)
				if err != nil {
					failed.Add(1)
					t.Errorf("a client saw %v", err)
					return
				}
				text, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if err != nil || answer.StatusCode != 200 || string(text) != jsonAnswer {
					failed.Add(1)
					t.Errorf("a client saw %d, %v, %q", answer.StatusCode, err, text)
					return
				}
			}
		})
	}
	for round := range 6 {
		i := round % len(fakes)
		before := sent.Load()
		until(t, "requests get on", func() bool { return sent.Load() > before+200 || failed.Load() > 0 })
		fakes[i].Close()
		until(t, "the server is taken out", func() bool { return statusOf(t, p, fakes[i].URL).State == StateDown || failed.Load() > 0 })
		before = sent.Load()
		until(t, "requests get on without it", func() bool { return sent.Load() > before+200 || failed.Load() > 0 })
		fakes[i] = fakes[i].again(t)
		set(&fakes[i].serve, slow)
		until(t, "the server is back", func() bool { return statusOf(t, p, fakes[i].URL).State == StateUp })
	}
	stop()
	clients.Wait()
	wantIdle(t, p)
	t.Logf("%d requests", sent.Load())
}

// All servers down: 503 at once. One is back: 200 soon.
func TestAllDownThenBack(t *testing.T) {
	f, h := newFake(t), newFake(t)
	p := startPool(t, quick(f.URL, h.URL))
	g := newGateway(t, p)
	g.post(t, "/v1/chat/completions", chatBody(model)).wantOK(t, jsonAnswer)
	f.Close()
	h.Close()
	for range 5 {
		a := g.post(t, "/v1/chat/completions", chatBody(model))
		a.wantError(t, 503, "")
		if a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if p.Ready() || count(p, StateDown) != 2 {
		t.Errorf("status %+v", p.Status())
	}
	f.again(t)
	until(t, "requests are answered", func() bool { return g.post(t, "/v1/chat/completions", chatBody(model)).status == 200 })
	if !p.Ready() {
		t.Error("not ready")
	}
}

// A request that makes every server break its connection takes none of them
// away from the others.
func TestPoisonedRequest(t *testing.T) {
	f, h := newFake(t), newFake(t)
	poison := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "poison") {
			panic(http.ErrAbortHandler)
		}
		answerJSON(w, r)
	}
	set(&f.serve, poison)
	set(&h.serve, poison)
	p := startPool(t, quick(f.URL, h.URL))
	g := newGateway(t, p)
	for range 20 {
		g.post(t, "/v1/chat/completions", `{"model":"m","x":"poison"}`).wantError(t, 502, "upstream_error")
		g.post(t, "/v1/chat/completions", chatBody(model)).wantOK(t, jsonAnswer)
	}
	if count(p, StateUp) != 2 {
		t.Errorf("status %+v", p.Status())
	}
}
