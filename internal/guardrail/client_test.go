package guardrail

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// secret is a prompt that no error may contain.
const secret = "the canary of a prompt"

// service starts a guardrail service and returns a client for it.
func service(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	c := New(Config{URL: s.URL + "/check", Key: "k-1", Timeout: 5 * time.Second})
	t.Cleanup(func() {
		c.Close()
		s.CloseClientConnections()
		s.Close()
	})
	return c
}

func respond(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, body)
	}
}

func request() Request {
	return Request{ID: "req_1", Class: "live", Endpoint: "/v1/chat/completions", ContentType: "application/json", JSON: true, Body: []byte(`{"model":"m","messages":[{"content":"` + secret + `"}]}`)}
}

func TestDecisions(t *testing.T) {
	own := string(request().Body)
	for body, want := range map[string]Decision{
		`{"action":"pass"}`:                                     {Action: Pass, Body: []byte(own)},
		`{"action":"pass","extra":[1]}`:                         {Action: Pass, Body: []byte(own)},
		`{"action":"reject"}`:                                   {Action: Reject, Message: "The request was rejected by this gateway's guardrail.", Code: "guardrail_rejected"},
		`{"action":"reject","message":"no names","code":"pii"}`: {Action: Reject, Message: "no names", Code: "pii"},
		`{"action":"replace","body":{"model":"m2"}}`:            {Action: Replace, Body: []byte(`{"model":"m2"}`)},
	} {
		got, err := service(t, respond(body)).Check(t.Context(), request())
		if err != nil || got.Action != want.Action || string(got.Body) != string(want.Body) || got.Message != want.Message || got.Code != want.Code {
			t.Errorf("response %s: got %+v, %v, want %+v", body, got, err, want)
		}
	}
}

// The service receives the request as documented.
func TestRequestOfTheService(t *testing.T) {
	for name, tt := range map[string]struct {
		body       string
		wantBody   string
		wantBase64 string
	}{
		"JSON":        {`{"model": "m", "a": 1.0}`, `{"model":"m","a":1.0}`, ""},
		"a form":      {"--x\r\n\xff", "", "LS14DQr/"},
		"broken JSON": {`{"model":`, "", "eyJtb2RlbCI6"},
	} {
		var header http.Header
		var got map[string]json.RawMessage
		c := service(t, func(w http.ResponseWriter, r *http.Request) {
			header = r.Header
			if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
				t.Error(err)
			}
			respond(`{"action":"pass"}`)(w, r)
		})
		r := request()
		r.Body, r.JSON = []byte(tt.body), tt.wantBody != ""
		if _, err := c.Check(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if header.Get("Authorization") != "Bearer k-1" || header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: header %v, want the key and the type", name, header)
		}
		for member, want := range map[string]string{
			"id": `"req_1"`, "class": `"live"`, "endpoint": `"/v1/chat/completions"`, "content_type": `"application/json"`, "body": tt.wantBody,
		} {
			if string(got[member]) != want {
				t.Errorf("%s: member %s is %s, want %s", name, member, got[member], want)
			}
		}
		if want := tt.wantBase64; want != "" && string(got["body_base64"]) != `"`+want+`"` {
			t.Errorf("%s: body_base64 is %s, want %s", name, got["body_base64"], want)
		}
	}
}

// A service that fails in any way makes no decision, and the reason repeats no prompt.
func TestNoDecision(t *testing.T) {
	for name, tt := range map[string]struct {
		serve http.HandlerFunc
		want  string
	}{
		"empty":            {respond(""), "not a JSON object"},
		"a page":           {respond("<html>" + secret), "not a JSON object"},
		"an array":         {respond(`[]`), "not a JSON object"},
		"no action":        {respond(`{}`), "no action"},
		"unknown action":   {respond(`{"action":"allow"}`), `unknown action "allow"`},
		"case":             {respond(`{"action":"PASS"}`), "unknown action"},
		"replaced by none": {respond(`{"action":"replace"}`), "not a JSON object"},
		"replaced by text": {respond(`{"action":"replace","body":"x"}`), "not a JSON object"},
		"two objects":      {respond(`{"action":"pass"}{"action":"reject"}`), "not a JSON object"},
		"too large":        {respond(`{"action":"replace","body":{"a":"` + strings.Repeat("x", 2<<20) + `"}}`), "larger than"},
		"error":            {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, secret, http.StatusInternalServerError) }, "status 500"},
		"other success":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }, "status 202"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/pass", http.StatusTemporaryRedirect)
		}, "status 307"},
		"broken connection": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "asking the guardrail"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"action":"pass"}`)
		}, "reading the guardrail's response"},
	} {
		d, err := service(t, tt.serve).Check(t.Context(), request())
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %+v, %v, want an error with %q", name, d, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error contains the prompt: %v", name, err)
		}
	}
}

func TestServiceThatHangs(t *testing.T) {
	c := service(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	c.cfg.Timeout = 50 * time.Millisecond
	if _, err := c.Check(t.Context(), request()); err == nil || !strings.Contains(err.Error(), "no decision within 50ms") {
		t.Errorf("got %v, want the time limit", err)
	}
	c.cfg.Timeout = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Check(ctx, request()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
}

func TestServiceThatRefuses(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	c := New(Config{URL: "http://" + ln.Addr().String() + "/?token=hidden", Timeout: time.Second})
	if _, err := c.Check(t.Context(), request()); err == nil || !strings.Contains(err.Error(), "refused") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("got %v, want a refused connection without the URL", err)
	}
}

func TestBodyThatIsNoJSONCannotBeReplaced(t *testing.T) {
	r := request()
	r.Body, r.JSON = []byte("--form"), false
	if _, err := service(t, respond(`{"action":"replace","body":{}}`)).Check(t.Context(), r); err == nil || !strings.Contains(err.Error(), "not JSON") {
		t.Errorf("got %v, want an error", err)
	}
}

func TestValidate(t *testing.T) {
	for _, valid := range []Config{{}, {URL: "http://a"}, {URL: "https://[::1]:9/x?y=z", Key: "k", Timeout: time.Second, FailOpen: true, SkipLive: true}} {
		if err := valid.Validate(); err != nil {
			t.Errorf("%+v: %v", valid, err)
		}
	}
	for want, invalid := range map[string]Config{
		"missing":      {Key: "k"},
		"must begin":   {URL: "ftp://a"},
		"no host":      {URL: "http:///x"},
		"a password":   {URL: "http://u:p@a"},
		"a fragment":   {URL: "http://a#b"},
		"negative":     {URL: "http://a", Timeout: -1},
		"neither":      {URL: "http://a", SkipLive: true, SkipBatch: true},
		"not allowed":  {URL: "http://a", Key: "a b"},
		"is not valid": {URL: "http://a\x7f"},
	} {
		if err := invalid.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", invalid, err, want)
		}
	}
}
