package upstreams

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/openai"
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

func TestModelBehindTheRetryBuffer(t *testing.T) {
	f, h := newFake(t, model, "another"), newFake(t, model, "another")
	cfg := calm(f.URL, h.URL)
	cfg.RetryBuffer, cfg.BodyMemory = 100<<10, 2<<20
	g := newGateway(t, startPool(t, cfg))
	late := func(size int) string {
		return `{"messages":["` + strings.Repeat("a", size) + `"],"model":"m"}`
	}
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, _ := w.CreateFormFile("file", "model.wav")
	io.WriteString(part, strings.Repeat("\x00\xff", 100<<10))
	if err := w.WriteField("model", model); err != nil {
		t.Fatal(err)
	}
	w.Close()

	g.post(t, "/v1/chat/completions", late(300<<10)).wantOK(t, jsonAnswer)
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+"/v1/audio/transcriptions", &form)
	r.Header.Set("Content-Type", w.FormDataContentType())
	g.send(t, r).wantOK(t, jsonAnswer)

	large := g.post(t, "/v1/chat/completions", late(1<<20))
	large.wantError(t, http.StatusRequestEntityTooLarge, "")
	if !strings.Contains(large.body, "1048576 bytes") || !strings.Contains(large.body, "body_memory") {
		t.Errorf("got %s, want the limit and its option", large.body)
	}

	// What was read to find the model can be sent again.
	set(&f.serve, raw(""))
	for range 4 {
		g.post(t, "/v1/chat/completions", late(300<<10)).wantOK(t, jsonAnswer)
	}
	until(t, "memory is released", func() bool { return g.pool.bodies.inUse() == 0 })
}

func TestBodiesWithoutMemoryAreStreamed(t *testing.T) {
	f := newFake(t)
	var read atomic.Int64
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		read.Store(n)
		answerJSON(w, r)
	})
	cfg := calm(f.URL)
	cfg.BodyMemory = 2 << 20
	g := newGateway(t, startPool(t, cfg))
	taken := &bodyRoom{memory: &g.pool.bodies}
	if !taken.grow(1 << 20) {
		t.Fatal("no memory at the beginning")
	}
	defer taken.release()
	body := `{"model":"m","input":"` + strings.Repeat("a", 500<<10) + `"}`
	g.post(t, "/v1/embeddings", body).wantOK(t, jsonAnswer)
	if got := read.Load(); got != int64(len(body)) {
		t.Errorf("the server got %d bytes, want %d", got, len(body))
	}
	if got := g.pool.bodies.streamed.Load(); got != 1 {
		t.Errorf("%d bodies were streamed, want 1", got)
	}
	g.post(t, "/v1/embeddings", chatBody(model)).wantOK(t, jsonAnswer) // small ones always
	late := `{"input":"` + strings.Repeat("a", 500<<10) + `","model":"m"}`
	g.post(t, "/v1/embeddings", late).wantOK(t, jsonAnswer) // takes the other half
	if got := g.pool.bodies.waited.Load(); got != 1 {
		t.Errorf("%d bodies waited, want 1", got)
	}
}

func TestBodyMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(bodyMemory)
		m.limit.Store(2 << 20)
		rooms := make([]*bodyRoom, 4)
		for i := range rooms {
			rooms[i] = &bodyRoom{memory: m}
		}
		if !rooms[0].grow(1<<20) || rooms[1].grow(smallBody+1) || !rooms[1].grow(smallBody) {
			t.Fatalf("%d bytes in use, want half of the limit and a small body", m.inUse())
		}
		if err := rooms[1].wait(t.Context(), 1<<20); err != nil {
			t.Fatalf("the first to wait: got %v, want the other half", err)
		}
		if got := m.inUse(); got != 2<<20 {
			t.Errorf("got %d bytes in use, want all", got)
		}
		began := time.Now()
		err := rooms[2].wait(t.Context(), 1<<20)
		if e, ok := errors.AsType[*openai.Error](err); !ok || e.Status != http.StatusServiceUnavailable || e.RetryAfter == 0 || time.Since(began) != bodyWait {
			t.Errorf("got %v after %v, want 503 after %v", err, time.Since(began), bodyWait)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := rooms[2].wait(ctx, 1<<20); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the end of the context", err)
		}
		got := make(chan error, 2)
		for _, r := range rooms[2:] {
			go func() { got <- r.wait(t.Context(), 1<<20) }()
		}
		synctest.Wait()
		rooms[0].release()
		rooms[1].release()
		for range 2 {
			if err := <-got; err != nil {
				t.Errorf("after memory was released: %v", err)
			}
		}
		for _, r := range rooms {
			r.release()
		}
		if m.inUse() != 0 {
			t.Errorf("got %d bytes in use, want none", m.inUse())
		}
	})
}

