package gateway

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/certtest"
	"github.com/tidegate/tidegate/upstreams"
)

// front is a proxy in front of a model server that requires a key.
func front(t *testing.T, sim *tidegatetest.Sim, prefix, key string) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	target, err := url.Parse(sim.URL)
	if err != nil {
		t.Fatal(err)
	}
	posts := new(atomic.Int64)
	forward := http.StripPrefix(prefix, httputil.NewSingleHostReverseProxy(target))
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+key && r.URL.Path != prefix+"/health" {
			http.Error(w, `{"error":"Unauthorized"}`, http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodPost {
			posts.Add(1)
		}
		// The server closes the body of a request when it writes the header
		// of the answer. ReverseProxy may still ask it for its end then: it
		// fails, and takes the connection with it (3 of 32,000 streams).
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		forward.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	t.Cleanup(s.Close)
	return s, posts
}

// Servers behind TLS with a private authority and a client certificate, behind
// a path with /v1, and behind a Unix domain socket, each with a key of its own,
// serve live requests and batches. No key is shown.
func TestUpstreamsInTheField(t *testing.T) {
	t.Parallel()
	const secretTLS, secretSocket = "sk-behind-tls-1", "sk-behind-socket-2"
	sim := tidegatetest.StartSim(t)
	authority := certtest.New(t)
	end := time.Now().Add(time.Hour)
	pair, _, _ := authority.Issue(t, "gpu.internal", end)
	_, clientCert, clientKey := authority.Issue(t, "gateway", end)

	secure, secureGot := front(t, sim, "/team", secretTLS)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.Pool()}
	secure.StartTLS()

	socket := filepath.Join(t.TempDir(), "vllm.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	local, localGot := front(t, sim, "", secretSocket)
	local.Listener.Close()
	local.Listener = listener
	local.Start()

	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte(secretSocket+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := tidegatetest.Settings{
		Sims: []*tidegatetest.Sim{sim},
		Env:  []string{"BEHIND_TLS=" + secretTLS},
		Pool: fmt.Sprintf(`upstream %s/team/v1 {
				api_key {env.BEHIND_TLS}
				tls_ca %s
				tls_client_auth %s %s
				tls_server_name gpu.internal
			}
			upstream unix/%s {
				api_key {file.%s}
			}`, secure.URL, authority.File, clientCert, clientKey, socket, keyFile),
	}
	gateway := tidegatetest.Run(t, settings)
	tidegatetest.Eventually(t, 20*time.Second, "all three upstreams to be up", func() bool {
		var health struct{ Upstreams []upstreams.UpstreamStatus }
		gateway.Get(t, "/health", &health)
		up := 0
		for _, u := range health.Upstreams {
			if u.State == upstreams.StateUp {
				up++
			}
		}
		return up == 3
	})
	input := tidegatetest.BatchInput(t, 60, nil)
	batch := gateway.WaitEnd(t, gateway.Submit(t, input).ID, time.Minute)
	if results := gateway.Results(t, batch, input); len(results.Output) != 60 {
		t.Errorf("got %d results of %+v, want 60", len(results.Output), batch)
	}
	for range 30 {
		body := tidegatetest.ChatBody(t, "hello", true)
		if err := gateway.Chat(t.Context(), body, nil).Check(body, true); err != nil {
			t.Error(err)
		}
	}
	if secureGot.Load() == 0 || localGot.Load() == 0 {
		t.Errorf("got %d requests over TLS and %d over the socket, want some over each", secureGot.Load(), localGot.Load())
	}
	_, health, err := gateway.Call(t.Context(), http.MethodGet, "/health", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	config := adminConfig(t, gateway)
	for _, secret := range []string{secretTLS, secretSocket} {
		if strings.Contains(string(health), secret) || strings.Contains(config, secret) {
			t.Errorf("the key %s is shown", secret)
		}
	}

	// An authority that is not trusted is named, with the option that cures it.
	settings.Pool = "upstream " + secure.URL + " {\ntls_server_name gpu.internal\n}"
	gateway.Reload(t, settings)
	tidegatetest.Eventually(t, 20*time.Second, "the doctor to name tls_ca", func() bool {
		printed, _ := examine(t, gateway)
		return strings.Contains(printed, "tls_ca")
	})
}

// adminConfig returns the configuration in Caddy's admin endpoint.
func adminConfig(t *testing.T, g *tidegatetest.Gateway) string {
	t.Helper()
	answer, err := http.Get("http://" + g.Admin + "/config/")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
