package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/access"
)

// Every limit of the gateway has a flag, and the requests of both commands have what was set
// and nothing else: 0 removes a limit, one that is not named is not sent. It finds a limit
// that the commands do not know, and a change that resets the others.
func TestKeyLimits(t *testing.T) {
	var path, body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, _ := io.ReadAll(r.Body)
		path, body = r.URL.Path, string(sent)
		_, _ = io.WriteString(w, `{"object":"key","id":"key_1","name":"a\u001bb","key":"tg-x","limits":{"cost_per_month":12.5,"requests_per_minute":60}}`)
	}))
	defer server.Close()
	run := func(args ...string) invocation {
		return tidegate(t.Context(), strings.NewReader(""), append(args, "--server", server.URL)...)
	}
	got := run("keys", "limits", "key_1", "--rpm", "60", "--tpm", "0", "--cost-per-month", "12.50")
	if path != "/v1/keys/key_1/limits" || body != `{"cost_per_month":12.50,"requests_per_minute":60,"tokens_per_minute":0}` {
		t.Errorf("got %s %s", path, body)
	}
	if got.code != 0 || got.out != "limits of key_1 (a�b): requests_per_minute 60, cost_per_month 12.5\n" {
		t.Errorf("got status %d and %q, %q", got.code, got.out, got.err)
	}
	if got := run("keys", "limits", "key_1"); got.code != 0 || path != "/v1/keys/key_1" || body != "" || got.out != "limits of key_1 (a�b): requests_per_minute 60, cost_per_month 12.5\n" {
		t.Errorf("without a flag: got status %d, a request of %q with %q, %q, %v", got.code, path, body, got.out, got.error)
	}
	path = ""
	if got := run("keys", "limits", "key_1", "--cost-per-month", "much"); got.code == 0 || path != "" {
		t.Errorf("an amount that is no number: got status %d, a request of %q, %v", got.code, path, got.error)
	}

	args := []string{"--rpm", "1", "--tpm", "1", "--in-flight", "1", "--lines-queued", "1", "--tokens-queued", "1", "--batches-per-hour", "1", "--tokens-per-month", "1", "--cost-per-month", "1"}
	for _, command := range [][]string{{"keys", "create", "x"}, {"keys", "limits", "key_1"}} {
		if got := run(append(command, args...)...); got.code != 0 {
			t.Fatalf("%v: %v", command, got.error)
		}
		var sent map[string]json.RawMessage
		if err := json.Unmarshal([]byte(body), &sent); err != nil {
			t.Fatal(err)
		}
		if limits, ok := sent["limits"]; ok {
			sent = nil
			if err := json.Unmarshal(limits, &sent); err != nil {
				t.Fatal(err)
			}
		}
		change, err := access.ParseLimitsChange(sent)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range new(access.Limits).Fields() {
			if change[l.Name] == 0 {
				t.Errorf("%v: got %s, want %s", command, body, l.Name)
			}
		}
	}
}

// The list of keys shows the limits of each. It finds a list that shows them only as JSON.
func TestListOfKeysShowsLimits(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"object":"list","data":[
			{"object":"key","id":"key_1","name":"a","tenant":"t","scopes":["live"],"models":[],"limits":{"cost_per_month":12.5,"requests_per_minute":60}},
			{"object":"key","id":"key_2","name":"b","tenant":"t","scopes":["live"],"models":["m"],"limits":{}}]}`)
	}))
	defer server.Close()
	got := tidegate(t.Context(), strings.NewReader(""), "keys", "list", "--server", server.URL)
	lines := strings.Split(strings.TrimSpace(got.out), "\n")
	if got.code != 0 || len(lines) != 3 {
		t.Fatalf("got status %d, %q, %v", got.code, got.out, got.error)
	}
	for i, want := range []string{"LIMITS", "requests_per_minute 60, cost_per_month 12.5", "none"} {
		if !strings.HasSuffix(strings.TrimSpace(lines[i]), want) {
			t.Errorf("got line %q, want it to end with %q", lines[i], want)
		}
	}
}
