package upstreams

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// documented reads the table of answers in docs/failures.md.
func documented(t *testing.T) (rows [][3]string) {
	t.Helper()
	text, err := os.ReadFile("../docs/failures.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\| (\d{3}) \| ([\w ]+) \| (\w+) \|$`).FindAllStringSubmatch(string(text), -1) {
		rows = append(rows, [3]string{m[1], m[2], m[3]})
	}
	if len(rows) < 40 {
		t.Fatalf("got %d rows, want at least 40", len(rows))
	}
	return rows
}

var blameNames = map[string]blame{
	"answer": blameNone, "request": blameRequest, "client": blameClient, "passing": blamePassing, "model": blameModel,
	"full": blameFull, "key": blameKey, "either": blameEither, "server": blameServer,
}

// answersLike serves a row of the table.
func answersLike(status int, body string) http.HandlerFunc {
	const vllm = `{"error":{"message":"said by the server","type":"SomeError","param":null,"code":400}}`
	switch body {
	case "JSON", "client key":
		if status == 200 {
			return answerJSON
		}
		return answerStatus(status, "Application/JSON; charset=utf-8", vllm)
	case "model":
		return answerStatus(status, "application/json", `{"error":{"message":"The model `+"`m`"+` does not exist.","type":"NotFoundError","param":"model","code":404}}`)
	case "no route":
		return answerStatus(status, "application/json", `{"detail":"Not Found"}`)
	case "text":
		return answerStatus(status, "text/plain; charset=utf-8", "said by the server")
	case "HTML":
		return answerStatus(status, "text/HTML", "<html><body>nginx</body></html>")
	}
	if status < 200 || status > 599 {
		return raw("HTTP/1.1 " + strconv.Itoa(status) + " Odd\r\nContent-Length: 0\r\n\r\n")
	}
	return answerStatus(status, "", "")
}

// Every row of the documented table holds for live requests and for lines of
// batches: with another server beside the one that answers so, and without.
func TestDocumentedAnswers(t *testing.T) {
	for _, row := range documented(t) {
		status, _ := strconv.Atoi(row[0])
		want, known := blameNames[row[2]]
		if !known {
			t.Errorf("unknown kind %q", row[2])
		}
		t.Run(row[0]+" "+row[1], func(t *testing.T) {
			testAnswer(t, status, row[1], want)
		})
	}
}

func testAnswer(t *testing.T, status int, body string, want blame) {
	bad, good := newFake(t), newFake(t)
	set(&bad.serve, answersLike(status, body))
	bad.Config.SetKeepAlivesEnabled(false)
	var headers []string
	if body == "client key" {
		headers = []string{"Authorization", "Bearer of-the-client"}
	}

	// With another server, the client notices nothing.
	g := newGateway(t, startPool(t, calm(bad.URL, good.URL)))
	var seen got
	for bad.calls.Load() == 0 {
		seen = g.post(t, "/v1/chat/completions", chatBody(model), headers...)
	}
	if want.elsewhere() {
		seen.wantOK(t, jsonAnswer)
	} else if seen.status != status {
		t.Errorf("got %d, want %d", seen.status, status)
	}

	// Without one, it gets an error that says whose it is.
	alone := startPool(t, calm(bad.URL))
	g = newGateway(t, alone)
	seen = g.post(t, "/v1/chat/completions", chatBody(model), headers...)
	switch {
	case want == blameNone:
		if seen.status != 200 {
			t.Errorf("got %+v", seen)
		}
	case want == blameKey, want == blameServer && status < 500 || status > 599:
		seen.wantError(t, http.StatusBadGateway, "")
	case status == http.StatusPaymentRequired, status == http.StatusProxyAuthRequired, status == http.StatusNetworkAuthenticationRequired:
		seen.wantError(t, http.StatusBadGateway, "")
	default:
		seen.wantError(t, status, "")
		if (body == "JSON" || body == "text" || body == "client key") && !strings.Contains(seen.body, "said by the server") {
			t.Errorf("the server's message is lost: %s", seen.body)
		}
	}
	if (seen.status == 429 || seen.status == 503) && seen.header.Get("Retry-After") == "" {
		t.Errorf("%d without Retry-After", seen.status)
	}
	suspect := want == blameKey || want == blameEither || want == blameServer
	if got := statusOf(t, alone, bad.URL); (got.State == StateSuspect) != suspect || suspect && got.Reason == "" {
		t.Errorf("state %s (%s), want suspect to be %v", got.State, got.Reason, suspect)
	}
	if body == "client key" {
		return // batches have none
	}

	// A line of a batch.
	p := startPool(t, calm(bad.URL))
	s := reserve(t, p, "")
	a, err := s.Send(t.Context(), endpoint, []byte(chatBody(model)))
	if err != nil {
		t.Fatal(err)
	}
	s.Release()
	next := Elsewhere
	switch want {
	case blameNone, blameRequest:
		next = Final
	case blamePassing:
		next = Again
	case blameClient, blameModel, blameFull, blameKey, blameEither, blameServer:
	}
	if a.Next != next {
		t.Errorf("the line is %d, want %d", a.Next, next)
	}
	if want != blameNone {
		var e struct {
			Error map[string]any `json:"error"`
		}
		if err := json.Unmarshal(a.Body, &e); err != nil || len(e.Error) < 4 {
			t.Errorf("the line's error has no envelope: %s", a.Body)
		}
	}
	if _, err := p.Reserve(model, ""); (err != nil) != (suspect || want == blameFull || want == blameModel) {
		t.Errorf("the next line: %v", err)
	}
}

