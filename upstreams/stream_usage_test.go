package upstreams

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// vllmStreams serves streams as vLLM does: with an event of usage if the request asks for it.
// It sends the bodies that it receives to bodies.
func vllmStreams(bodies chan<- string, parts ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- string(body)
		var request struct {
			Stream  bool
			Options *struct {
				Usage *bool `json:"include_usage"`
			} `json:"stream_options"`
		}
		if err := json.Unmarshal(body, &request); err != nil {
			panic(err)
		}
		all := append([]string{}, parts...)
		if o := request.Options; o != nil && (o.Usage == nil || *o.Usage) {
			all = append(all, sseUsage)
		}
		streamed(append(all, sseDone)...)(w, r)
	}
}

// The usage of every stream is known, and the client gets the bytes that it would get
// without the gateway. It finds streams whose tokens cost nothing because their client did
// not ask for the usage, and usage that a client gets without having asked for it.
func TestUsageOfStreams(t *testing.T) {
	f := newFake(t)
	received := make(chan string, 1)
	set(&f.serve, vllmStreams(received, sseEvent, sseEvent))
	cfg := calm(f.URL)
	cfg.RetryBuffer = 40 << 10
	g := newGateway(t, startPool(t, cfg))
	n := 0
	for _, path := range []string{"/v1/chat/completions", "/v1/completions"} {
		for _, tt := range []struct {
			name, body string
			changed    bool
		}{
			{"not asked for", `{"model":"m","stream":true}`, true},
			{"null", `{"model":"m","stream":true,"stream_options":null}`, true},
			{"false", `{"stream_options":{"include_usage":false},"model":"m","stream":true}`, true},
			{"asked for", `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`, false},
			{"the server decides", `{"model":"m","stream":true,"stream_options":{}}`, false},
			{"streamed by the last member", `{"model":"m","stream":false,"prompt":"hi","stream":true}`, true},
			{"sent in parts", `{"model":"m","prompt":"` + strings.Repeat("a", 2*copied) + `","stream":true}`, true},
		} {
			direct, err := http.Post(f.URL+path, "application/json", strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			want, err := io.ReadAll(direct.Body)
			direct.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			<-received
			a := g.post(t, path, tt.body)
			if a.status != 200 || a.body != string(want) {
				t.Errorf("%s: got %d %s, want %s", tt.name, a.status, a.body, want)
			}
			sent := <-received
			if (sent != tt.body) != tt.changed {
				t.Errorf("%s: the server received %.100s for %.100s", tt.name, sent, tt.body)
			}
			if edit, ok := openai.AskForUsage([]byte(tt.body)); ok && sent != string(edit.Apply([]byte(tt.body))) {
				t.Errorf("%s: the server received %.100s", tt.name, sent)
			}
			n++
			if done := g.recorded(t, n); !done.HasUsage || done.Usage.InputTokens != 3 || done.Usage.OutputTokens != 4 {
				t.Errorf("%s: recorded %+v, want the usage", tt.name, done)
			}
		}
	}
}

// Requests whose usage needs no question, and those that the gateway does not have in memory,
// are sent as they are, and their streams pass as they are. It finds a change of a body that
// the gateway knows in part only, and stream_options without stream, which vLLM refuses.
func TestUsageIsNotAskedFor(t *testing.T) {
	f := newFake(t)
	received := make(chan string, 1)
	stream := streamed(sseEvent, sseUsage, sseDone)
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received <- string(body)
		stream(w, r)
	})
	cfg := calm(f.URL)
	cfg.RetryBuffer = 1000
	g := newGateway(t, startPool(t, cfg))
	for _, tt := range []struct{ path, body string }{
		{"/v1/responses", `{"model":"m","stream":true}`},
		{"/v1/messages", `{"model":"m","stream":true}`},
		{"/v1/chat/completions", `{"model":"m","stream":false}`},
		{"/v1/chat/completions", `{"model":"m","stream":true,"prompt":"` + strings.Repeat("a", 5000) + `"}`},
	} {
		g.post(t, tt.path, tt.body).wantOK(t, sseEvent+sseUsage+sseDone)
		if sent := <-received; sent != tt.body {
			t.Errorf("%s: the server received %.100s for %.100s", tt.path, sent, tt.body)
		}
	}
}

