package upstreams

import "time"

// UpstreamStatus is the status of an upstream.
type UpstreamStatus struct {
	URL      string    `json:"url"`
	State    State     `json:"state"`
	Since    time.Time `json:"since"`            // of the state; of draining, when it was drained
	Reason   string    `json:"reason,omitempty"` // why it is not up
	Remedy   string    `json:"remedy,omitempty"` // what an operator can do, if known
	Draining bool      `json:"draining"`
	// DrainedAt is when it was drained, DrainedBy by whom, if known.
	DrainedAt time.Time `json:"drained_at,omitzero"`
	DrainedBy string    `json:"drained_by,omitempty"`

	Models      []string `json:"models"`
	MaxModelLen int64    `json:"max_model_len,omitempty"` // of the first model, in tokens
	Version     string   `json:"version,omitempty"`
	Weight      float64  `json:"weight"`
	MaxNumSeqs  int      `json:"max_num_seqs"`
	// MaxNumSeqsAssumed reports whether MaxNumSeqs is the default: it is neither
	// configured nor reported by the server. Limit is then the measured limit.
	MaxNumSeqsAssumed bool `json:"max_num_seqs_assumed,omitempty"`
	BatchLimit        int  `json:"batch_limit"` // maximum number of this gateway's batch lines in flight

	// Limit is the number of requests of both classes that the server should run
	// concurrently, as measured so far. LimitReason says why it is not higher. Batch
	// lines are sent only below it.
	Limit       int         `json:"limit"`
	LimitReason LimitReason `json:"limit_reason"`
	// Placement is the purpose of the server while batch lines run.
	Placement Placement `json:"placement"`
	// BatchSlots is the maximum number of batch lines of this gateway in flight there
	// now, including those already in flight: the part of Limit that live requests and
	// other gateways do not use, up to BatchLimit.
	BatchSlots int `json:"batch_slots"`
	// LiveLimit is the maximum number of live requests of all gateways at the server.
	// Further ones wait in the gateway. 0: no limit.
	LiveLimit int `json:"live_limit,omitempty"`
	// BatchWithheld reports whether batch lines are withheld to measure the price of
	// batch.
	BatchWithheld bool `json:"batch_withheld,omitempty"`

	// In flight through this gateway.
	LiveInFlight  int `json:"live_in_flight"`
	BatchInFlight int `json:"batch_in_flight"`
	// In flight through other gateways, of both classes, as last reported by them.
	OthersInFlight int `json:"others_in_flight"`

	// The server's own metrics, as of the last probe. HasMetrics is false if it
	// reports none.
	HasMetrics   bool    `json:"has_metrics"`
	Running      float64 `json:"running"`
	Waiting      float64 `json:"waiting"`
	KVCacheUsage float64 `json:"kv_cache_usage"` // 0 to 1
	Preemptions  float64 `json:"preemptions"`    // requests that were recomputed, since the server was started
	// PendingPrefill is the expected time until the server has prefilled the prompts
	// sent by all gateways, in seconds; 0 if its speed is not known.
	PendingPrefill float64 `json:"pending_prefill_seconds"`
	// PendingPrefillTokens is the estimated number of prompt tokens sent by this
	// gateway that the server still has to prefill, without those in its prefix cache.
	PendingPrefillTokens int64 `json:"pending_prefill_tokens"`
	// OthersPendingPrefillTokens is the same for other gateways, as last reported by
	// them.
	OthersPendingPrefillTokens int64 `json:"others_pending_prefill_tokens"`
	// PrefillSpeed is the number of prompt tokens that the server prefills per second.
	// TokenSeconds is the time between two tokens of a request there. Both are learned
	// from answers and from the server's metrics; 0 if not known.
	PrefillSpeed float64 `json:"prefill_tokens_per_second,omitempty"`
	TokenSeconds float64 `json:"seconds_per_token,omitempty"`
	// CachedPrompts is the part of a prompt that is expected to be in the server's
	// prefix cache, by model, for live requests and batch lines. Models without an
	// estimate are omitted.
	CachedPrompts map[string]CachedPart `json:"cached_prompts,omitempty"`

	// Prefixes is the prediction of the server's prefix cache.
	Prefixes PrefixStatus `json:"prefixes"`

	// Attempts since the upstream was configured, of both classes.
	Requests int64 `json:"requests"`
	Failures int64 `json:"failures"`
}

// CachedPart is the part of a model's prompts that is in a prefix cache, 0 to 1.
type CachedPart struct {
	Live  float64 `json:"live"`
	Batch float64 `json:"batch"`
}

// Status returns the status of every upstream, in the configuration's order.
func (p *Pool) Status() []UpstreamStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]UpstreamStatus, 0, len(p.upstreams))
	for _, u := range p.upstreams {
		s := UpstreamStatus{
			URL: u.url, State: u.state, Since: u.since, Reason: u.reason, Draining: u.draining,
			DrainedAt: u.drainedAt, DrainedBy: u.drainedBy,
			Models: make([]string, 0, len(u.models)), Version: u.version,
			Weight: u.weight, MaxNumSeqs: u.maxSeqs, BatchLimit: batchLimit(p.batchShare(u), u.maxSeqs, p.peers.Working),
			HasMetrics: u.gauges.present, Running: u.gauges.running, Waiting: u.gauges.waiting, KVCacheUsage: u.gauges.kvCache, Preemptions: u.gauges.preempts,
			Requests: u.requests[Live].Load() + u.requests[Batch].Load(),
			Failures: u.failures[Live].Load() + u.failures[Batch].Load(),
		}
		s.notePrefill(u)
		load := u.load.Load()
		s.LiveInFlight, s.BatchInFlight = split(load)
		s.MaxNumSeqsAssumed = u.seqsAssumed && u.facts.MaxNumSeqs == 0
		s.LiveLimit = p.candidate(u).liveLimit()
		s.BatchWithheld = u.withheld.Load()
		s.BatchSlots = s.BatchInFlight // no new lines
		if u.isUp() && !u.draining && u.breaker == nil {
			s.BatchSlots = max(s.BatchInFlight, p.candidate(u).batchSlots(load))
		}
		s.Limit, s.LimitReason = min(u.maxSeqs, int(u.limit.Load())), u.limitWhy
		if s.LimitReason == "" {
			s.LimitReason = LimitStart
		}
		s.Placement = u.placement()
		otherLive, otherBatch := split(u.others.Load())
		s.OthersInFlight = otherLive + otherBatch
		if u.state != StateUp {
			s.Remedy = u.remedy
		}
		if u.draining && u.isUp() {
			s.State, s.Since = StateDraining, u.drainedAt
		}
		for i := range u.models {
			s.Models = append(s.Models, u.models[i].ID)
		}
		if len(u.models) > 0 {
			s.MaxModelLen = u.models[0].MaxModelLen
		}
		all = append(all, s)
	}
	return all
}

// notePrefill sets the estimates of the prompts that u has to prefill.
func (s *UpstreamStatus) notePrefill(u *upstream) {
	now, pace := u.age(), &u.pace
	s.PendingPrefillTokens, _ = pace.pendingTokens(now)
	s.OthersPendingPrefillTokens = pace.pendingOfPeers(now)
	s.TokenSeconds = time.Duration(pace.interval.Load()).Seconds()
	if perToken := pace.estimate(); perToken > 0 {
		s.PendingPrefill = time.Duration(pace.pending(now)).Seconds()
		s.PrefillSpeed = 1e9 / perToken
	}
	s.CachedPrompts = u.cachedParts()
	s.Prefixes = u.prefixes.status()
}
