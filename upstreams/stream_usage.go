package upstreams

import (
	"bytes"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/openai"
)

// Chat completions and completions report the usage of a stream only if the client asks for
// it (https://platform.openai.com/docs/api-reference/chat/create, stream_options). Without
// it, limits, budgets and costs would not count the stream. So the gateway asks for it if the
// client does not, and removes the event with the usage from the answer.

// usageRefusedTime is the time for which the usage of streams is not asked for after a server
// has refused that.
const usageRefusedTime = 10 * time.Minute

// usageRequests records how a server reacts to requests for the usage of streams that the
// gateway makes. The zero value is ready.
type usageRequests struct {
	accepted     atomic.Bool
	refusedUntil atomic.Int64 // an age of the upstream; 0: not refused
}

// forget is called when the server stops: afterwards it may be another one.
func (q *usageRequests) forget() {
	q.accepted.Store(false)
	q.refusedUntil.Store(0)
}

// asksForUsage reports whether the request is sent to u with a request for its usage.
func (l *live) asksForUsage(u *upstream) bool {
	if l.withUsage == nil {
		return false
	}
	until := u.usage.refusedUntil.Load()
	return until == 0 || u.age() >= until
}

// usageMember is the member of a request that asks for the usage.
const usageMember = "stream_options"

// refusesUsage reports whether an error may be about the request for usage, so that the
// request is repeated without it. certain reports that the error says so. Only that counts for
// other requests: any other error may be one that does not occur the second time, such as an
// image that cannot be fetched once. Words in messages decide nothing, because servers repeat
// words of the request there.
func (u *upstream) refusesUsage(r reply) (possible, certain bool) {
	if r.status != http.StatusBadRequest && r.status != http.StatusUnprocessableEntity {
		return false, false
	}
	certain = isAboutMember(r.body, usageMember)
	return certain || !u.usage.accepted.Load(), certain
}

// usageRefused records that the server has refused the request for usage, and accepted the
// same request without it.
func (p *Pool) usageRefused(u *upstream) {
	u.usage.accepted.Store(false)
	u.usage.refusedUntil.Store(u.age() + int64(usageRefusedTime))
	p.log.Info("upstream refuses stream_options, so the usage of its streams is not known", zap.String("upstream", u.url), zap.Duration("asked_again_in", usageRefusedTime))
}

// send sends the request and returns the server's answer. asked reports whether it was sent
// with a request for its usage. If the server refuses the request because of that, it gets it
// once more as the client sent it.
func (l *live) send(a *attempt) (answer *http.Response, got reply, asked bool, err error) {
	if !l.asksForUsage(a.up) {
		answer, got, err = l.exchange(a, l.body)
		return answer, got, false, err
	}
	answer, got, err = l.exchange(a, l.withUsage)
	if err == nil && got.ok() && !a.up.usage.accepted.Load() {
		a.up.usage.accepted.Store(true)
	}
	possible, certain := a.up.refusesUsage(got)
	if err != nil || !possible || a.cause() != nil {
		return answer, got, true, err
	}
	answer.Body.Close()
	answer, got, err = l.exchange(a, l.body)
	if err == nil && got.ok() && certain {
		l.proxy.pool.usageRefused(a.up)
	}
	return answer, got, false, err
}

// exchange sends a body and returns the answer. The error is that of the exchange, or that of
// decoding an answer, which is returned then, too.
func (l *live) exchange(a *attempt, body *payload) (*http.Response, reply, error) {
	answer, err := a.exchange(l.route, l.header, body)
	l.connected = l.connected || a.sent
	if err != nil {
		return nil, reply{}, err
	}
	if err := decode(answer); err != nil {
		return answer, reply{}, err
	}
	got := reply{status: answer.StatusCode, header: answer.Header, clientKey: a.hasClientKey(l.header), model: a.model}
	if !got.ok() {
		got.body = a.errorBody(answer)
	}
	return answer, got, nil
}

// ok reports whether the status is that of a success.
func (r *reply) ok() bool { return 200 <= r.status && r.status <= 299 }

// usageCutter removes the events that have nothing but the usage from a stream. The zero
// value removes nothing.
type usageCutter struct {
	on     bool
	usages int64 // events with usage that were searched
	endsCR bool  // the stream was cut behind a CR, whose LF may follow
}

// cut removes events from the first n bytes of b, which end with a complete event. It returns
// how many bytes are left of them, and b without the removed ones. usages is the number of
// events with usage that the stream has had so far, inside whether b begins inside of an event.
// Events without usage cost nothing.
func (c *usageCutter) cut(b []byte, n int, usages int64, inside bool) (left int, rest []byte) {
	if c.usages == usages && !c.endsCR {
		return n, b
	}
	if n == len(b) { // else an incomplete event may have a usage
		c.usages = usages
	}
	from, lines := 0, 0 // of the current event: its begin, its lines with data
	if c.endsCR && b[0] == '\n' {
		from = 1
	}
	c.endsCR = false
	var data []byte
	for at := from; at < n; {
		line, next := cutLine(b[:n], at)
		at = next
		if len(line) > 0 {
			if bytes.HasPrefix(line, dataField) {
				data = bytes.TrimSpace(line[len(dataField):])
				lines++
			}
			continue
		}
		if lines == 1 && !inside && openai.IsUsageEvent(data) {
			c.endsCR = at == n && b[n-1] == '\r'
		} else {
			left += copy(b[left:], b[from:at])
		}
		from, lines, inside = at, 0, false
	}
	left += copy(b[left:], b[from:n])
	return left, append(b[:left], b[n:]...)
}

var dataField = []byte("data:")
