package vllmsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// engineState is the answer of /sim/engine.
type engineState struct {
	MaxNumSeqs int  `json:"max_num_seqs"`
	Frozen     bool `json:"frozen"`
	Dead       bool `json:"dead"`
	*EngineStats
}

func (s *Server) engineState() engineState {
	state := engineState{MaxNumSeqs: s.slots.size(), Frozen: s.life.isFrozen(), Dead: s.life.isDead(), EngineStats: s.engineStats()}
	if state.EngineStats != nil {
		state.MaxNumSeqs = state.EngineStats.MaxNumSeqs
	}
	return state
}

// engineChange is the body of POST /sim/engine. Absent members change nothing.
type engineChange struct {
	MaxNumSeqs *int     `json:"max_num_seqs"`
	Speed      *float64 `json:"speed"`
	Frozen     *bool    `json:"frozen"`
	Dead       *bool    `json:"dead"`
}

// check returns an error for a change that this server does not support.
func (c engineChange) check(s *Server) error {
	switch {
	case c.MaxNumSeqs != nil && *c.MaxNumSeqs < 1:
		return fmt.Errorf("max_num_seqs must be at least 1, got %d", *c.MaxNumSeqs)
	case c.Speed != nil && s.engine == nil:
		return errors.New("speed needs a server with an engine")
	case c.Speed != nil && !(*c.Speed > 0):
		return fmt.Errorf("speed must be above 0, got %g", *c.Speed)
	case c.Dead != nil && !*c.Dead:
		return errors.New("a dead engine cannot be changed")
	}
	return nil
}

// changeEngine is POST /sim/engine.
func (s *Server) changeEngine(w http.ResponseWriter, r *http.Request) {
	var change engineChange
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	dec.DisallowUnknownFields()
	err := dec.Decode(&change)
	if err != nil {
		err = fmt.Errorf("decoding body: %w", err)
	} else {
		err = change.check(s)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if n := change.MaxNumSeqs; n != nil {
		s.slots.resize(*n)
		if s.engine != nil {
			s.engine.SetMaxNumSeqs(*n)
		}
	}
	if change.Speed != nil {
		s.engine.SetSpeed(*change.Speed)
	}
	if change.Frozen != nil {
		if *change.Frozen {
			s.freeze(0)
		} else {
			s.thaw()
		}
	}
	if change.Dead != nil {
		s.die(defaultDying)
	}
	writeSimJSON(w, s.engineState())
}
