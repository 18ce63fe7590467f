// Package modellabel bounds the values of the label model of metrics. Clients and servers
// choose model names, and every name would create series that exist until the program ends.
package modellabel

import (
	"strings"
	"sync"
)

// Limit is the number of models with their own label.
const Limit = 200

// Other is the label of all further models, and of requests without a known one.
const Other = "other"

// Set assigns labels to models in the order in which they are requested. Its zero value is
// empty. It is safe for concurrent use.
type Set struct {
	mu    sync.RWMutex
	known map[string]string // guarded by mu; each name by itself, at most Limit
}

// Peek returns the label of a model without giving it one: Other for a model that Of
// has not been asked for.
func (s *Set) Peek(model string) string {
	model = strings.ToValidUTF8(model, "\uFFFD")
	s.mu.RLock()
	defer s.mu.RUnlock()
	if label, known := s.known[model]; known {
		return label
	}
	return Other
}

// Of returns the label of a model that a server has. The first Limit models keep
// their names, further ones and "" are Other.
func (s *Set) Of(model string) string {
	if model == "" {
		return Other
	}
	model = strings.ToValidUTF8(model, "\uFFFD") // as Prometheus wants labels
	s.mu.RLock()
	label, known := s.known[model]
	full := len(s.known) == Limit
	s.mu.RUnlock()
	switch {
	case known:
		return label
	case full:
		return Other
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if label, known := s.known[model]; known {
		return label
	}
	if len(s.known) == Limit {
		return Other
	}
	if s.known == nil {
		s.known = make(map[string]string)
	}
	model = strings.Clone(model) // not the whole request that it is a part of
	s.known[model] = model
	return model
}
