package templates

import (
	"strings"
	"time"

	"github.com/a-h/templ"
)

// Overview is the model of the first page.
type Overview struct {
	Trouble     string // why nothing is known; the rest is empty then
	At          time.Time
	Window      time.Duration // that rates are averages of
	Live, Batch Rate
	Queue       Queue
	Waiting     []Waiting
	Prices      []Price
	MorePrices  int // models that are not among Prices
	Problems    []Problem
	Upstreams   []UpstreamRow
	Gateways    []GatewayRow // empty if one does everything
	Batches     []BatchRow
	More        int // active batches that are not among Batches
	Charts      []Chart
}

// Price is what batch costs live requests of a model, in words.
type Price struct {
	Model string // "" if it is the only one
	Text  string
}

// Rate is how much is done per second.
type Rate struct {
	Requests, Failures, InputTokens, OutputTokens float64
	InFlight                                      int
}

func (r Rate) plus(o Rate) Rate {
	return Rate{r.Requests + o.Requests, r.Failures + o.Failures, r.InputTokens + o.InputTokens, r.OutputTokens + o.OutputTokens, r.InFlight + o.InFlight}
}

func (r Rate) errorRate() float64 {
	if r.Requests <= 0 {
		return 0
	}
	return r.Failures / r.Requests
}

// orUnknown is a dash for what is not known.
func orUnknown(known bool, text string) string {
	if !known {
		return "–"
	}
	return text
}

// Waiting is how many requests of a model wait in the gateway.
type Waiting struct {
	Model, Class string // "live" or "flex"
	Requests     int64
	Oldest       time.Duration
}

func (w Waiting) text() string {
	return Plural(w.Requests, w.Class+" request waits", w.Class+" requests wait") + " for a server of " + w.Model + ", the first for " + Span(w.Oldest)
}

// Queue is how much batch work waits.
type Queue struct {
	Waiting, InFlight, Limit int64
	Oldest                   time.Duration
	Paused                   []string
	Hours                    string // until when no batch runs because of the time of day
	Active                   int    // batches
}

// UpstreamRow is a server in a list.
type UpstreamRow struct {
	URL                 string
	Page                templ.SafeURL
	State, Reason       string
	Since               time.Time
	Draining            bool
	Models              []string
	Version             string
	Live, Batch, Others int
	BatchLimit          int // lines of this gateway in flight at most, as things are
	MaxSeqs             int // requests that it runs at once; 0: not known
	Limit               int // requests that it should have at once, as found
	LimitWhy            string
	Placement           string  // what it is for
	Preempted           float64 // requests, since it was started
	HasMetrics          bool
	Running, Waiting    float64
	KV                  float64
	TTFT, ITL           Latency
	Window              time.Duration
	Recent, Failures    int64
}

// Latency is how long something took, N times.
type Latency struct {
	N        int64
	P50, P95 time.Duration
}

// Text is the middle and the slow end.
func (l Latency) Text() string {
	if l.N == 0 {
		return "–"
	}
	middle, slow := Brief(l.P50), Brief(l.P95)
	number, unit, _ := strings.Cut(middle, " ")
	if strings.HasSuffix(slow, " "+unit) && !strings.Contains(unit, " ") {
		middle = number // one unit says it for both
	}
	return middle + " / " + slow
}
