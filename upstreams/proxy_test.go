package upstreams

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/openai"
)

func TestRelaysAnswers(t *testing.T) {
	f := newFake(t)
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Of-The-Server", "yes")
		w.Header().Set("Server", "uvicorn")
		answerJSON(w, r)
	})
	g := newGateway(t, startPool(t, calm(f.URL)))
	a := g.post(t, "/v1/chat/completions", chatBody(model))
	a.wantOK(t, jsonAnswer)
	if a.header.Get("X-Of-The-Server") != "" || a.header.Get("Server") != "" || len(a.header["Date"]) != 1 || a.header.Get("X-Request-Id") == "" {
		t.Errorf("header %v", a.header)
	}
	want := openai.Usage{InputTokens: 3, OutputTokens: 4, TotalTokens: 7}
	done := g.recorded(t, 1)
	if done.Endpoint != "/v1/chat/completions" || done.Model != model || done.Upstream != f.URL || done.Status != 200 || done.Retries != 0 || done.Usage != want || !done.HasUsage || done.Duration <= 0 || done.Broken {
		t.Errorf("recorded %+v", done)
	}
}

func TestUsageOfLargeAnswers(t *testing.T) {
	f := newFake(t)
	large := `{"id":"x","data":["\"usage\":{\"prompt_tokens\":99}` + strings.Repeat("a", 2*wholeAnswer) + `"],"usage":{"prompt_tokens":3,"total_tokens":3}}`
	g := newGateway(t, startPool(t, calm(f.URL)))
	for i, name := range []string{"of known length", "chunked"} {
		t.Run(name, func(t *testing.T) {
			set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", "application/json")
				if i == 0 {
					w.Header().Set("Content-Length", fmt.Sprint(len(large)))
				}
				io.WriteString(w, large)
			})
			g.post(t, "/v1/embeddings", `{"model":"m","input":"a"}`).wantOK(t, large)
			if done := g.recorded(t, i+1); !done.HasUsage || done.Usage.InputTokens != 3 {
				t.Errorf("recorded %+v", done)
			}
		})
	}
}

func TestRequestsReachTheServerAsTheyAre(t *testing.T) {
	f := newFake(t)
	type seen struct {
		method, uri, host, body string
		header                  http.Header
	}
	requests := make(chan seen, 1)
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- seen{r.Method, r.RequestURI, r.Host, string(body), r.Header.Clone()}
		answerJSON(w, r)
	})
	g := newGateway(t, startPool(t, calm(f.URL)))
	body := `{ "model":"m" , "seed":1.50, "x":[1,  2]}`
	for _, rt := range routeList {
		if rt.path == "" || rt.form {
			continue
		}
		if a := g.post(t, rt.path+"?api-version=1", body, "X-Request-Id", "id-1", "X-Custom", "kept", "Authorization", "Bearer of-the-client"); a.status != 200 || a.header.Get("X-Request-Id") != "id-1" {
			t.Fatalf("%s: %+v", rt.path, a)
		}
		s := receive(t, "the server gets the request", requests)
		if s.method != "POST" || s.uri != rt.target || s.body != body || "http://"+s.host != f.URL {
			t.Errorf("%s: server got %+v", rt.path, s)
		}
		for name, want := range map[string]string{
			"X-Request-Id": "id-1", "X-Custom": "kept", "Authorization": "Bearer of-the-client", "Accept-Encoding": "identity",
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": g.Listener.Addr().String(), "Content-Type": "application/json",
		} {
			if got := strings.Join(s.header[name], "|"); got != want {
				t.Errorf("%s: header %s is %q, want %q", rt.path, name, got, want)
			}
		}
	}
}

func TestCredentials(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg  Config
		want string
		key  string
	}{
		"the client's are passed on": {Config{}, "Bearer client", "client-key"},
		"the client's are dropped":   {Config{DropAuthorization: true}, "", ""},
		"the pool's replace them":    {Config{APIKey: "pool"}, "Bearer pool", ""},
		"both":                       {Config{APIKey: "pool", DropAuthorization: true}, "Bearer pool", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			headers := make(chan http.Header, 1)
			set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
				headers <- r.Header.Clone()
				answerJSON(w, r)
			})
			cfg := calm(f.URL)
			cfg.APIKey, cfg.DropAuthorization = tt.cfg.APIKey, tt.cfg.DropAuthorization
			p := startPool(t, cfg)
			g := newGateway(t, p)
			g.post(t, "/v1/chat/completions", chatBody(model), "Authorization", "Bearer client", "X-Api-Key", "client-key", "Cookie", "session=1", "Connection", "Authorization, x-smuggled", "X-Smuggled", "1")
			h := receive(t, "the request", headers)
			want := tt.want
			if want == "Bearer client" {
				want = "" // the client called it hop-by-hop
			}
			if h.Get("Authorization") != want || h.Get("X-Api-Key") != tt.key || h.Get("Cookie") != "" || h.Get("X-Smuggled") != "" {
				t.Errorf("server got %v", h)
			}
			g.post(t, "/v1/chat/completions", chatBody(model), "Authorization", "Bearer client")
			if h := receive(t, "the request", headers); h.Get("Authorization") != tt.want {
				t.Errorf("server got %v", h)
			}
		})
	}
}