// Errors in any form reach clients in the envelope, with the server's words.
func TestEnvelopeOfServerErrors(t *testing.T) {
	for name, tt := range map[string]struct{ body, message, kind string }{
		"FastAPI":        {`{"detail":[{"type":"missing","loc":["body","messages",0],"msg":"Field required"}]}`, "body.messages.0: Field required", "invalid_request_error"},
		"FastAPI's text": {`{"detail":"no such thing"}`, "no such thing", "invalid_request_error"},
		"old vLLM":       {`{"object":"error","message":"bad","type":"BadRequestError","param":null,"code":400}`, "bad", "BadRequestError"},
		"a string":       {`{"error":"bad"}`, "bad", "invalid_request_error"},
		"a message":      {`{"message":"bad"}`, "bad", "invalid_request_error"},
		"keys missing":   {`{"error":{"message":"bad"}}`, "bad", "invalid_request_error"},
		"nothing":        {`{}`, "The model server answered 400 (Bad Request).", "invalid_request_error"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			set(&f.serve, answerStatus(400, "application/json", tt.body))
			g := newGateway(t, startPool(t, calm(f.URL)))
			a := g.post(t, "/v1/chat/completions", chatBody(model))
			a.wantError(t, 400, "")
			var e struct {
				Error struct {
					Message string
					Type    string
					Param   *string
					Code    *string
				}
			}
			if err := json.Unmarshal([]byte(a.body), &e); err != nil || e.Error.Message != tt.message || e.Error.Type != tt.kind || !strings.Contains(a.body, `"param"`) || !strings.Contains(a.body, `"code"`) {
				t.Errorf("got %s", a.body)
			}
			if a := g.post(t, "/v1/messages", chatBody(model)); a.status != 400 || !strings.HasPrefix(a.body, `{"type":"error","error":{"type":"invalid_request_error","message":"`) {
				t.Errorf("Anthropic's: %d %s", a.status, a.body)
			}
		})
	}
}

