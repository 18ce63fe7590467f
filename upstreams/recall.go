package upstreams

import (
	"encoding/json"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/openai"
)

// discoveredMax limits the size of an upstream's models in DiscoveredModels, in
// bytes.
const discoveredMax = 64 << 10

// DiscoveredModels returns the models that upstreams have reported, as JSON by URL,
// for [Pool.RecallModels]. Upstreams without discovery are omitted.
func (p *Pool) DiscoveredModels() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := make(map[string]string)
	for _, u := range p.upstreams {
		if !u.discovered {
			continue
		}
		kept := make([]openai.Model, len(u.models))
		for i, m := range u.models {
			m.Extra = ""
			kept[i] = m
		}
		text, err := json.Marshal(kept)
		if err != nil { // names and numbers always marshal
			panic(err)
		}
		if len(text) <= discoveredMax {
			found[u.url] = string(text)
		}
	}
	return found
}

// RecallModels sets the models of upstreams that have not reported any yet, as
// returned by DiscoveredModels in an earlier process: a model must not become unknown
// because its servers are down while the gateway starts. It applies to upstreams that
// are added later, too. Invalid entries are skipped.
func (p *Pool) RecallModels(discovered map[string]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recalled = discovered
	recalled := false
	for _, u := range p.upstreams {
		recalled = p.recall(u) || recalled
	}
	if recalled {
		p.publish()
	}
}

// recall sets the models of u from RecallModels if it has not reported any. p.mu is
// held.
func (p *Pool) recall(u *upstream) bool {
	text, ok := p.recalled[u.url]
	if u.discovered || !ok {
		return false
	}
	var models []openai.Model
	if err := json.Unmarshal([]byte(text), &models); err != nil {
		p.log.Warn("stored models of an upstream are invalid and ignored until discovery", zap.String("upstream", u.url), zap.Error(err))
		return false
	}
	u.models = models
	return true
}
