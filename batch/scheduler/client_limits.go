package scheduler

import (
	"time"

	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// Limits of clients. A line whose client has reached a limit waits without a slot. Until a
// retry can succeed, no other line of the client is tried, its waiting batches get no
// place, and the places that its batches have are set aside for others.

// leastPostponement is the shortest time for which lines of a client wait, so that high
// rates do not wake the loop for each line.
const leastPostponement = 10 * time.Millisecond

// longestPostponement is the longest time after which a line is tried again, because limits
// can be changed and budgets be read meanwhile.
const longestPostponement = 2 * time.Second

// clientLimits tracks the clients that have reached a limit.
type clientLimits struct {
	deps      *Dependencies
	deadlines *deadlines
	postponed map[limits.Client]postponed
}

// postponed is a client whose lines wait.
type postponed struct {
	until    time.Time
	inFlight bool // until one of its lines ends
}

func newClientLimits(deps *Dependencies, deadlines *deadlines) *clientLimits {
	return &clientLimits{deps: deps, deadlines: deadlines, postponed: make(map[limits.Client]postponed)}
}

func clientOf(b *batch.Batch) limits.Client {
	return limits.Client{Key: b.KeyID, Tenant: b.Tenant}
}

// admit reports whether a line of a batch may be taken from the limits of its client.
// A line of many tokens can be refused nevertheless.
func (c *clientLimits) admit(b *batch.Batch) bool {
	limiter := c.deps.Dispatcher.Capabilities().Limits
	if limiter == nil {
		return true
	}
	client := clientOf(b)
	refused := limiter.LineRefused(client)
	if refused == nil {
		return true
	}
	c.postpone(client, refused)
	return false
}

func (c *clientLimits) postpone(client limits.Client, refused *limits.ReachedError) {
	until := time.Now().Add(min(max(refused.Wait, leastPostponement), longestPostponement))
	c.postponed[client] = postponed{until, refused.InFlight()}
	c.deadlines.at(until, nil)
}

// take takes a line from the limits of its client, and reports whether it can start. The
// line reserves an estimate of its tokens.
func (c *clientLimits) take(l *line) bool {
	limiter := c.deps.Dispatcher.Capabilities().Limits
	if limiter == nil {
		return true
	}
	client := clientOf(&l.work.batchQueue.batch)
	if !limiter.Limited(client) {
		return true
	}
	grant, refused := limiter.TakeLine(client, c.estimate(l))
	if refused == nil {
		l.tries().grant = grant
		return true
	}
	c.postpone(client, refused)
	return false
}

// estimate returns what a line may use.
func (c *clientLimits) estimate(l *line) limits.Spend {
	input, output := openai.PromptTokens(int64(l.size)), int64(l.tokens)
	charge := c.deps.Config().Prices.Charge(batch.ClassBatch, l.model, openai.Usage{InputTokens: input, OutputTokens: output})
	return limits.Spend{Tokens: input + output, Cost: charge.Cost}
}

// waits reports whether lines of a batch wait for a limit of their client.
func (c *clientLimits) waits(b *batch.Batch) bool {
	if len(c.postponed) == 0 {
		return false
	}
	client := clientOf(b)
	p, waits := c.postponed[client]
	if waits && !time.Now().Before(p.until) {
		delete(c.postponed, client)
		return false
	}
	return waits
}

// lineEnded lets lines wait no longer for the end of one in flight.
func (c *clientLimits) lineEnded(tenant string) {
	for client, p := range c.postponed {
		if p.inFlight && client.Tenant == tenant {
			delete(c.postponed, client)
		}
	}
}

// settle replaces the estimate of an attempt by what it has used. Without a fault of the
// line, the attempt counts nothing if it is repeated.
func (o *outcome) settle(grant *limits.Grant) {
	if grant == nil {
		return
	}
	used := o.result.Usage.InputTokens + o.result.Usage.OutputTokens
	end := limits.Outcome{
		Sent: !o.unsent && !o.excused, Failed: !o.done || o.result.Failed,
		Known: o.done && used > 0, Tokens: used,
	}
	if o.done {
		end.Result = &limits.Spend{Tokens: used, Cost: o.result.Charge.Cost}
	}
	grant.End(end)
}
