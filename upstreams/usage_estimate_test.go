package upstreams

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/internal/openai"
)

const (
	messageStart = "event: message_start\ndata: " + `{"type":"message_start","message":{"usage":{"input_tokens":25,"output_tokens":1}}}` + "\n\n"
	messagePart  = "event: content_block_delta\ndata: " + `{"type":"content_block_delta","delta":{"text":"a"}}` + "\n\n"
	continuous   = `data: {"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":30,"completion_tokens":40,"total_tokens":70}}` + "\n\n"
)

// thenHangs serves as h and then nothing until the client is gone.
func thenHangs(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h(w, r)
		<-r.Context().Done()
	}
}

func usageOf(input, output int64) openai.Usage {
	return openai.Usage{InputTokens: input, OutputTokens: output, TotalTokens: input + output}
}

// What a server has worked on is not free because its usage did not arrive, and what no
// server has worked on is. The limits of the client count the same. It finds requests that
// cost nothing because their client leaves early, and estimates in place of known usage.
func TestEstimatedUsage(t *testing.T) {
	const body = `{"model":"m","max_tokens":50,"messages":[{"role":"user","content":"0123456789"}],"stream":true}`
	prompt := (&promptTokens{}).estimate(int64(len(body)))
	held := openai.PromptTokens(int64(len(body))) + 50 // as reserved
	const limit = 1000
	large := `{"id":"x","choices":[{"text":"` + strings.Repeat("a", 2*wholeAnswer) + `"}]`
	half := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", fmt.Sprint(2*len(large)))
		_, _ = io.WriteString(w, large)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	for name, tt := range map[string]struct {
		path      string
		serve     http.HandlerFunc
		leave     int // bytes of the answer that the client reads before it leaves; -1: all
		want      openai.Usage
		estimated bool
		tokens    int64 // that the client's limits count
	}{
		"client leaves a stream":                    {endpoint, thenHangs(streamed(sseEvent, sseEvent)), 2 * len(sseEvent), usageOf(prompt, 2), true, prompt + 2},
		"client leaves with continuous usage":       {endpoint, thenHangs(streamed(continuous)), len(continuous), usageOf(30, 40), true, 70},
		"client leaves messages":                    {"/v1/messages", thenHangs(streamed(messageStart, messagePart, messagePart)), len(messageStart + messagePart + messagePart), usageOf(25, 3), true, 28},
		"client leaves before the answer":           {endpoint, thenHangs(func(http.ResponseWriter, *http.Request) {}), 0, usageOf(prompt, 0), true, held},
		"client leaves behind the end":              {endpoint, thenHangs(streamed(sseEvent, sseUsage, sseDone)), len(sseEvent + sseDone), usageOf(3, 4), false, 7},
		"server breaks a stream off":                {endpoint, thenCut(streamed(sseEvent)), -1, usageOf(prompt, 1), true, prompt + 1},
		"server reports an error in mid-stream":     {endpoint, streamed(sseEvent, `data: {"error":{"message":"x","code":500}}`+"\n\n"), -1, usageOf(prompt, 2), true, prompt + 2},
		"server breaks a large answer off":          {endpoint, half, -1, usageOf(prompt, int64(len(large))/4), true, prompt + int64(len(large))/4},
		"stream without usage":                      {endpoint, streamed(sseEvent, sseDone), -1, usageOf(prompt, 2), true, prompt + 2},
		"stream with usage":                         {endpoint, streamed(sseEvent, sseUsage, sseDone), -1, usageOf(3, 4), false, 7},
		"answer with usage":                         {endpoint, answerJSON, -1, usageOf(3, 4), false, 7},
		"large answer without usage":                {endpoint, answerStatus(200, "application/json", large+"}"), -1, usageOf(prompt, 0), true, held},
		"answer without usage":                      {endpoint, answerStatus(200, "application/json", `{}`), -1, openai.Usage{}, false, held},
		"error":                                     {endpoint, answerStatus(400, "application/json", `{"error":{"message":"x"}}`), -1, openai.Usage{}, false, 0},
		"stream that begins with an error":          {endpoint, streamed(`data: {"error":{"message":"x","code":400}}` + "\n\n"), -1, openai.Usage{}, false, 0},
		"server breaks off before the answer":       {endpoint, raw(""), -1, openai.Usage{}, false, 0},
		"client leaves a server without its engine": {"/tokenize", thenHangs(func(http.ResponseWriter, *http.Request) {}), 0, openai.Usage{}, false, held},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			arrived := make(chan struct{}, 2)
			set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				arrived <- struct{}{}
				tt.serve(w, r)
			})
			p := startPool(t, calm(f.URL))
			ended := make(chan LiveRequest, 1)
			x := NewProxy(p, zap.NewNop(), func(_ context.Context, r LiveRequest) { ended <- r })
			now := time.Now()
			limiter := limits.New(func() time.Time { return now }) // nothing is refilled
			limiter.Apply(limits.Config{Tenants: map[string]access.Limits{"team": {TokensPerMinute: limit, RequestsInFlight: 1}}})
			x.Limit(limiter)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				x.ServeHTTP(w, r.WithContext(access.With(r.Context(), access.Identity{Tenant: "team"})))
			}))
			defer srv.Close()
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				r, _ := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL+tt.path, strings.NewReader(body))
				answer, err := srv.Client().Do(r)
				if err != nil {
					return
				}
				defer answer.Body.Close()
				if tt.leave < 0 {
					_, _ = io.Copy(io.Discard, answer.Body)
					return
				}
				_, _ = io.ReadFull(answer.Body, make([]byte, tt.leave))
				leave()
			}()
			receive(t, "the request arrives", arrived)
			if tt.leave == 0 {
				leave()
			}
			done := receive(t, "the request is recorded", ended)
			<-gone
			if done.Usage != tt.want || done.Estimated != tt.estimated || done.HasUsage != (tt.want != openai.Usage{}) {
				t.Errorf("got %+v (known %t, estimated %t), want %+v (estimated %t)", done.Usage, done.HasUsage, done.Estimated, tt.want, tt.estimated)
			}
			until(t, "the request has ended", func() bool { return limiter.Usage()[0].InFlight == 0 })
			if used := limit - limiter.Usage()[0].Remaining["tokens_per_minute"]; used != min(tt.tokens, limit) {
				t.Errorf("the limits count %d tokens, want %d", used, tt.tokens)
			}
		})
	}
}

// goneWriter is a response to a client that is gone.
type goneWriter struct{ *httptest.ResponseRecorder }

func (goneWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// Usage that arrived with the end of a stream is exact, also if the client is gone by then. It
// finds estimates in place of known usage.
func TestUsageThatTheClientDoesNotGet(t *testing.T) {
	f := newFake(t)
	p := startPool(t, calm(f.URL))
	l := newRelay(t, p, goneWriter{httptest.NewRecorder()})
	l.query.Tokens = 10
	l.relay(t, p, true, &pieces{parts: []string{sseEvent + sseUsage + sseDone}, before: func() {}})
	l.estimateUsage()
	if l.done.Estimated || l.done.Usage != usageOf(3, 4) || !l.done.Broken {
		t.Errorf("got %+v, want the usage, not estimated, of a broken answer", l.done)
	}
}
