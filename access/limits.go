package access

import (
	"fmt"
	"strconv"

	"github.com/tidegate/tidegate/internal/limitname"
	"github.com/tidegate/tidegate/internal/money"
)

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
	// TokensPerMonth is a budget of tokens of prompts and answers, for a calendar month in
	// UTC.
	TokensPerMonth int64 `json:"tokens_per_month,omitempty"`
	// CostPerMonth is a budget of their cost.
	CostPerMonth money.Amount `json:"cost_per_month,omitempty"`
}

// LimitField is one limit with its name.
type LimitField struct {
	Name  string
	Value *int64
	// Money reports that the value is a money.Amount.
	Money bool
}

// String returns the value as it is configured.
func (f LimitField) String() string {
	if f.Money {
		return money.Amount(*f.Value).String()
	}
	return strconv.FormatInt(*f.Value, 10)
}

// Parse sets the value. The zero value is no limit, and is refused.
func (f LimitField) Parse(text string) error {
	if f.Money {
		amount, err := money.Parse(text)
		if err != nil || amount <= 0 || amount > MaxCost {
			return fmt.Errorf("%s must be an amount up to %s with at most nine decimals, not %.40q", f.Name, MaxCost, text)
		}
		*f.Value = int64(amount)
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n < 1 || n > MaxLimit {
		return fmt.Errorf("%s must be a whole number from 1 to %d, not %.40q", f.Name, int64(MaxLimit), text)
	}
	*f.Value = int64(n)
	return nil
}

// Fields returns all limits, in the order of the documentation.
func (l *Limits) Fields() []LimitField {
	values := [len(limitname.All)]*int64{
		&l.RequestsPerMinute, &l.TokensPerMinute, &l.RequestsInFlight, &l.LinesQueued, &l.TokensQueued, &l.BatchesPerHour,
		&l.TokensPerMonth, (*int64)(&l.CostPerMonth),
	}
	fields := make([]LimitField, len(values))
	for i, name := range limitname.All {
		fields[i] = LimitField{Name: name.Word, Value: values[i], Money: name.Money}
	}
	return fields
}

// MaxLimit is the largest value of a limit.
const MaxLimit = 1_000_000_000_000

// MaxCost is the largest CostPerMonth.
const MaxCost = 1_000_000_000 * money.Unit

// Check returns an error for a value that no limit can have.
func (l Limits) Check() error {
	for _, f := range l.Fields() {
		if f.Money {
			if *f.Value < 0 || money.Amount(*f.Value) > MaxCost {
				return fmt.Errorf("%s must be an amount up to %s, or 0 for no limit, not %s", f.Name, MaxCost, f)
			}
			continue
		}
		if *f.Value < 0 || *f.Value > MaxLimit {
			return fmt.Errorf("%s must be a whole number from 1 to %d, or 0 for no limit, not %d", f.Name, int64(MaxLimit), *f.Value)
		}
	}
	return nil
}

// Requests reports whether requests and lines of batches are limited.
func (l Limits) Requests() bool {
	return l.RequestsPerMinute > 0 || l.TokensPerMinute > 0 || l.RequestsInFlight > 0 || l.Budget()
}

// Budget reports whether there is a limit by month.
func (l Limits) Budget() bool { return l.TokensPerMonth > 0 || l.CostPerMonth > 0 }
