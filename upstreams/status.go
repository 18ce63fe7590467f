package upstreams

import "time"

// UpstreamStatus is how an upstream is.
type UpstreamStatus struct {
	URL      string    `json:"url"`
	State    State     `json:"state"`
	Since    time.Time `json:"since"`            // of the state; of draining, when it was drained
	Reason   string    `json:"reason,omitempty"` // why it is not up
	Remedy   string    `json:"remedy,omitempty"` // what to do about it, if the gateway knows
	Draining bool      `json:"draining"`
	// DrainedAt is when it was drained and DrainedBy by whom, if that is known.
	DrainedAt time.Time `json:"drained_at,omitzero"`
	DrainedBy string    `json:"drained_by,omitempty"`

	Models      []string `json:"models"`
	MaxModelLen int64    `json:"max_model_len,omitempty"` // of the first model, in tokens
	Version     string   `json:"version,omitempty"`
	Weight      float64  `json:"weight"`
	MaxNumSeqs  int      `json:"max_num_seqs"`
	// MaxNumSeqsAssumed reports that MaxNumSeqs is the default: none is configured
	// and the server tells none. Limit is what was found then.
	MaxNumSeqsAssumed bool `json:"max_num_seqs_assumed,omitempty"`
	BatchLimit        int  `json:"batch_limit"` // batch lines of this gateway in flight at most

	// Limit is how many requests of both classes the server should have at once, as
	// found so far, and LimitReason why it is not more. Batch lines come only below it.
	Limit       int         `json:"limit"`
	LimitReason LimitReason `json:"limit_reason"`
	// Placement is what the server is for while batch lines run.
	Placement Placement `json:"placement"`
	// BatchSlots is how many batch lines of this gateway may be in flight there now,
	// those included that are: what live requests and other gateways leave of
	// Limit, up to BatchLimit.
	BatchSlots int `json:"batch_slots"`
	// LiveLimit is how many live requests of all gateways are sent to the server at
	// once while others wait in the gateway; 0 for any number.
	LiveLimit int `json:"live_limit,omitempty"`
	// BatchWithheld reports that no batch line comes for a moment: the price of batch
	// is being measured.
	BatchWithheld bool `json:"batch_withheld,omitempty"`

	// In flight through this gateway.
	LiveInFlight  int `json:"live_in_flight"`
	BatchInFlight int `json:"batch_in_flight"`
	// In flight through other gateways, of both classes, as they said last.
	OthersInFlight int `json:"others_in_flight"`

	// The server's own figures, as of the last probe. HasMetrics is false when
	// it tells none.
	HasMetrics   bool    `json:"has_metrics"`
	Running      float64 `json:"running"`
	Waiting      float64 `json:"waiting"`
	KVCacheUsage float64 `json:"kv_cache_usage"` // 0 to 1
	Preemptions  float64 `json:"preemptions"`    // requests that were computed again, since the server was started
	// PendingPrefill is how many seconds the server will take to read the prompts that
	// all gateways have sent there, 0 when its speed is not known.
	PendingPrefill float64 `json:"pending_prefill_seconds"`
	// PendingPrefillTokens is how many tokens of prompts that this gateway has sent there
	// the server still has to read, as estimated, without those in its prefix cache.
	PendingPrefillTokens int64 `json:"pending_prefill_tokens"`
	// OthersPendingPrefillTokens is the same for other gateways, by what they said last.
	OthersPendingPrefillTokens int64 `json:"others_pending_prefill_tokens"`
	// PrefillSpeed is how many tokens of prompts the server reads in a second, and
	// TokenSeconds the time between two tokens of a request there, as learned from
	// answers and from the server's own figures; 0 when that is not known.
	PrefillSpeed float64 `json:"prefill_tokens_per_second,omitempty"`
	TokenSeconds float64 `json:"seconds_per_token,omitempty"`
	// CachedPrompts is which part of a prompt is expected to be in the server's prefix
	// cache, by model: of live requests and of batch lines. Models of which nothing is
	// known are left out.
	CachedPrompts map[string]CachedPart `json:"cached_prompts,omitempty"`

	// Attempts since the upstream was configured, of both classes.
	Requests int64 `json:"requests"`
	Failures int64 `json:"failures"`
}

// CachedPart is which part of the prompts of a model is in a prefix cache, 0 to 1.
type CachedPart struct {
	Live  float64 `json:"live"`
	Batch float64 `json:"batch"`
}

// Status tells how every upstream is, in the configuration's order.
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
			HasMetrics: u.gauges.told, Running: u.gauges.running, Waiting: u.gauges.waiting, KVCacheUsage: u.gauges.kvCache, Preemptions: u.gauges.preempts,
			Requests: u.requests[Live].Load() + u.requests[Batch].Load(),
			Failures: u.failures[Live].Load() + u.failures[Batch].Load(),
		}
		s.notePrefill(u)
		load := u.load.Load()
		s.LiveInFlight, s.BatchInFlight = split(load)
		s.MaxNumSeqsAssumed = u.seqsAssumed && u.facts.MaxNumSeqs == 0
		s.LiveLimit = p.candidate(u).liveLimit()
		s.BatchWithheld = u.withheld.Load()
		s.BatchSlots = s.BatchInFlight // and nothing new
		if u.isUp() && !u.draining && u.suspicion == nil {
			s.BatchSlots = max(s.BatchInFlight, p.candidate(u).batchSlots(load))
		}
		s.Limit, s.LimitReason = min(u.maxSeqs, int(u.limit.Load())), u.limitWhy
		if s.LimitReason == "" {
			s.LimitReason = LimitStart
		}
		s.Placement = u.purpose()
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

// notePrefill takes in what is known of the prompts that u has to read.
func (s *UpstreamStatus) notePrefill(u *upstream) {
	now, pace := u.age(), &u.pace
	s.PendingPrefillTokens, _ = pace.pendingTokens(now)
	s.OthersPendingPrefillTokens = pace.pendingOfPeers(now)
	s.TokenSeconds = time.Duration(pace.step.Load()).Seconds()
	if perToken := pace.known(); perToken > 0 {
		s.PendingPrefill = time.Duration(pace.pending(now)).Seconds()
		s.PrefillSpeed = 1e9 / perToken
	}
	s.CachedPrompts = u.cachedParts()
}
