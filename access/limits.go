package access

import "fmt"

// Limits limit the use by the clients of a key, or by those of all keys of a tenant together.
// A zero field is no limit.
type Limits struct {
	// RequestsPerMinute limits live requests and lines of batches that are sent to servers.
	RequestsPerMinute int64 `json:"requests_per_minute,omitempty"`
	// TokensPerMinute limits the tokens of their prompts and answers.
	TokensPerMinute int64 `json:"tokens_per_minute,omitempty"`
	// RequestsInFlight limits how many of them servers process at a time.
	RequestsInFlight int64 `json:"requests_in_flight,omitempty"`
	// LinesQueued limits the lines of running batches that have no result yet.
	LinesQueued int64 `json:"lines_queued,omitempty"`
	// TokensQueued limits the estimated tokens of these lines.
	TokensQueued int64 `json:"tokens_queued,omitempty"`
	// BatchesPerHour limits how many batches are made.
	BatchesPerHour int64 `json:"batches_per_hour,omitempty"`
}

// LimitField is one limit with its name.
type LimitField struct {
	Name  string
	Value *int64
}

// Fields returns all limits, in the order of the documentation.
func (l *Limits) Fields() []LimitField {
	return []LimitField{
		{"requests_per_minute", &l.RequestsPerMinute},
		{"tokens_per_minute", &l.TokensPerMinute},
		{"requests_in_flight", &l.RequestsInFlight},
		{"lines_queued", &l.LinesQueued},
		{"tokens_queued", &l.TokensQueued},
		{"batches_per_hour", &l.BatchesPerHour},
	}
}

// MaxLimit is the largest value of a limit.
const MaxLimit = 1_000_000_000_000

// Check returns an error for a value that no limit can have.
func (l Limits) Check() error {
	for _, f := range l.Fields() {
		if *f.Value < 0 || *f.Value > MaxLimit {
			return fmt.Errorf("%s must be a whole number from 1 to %d, or 0 for no limit, not %d", f.Name, int64(MaxLimit), *f.Value)
		}
	}
	return nil
}

// Requests reports whether requests and lines of batches are limited.
func (l Limits) Requests() bool {
	return l.RequestsPerMinute > 0 || l.TokensPerMinute > 0 || l.RequestsInFlight > 0
}