// Only listed paths are forwarded, however they are written.
func TestPaths(t *testing.T) {
	f := newFake(t)
	g := newGateway(t, startPool(t, calm(f.URL)))
	body := chatBody(model)
	for line, status := range map[string]int{
		"POST /v1/chat/completions HTTP/1.1":                             200,
		"POST http://evil.example/v1/chat/completions HTTP/1.1":          200, // our server all the same
		"POST //evil.example/v1/chat/completions HTTP/1.1":               404,
		"POST ///v1/chat/completions HTTP/1.1":                           404,
		"POST /v1/chat/completions/ HTTP/1.1":                            404,
		"POST /v1//chat/completions HTTP/1.1":                            404,
		"POST /v1/chat/../chat/completions HTTP/1.1":                     404,
		"POST /v1/chat/completions/../../../reset_prefix_cache HTTP/1.1": 404,
		"POST /v1/chat%2fcompletions HTTP/1.1":                           404,
		"POST /v1/%63hat/completions HTTP/1.1":                           404,
		"POST /v1/chat/completions%00 HTTP/1.1":                          404,
		"POST /V1/chat/completions HTTP/1.1":                             404,
		"POST /v1/chat/completions;a=b HTTP/1.1":                         404,
		"POST /reset_prefix_cache HTTP/1.1":                              404,
		"POST /sleep HTTP/1.1":                                           404,
		"POST /v1/load_lora_adapter HTTP/1.1":                            404,
		"POST /metrics HTTP/1.1":                                         404,
		"POST /health HTTP/1.1":                                          404,
		"POST /invocations HTTP/1.1":                                     404,
		"POST / HTTP/1.1":                                                404,
		"GET /v1/chat/completions HTTP/1.1":                              405,
		"PUT /v1/chat/completions HTTP/1.1":                              405,
		"DELETE /tokenize HTTP/1.1":                                      405,
		"POST /v1/models HTTP/1.1":                                       405,
		"DELETE /v1/models/m HTTP/1.1":                                   405,
	} {
		before := f.calls.Load()
		a := g.sendRaw(t, line+"\r\nHost: 169.254.169.254\r\nContent-Type: application/json\r\nContent-Length: "+fmt.Sprint(len(body))+"\r\n\r\n"+body)
		if a.status != status {
			t.Errorf("%s: status %d, want %d: %s", line, a.status, status, a.body)
		}
		if forwarded := f.calls.Load() > before; forwarded != (status == 200) {
			t.Errorf("%s: forwarded: %v", line, forwarded)
		}
		if status == 404 {
			a.wantError(t, 404, "unknown_url")
		}
		if status == 405 {
			a.wantError(t, 405, "method_not_supported")
			if a.header.Get("Allow") == "" {
				t.Errorf("%s: no Allow", line)
			}
		}
	}
}

func TestModels(t *testing.T) {
	f, h := newFake(t, "b", "org/a"), newFake(t, "b", "c")
	set(&h.listed, answerStatus(200, "application/json", `{"object":"list","data":[{"id":"b","max_model_len":100},{"id":"c"}]}`))
	p := startPool(t, calm(f.URL, h.URL))
	g := newGateway(t, p)
	var list openai.ModelList
	if err := json.Unmarshal([]byte(g.get(t, "/v1/models").body), &list); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, m := range list.Data {
		ids = append(ids, m.ID)
	}
	if !slices.Equal(ids, []string{"b", "c", "org/a"}) || list.Object != "list" || list.Data[0].MaxModelLen != 100 {
		t.Errorf("models %+v", list)
	}
	for _, path := range []string{"/v1/models/org/a", "/v1/models/org%2Fa", "/v1/models/c"} {
		if a := g.get(t, path); a.status != 200 || !strings.Contains(a.body, `"id":"`+strings.TrimPrefix(strings.Replace(path, "%2F", "/", 1), "/v1/models/")) {
			t.Errorf("%s: %+v", path, a)
		}
	}
	g.get(t, "/v1/models/nope").wantError(t, 404, "model_not_found")
	g.get(t, "/v1/models/").wantError(t, 404, "unknown_url")
	if known, discovered := p.Serves("org/b"); known || !discovered || len(p.Closest("org/b")) == 0 {
		t.Errorf("Serves: %v, %v; Closest: %v", known, discovered, p.Closest("org/b"))
	}
	if known, _ := p.Serves("c"); !known {
		t.Error("c is not known")
	}
	if got := p.Models(); len(got) != 3 {
		t.Errorf("Models: %v", got)
	}
}