// The usage of a body that the guardrail has replaced is asked for like that of the client's
// own. It finds a request for usage that is lost with the body, or that is decided by the
// body that was replaced.
func TestUsageOfReplacedBody(t *testing.T) {
	f := newFake(t)
	received := make(chan string, 1)
	set(&f.serve, vllmStreams(received, sseEvent))
	service := newGuardService(t, `{"action":"replace","body":{"model":"m","stream":true,"prompt":"b"}}`)
	cfg := calm(f.URL)
	cfg.Guardrail = service.config()
	g := newGateway(t, startPool(t, cfg))
	g.post(t, endpoint, `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`).wantOK(t, sseEvent+sseDone)
	if sent := <-received; sent != `{"stream_options":{"include_usage":true},"model":"m","stream":true,"prompt":"b"}` {
		t.Errorf("the server received %s", sent)
	}
	if asked := *service.last.Load(); strings.Count(asked, "include_usage") != 1 {
		t.Errorf("the guardrail received %s, want the client's body", asked)
	}
	if done := g.recorded(t, 1); done.Usage.OutputTokens != 4 {
		t.Errorf("recorded %+v, want the usage", done)
	}
}

// A server that refuses stream_options answers clients as before, and is not asked again for
// a while if its error is about that member. It finds clients that get the refusal of what the
// gateway added, and a server that is not asked any more because of an error that may have
// another reason: a client could cause it with a request that fails only once.
func TestServerRefusesUsage(t *testing.T) {
	for name, refusal := range map[string]http.HandlerFunc{
		"by param": answerStatus(400, "application/json", `{"error":{"message":"unknown","type":"invalid_request_error","param":"stream_options","code":null}}`),
		"by name":  answerStatus(422, "application/json", `{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}`),
		"silently": answerStatus(400, "application/json", `{"error":{"message":"bad request","type":"invalid_request_error","param":null,"code":null}}`),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			p := startPool(t, calm(f.URL))
			g := newGateway(t, p)
			picky := func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				switch {
				case bytes.Contains(body, []byte("stream_options")), bytes.Contains(body, []byte("wrong")):
					refusal(w, r)
				default:
					streamed(sseEvent, sseDone)(w, r)
				}
			}
			set(&f.serve, picky)
			ask := func(calls int64) {
				t.Helper()
				before := f.calls.Load()
				g.post(t, endpoint, `{"model":"m","stream":true}`).wantOK(t, sseEvent+sseDone)
				if n := f.calls.Load() - before; n != calls {
					t.Errorf("got %d calls, want %d", n, calls)
				}
			}
			u, again := p.now.Load().upstreams[0], int64(1)
			if name == "silently" {
				again = 2
			}
			ask(2)
			ask(again)
			u.usage.refusedUntil.Store(u.age()) // the time has passed
			ask(2)
			ask(again)
			u.usage.forget() // it was started again
			// What is wrong in itself does not show that it refuses usage.
			if a := g.post(t, endpoint, `{"model":"m","stream":true,"wrong":1}`); a.status != 400 && a.status != 422 {
				t.Errorf("got %d %s, want the server's error", a.status, a.body)
			}
			if until := u.usage.refusedUntil.Load(); until != 0 {
				t.Errorf("refused until %d after a wrong request, want not refused", until)
			}
			// A server that accepts usage gets wrong requests once.
			set(&f.serve, streamed(sseEvent, sseUsage, sseDone))
			ask(1)
			set(&f.serve, answerStatus(400, "application/json", `{"error":{"message":"bad request","type":"invalid_request_error","param":null,"code":null}}`))
			before := f.calls.Load()
			g.post(t, endpoint, `{"model":"m","stream":true}`).wantError(t, 400, "")
			if n := f.calls.Load() - before; n != 1 {
				t.Errorf("got %d calls of a wrong request, want 1", n)
			}
			set(&f.serve, picky) // another version
			if name != "silently" {
				ask(2)
			}
		})
	}
}

