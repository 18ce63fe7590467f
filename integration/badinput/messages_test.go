package badinput

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// apis are paths of live requests and the form that their errors have.
var apis = map[string]bool{ // Anthropic's
	"/v1/messages":              true,
	"/v1/messages/count_tokens": true,
	"/v1/chat/completions":      false,
	"/v1/embeddings":            false,
}

const hello = `"messages":[{"role":"user","content":"hi"}],"input":"hi","max_tokens":1`

// wantForm checks the status and the form of an error.
func wantForm(t *testing.T, got *http.Response, anthropic bool, status int, kind string) {
	t.Helper()
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	var e struct {
		Type  string
		Error map[string]any
	}
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatalf("got %d %q: %v", got.StatusCode, text, err)
	}
	if got.StatusCode != status || got.Header.Get("Content-Type") != "application/json" || e.Error["message"] == "" || e.Error["message"] == nil {
		t.Errorf("got %d %s %s, want %d with a message", got.StatusCode, got.Header.Get("Content-Type"), text, status)
	}
	_, hasCode := e.Error["code"]
	if anthropic && (e.Type != "error" || e.Error["type"] != kind || len(e.Error) != 2) {
		t.Errorf("got %s, want Anthropic's form with the type %s", text, kind)
	}
	if !anthropic && (e.Type != "" || !hasCode) {
		t.Errorf("got %s, want OpenAI's form", text)
	}
}

// Each API's clients get the gateway's own errors in the form of their API,
// wherever in the gateway the error is made.
func TestFormOfErrors(t *testing.T) {
	sim := tidegatetest.StartSim(t)
	keyed := tidegatetest.Run(t, tidegatetest.Settings{Sims: []*tidegatetest.Sim{sim}, App: "api_keys gateway-key"})
	small := tidegatetest.Run(t, tidegatetest.Settings{Sims: []*tidegatetest.Sim{sim}, Site: "request_body {\n max_size 1KB\n}\n tidegate", App: "body {\n grace 50ms\n}"})
	open := tidegatetest.Run(t, tidegatetest.Settings{Sims: []*tidegatetest.Sim{sim}})
	anywhere := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: []*tidegatetest.Sim{sim}})

	packed := new(bytes.Buffer)
	w, err := zstd.NewWriter(packed, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	spaces := bytes.Repeat([]byte(" "), 1<<20)
	for range 300 { // more than body_memory
		if _, err := w.Write(spaces); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	stalled := func() io.Reader {
		r, w := io.Pipe()
		go func() { _, _ = w.Write([]byte(`{"model":`)) }() // and no further data
		t.Cleanup(func() { w.Close() })
		return r
	}
	valid := func() io.Reader { return strings.NewReader(`{"model":"` + tidegatetest.Model + `",` + hello + `}`) }
	text := func(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }

	unsized := func(s string) func() io.Reader { // Caddy refuses one with a declared size
		return func() io.Reader { return io.MultiReader(strings.NewReader(s)) }
	}

	type situation struct {
		gateway *tidegatetest.Gateway
		method  string
		header  map[string]string
		body    func() io.Reader
		status  int
		kind    string
	}
	situations := map[string]situation{
		"no key":                      {keyed, "POST", nil, valid, 401, "authentication_error"},
		"wrong X-Api-Key":             {keyed, "POST", map[string]string{"X-Api-Key": "wrong"}, valid, 401, "authentication_error"},
		"page of another origin":      {open, "POST", map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, valid, 403, "permission_error"},
		"preflight":                   {open, "OPTIONS", map[string]string{"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}, text(""), 403, "permission_error"},
		"foreign host":                {anywhere, "POST", map[string]string{"Host": "evil.example"}, valid, 421, "invalid_request_error"},
		"plain text":                  {open, "POST", map[string]string{"Content-Type": "text/plain"}, valid, 415, "invalid_request_error"},
		"unknown content encoding":    {open, "POST", map[string]string{"Content-Encoding": "br"}, valid, 415, "invalid_request_error"},
		"corrupt content encoding":    {open, "POST", map[string]string{"Content-Encoding": "gzip"}, valid, 400, "invalid_request_error"},
		"decompressed body too large": {open, "POST", map[string]string{"Content-Encoding": "zstd"}, func() io.Reader { return bytes.NewReader(packed.Bytes()) }, 413, "request_too_large"},
		"body too large":              {small, "POST", nil, unsized(`{"model":"m","x":"` + strings.Repeat("x", 4<<10) + `"}`), 413, "request_too_large"},
		"stalled body":                {small, "POST", nil, stalled, 408, "invalid_request_error"},
		"wrong method":                {open, "GET", nil, text(""), 405, "invalid_request_error"},
		"not JSON":                    {open, "POST", nil, text("hello"), 400, "invalid_request_error"},
		"empty":                       {open, "POST", nil, text("{}"), 400, "invalid_request_error"},
		"UTF-16":                      {open, "POST", nil, text("\xff\xfe{\x00}\x00"), 400, "invalid_request_error"},
		"unknown model":               {open, "POST", nil, text(`{"model":"other",` + hello + `}`), 404, "not_found_error"},
	}
	check := func(t *testing.T, s situation, path string, anthropic bool) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), s.method, s.gateway.URL+path, s.body())
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		for name, value := range s.header {
			r.Header.Set(name, value)
		}
		if host := s.header["Host"]; host != "" {
			r.Host = host
		}
		got, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		wantForm(t, got, anthropic, s.status, s.kind)
	}
	for name, s := range situations {
		t.Run(name, func(t *testing.T) {
			for path, anthropic := range apis {
				check(t, s, path, anthropic)
			}
		})
	}
	t.Run("unknown route", func(t *testing.T) {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			for path, anthropic := range map[string]bool{"/v1/messages/batches": true, "/v1/messages/x/y": true, "/v1/messagesx": false, "/v1/x": false} {
				check(t, situation{open, method, nil, valid, 404, "not_found_error"}, path, anthropic)
			}
		}
	})
	t.Run("every server is down", func(t *testing.T) {
		sim.Kill(t)
		tidegatetest.Eventually(t, 10*time.Second, "the server is down", func() bool {
			status, _, err := open.Ask(t, http.MethodPost, "/v1/messages", "application/json", []byte(`{"model":"`+tidegatetest.Model+`",`+hello+`}`))
			return err == nil && status == http.StatusServiceUnavailable
		})
		for path, anthropic := range apis {
			check(t, situation{open, "POST", nil, valid, 503, "overloaded_error"}, path, anthropic)
		}
	})
}
