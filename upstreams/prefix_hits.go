package upstreams

import (
	"sync/atomic"

	"github.com/tidegate/tidegate/internal/openai"
)

// prefixHits is the part of the prompts of a model that a server had in its prefix
// cache, by class, as answers said. The zero value is ready.
type prefixHits struct {
	// told reports that answers say how many tokens were cached. vLLM leaves the
	// member out of answers without any, and of all answers unless it was started
	// with --enable-prompt-tokens-details.
	told  atomic.Bool
	parts [2]average32 // by Class
}

// learn takes an answer in.
func (h *prefixHits) learn(class Class, u openai.Usage) {
	if h == nil || u.InputTokens <= 0 {
		return
	}
	cached := u.InputTokensDetails.CachedTokens
	if cached > 0 && !h.told.Load() {
		h.told.Store(true)
	}
	if h.told.Load() {
		h.parts[class].add(min(1, float64(cached)/float64(u.InputTokens)))
	}
}

// tells reports whether answers of the server tell how many tokens were cached.
func (h *prefixHits) tells() bool { return h != nil && h.told.Load() }

// part returns the part of the next prompt that is expected to be cached.
func (h *prefixHits) part(class Class) (part float64, known bool) {
	if h == nil {
		return 0, false
	}
	return h.parts[class].value()
}

// hitsOf returns the record of a model, nil if the server has not told the model.
func (u *upstream) hitsOf(model string) *prefixHits {
	if all := u.hits.Load(); all != nil {
		return (*all)[model]
	}
	return nil
}

// keepHits brings the records up to the models of the server. Pool.mu is held.
func (u *upstream) keepHits() {
	var was map[string]*prefixHits
	if all := u.hits.Load(); all != nil {
		was = *all
	}
	same := len(was) == len(u.models)
	for i := range u.models {
		same = same && was[u.models[i].ID] != nil
	}
	if same {
		return
	}
	now := make(map[string]*prefixHits, len(u.models))
	for i := range u.models {
		id := u.models[i].ID
		if now[id] = was[id]; now[id] == nil {
			now[id] = new(prefixHits)
		}
	}
	u.hits.Store(&now)
}

// cachedPart returns the part of the next prompt of a model and class that is
// expected to be in the prefix cache: by the answers, else by the counters of the
// server, which are of all its models.
func (u *upstream) cachedPart(h *prefixHits, class Class) float64 {
	part, known := h.part(class)
	if !known {
		part, _ = u.pace.cached.value()
	}
	return part
}

// cachedParts returns what is known of each model.
func (u *upstream) cachedParts() map[string]CachedPart {
	all := u.hits.Load()
	if all == nil {
		return nil
	}
	_, known := u.pace.cached.value()
	parts := make(map[string]CachedPart, len(*all))
	for model, h := range *all {
		_, live := h.part(Live)
		_, batch := h.part(Batch)
		if known || live || batch {
			parts[model] = CachedPart{Live: u.cachedPart(h, Live), Batch: u.cachedPart(h, Batch)}
		}
	}
	return parts
}
