package upstreams

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/vllmsim"
	vllmengine "github.com/tidegate/tidegate/internal/vllmsim/engine"
)

// gpus are simulated GPUs in a network and a time of their own, and a pool of them.
type gpus struct {
	net   *network
	sims  []*vllmsim.Server
	cfg   Config
	pool  *Pool
	proxy *Proxy
}

// gpu is a server of gpus.
type gpu struct {
	slower     int           // times an H100
	kvTokens   int           // of the KV cache; 0: those of an H100
	seqs       int           // that it runs at once; 0: those of an H100
	noMetrics  bool          // it has no GET /metrics
	token      time.Duration // of an engine that takes as long for each token, whatever else it does; 0: it is a GPU
	noCached   bool          // its answers do not tell how many tokens were cached
	noComputed bool          // its metrics do not have the tokens that were computed in prefill
}

// onGPUs runs test with a pool of servers http://0, http://1 and so on.
func onGPUs(t *testing.T, servers []gpu, test func(t *testing.T, w *gpus)) {
	synctest.Test(t, func(t *testing.T) {
		w := &gpus{net: &network{}}
		for i, s := range servers {
			spec := vllmengine.Specs["h100-8b"]
			for _, d := range []*time.Duration{&spec.StepBase, &spec.PerDecode, &spec.PerContextToken} {
				*d *= time.Duration(s.slower)
			}
			spec.PrefillRate /= s.slower
			spec.KVTokens = cmp.Or(s.kvTokens, spec.KVTokens)
			cfg := vllmsim.Config{Models: []string{model}, Engine: &spec, MaxNumSeqs: s.seqs}
			if s.token > 0 {
				cfg.Engine, cfg.TTFT, cfg.ITL = nil, s.token, s.token
			}
			sim := vllmsim.New(cfg)
			t.Cleanup(sim.Close)
			w.sims = append(w.sims, sim)
			w.net.serve(t, fmt.Sprintf("%d:80", i), s.wrap(sim))
			w.cfg.Upstreams = append(w.cfg.Upstreams, UpstreamConfig{URL: fmt.Sprintf("http://%d", i)})
		}
		w.pool, w.proxy = w.gateway(t)
		test(t, w)
	})
}

// gateway starts a pool of the servers.
func (w *gpus) gateway(t *testing.T) (*Pool, *Proxy) {
	t.Helper()
	p := newPool(zap.NewNop(), w.net.dial)
	if err := p.Apply(w.cfg); err != nil {
		t.Fatal(err)
	}
	p.Start()
	t.Cleanup(p.Close)
	synctest.Wait()
	if !p.Ready() || !p.discoveryComplete() {
		t.Fatalf("not up at once: %+v", p.Status())
	}
	return p, NewProxy(p, zap.NewNop(), nil)
}

// wrap leaves out what a server does not tell.
func (s gpu) wrap(sim http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.noMetrics && r.URL.Path == "/metrics":
			http.NotFound(w, r)
		case s.noComputed && r.URL.Path == "/metrics":
			out := httptest.NewRecorder()
			sim.ServeHTTP(out, r)
			w.Header().Set("Content-Type", out.Header().Get("Content-Type"))
			_, _ = fmt.Fprint(w, strings.ReplaceAll(out.Body.String(), "kv_computed", "other"))
		case s.noCached && r.Method == http.MethodPost:
			out := httptest.NewRecorder()
			sim.ServeHTTP(out, r)
			w.Header().Set("Content-Type", out.Header().Get("Content-Type"))
			w.WriteHeader(out.Code)
			_, _ = fmt.Fprint(w, strings.ReplaceAll(out.Body.String(), "cached_tokens", "other_tokens"))
		default:
			sim.ServeHTTP(w, r)
		}
	})
}

// chat is a request of about so many prompt tokens that begins with a text of its own,
// or with a common one, and gets 8 tokens.
func chat(text string, tokens int, stream bool) string {
	more := ""
	if stream {
		more = `,"stream":true,"stream_options":{"include_usage":true}`
	}
	text = strings.Repeat(text+" ", 4*tokens/(len(text)+1))
	return fmt.Sprintf(`{"model":%q,"max_tokens":8,"messages":[{"role":"user","content":"%s"}]%s}`, model, text, more)
}

// send sends a live request and waits for its answer.
func (w *gpus) send(t *testing.T, body string) {
	t.Helper()
	out := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w.proxy.ServeHTTP(out, r)
	if out.Code != http.StatusOK {
		t.Fatalf("status %d: %s", out.Code, out.Body)
	}
	synctest.Wait()
}

// sendOverlapping sends a live request, beside others.
func (w *gpus) sendOverlapping(t *testing.T, body string) {
	out := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w.proxy.ServeHTTP(out, r)
	if out.Code != http.StatusOK {
		t.Errorf("status %d: %s", out.Code, out.Body)
	}
}
