package caddymodule

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/tidegate/tidegate/upstreams"
)

// A reload changes the settings of what runs, and nothing else.
func TestReload(t *testing.T) {
	_, one := newSim(t)
	_, two := newSim(t)
	g := newGateway(t, one)
	g.run(t)
	before := g.runtime(t)
	file := g.upload(t)

	g.app.Pool.Upstreams = []UpstreamConfig{{URL: one, MaxNumSeqs: 17}, {URL: two}}
	g.app.Batch.MaxInFlight = 5
	g.app.APIKeys = []string{"new"}
	g.load(t)
	if g.runtime(t) != before {
		t.Error("a reload made another runtime")
	}
	if s := before.pool.Status(); len(s) != 2 || s[0].MaxNumSeqs != 17 || s[0].State != upstreams.StateUp {
		t.Errorf("the pool has %+v", s)
	}
	// A reload does not wait for the server before, which may answer once more.
	for deadline := time.Now().Add(30 * time.Second); g.ask(t, "GET", "/v1/files/"+file, "").status == 200 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	g.ask(t, "GET", "/v1/files/"+file, "").wantError(t, 401, "invalid_request_error")
	if a := g.ask(t, "GET", "/v1/files/"+file, "", "Authorization", "Bearer new"); a.status != 200 {
		t.Errorf("the file is gone: %s", a.body)
	}
	for range 10 { // the same again and again
		g.load(t)
	}
	if g.runtime(t) != before {
		t.Error("a reload made another runtime")
	}
}

// upload uploads a file of requests.
func (g *gateway) upload(t *testing.T) string {
	t.Helper()
	body := "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n" +
		`{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":` + chat + "}\n\r\n--b--\r\n"
	a := g.ask(t, "POST", "/v1/files", body, "Content-Type", "multipart/form-data; boundary=b")
	_, rest, ok := strings.Cut(a.body, `"id":"`)
	if a.status != 200 || !ok {
		t.Fatalf("%d %s", a.status, a.body)
	}
	id, _, _ := strings.Cut(rest, `"`)
	return id
}