func TestRequestsWithoutAModel(t *testing.T) {
	const without = `{"messages":[{"role":"user","content":"hi"}]}`
	var body atomic.Value
	f := newFake(t)
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		body.Store(string(text))
		answerJSON(w, r)
	})
	g := newGateway(t, startPool(t, calm(f.URL)))
	g.post(t, "/v1/chat/completions", without).wantOK(t, jsonAnswer)
	if got := body.Load(); got != without {
		t.Errorf("the server got %s, want %s", got, without)
	}
	if done := g.recorded(t, 1); done.Model != model {
		t.Errorf("recorded model %q, want %q", done.Model, model)
	}
	g.post(t, "/v1/chat/completions", ` { } `).wantError(t, http.StatusBadRequest, "missing_required_parameter")
	g.post(t, "/v1/chat/completions", `{"model":1}`).wantError(t, http.StatusBadRequest, "invalid_type")

	h := newFake(t, "b", "c")
	two := newGateway(t, startPool(t, calm(f.URL, h.URL))).post(t, "/v1/chat/completions", without)
	two.wantError(t, http.StatusBadRequest, "missing_required_parameter")
	if want := `The models are: 'b', 'c', 'm'.`; !strings.Contains(two.body, want) {
		t.Errorf("got %s, want %s", two.body, want)
	}
}

func TestByteOrderMarks(t *testing.T) {
	f := newFake(t)
	var body atomic.Value
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		body.Store(string(text))
		answerJSON(w, r)
	})
	cfg := calm(f.URL)
	cfg.RetryBuffer = 1000
	g := newGateway(t, startPool(t, cfg))
	for _, plain := range []string{chatBody(model), `{"model":"m","input":"` + strings.Repeat("a", 5000) + `"}`} {
		g.post(t, "/v1/chat/completions", "\xef\xbb\xbf"+plain).wantOK(t, jsonAnswer)
		if got := body.Load(); got != plain {
			t.Errorf("the server got %.60q, want %.60q", got, plain)
		}
	}
	wide := g.post(t, "/v1/chat/completions", "\xff\xfe{\x00\"\x00")
	wide.wantError(t, http.StatusBadRequest, "")
	if !strings.Contains(wide.body, "UTF-16") {
		t.Errorf("got %s, want UTF-16 named", wide.body)
	}
}

// A client that breaks off in a body that is sent as it comes is not the
// server's failure.
func TestClientBreaksOffWhileItsBodyIsStreamed(t *testing.T) {
	f := newFake(t)
	cfg := calm(f.URL)
	cfg.RetryBuffer = 1000
	g := newGateway(t, startPool(t, cfg))
	for name, c := range map[string]struct {
		err    error
		status int
	}{
		"too slow": {&openai.Error{Status: http.StatusRequestTimeout, Type: openai.TypeInvalidRequest, Message: "slow"}, http.StatusRequestTimeout},
		"too long": {&http.MaxBytesError{Limit: 5000}, http.StatusRequestEntityTooLarge},
		"cut off":  {io.ErrUnexpectedEOF, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			begin := strings.NewReader(`{"model":"m","input":"` + strings.Repeat("a", 4000))
			r := httptest.NewRequest(http.MethodPost, "/v1/embeddings", io.MultiReader(begin, iotest.ErrReader(c.err)))
			r.ContentLength = -1
			w := httptest.NewRecorder()
			NewProxy(g.pool, zap.NewNop(), nil).ServeHTTP(w, r)
			got{status: w.Code, header: w.Header(), body: w.Body.String()}.wantError(t, c.status, "")
			if n := g.pool.now.Load().upstreams[0].failures[Live].Load(); n != 0 {
				t.Errorf("the server has %d failures, want none", n)
			}
		})
	}
}
