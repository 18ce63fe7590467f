package templates

import (
	"strings"
	"time"

	"github.com/a-h/templ"
)

// Overview is the model of the overview.
type Overview struct {
	Trouble     string // why no data is available; the other fields are empty then
	At          time.Time
	Window      time.Duration // period of the average rates
	Live, Batch Rate
	Queue       Queue
	Waiting     []Waiting
	Prices      []Price
	MorePrices  int // models not in Prices
	Problems    []Problem
	Upstreams   []UpstreamRow
	Gateways    []GatewayRow // empty if there is only one with the role all
	Batches     []BatchRow
	More        int // active batches not in Batches
	Charts      []Chart
}

// Price is the formatted price of batch of a model.
type Price struct {
	Model string // "" if it is the only one
	Text  string
}

// Rate is the work per second.
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

// orUnknown returns a dash for unknown values.
func orUnknown(known bool, text string) string {
	if !known {
		return "–"
	}
	return text
}

// Waiting is the number of waiting requests of a model.
type Waiting struct {
	Model, Class string // "live" or "flex"
	Requests     int64
	Oldest       time.Duration
}

func (w Waiting) text() string {
	return Plural(w.Requests, w.Class+" request waits", w.Class+" requests wait") + " for a server of " + w.Model + ", the first for " + Span(w.Oldest)
}

// Queue is the backlog of batch work.
type Queue struct {
	Waiting  int64         // lines of active batches that have no result and were not sent
	InFlight int64         // lines in flight at servers
	Limit    int64         // maximum InFlight at present; 0: no server accepts lines, or it is not known
	Oldest   time.Duration // longest waiting time of a line; 0 if none waits
	Paused   []string      // why batch work is paused; empty if it is not
	Hours    string        // until when no batch runs because of the hours; empty if batches may run
	Active   int           // batches that have not ended
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
	BatchLimit          int // maximum lines of this gateway in flight at present
	MaxSeqs             int // requests that it runs concurrently; 0: not known
	Limit               int // measured concurrency limit
	LimitWhy            string
	Placement           string  // its purpose while batch lines run
	Preempted           float64 // requests, since it was started
	HasMetrics          bool
	Running, Waiting    float64
	KV                  float64
	TTFT, ITL           Latency
	Window              time.Duration
	Recent, Failures    int64
}

// Latency summarizes N durations.
type Latency struct {
	N        int64
	P50, P95 time.Duration
}

// Text formats the median and the slow end.
func (l Latency) Text() string {
	if l.N == 0 {
		return "–"
	}
	middle, slow := Brief(l.P50), Brief(l.P95)
	number, unit, _ := strings.Cut(middle, " ")
	if strings.HasSuffix(slow, " "+unit) && !strings.Contains(unit, " ") {
		middle = number // the unit is shown once
	}
	return middle + " / " + slow
}