// A stream that begins with an error is no answer.
func TestStreamThatBeginsWithAnError(t *testing.T) {
	const dead = `data: {"error":{"message":"EngineCore encountered an issue","type":"InternalServerError","param":null,"code":500}}` + "\n\n"
	const invalid = `data: {"error":{"message":"too long","type":"BadRequestError","param":null,"code":400}}` + "\n\n"
	f, h := newFake(t), newFake(t)
	set(&f.serve, streamed(dead, sseDone))
	set(&h.serve, streamed(sseEvent, sseDone))
	p := startPool(t, calm(f.URL, h.URL))
	g := newGateway(t, p)
	for f.calls.Load() == 0 {
		g.post(t, "/v1/chat/completions", chatBody(model)).wantOK(t, sseEvent+sseDone)
	}
	if s := statusOf(t, p, f.URL); s.State != StateSuspect {
		t.Errorf("state %s", s.State)
	}
	set(&h.serve, streamed(dead, sseDone))
	g.post(t, "/v1/chat/completions", chatBody(model)).wantError(t, 500, "")
	calls := f.calls.Load() + h.calls.Load()
	set(&f.serve, streamed(invalid, sseDone))
	set(&h.serve, streamed(invalid, sseDone))
	g.post(t, "/v1/chat/completions", chatBody(model)).wantError(t, 400, "")
	if n := f.calls.Load() + h.calls.Load() - calls; n != 1 {
		t.Errorf("an invalid request was sent %d times", n)
	}
}

// An error in the middle of a stream is not followed by [DONE].
func TestErrorInMidStream(t *testing.T) {
	const dead = `data: {"error":{"message":"EngineCore encountered an issue","type":"InternalServerError","param":null,"code":500}}` + "\n\n"
	for name, parts := range map[string][]string{
		"event by event": {sseEvent, dead, sseDone},
		"at once":        {sseEvent + dead + sseDone},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			set(&f.serve, streamed(parts...))
			g := newGateway(t, startPool(t, calm(f.URL)))
			a := g.post(t, "/v1/chat/completions", chatBody(model))
			if a.status != 200 || a.err == nil || a.body != sseEvent+dead {
				t.Errorf("got %d, %v, %q; want the error and a cut", a.status, a.err, a.body)
			}
			if !g.recorded(t, 1).Broken {
				t.Error("it counts as whole")
			}
		})
	}
	f := newFake(t)
	talk := `data: {"choices":[{"delta":{"content":"{\"error\": 1}"}}],"error":null}` + "\n\n"
	set(&f.serve, streamed(talk, sseDone))
	g := newGateway(t, startPool(t, calm(f.URL)))
	g.post(t, "/v1/chat/completions", chatBody(model)).wantOK(t, talk+sseDone)
}

// The key is the gateway's: a client's cannot be at fault.
func TestRefusedKeyIsNotTheClients(t *testing.T) {
	f := newFake(t)
	set(&f.serve, answerStatus(401, "application/json", `{"error":"Unauthorized"}`))
	cfg := calm(f.URL)
	cfg.APIKey = "wrong"
	g := newGateway(t, startPool(t, cfg))
	a := g.post(t, "/v1/chat/completions", chatBody(model), "Authorization", "Bearer good")
	a.wantError(t, 502, "")
	if !strings.Contains(a.body, "refused the gateway's key") || a.header.Get("Retry-After") == "" {
		t.Errorf("got %v %s", a.header, a.body)
	}
}

// A model that one of two servers unloaded.
func TestModelUnloaded(t *testing.T) {
	f, h := newFake(t, "m", "n"), newFake(t)
	p := startPool(t, calm(f.URL, h.URL))
	set(&f.serve, answersLike(404, "model"))
	set(&f.listed, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"object":"list","data":[{"id":"n"}]}`)
	})
	g := newGateway(t, p)
	for f.calls.Load() == 0 {
		g.post(t, "/v1/chat/completions", chatBody(model)).wantOK(t, jsonAnswer)
	}
	until(t, "its models are known", func() bool { s := statusOf(t, p, f.URL); return len(s.Models) == 1 && s.State == StateUp })
	for range 20 {
		g.post(t, "/v1/chat/completions", chatBody(model)).wantOK(t, jsonAnswer)
	}
	if n := f.calls.Load(); n != 1 {
		t.Errorf("got %d requests", n)
	}
}
