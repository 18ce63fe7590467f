package upstreams

import (
	"slices"
	"sync/atomic"

	"github.com/tidegate/tidegate/internal/openai"
)

// prefixHits tracks the part of a model's prompts that was in a server's prefix
// cache, by class, as reported in answers. The zero value is ready.
type prefixHits struct {
	// reported is true if answers contain the number of cached tokens. vLLM omits the
	// member from answers without cached tokens, and from all answers unless it was
	// started with --enable-prompt-tokens-details.
	reported atomic.Bool
	parts    [2]average32 // by Class

	// Tokens of the prompts since answers contain the number of cached tokens, and those
	// of them that were cached; by Class.
	promptTokens, cachedTokens [2]atomic.Int64
}

// learn records the usage of an answer.
func (h *prefixHits) learn(class Class, u openai.Usage) {
	if h == nil || u.InputTokens <= 0 {
		return
	}
	cached := u.InputTokensDetails.CachedTokens
	if cached > 0 && !h.reported.Load() {
		h.reported.Store(true)
	}
	if h.reported.Load() {
		h.parts[class].add(min(1, float64(cached)/float64(u.InputTokens)))
		h.promptTokens[class].Add(u.InputTokens)
		h.cachedTokens[class].Add(min(u.InputTokens, cached))
	}
}

// isReported reports whether answers of the server contain the number of cached
// tokens.
func (h *prefixHits) isReported() bool { return h != nil && h.reported.Load() }

// part returns the expected cached part of the next prompt.
func (h *prefixHits) part(class Class) (part float64, known bool) {
	if h == nil {
		return 0, false
	}
	return h.parts[class].value()
}

// hitsOf returns the record of a model, nil if the server has not reported the model.
func (u *upstream) hitsOf(model string) *prefixHits {
	if all := u.hits.Load(); all != nil {
		return (*all)[model]
	}
	return nil
}

// updateHits adds and removes records to match the models of the server. Pool.mu is
// held.
func (u *upstream) updateHits() {
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

// cachedPart returns the expected cached part of the next prompt of a model and
// class: as reported in answers, or else by the server's metrics, which cover all its
// models.
func (u *upstream) cachedPart(h *prefixHits, class Class) float64 {
	part, known := h.part(class)
	if !known {
		part, _ = u.pace.cached.value()
	}
	return part
}

// cachedParts returns the known cached parts by model.
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

// hitCount is the tokens of the prompts of a model and class on a server.
type hitCount struct {
	model, class   string
	prompt, cached int64
}

// hitCounts returns the counts of the models whose cached tokens the server reports. label
// returns the label of a model; models with the same one are counted together.
func (u *upstream) hitCounts(label func(model string) string) []hitCount {
	all := u.hits.Load()
	if all == nil {
		return nil
	}
	var counts []hitCount
	for model, h := range *all {
		if !h.isReported() {
			continue
		}
		for _, class := range []Class{Live, Batch} {
			c := hitCount{label(model), class.String(), h.promptTokens[class].Load(), h.cachedTokens[class].Load()}
			at := slices.IndexFunc(counts, func(o hitCount) bool { return o.model == c.model && o.class == c.class })
			if at < 0 {
				counts = append(counts, c)
				continue
			}
			counts[at].prompt += c.prompt
			counts[at].cached += c.cached
		}
	}
	return counts
}
