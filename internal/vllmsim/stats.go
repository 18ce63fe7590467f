package vllmsim

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
)

// Stats counts what a server saw since it started or was reset. Every
// generation request that was received is running, waiting, finished, aborted,
// faulted or rejected; an answer counts as ended before its last byte is sent.
type Stats struct {
	Requests int64 `json:"requests"` // of every kind, save those to /sim/
	Running  int64 `json:"running"`  // hold a slot now
	Waiting  int64 `json:"waiting"`  // wait for one now

	Finished int64 `json:"finished"` // answered in full
	Aborted  int64 `json:"aborted"`  // the client left first, or the server closed
	Faulted  int64 `json:"faulted"`  // ended by a fault
	Rejected int64 `json:"rejected"` // refused with a 4xx

	// Calls is the number of generation requests received. Distinct is the number of
	// different ones by path and body, Repeated that of the others. With a shared
	// Ledger they are those of all its servers.
	Calls    int64 `json:"calls"`
	Distinct int64 `json:"distinct"`
	Repeated int64 `json:"repeated"`

	MaxRunning int64        `json:"max_running"` // most that ran at once
	Engine     *EngineStats `json:"engine,omitempty"`

	ControlCalls int64 `json:"control_calls"` // to routes that change a vLLM
	UnknownPaths int64 `json:"unknown_paths"` // to paths that a vLLM has not
}

// counters are the part of Stats that is counted one by one.
type counters struct {
	requests, finished, aborted, faulted, rejected, control, unknown atomic.Int64
}

func (c *counters) reset() {
	for _, n := range []*atomic.Int64{&c.requests, &c.finished, &c.aborted, &c.faulted, &c.rejected, &c.control, &c.unknown} {
		n.Store(0)
	}
}

// Stats returns the counts of now.
func (s *Server) Stats() Stats {
	running, waiting, most := s.load()
	calls, distinct := s.cfg.Ledger.calls.Load(), s.cfg.Ledger.distinct.Load()
	return Stats{
		Requests: s.counts.requests.Load(),
		Running:  int64(running),
		Waiting:  int64(waiting),
		Finished: s.counts.finished.Load(),
		Aborted:  s.counts.aborted.Load(),
		Faulted:  s.counts.faulted.Load(),
		Rejected: s.counts.rejected.Load(),
		Calls:    calls, Distinct: distinct, Repeated: calls - distinct,
		MaxRunning:   int64(most),
		ControlCalls: s.counts.control.Load(),
		UnknownPaths: s.counts.unknown.Load(),
		Engine:       s.engineStats(),
	}
}

// load returns the numbers of running and waiting requests, and the maximum of running ones. With an
// engine each choice of an answer counts.
func (s *Server) load() (running, waiting, most int) {
	if s.engine == nil {
		return s.slots.counts()
	}
	shown := s.engine.Snapshot()
	return shown.Running, shown.Waiting + shown.Arriving, shown.MaxRunning
}

// Calls returns the counts of one request by its Key.
func (s *Server) Calls(key string) Calls { return s.cfg.Ledger.Calls(key) }

// AllCalls returns the counts of every request by its Key.
func (s *Server) AllCalls() map[string]Calls { return s.cfg.Ledger.All() }

// Reset sets all counts to zero, forgets received requests, and restarts the counting of
// times=N. Metrics continue, because those of vLLM never decrease.
func (s *Server) Reset() {
	s.counts.reset()
	s.slots.resetMax()
	if s.engine != nil {
		s.engine.ResetMax()
	}
	s.cfg.Ledger.Reset()
}

// serveSim answers the routes of the simulation itself, which are open and
// work during Startup.
func (s *Server) serveSim(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "GET /sim/engine":
		writeSimJSON(w, s.engineState())
	case "POST /sim/engine":
		s.changeEngine(w, r)
	case "GET /sim/stats":
		writeSimJSON(w, s.Stats())
	case "GET /sim/calls":
		query := r.URL.Query()
		switch {
		case query.Has("marker"):
			writeSimJSON(w, s.Calls(query.Get("marker")))
		case query.Has("key"):
			writeSimJSON(w, s.Calls(query.Get("key")))
		case query.Has("prefix"):
			writeSimJSON(w, s.cfg.Ledger.Named(query.Get("prefix")))
		default:
			writeSimJSON(w, s.AllCalls())
		}
	case "POST /sim/calls":
		var wanted struct {
			Key string `json:"key"`
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&wanted); err != nil {
			http.Error(w, "decoding body: "+err.Error(), http.StatusBadRequest)
			return
		}
		writeSimJSON(w, s.Calls(wanted.Key))
	case "POST /sim/reset":
		s.Reset()
		w.WriteHeader(http.StatusNoContent)
	default:
		http.Error(w, "no such route of the simulation", http.StatusNotFound)
	}
}

func writeSimJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // structs of numbers always marshal
	}
	writeBody(w, http.StatusOK, headerJSON, body)
}
