package upstreams

import (
	"encoding/json"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/openai"
)

// toldMost bounds the text of an upstream's models in ToldModels, in bytes.
const toldMost = 64 << 10

// ToldModels returns the models that upstreams have told, as JSON by URL, for
// [Pool.RecallModels]. Upstreams that have told none yet are left out.
func (p *Pool) ToldModels() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	told := make(map[string]string)
	for _, u := range p.upstreams {
		if !u.told {
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
		if len(text) <= toldMost {
			told[u.url] = string(text)
		}
	}
	return told
}

// RecallModels has upstreams that have told no models yet have those that they told
// before, as ToldModels returned them: a model is not unknown because its servers
// are away while the gateway starts. It holds for upstreams that Apply adds later,
// too. What cannot be read is passed over.
func (p *Pool) RecallModels(told map[string]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recalled = told
	recalled := false
	for _, u := range p.upstreams {
		recalled = p.recall(u) || recalled
	}
	if recalled {
		p.publish()
	}
}

// recall has u have the models of RecallModels, if it has told none. p.mu is held.
func (p *Pool) recall(u *upstream) bool {
	text, ok := p.recalled[u.url]
	if u.told || !ok {
		return false
	}
	var models []openai.Model
	if err := json.Unmarshal([]byte(text), &models); err != nil {
		p.log.Warn("stored models of an upstream cannot be read; it is asked for them when it is up", zap.String("upstream", u.url), zap.Error(err))
		return false
	}
	u.models = models
	return true
}
