package vllmsim

import (
	"net/http"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/internal/vllmsim/engine"
)

// Server is a simulated vLLM server: an http.Handler that is safe for
// concurrent use.
type Server struct {
	cfg     Config
	served  map[string]bool // model names
	rated   []ratedFault
	models  []byte // answer of /v1/models
	first   []byte // the first model's name as a JSON string
	version []byte

	readyAt time.Time
	ready   atomic.Bool
	closed  chan struct{}
	close   func()
	life    life

	slots   slots          // without an engine
	engine  *engine.Engine // nil without one
	counts  counters
	labels  string // of most metrics
	metrics *metrics
	hung    atomic.Int64 // requests that hang
}

// servers counts the servers of the process, for different default seeds.
var servers atomic.Uint64

// New makes a server and starts the clock of Config.Startup. It panics on a
// key of Config.Faults that ParseFault would refuse.
func New(cfg Config) *Server {
	cfg = cfg.withDefaults()
	if cfg.Seed == 0 {
		cfg.Seed = servers.Add(1)
	}
	rated, err := rateFaults(cfg.Faults)
	if err != nil {
		panic("vllmsim: " + err.Error())
	}
	s := &Server{
		cfg:     cfg,
		served:  make(map[string]bool, len(cfg.Models)),
		rated:   rated,
		models:  appendModels(nil, cfg),
		first:   quote(nil, cfg.Models[0]),
		version: append(quote([]byte(`{"version":`), cfg.Version), '}'),
		readyAt: time.Now().Add(cfg.Startup),
		closed:  make(chan struct{}),
		life:    life{died: make(chan struct{})},
		slots:   slots{limit: cfg.MaxNumSeqs, most: cfg.MaxQueuedReqs},
		labels:  metricsLabels(cfg.Models[0]),
		metrics: newMetrics(cfg.newer()),
	}
	if cfg.Engine != nil {
		s.startEngine()
	}
	s.close = sync.OnceFunc(func() {
		close(s.closed)
		s.life.end()
		if s.engine != nil {
			s.engine.Stop()
		}
	})
	s.ready.Store(cfg.Startup <= 0)
	for _, m := range cfg.Models {
		s.served[m] = true
	}
	return s
}

// Close cuts the connections of requests that wait, run or hang, which count
// as aborted, and answers later ones 503. Closing twice does nothing.
func (s *Server) Close() { s.close() }

func (s *Server) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

func (s *Server) loading() bool {
	if s.ready.Load() {
		return false
	}
	if time.Now().Before(s.readyAt) {
		return true
	}
	s.ready.Store(true)
	return false
}

var (
	headerJSON  = []string{"application/json"}
	headerHTML  = []string{"text/html"}
	headerSSE   = []string{"text/event-stream; charset=utf-8"}
	headerText  = []string{"text/plain; version=0.0.4; charset=utf-8"}
	headerChunk = []string{"chunked"}
)

// ServeHTTP answers as vLLM's API server does, and the routes under /sim/.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := r.URL.Path
	if strings.HasPrefix(at, "/sim/") {
		s.serveSim(w, r)
		return
	}
	s.counts.requests.Add(1)
	switch {
	case s.loading():
		if s.cfg.RefuseAtStartup {
			panic(http.ErrAbortHandler)
		}
		s.unavailable(w, "The model is loading.")
	case s.isClosed():
		s.unavailable(w, "The server is shutting down.")
	case !s.authorized(r):
		writeBody(w, http.StatusUnauthorized, headerJSON, []byte(`{"error":"Unauthorized"}`))
	default:
		if ep := endpoints[at]; ep != nil {
			s.post(w, r, func() { s.generate(w, r, ep) })
			return
		}
		s.serveOther(w, r)
	}
}

// read returns the current values of /metrics.
func (s *Server) read() reading {
	switch {
	case s.engine == nil:
		running, waiting, _ := s.slots.counts()
		hung := int(s.hung.Load())
		if s.life.isFrozen() {
			hung = running
		}
		return s.metrics.read(running, waiting, hung, s.slots.size())
	case s.metrics.lag == nil:
		shown := s.engine.Snapshot()
		s.metrics.mu.Lock()
		defer s.metrics.mu.Unlock()
		return s.metrics.readEngine(shown)
	default:
		return s.metrics.readLate()
	}
}

// authorized implements vLLM's rule: if there is a key, all routes under /v1 require it.
func (s *Server) authorized(r *http.Request) bool {
	return s.cfg.APIKey == "" || !strings.HasPrefix(r.URL.Path, "/v1") || r.Method == http.MethodOptions ||
		r.Header.Get("Authorization") == "Bearer "+s.cfg.APIKey
}