func TestBadRequests(t *testing.T) {
	f := newFake(t, model, "another")
	g := newGateway(t, startPool(t, calm(f.URL)))
	g.post(t, "/v1/chat/completions", "").wantError(t, 400, "")
	g.post(t, "/v1/chat/completions", `{"messages":[]}`).wantError(t, 400, "missing_required_parameter")
	g.post(t, "/v1/chat/completions", `{"model":"nope"}`).wantError(t, 404, "model_not_found")
	g.post(t, "/v1/audio/transcriptions", `{"model":"m"}`).wantError(t, 400, "")
	if f.calls.Load() != 0 {
		t.Error("something was forwarded")
	}
	if done := g.recorded(t, 3); done.Status != 404 || done.Model != "" {
		t.Errorf("recorded %+v", done)
	}
}

func TestFormsNameTheirModel(t *testing.T) {
	f := newFake(t, model, "another")
	var length atomic.Int64
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		length.Store(n)
		answerJSON(w, r)
	})
	g := newGateway(t, startPool(t, calm(f.URL)))
	form := func(fields ...string) (string, string) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for i := 0; i < len(fields); i += 2 {
			var part io.Writer
			if fields[i] == "file" {
				part, _ = w.CreateFormFile("file", "model.wav")
			} else {
				part, _ = w.CreateFormField(fields[i])
			}
			io.WriteString(part, fields[i+1])
		}
		w.Close()
		return b.String(), w.FormDataContentType()
	}
	send := func(body, kind string) got {
		r := httptest.NewRequest("POST", "/v1/audio/transcriptions", strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		NewProxy(g.pool, zap.NewNop(), nil).ServeHTTP(w, r)
		return got{status: w.Code, header: w.Header(), body: w.Body.String()}
	}
	sound := strings.Repeat("\x00\xff", 1<<20)
	body, kind := form("file", sound, "language", "en", "model", model)
	send(body, kind).wantOK(t, jsonAnswer)
	if length.Load() != int64(len(body)) {
		t.Errorf("server got %d bytes, want %d", length.Load(), len(body))
	}
	send(form("file", sound)).wantError(t, 400, "missing_required_parameter")
	send(form("model", "")).wantError(t, 400, "missing_required_parameter")
	send(form("model", "other")).wantError(t, 404, "model_not_found")
}

// Bodies over RetryBuffer are sent as they come, once.
func TestLargeBodies(t *testing.T) {
	f, h := newFake(t), newFake(t)
	var sum atomic.Int64
	read := func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		sum.Add(n)
		answerJSON(w, r)
	}
	set(&f.serve, read)
	set(&h.serve, read)
	cfg := calm(f.URL, h.URL)
	cfg.RetryBuffer = 1000
	p := startPool(t, cfg)
	g := newGateway(t, p)
	const begin, end = `{"model":"m","input":"`, `"}`
	for _, size := range []int{100, 999, 1000, 1001, 4096, 5000, 3 << 20} {
		for _, chunked := range []bool{false, true} {
			body := begin + strings.Repeat("a", size-len(begin+end)) + end
			sum.Store(0)
			r, _ := http.NewRequest("POST", g.URL+"/v1/embeddings", strings.NewReader(body))
			if chunked {
				r.ContentLength = -1
			}
			answer, err := g.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.StatusCode != 200 || sum.Load() != int64(len(body)) {
				t.Errorf("size %d chunked %v: status %d, server got %d bytes", len(body), chunked, answer.StatusCode, sum.Load())
			}
		}
	}
	set(&f.serve, raw(""))
	set(&h.serve, raw(""))
	large := `{"model":"m","input":"` + strings.Repeat("a", 5000) + `"}`
	before := f.calls.Load() + h.calls.Load()
	g.post(t, "/v1/embeddings", large).wantError(t, 502, "upstream_error")
	if calls := f.calls.Load() + h.calls.Load() - before; calls != 1 {
		t.Errorf("sent %d times", calls)
	}
	late := `{"input":"` + strings.Repeat("a", 5000) + `","model":"m"}`
	set(&f.serve, answerJSON)
	set(&h.serve, answerJSON)
	g.post(t, "/v1/embeddings", late).wantOK(t, jsonAnswer)
}