// A configuration that cannot start leaves the one before as it was: its
// settings, its work, its listener.
func TestFailedReload(t *testing.T) {
	_, one := newSim(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	notDir := filepath.Join(dir, "file")
	if err := os.WriteFile(notDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, one)
	g.app.Pool.Upstreams[0].MaxNumSeqs = 9
	g.run(t)
	before := g.runtime(t)
	good := g.app
	for name, tt := range map[string]struct {
		broken func() map[string]string // gives further apps
		reason string                   // in the error
	}{
		"another app fails": {func() map[string]string {
			return map[string]string{"tls": `{"certificates": {"load_files": [{"certificate": "/nowhere", "key": "/nowhere"}]}}`}
		}, "/nowhere"},
		"another store cannot be opened": {func() map[string]string {
			g.app.StoreRaw = []byte(`{"driver": "sqlite", "path": "` + notDir + `/db"}`)
			return nil
		}, "not a directory"},
		"another store is no database": {func() map[string]string {
			path := filepath.Join(dir, "rubbish")
			if err := os.WriteFile(path, []byte(strings.Repeat("rubbish ", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
			g.app.StoreRaw = []byte(`{"driver": "sqlite", "path": "` + path + `"}`)
			return nil
		}, "not a database"},
		"another directory cannot be made": {func() map[string]string {
			g.app.StoreRaw = []byte(`{"driver": "sqlite", "path": "` + dir + `/other.db"}`)
			g.app.FilesRaw = []byte(`{"driver": "local", "dir": "` + notDir + `/files"}`)
			return nil
		}, "not a directory"},
		"the new files stand on the old store": {func() map[string]string {
			g.app.FilesRaw = []byte(`{"driver": "local", "dir": "` + dir + `/elsewhere"}`)
			return nil // the database is locked by the runtime that runs
		}, "another tidegate has the directory"},
		"a driver that does not exist": {func() map[string]string {
			g.app.QueueRaw = []byte(`{"driver": "carrier_pigeon"}`)
			return nil
		}, "carrier_pigeon"},
		"a setting that makes no sense": {func() map[string]string {
			g.app.Pool.BatchShare = 2
			return nil
		}, "batch_share"},
		"an empty key": {func() map[string]string {
			g.app.APIKeys = []string{""}
			return nil
		}, "a key is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			g.app = good
			g.app.Pool.Upstreams = []UpstreamConfig{{URL: one, MaxNumSeqs: 99}}
			err := caddy.Load(g.config(t, tt.broken()), true)
			if err == nil {
				t.Fatal("it was taken")
			}
			if !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("%v; it should say: %s", err, tt.reason)
			}
			if g.runtime(t) != before {
				t.Error("the runtime is another")
			}
			if s := before.pool.Status(); len(s) != 1 || s[0].MaxNumSeqs != 9 {
				t.Errorf("the pool has %+v", s)
			}
			if a := g.ask(t, "POST", "/v1/chat/completions", chat); a.status != 200 {
				t.Errorf("live: %d %s", a.status, a.body)
			}
			if a := g.ask(t, "GET", "/v1/batches", ""); a.status != 200 {
				t.Errorf("batches: %d %s", a.status, a.body)
			}
		})
	}
	g.app = good
}

// With another store the gateway is another: the first is closed, and its work
// is left in it.
func TestOtherStore(t *testing.T) {
	_, one := newSim(t)
	g := newGateway(t, one)
	g.run(t)
	before := g.runtime(t)
	file := g.upload(t)
	first := g.app.Data
	g.app.Data = t.TempDir()
	g.load(t)
	if g.runtime(t) == before {
		t.Fatal("the runtime is the same")
	}
	g.ask(t, "GET", "/v1/files/"+file, "").wantError(t, 404, "invalid_request_error")
	g.app.Data = first
	g.load(t) // it was released
	if a := g.ask(t, "GET", "/v1/files/"+file, ""); a.status != 200 {
		t.Errorf("the file is gone: %s", a.body)
	}
}

// Live requests do not notice that the store is another: the pool stays, with
// what it knows and what an operator has done to it.
func TestPoolOutlivesStores(t *testing.T) {
	drained, one := newSim(t)
	_, two := newSim(t)
	g := newGateway(t, one, two)
	g.run(t)
	if err := g.runtime(t).pool.Drain(one); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		before := g.runtime(t)
		g.app.Data = t.TempDir()
		g.load(t)
		if g.runtime(t) == before {
			t.Fatal("the runtime is the same")
		}
		if a := g.ask(t, "POST", "/v1/chat/completions", chat); a.status != 200 {
			t.Errorf("live: %d %s", a.status, a.body)
		}
	}
	if n := drained.Stats().Calls; n != 0 {
		t.Errorf("the drained server got %d requests", n)
	}
	a := g.ask(t, "GET", "/metrics", "")
	if want := `tidegate_live_requests_total{code="2xx",endpoint="/v1/chat/completions"} 5`; !strings.Contains(a.body, want) {
		t.Errorf("the metrics do not have %s", want)
	}
}

// Servers that a configuration leaves out which then cannot start are back as
// they were, at once.
func TestFailedReloadKeepsServers(t *testing.T) {
	_, one := newSim(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	g := newGateway(t, one)
	g.run(t)
	failing := map[string]string{"http": `{"servers": {"other": {"listen": ["` + taken.Addr().String() + `"], "automatic_https": {"disable": true}}}}`}
	good := g.app.Pool
	for range 10 { // apps start in any order
		g.app.Pool.Upstreams = nil
		if err := caddy.Load(g.config(t, failing), true); err == nil {
			t.Fatal("it was taken")
		}
		if s := g.runtime(t).pool.Status(); len(s) != 1 || s[0].State != upstreams.StateUp {
			t.Errorf("the pool has %+v", s)
		}
		if a := g.ask(t, "POST", "/v1/chat/completions", chat); a.status != 200 {
			t.Errorf("live: %d %s", a.status, a.body)
		}
		g.app.Pool = good
	}
}

// Checking a configuration touches nothing: no file, no server.
func TestValidateDoesNothing(t *testing.T) {
	touched := make(chan string, 100)
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { touched <- r.URL.Path })}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	defer func() {
		server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	g := newGateway(t, "http://"+ln.Addr().String())
	var cfg caddy.Config
	if err := caddy.StrictUnmarshalJSON(g.config(t, nil), &cfg); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := caddy.Validate(&cfg); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(g.app.Data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data directory: %v", err)
	}
	if len(touched) > 0 {
		t.Errorf("got a request to the server for %s, want none", <-touched)
	}
	if n := len(open()); n != 0 {
		t.Errorf("%d runtimes are open", n)
	}
}

// TestStreamOverReload checks that a stream continues over a reload and ends regularly.
func TestStreamOverReload(t *testing.T) {
	next := make(chan string)
	_, models := newSim(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" { // the models are those of a simulated server
			answer, err := http.Get(models + r.URL.Path)
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			w.WriteHeader(answer.StatusCode)
			_, _ = io.Copy(w, answer.Body)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for event := range next {
			_, _ = io.WriteString(w, "data: "+event+"\n\n")
			w.(http.Flusher).Flush()
		}
	})}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { server.Close() })
	g := newGateway(t, "http://"+ln.Addr().String())
	g.run(t)
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+g.addr+"/v1/chat/completions", strings.NewReader(`{"model":"m","stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	got := make(chan answer, 1)
	go func() {
		a, err := g.Do(r)
		if err != nil {
			t.Error(err)
			close(got)
			return
		}
		defer a.Body.Close()
		text, err := io.ReadAll(a.Body)
		if err != nil {
			t.Error(err)
		}
		got <- answer{a.StatusCode, a.Header, string(text)}
	}()
	for range 3 {
		next <- `{"id":"x"}`
		g.app.Batch.Lease += caddy.Duration(time.Minute)
		g.load(t)
	}
	next <- "[DONE]"
	close(next)
	if a := <-got; a.status != 200 || strings.Count(a.body, `{"id":"x"}`) != 3 || !strings.HasSuffix(a.body, "data: [DONE]\n\n") {
		t.Errorf("%d %q", a.status, a.body)
	}
}

// Every series is there once, however often the configuration was loaded.
func TestMetrics(t *testing.T) {
	_, one := newSim(t)
	g := newGateway(t, one)
	g.run(t)
	for range 3 {
		g.load(t)
	}
	a := g.ask(t, "GET", "/metrics", "")
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	seen := map[string]int{}
	for line := range strings.Lines(a.body) {
		if series, _, ok := strings.Cut(line, " "); ok && strings.HasPrefix(line, "tidegate_") {
			seen[series]++
		}
	}
	if len(seen) < 5 {
		t.Errorf("series: %v", seen)
	}
	for series, n := range seen {
		if n != 1 {
			t.Errorf("got series %s %d times, want once", series, n)
		}
	}
}
