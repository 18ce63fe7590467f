package cli

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/spf13/cobra"
)

func TestServer(t *testing.T) {
	for in, want := range map[string]string{
		"http://host":               "http://host",
		"http://host/":              "http://host",
		"http://host/v1":            "http://host",
		"http://host/v1/":           "http://host",
		"https://host:8443//v1//":   "https://host:8443",
		"http://host/under/it":      "http://host/under/it",
		"http://host/under/it/v1":   "http://host/under/it",
		" http://[::1]:80/v1\n":     "http://[::1]:80",
		"http://user:word@host/v1":  "http://user:word@host",
		"http://host/v1/v1":         "http://host/v1",
		"HTTP://HOST/v1":            "http://HOST",
		"http://host/with%20space/": "http://host/with%20space",
	} {
		if got, err := parseServer(in); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	for in, say := range map[string]string{
		"":                  "http://",
		"localhost:8080":    "http://",
		"host":              "http://",
		"ftp://host":        "http://",
		"http://":           "names no host",
		"http:///v1":        "names no host",
		"http://:8080":      "names no host",
		"http://host:port":  "http://",
		"http://host/?a=b":  "must end with its path",
		"http://host/v1#at": "must end with its path",
		"http://ho st":      "http://",
	} {
		if got, err := parseServer(in); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%q: %q, %v; want %q", in, got, err, say)
		}
	}
}

func TestSessionSettings(t *testing.T) {
	tests := map[string]struct {
		args               []string
		server, key        string // of the environment
		want, wantKey, say string
		named              string
		json               bool
	}{
		"default":             {want: defaultServer},
		"environment":         {server: "http://env/v1", key: "k1", want: "http://env", wantKey: "k1"},
		"flags before it":     {args: []string{"--server", "http://flag/v1", "--api-key", "k2", "--json"}, server: "http://env", key: "k1", want: "http://flag", wantKey: "k2", named: " --server http://flag/v1", json: true},
		"key with its line":   {key: "k1\r\n", want: defaultServer, wantKey: "k1"},
		"key of two lines":    {key: "k1\nk2", say: "the API key has control characters"},
		"bad flag":            {args: []string{"--server", "host:80"}, say: `--server "host:80" is no URL that begins with http:// or https://`},
		"bad environment":     {server: "host:80", say: `TIDEGATE_SERVER "host:80" is no URL`},
		"good flag before it": {args: []string{"--server", "http://flag"}, server: "host:80", want: "http://flag", named: " --server http://flag"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TIDEGATE_SERVER", tt.server)
			t.Setenv("TIDEGATE_API_KEY", tt.key)
			cmd := &cobra.Command{Use: "batch"}
			addFlags(cmd)
			if err := cmd.ParseFlags(tt.args); err != nil {
				t.Fatal(err)
			}
			s, err := newSession(cmd)
			if tt.say != "" {
				if err == nil || !strings.Contains(err.Error(), tt.say) {
					t.Errorf("got %v, want %q", err, tt.say)
				}
				return
			}
			if err != nil || s.Server != tt.want || s.APIKey != tt.wantKey || s.named != tt.named || s.json != tt.json {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
	if _, err := newSession(&cobra.Command{}); err == nil {
		t.Error("a command without the flags")
	}
}

// TestAPIKey checks that the key is sent, and that the gateway's error for a wrong one is
// printed.
func TestAPIKey(t *testing.T) {
	g := newGateway(t)
	g.intercept(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer right" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":{"message":"Incorrect API key provided."}}`)
			panic(answeredByHook{})
		}
	})
	g.run("batch", "list", "--api-key", "right").want(t, 0)
	g.run("batch", "list", "--api-key", "wrong").want(t, 1, "Incorrect API key provided. (401)")
	g.run("files", "delete", "--all", "--yes").want(t, 1, "Incorrect API key provided. (401)")
	g.run("batch", "delete", "--all", "--yes").want(t, 1, "(401)")
}

func TestNobodyListens(t *testing.T) {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := "http://" + ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{
		{"batch", "submit", write(t, "in.jsonl", requests("a"))},
		{"batch", "wait", "batch_1", "batch_2"},
		{"files", "list"},
	} {
		got := tidegate(t.Context(), strings.NewReader(""), append(command, "--server", server)...).want(t, 1, "no server listens at "+server, "tidegate serve")
		if strings.Contains(got.err, "Usage") {
			t.Errorf("%q explains its flags: %s", command, got.err)
		}
	}
}

func TestConfirm(t *testing.T) {
	for answer, ok := range map[string]bool{
		"y\n": true, "yes\n": true, " YES \r\n": true, "y": true, // the end does without a newline
		"n\n": false, "no\n": false, "\n": false, "": false, "yy\n": false, "no\ny\n": false,
	} {
		var said strings.Builder
		s := &session{in: strings.NewReader(answer), err: &said}
		err := s.confirm(t.Context(), false, "Sure?")
		if (err == nil) != ok || !ok && !errors.Is(err, errNotConfirmed) {
			t.Errorf("%q: %v", answer, err)
		}
		if !strings.HasPrefix(said.String(), "Sure? [y/N] ") {
			t.Errorf("got prompt %q", said.String())
		}
	}
	s := &session{in: iotest.ErrReader(os.ErrPermission), err: io.Discard}
	if err := s.confirm(t.Context(), false, "Sure?"); !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v", err)
	}
	// Input that is not a terminal is not read, even if it has a yes.
	s = &session{in: piped(t, nil), err: silent{t}}
	if err := s.confirm(t.Context(), false, "Sure?"); err == nil || !strings.Contains(err.Error(), "give --yes") {
		t.Errorf("got %v", err)
	}
	if err := s.confirm(t.Context(), true, "Sure?"); err != nil {
		t.Errorf("got %v", err)
	}
}

// silent is not to be written to.
type silent struct{ t *testing.T }

func (f silent) Write(p []byte) (int, error) {
	f.t.Errorf("said %q", p)
	return len(p), nil
}