// TestClientRefusesNoUsage finds a client that ends the exact usage of all clients with its
// own words: the server repeats them in an error, and accepts the request when it is sent
// again, as vLLM does if the image of a prompt can be fetched only then.
//
// A server that has not accepted such a request yet gets it again, and so answers the client,
// but that does not end the usage of others.
func TestClientRefusesNoUsage(t *testing.T) {
	for name, body := range map[string]string{
		"in a message":             `{"error":{"message":"cannot fetch http://x/stream_options/include_usage","type":"BadRequestError","param":null,"code":400}}`,
		"in another param":         `{"error":{"message":"unknown","type":"BadRequestError","param":"metadata.stream_options","code":400}}`,
		"a longer name":            `{"error":{"message":"unknown","type":"BadRequestError","param":"stream_options_x","code":400}}`,
		"in another location":      `{"detail":[{"type":"extra_forbidden","loc":["body","messages",0,"stream_options"],"msg":"Extra inputs are not permitted"}]}`,
		"in the value of a member": `{"detail":[{"type":"bool_type","loc":["body","echo"],"msg":"Input should be a valid boolean","input":"stream_options"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			p := startPool(t, calm(f.URL))
			g := newGateway(t, p)
			set(&f.serve, streamed(sseEvent, sseUsage, sseDone))
			g.post(t, endpoint, `{"model":"m","stream":true}`).wantOK(t, sseEvent+sseDone)
			refused := false
			set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
				if !refused {
					refused = true
					answerStatus(400, "application/json", body)(w, r)
					return
				}
				streamed(sseEvent, sseUsage, sseDone)(w, r)
			})
			if a := g.post(t, endpoint, `{"model":"m","stream":true}`); a.status != 400 {
				t.Errorf("got %d %s, want the server's error", a.status, a.body)
			}
			u := p.now.Load().upstreams[0]
			if until := u.usage.refusedUntil.Load(); until != 0 || !u.usage.accepted.Load() {
				t.Errorf("the usage is not asked for until %d, want asked for at once", until)
			}
			u.usage.forget() // it was started again
			refused = false
			g.post(t, endpoint, `{"model":"m","stream":true}`).wantOK(t, sseEvent+sseUsage+sseDone) // as the server sent it
			if until := u.usage.refusedUntil.Load(); until != 0 {
				t.Errorf("before the first success: the usage is not asked for until %d, want asked for at once", until)
			}
			g.post(t, endpoint, `{"model":"m","stream":true}`).wantOK(t, sseEvent+sseDone)
		})
	}
}

// pieces is a body that is read in pieces.
type pieces struct {
	parts  []string
	before func() // called before each read
}

func (p *pieces) Read(b []byte) (int, error) {
	p.before()
	if len(p.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.parts[0])
	if p.parts[0] = p.parts[0][n:]; p.parts[0] == "" {
		p.parts = p.parts[1:]
	}
	return n, nil
}

func (*pieces) Close() error { return nil }

// relay is a live request whose stream is relayed without a server.
type relay struct{ *live }

func newRelay(t *testing.T, p *Pool, w http.ResponseWriter) relay {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, http.NoBody)
	return relay{&live{proxy: NewProxy(p, p.log, nil), w: w, r: r, route: routes[endpoint], began: time.Now(), id: []string{"x"}, body: new(payload)}}
}

func (l relay) relay(t *testing.T, p *Pool, asked bool, body io.ReadCloser) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := p.begin(ctx, p.now.Load().upstreams[0], Live, endpoint, model, true, false)
	defer a.end()
	answer := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: body, ContentLength: -1}
	defer func() {
		if e := recover(); e != nil && e != http.ErrAbortHandler { //nolint:errorlint // it is not wrapped
			panic(e)
		}
	}()
	l.relayStream(p.now.Load(), a, answer, asked)
}

// relayed relays a stream that arrives in parts, and returns what the client had after each.
func relayed(t *testing.T, p *Pool, asked bool, parts ...string) (after []string) {
	t.Helper()
	w := httptest.NewRecorder()
	body := &pieces{parts: append([]string{}, parts...), before: func() { after = append(after, w.Body.String()) }}
	newRelay(t, p, w).relay(t, p, asked, body)
	return append(after, w.Body.String())
}

// Wherever the event of usage is cut by reads, and whatever is around it, the client gets the
// rest of the bytes, each after the same read as without the removal. It finds parts of an
// event that are sent before it is known what it is, and bytes that are held back.
func TestUsageIsCutOut(t *testing.T) {
	f := newFake(t)
	p := startPool(t, calm(f.URL))
	const (
		first = `data: {"id":"x","choices":[{"delta":{"content":"a \"usage\": {}"}}]}`
		usage = `data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}`
		stats = `data: {"choices":[{"delta":{"content":"b"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}`
		done  = `data: [DONE]`
	)
	for name, nl := range map[string]string{"LF": "\n", "CRLF": "\r\n", "CR": "\r"} {
		end := nl + nl
		for kind, tt := range map[string][3]string{ // before, the event of usage, behind
			"usual":             {first + end, usage + end, done + end},
			"named":             {first + end, "event: x" + nl + "id: 1" + nl + usage + end, done + end},
			"comments":          {": a" + end + first + end, usage + end, ": b" + end + done + end},
			"first":             {"", usage + end, done + end},
			"last":              {first + end + done + end, usage + end, ""},
			"none":              {first + end, "", done + end},
			"usage elsewhere":   {first + end + stats + end, usage + end, done + end},
			"more blank lines":  {first + end + nl, usage + end, nl + done + end},
			"of two data lines": {first + end + "data: {" + nl + usage + end, "", done + end},
			"behind it":         {first + end, usage + end, stats + end + done + end},
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				all := tt[0] + tt[1] + tt[2]
				// without returns the rest of the first n bytes of a stream.
				without := func(n int) string {
					begin, end := len(tt[0]), len(tt[0])+len(tt[1])
					return all[:min(n, begin)] + all[min(n, end):n]
				}
				check := func(parts ...string) {
					t.Helper()
					plain, got := relayed(t, p, false, parts...), relayed(t, p, true, parts...)
					for i := range plain {
						if want := without(len(plain[i])); len(got) != len(plain) || got[i] != want {
							t.Fatalf("%q, after %d reads: got %q, want %q", parts, i, got, want)
						}
					}
				}
				check(all)
				check(strings.Split(all, "")...)
				for i := 1; i < len(all); i++ {
					check(all[:i], all[i:])
				}
				for i := max(1, len(tt[0])-3); i < len(all)-3; i++ {
					check(all[:i], all[i:i+3], all[i+3:])
				}
			})
		}
	}
}

// A line that is larger than the buffer is sent in parts, also when it has usage and choices.
func TestUsageBehindLargeEvent(t *testing.T) {
	f := newFake(t)
	p := startPool(t, calm(f.URL))
	text := strings.Repeat("a", 2*eventLimit)
	for _, large := range []string{
		`data: {"choices":[{"text":"` + text + `"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}` + "\n\n",
		": " + text + "\n" + sseUsage, // one event, the beginning of which is sent already
	} {
		for _, parts := range [][]string{{large + sseUsage + sseDone}, {large[:eventLimit], large[eventLimit:], sseUsage, sseDone}} {
			got := relayed(t, p, true, parts...)
			if last := got[len(got)-1]; last != large+sseDone {
				t.Errorf("got %d bytes, want %d", len(last), len(large+sseDone))
			}
		}
	}
}

// BenchmarkStreamUsage measures streams of 50 events whose client does not ask for the usage.
// The server sends the usage if it is asked for it.
func BenchmarkStreamUsage(b *testing.B) {
	var parts []string
	for range 50 {
		parts = append(parts, sseEvent)
	}
	with, without := streamed(append(parts, sseUsage, sseDone)...), streamed(append(parts, sseDone)...)
	read := sync.Pool{New: func() any { return new(bytes.Buffer) }}
	answer := func(w http.ResponseWriter, r *http.Request) {
		body := read.Get().(*bytes.Buffer)
		defer read.Put(body)
		body.Reset()
		_, _ = body.ReadFrom(r.Body)
		if bytes.Contains(body.Bytes(), []byte("include_usage")) {
			with(w, r)
			return
		}
		without(w, r)
	}
	p := benchServer(b, answer)
	srv := httptest.NewServer(NewProxy(p, p.log, func(context.Context, LiveRequest) {}))
	b.Cleanup(srv.Close)
	driveBody(b, srv.Listener.Addr().String(), `{"model":"m","messages":[{"role":"user","content":"`+strings.Repeat("word ", 200)+`"}],"max_tokens":100,"stream":true}`)
}
