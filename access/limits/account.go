package limits

import (
	"time"

	"github.com/tidegate/tidegate/access"
)

// Kind is a limit that a request can reach.
type Kind uint8

// The kinds of limits.
const (
	RequestsPerMinute Kind = iota
	TokensPerMinute
	RequestsInFlight
	BatchesPerHour
	TokensPerMonth
	CostPerMonth
	kinds
)

var kindNames = [kinds]string{"requests_per_minute", "tokens_per_minute", "requests_in_flight", "batches_per_hour", "tokens_per_month", "cost_per_month"}

// String returns the word of the configuration.
func (k Kind) String() string { return kindNames[k] }

// owner is a key or a tenant.
type owner struct {
	tenant bool
	name   string // of the tenant, or id of the key
}

// kind returns "tenant" or "key".
func (o owner) kind() string {
	if o.tenant {
		return "tenant"
	}
	return "key"
}

// String returns the name in errors.
func (o owner) String() string {
	return o.kind() + " " + o.name
}

// account has the requests and tokens that an owner used. The limiter's mu guards it.
type account struct {
	owner    owner
	limits   access.Limits
	requests bucket
	tokens   bucket
	batches  bucket
	inFlight int64
	used     time.Time
	waiting  waiting
}

// waiting is the reason for which lines of batches wait, until a time at which they have
// been tried again.
type waiting struct {
	reason string
	until  time.Time
}

// rate is a limit by time, as this gateway enforces it.
type rate struct {
	kind     Kind
	bucket   *bucket
	n        float64 // to take
	limit    int64   // of all gateways together
	capacity float64 // this gateway's part
	per      time.Duration
}

// rates returns the limits by time of a request with a number of tokens, filled.
func (a *account) rates(tokens int64, gateways int, now time.Time) []rate {
	list := make([]rate, 0, 2)
	list = addRate(list, rate{kind: RequestsPerMinute, bucket: &a.requests, n: 1, limit: a.limits.RequestsPerMinute, per: time.Minute}, gateways, now)
	return addRate(list, rate{kind: TokensPerMinute, bucket: &a.tokens, n: float64(tokens), limit: a.limits.TokensPerMinute, per: time.Minute}, gateways, now)
}

// batchRate returns the limit of new batches, if there is one.
func (a *account) batchRate(gateways int, now time.Time) []rate {
	return addRate(nil, rate{kind: BatchesPerHour, bucket: &a.batches, n: 1, limit: a.limits.BatchesPerHour, per: time.Hour}, gateways, now)
}

func addRate(list []rate, r rate, gateways int, now time.Time) []rate {
	if r.limit <= 0 {
		*r.bucket = bucket{}
		return list
	}
	r.capacity = float64(r.limit) / float64(gateways)
	r.bucket.change(r.limit, gateways, r.per, now)
	r.bucket.fill(r.capacity, r.per, now)
	return append(list, r)
}

func (r *rate) wait() time.Duration { return r.bucket.wait(r.n, r.capacity, r.per) }

// mostInFlight returns this gateway's part of the limit, at least 1.
func (a *account) mostInFlight(gateways int) int64 {
	return max(1, a.limits.RequestsInFlight/int64(gateways))
}

// crowded reports whether no more requests may be in flight.
func (a *account) crowded(gateways int) bool {
	return a.limits.RequestsInFlight > 0 && a.inFlight >= a.mostInFlight(gateways)
}
