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

// Only the server's own words say that it does not have the model, and only the one of the
// request. It finds clients that take a model away from all with words that the server
// repeats, or with a body that names a second model.
func TestModelIsGone(t *testing.T) {
	for name, tt := range map[string]struct {
		model, body string
		want        bool
	}{
		"vLLM":                    {"m", `{"error":{"message":"The model ` + "`m`" + ` does not exist. Valid aliases: n, o.","type":"NotFoundError","param":"model","code":404}}`, true},
		"vLLM, older":             {"m", `{"object":"error","message":"The model ` + "`m`" + ` does not exist.","type":"NotFoundError","param":null,"code":404}`, true},
		"vLLM, Anthropic":         {"m", `{"type":"error","error":{"type":"NotFoundError","message":"The model ` + "`m`" + ` does not exist. Valid aliases: n."}}`, true},
		"vLLM, a path":            {"/models/a/Qwen2.5-7B", `{"error":{"message":"The model ` + "`<path>-7B`" + ` does not exist.","type":"NotFoundError","param":"model","code":404}}`, true},
		"a gateway":               {"m", `{"error":{"message":"The model 'm' does not exist or you do not have access to it.","type":"invalid_request_error","param":"model","code":"model_not_found"}}`, true},
		"Ollama":                  {"m", `{"error":"model \"m\" not found, try pulling it first"}`, true},
		"KServe":                  {"m", `{"error":"Model with name m does not exist."}`, true},
		"unquoted":                {"m", `{"error":{"message":"The model m does not exist."}}`, true},
		"without its name":        {"m", `{"error":{"message":"Model is not loaded"}}`, true},
		"name last":               {"m", `{"error":{"message":"Model not found: 'm'"}}`, true},
		"unknown model":           {"m", `{"error":{"message":"Unknown model 'm'"}}`, true},
		"code":                    {"m", `{"error":{"message":"No such thing.","param":null,"code":"model_not_found"}}`, true},
		"parameter":               {"m", `{"error":{"message":"No such thing.","param":"model","code":404}}`, true},
		"name of two words":       {"my model", `{"error":{"message":"The model my model does not exist."}}`, true},
		"response":                {"m", `{"error":{"message":"Response with id 'resp_model' not found.","type":"invalid_request_error","param":"response_id","code":404}}`, false},
		"response, older":         {"m", `{"error":{"message":"Response with id 'resp_model' not found.","type":"invalid_request_error","param":null,"code":404}}`, false},
		"response, own model":     {"m", `{"error":{"message":"Response with id 'resp_ The model ` + "`m`" + ` does not exist' not found.","type":"invalid_request_error","param":null,"code":404}}`, false},
		"another parameter":       {"m", `{"error":{"message":"The model ` + "`m`" + ` does not exist.","param":"response_id","code":404}}`, false},
		"another parameter, code": {"m", `{"error":{"message":"The model ` + "`m`" + ` does not exist.","param":"response_id","code":"model_not_found"}}`, false},
		"another model":           {"m", `{"error":{"message":"The model ` + "`zzz`" + ` does not exist. Valid aliases: m.","type":"NotFoundError","param":"model","code":404}}`, false},
		"another model, code":     {"m", `{"error":{"message":"The model 'zzz' does not exist.","param":"model","code":"model_not_found"}}`, false},
		"another, unquoted":       {"m", `{"error":{"message":"The model zzz does not exist.","param":"model","code":404}}`, false},
		"another, unknown":        {"m", `{"error":{"message":"Unknown model 'zzz'"}}`, false},
		"another path":            {"m", `{"error":{"message":"The model ` + "`<path>`" + ` does not exist.","param":"model","code":404}}`, false},
		"another, last":           {"m", `{"error":{"message":"Model not found: 'm2'"}}`, false},
		"its output":              {"m", `{"error":{"message":"Model output 'not found' is not known."}}`, false},
		"model in another word":   {"m", `{"error":{"message":"Models not found"}}`, false},
		"empty":                   {"m", `{"error":{"message":""}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := isModelGone([]byte(tt.body), tt.model); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// What one client sends does not take the model away from the others, live or in a batch. It
// finds an answer about the client's own words, or about a second model of its body, that
// counts for the model that the gateway has read.
func TestClientTakesNoModelAway(t *testing.T) {
	for name, tt := range map[string]struct{ path, body, answer string }{
		"response id":  {"/v1/responses", `{"model":"m","input":"x","previous_response_id":"resp_model"}`, `{"error":{"message":"Response with id 'resp_model' not found.","type":"invalid_request_error","param":"response_id","code":404}}`},
		"second model": {endpoint, `{"model":"m","stream":false,"model":"zzz","messages":[]}`, `{"error":{"message":"The model ` + "`zzz`" + ` does not exist. Valid aliases: m.","type":"NotFoundError","param":"model","code":404}}`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			p := startPool(t, calm(f.URL))
			g := newGateway(t, p)
			set(&f.serve, answerStatus(404, "application/json", tt.answer))
			if a := g.post(t, tt.path, tt.body); a.status != 404 || a.body != tt.answer {
				t.Errorf("live: got %d %s, want 404 with the server's error", a.status, a.body)
			}
			s := reserve(t, p, "")
			a, err := s.Send(t.Context(), tt.path, []byte(tt.body))
			s.Release()
			if err != nil || a.Status != 404 || a.Next != Final {
				t.Errorf("line: got %+v, %v, want a final 404", a, err)
			}
			set(&f.serve, answerJSON)
			g.post(t, endpoint, chatBody(model)).wantOK(t, jsonAnswer)
			reserve(t, p, "").Release()
		})
	}
}

// An error event that begins a stream is judged by the same rules. It finds events that are
// judged without the model of the request.
func TestModelIsGoneInAStream(t *testing.T) {
	event := func(named string) string {
		return `data: {"error":{"message":"The model ` + "`" + named + "`" + ` does not exist.","type":"NotFoundError","param":"model","code":404}}` + "\n\n"
	}
	f := newFake(t)
	p := startPool(t, calm(f.URL))
	g := newGateway(t, p)
	set(&f.serve, streamed(event("zzz"), sseDone))
	g.post(t, endpoint, chatBody(model)).wantError(t, 404, "")
	reserve(t, p, "").Release()
	set(&f.serve, streamed(event(model), sseDone))
	g.post(t, endpoint, chatBody(model)).wantError(t, 404, "")
	if _, err := p.Reserve(model, ""); err == nil {
		t.Error("a slot is free, want none on a server without the model")
	}
}