func TestBodiesOfWrongLength(t *testing.T) {
	f := newFake(t)
	g := newGateway(t, startPool(t, calm(f.URL)))
	r := httptest.NewRequest("POST", "/v1/chat/completions", io.MultiReader(strings.NewReader(`{"model":`)))
	r.ContentLength = 100
	w := httptest.NewRecorder()
	NewProxy(g.pool, zap.NewNop(), nil).ServeHTTP(w, r)
	got{status: w.Code, header: w.Header(), body: w.Body.String()}.wantError(t, 400, "")

	r = httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(chatBody(model)))
	w = httptest.NewRecorder()
	r.Body = http.MaxBytesReader(w, r.Body, 10)
	NewProxy(g.pool, zap.NewNop(), nil).ServeHTTP(w, r)
	got{status: w.Code, header: w.Header(), body: w.Body.String()}.wantError(t, 413, "")
	if f.calls.Load() != 0 {
		t.Error("something was forwarded")
	}
}

// A client that leaves takes its request with it, streaming or not.
func TestClientLeaves(t *testing.T) {
	for name, first := range map[string]string{"before the header": "", "in mid-stream": sseEvent} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			begun, aborted := make(chan struct{}), make(chan struct{})
			set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if first != "" {
					streamed(first)(w, r)
				}
				close(begun)
				<-r.Context().Done()
				close(aborted)
			})
			p := startPool(t, calm(f.URL))
			g := newGateway(t, p)
			ctx, leave := context.WithCancel(t.Context())
			answered, left := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(left)
				r, _ := http.NewRequestWithContext(ctx, "POST", g.URL+"/v1/chat/completions", strings.NewReader(chatBody(model)))
				if answer, err := g.Client().Do(r); err == nil {
					close(answered)
					_, _ = io.Copy(io.Discard, answer.Body)
					answer.Body.Close()
				}
			}()
			receive(t, "the server has the request", begun)
			if first != "" {
				receive(t, "the client has the first event", answered)
			}
			leave()
			receive(t, "the server sees the abort", aborted)
			receive(t, "the client is gone", left)
			done := g.recorded(t, 1)
			if first == "" && done.Status != statusClientGone || first != "" && (done.Status != 200 || !done.Broken) {
				t.Errorf("recorded %+v", done)
			}
			if s := statusOf(t, p, f.URL); s.Failures != 0 || s.State != StateUp || s.Requests != 1 {
				t.Errorf("the server is blamed: %+v", s)
			}
		})
	}
}

func TestLoadingPoolIsNotUnknown(t *testing.T) {
	p := NewPool(zap.NewNop())
	if err := p.Apply(calm("http://127.0.0.1:1")); err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, p)
	a := g.post(t, "/v1/chat/completions", chatBody(model))
	a.wantError(t, 503, "")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	g.get(t, "/v1/models/"+model).wantError(t, 503, "")
	if err := p.Apply(Config{}); err != nil {
		t.Fatal(err)
	}
	g.post(t, "/v1/chat/completions", chatBody(model)).wantError(t, 404, "model_not_found")
	g.get(t, "/v1/models/"+model).wantError(t, 404, "model_not_found")
}

// TestLargeBodiesFindAServer checks that a body that can be sent only once is sent on a new
// connection, and that servers that refuse connections are skipped.
func TestLargeBodiesFindAServer(t *testing.T) {
	f, h := newFake(t), newFake(t)
	cfg := calm(f.URL, h.URL)
	cfg.RetryBuffer = 1000
	p := startPool(t, cfg)
	g := newGateway(t, p)
	body := `{"model":"m","x":"` + strings.Repeat("x", 100_000) + `"}`
	for range 4 { // idle connections to both
		g.post(t, "/v1/chat/completions", chatBody(model)).wantOK(t, jsonAnswer)
	}
	f.CloseClientConnections()
	h.CloseClientConnections()
	f.Close()
	for range 4 {
		g.post(t, "/v1/chat/completions", body).wantOK(t, jsonAnswer)
	}
	h.Close()
	g.post(t, "/v1/chat/completions", body).wantError(t, http.StatusServiceUnavailable, "")
}

// A model that is taken away while its server breaks off is no reason to break
// the client's connection as well.
func TestModelLeavesWhileItsServerBreaks(t *testing.T) {
	f := newFake(t)
	p := startPool(t, calm(f.URL))
	g := newGateway(t, p)
	set(&f.serve, func(http.ResponseWriter, *http.Request) {
		if err := p.Apply(Config{}); err != nil {
			t.Error(err)
		}
		panic(http.ErrAbortHandler)
	})
	g.post(t, "/v1/chat/completions", chatBody(model)).wantError(t, http.StatusBadGateway, "")
	if done := g.recorded(t, 1); done.Status != http.StatusBadGateway {
		t.Errorf("recorded %+v", done)
	}
}