func (s *Server) unavailable(w http.ResponseWriter, message string) {
	refusal := Refusal{Status: http.StatusServiceUnavailable, Type: "Service Unavailable", Message: message}
	writeBody(w, refusal.Status, headerJSON, refusal.appendBody(nil))
}

// controlRoutes are those of a vLLM that change it, or that a stranger should
// not reach for other reasons. None of them wants a key unless it is under /v1.
var controlRoutes = map[string]bool{
	"/abort_requests": true, "/collective_rpc": true, "/inference/v1/generate": true, "/init_weight_transfer_engine": true,
	"/invocations": true, "/is_paused": true, "/is_scaling_elastic_ep": true, "/is_sleeping": true, "/pause": true,
	"/reset_encoder_cache": true, "/reset_mm_cache": true, "/reset_prefix_cache": true, "/resume": true,
	"/scale_elastic_ep": true, "/server_info": true, "/shutdown": true, "/sleep": true, "/start_profile": true,
	"/stop_profile": true, "/update_weights": true, "/v1/load_lora_adapter": true, "/v1/unload_lora_adapter": true,
	"/wake_up": true,
}

func (s *Server) serveOther(w http.ResponseWriter, r *http.Request) {
	switch at := r.URL.Path; at {
	case "/health", "/ping":
		if s.life.isDead() {
			writeBody(w, http.StatusServiceUnavailable, headerJSON, nil)
			return
		}
		s.get(w, r, headerJSON, nil)
	case "/version":
		s.get(w, r, headerJSON, s.version)
	case "/v1/models":
		s.get(w, r, headerJSON, s.models)
	case "/metrics":
		reading := s.read()
		s.get(w, r, headerText, appendSettings(reading.appendText(nil, s.labels, s.metrics.newer, s.metrics.began), s.cfg))
	case "/tokenize":
		s.post(w, r, func() { s.inspect(w, r, s.appendTokens) })
	case "/detokenize":
		s.post(w, r, func() { s.inspect(w, r, s.appendText) })
	case "/v1/messages/count_tokens":
		s.post(w, r, func() { s.inspect(w, r, s.appendCount) })
	default:
		s.serveUnusual(w, at)
	}
}

// serveUnusual counts requests that a gateway should not have forwarded. A path that only
// resembles a control route counts as one, because another server may normalize it.
func (s *Server) serveUnusual(w http.ResponseWriter, at string) {
	if controlRoutes[path.Clean("/"+at)] {
		s.counts.control.Add(1)
	}
	if controlRoutes[at] {
		writeBody(w, http.StatusOK, headerJSON, nil)
		return
	}
	s.counts.unknown.Add(1)
	writeBody(w, http.StatusNotFound, headerJSON, []byte(`{"detail":"Not Found"}`))
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, contentType []string, body []byte) {
	if r.Method != http.MethodGet {
		methodNotAllowed(w, http.MethodGet)
		return
	}
	writeBody(w, http.StatusOK, contentType, body)
}

func (s *Server) post(w http.ResponseWriter, r *http.Request, serve func()) {
	if r.Method != http.MethodPost {
		methodNotAllowed(w, http.MethodPost)
		return
	}
	serve()
}

func methodNotAllowed(w http.ResponseWriter, allowed string) {
	w.Header().Set("Allow", allowed)
	writeBody(w, http.StatusMethodNotAllowed, headerJSON, []byte(`{"detail":"Method Not Allowed"}`))
}

// appendModels writes vLLM's ModelList.
func appendModels(dst []byte, cfg Config) []byte {
	length := cfg.MaxModelLen
	if length <= 0 {
		length = reportedModelLen
	}
	dst = append(dst, `{"object":"list","data":[`...)
	for i, m := range cfg.Models {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"id":`...)
		dst = quote(dst, m)
		dst = append(dst, `,"object":"model","created":`...)
		dst = appendInt(dst, epoch)
		dst = append(dst, `,"owned_by":"vllm","root":`...)
		dst = quote(dst, m)
		dst = append(dst, `,"parent":null,"max_model_len":`...)
		dst = appendInt(dst, length)
		dst = append(dst, `,"permission":[{"id":"modelperm-`...)
		dst = appendInt(dst, i)
		dst = append(dst, `","object":"model_permission","created":`...)
		dst = appendInt(dst, epoch)
		dst = append(dst, `,"allow_create_engine":false,"allow_sampling":true,"allow_logprobs":true,"allow_search_indices":false,`+
			`"allow_view":true,"allow_fine_tuning":false,"organization":"*","group":null,"is_blocking":false}]}`...)
	}
	return append(dst, "]}"...)
}
