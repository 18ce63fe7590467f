package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/upstreams"
)

// dispatcher adapts the pool to the interfaces of the batch engine, including its
// errors. A retired engine no longer exchanges loads with other gateways: its
// successor does.
type dispatcher struct {
	*upstreams.Pool
	limits  *limits.Limiter // of clients
	retired *atomic.Bool
	keyName func(id string) string
}

// Reserve implements batch.Dispatcher.
func (d dispatcher) Reserve(model, avoid string, fit func(upstream string) bool) (batch.Slot, error) {
	s, err := d.Pool.ReserveFit(model, avoid, fit)
	if err != nil {
		return nil, batchError(err)
	}
	return slot{s, d.keyName}, nil
}

// Up implements batch.Dispatcher.
func (d dispatcher) Up(model string) error { return batchError(d.Pool.Up(model)) }

// batchError converts an error of the pool to the engine's error.
func batchError(err error) error {
	if suspect, ok := errors.AsType[*upstreams.SuspectError](err); ok {
		return fmt.Errorf("%w: %s", batch.ErrDown, suspect.Reason)
	}
	switch {
	case errors.Is(err, upstreams.ErrTrial):
		return batch.ErrTrial
	case errors.Is(err, upstreams.ErrBusy):
		return batch.ErrBusy
	case errors.Is(err, upstreams.ErrAway):
		return batch.ErrAway
	case errors.Is(err, upstreams.ErrLoading):
		return batch.ErrLoading
	case errors.Is(err, upstreams.ErrDown):
		return batch.ErrDown
	case errors.Is(err, upstreams.ErrUnknownModel):
		return batch.ErrUnknownModel
	default:
		return err
	}
}

// Loads returns the load of this gateway by URL, nothing after retirement.
func (d dispatcher) Loads() map[string]batch.Load {
	loads := make(map[string]batch.Load)
	if d.retired.Load() {
		return loads
	}
	for url, l := range d.Pool.Loads() {
		loads[url] = batch.Load(l)
	}
	return loads
}

// SetPeers passes the loads of other gateways on to the pool, unless retired.
func (d dispatcher) SetPeers(peers batch.Peers, loads map[string]batch.Load) {
	if d.retired.Load() {
		return
	}
	d.limits.SetGateways(1 + peers.All)
	if loads == nil { // they are not known
		d.Pool.SetPeers(upstreams.Peers(peers), nil)
		return
	}
	others := make(map[string]upstreams.Load, len(loads))
	for url, l := range loads {
		others[url] = upstreams.Load(l)
	}
	d.Pool.SetPeers(upstreams.Peers(peers), others)
}

// Capabilities implements batch.Dispatcher.
func (d dispatcher) Capabilities() batch.DispatcherCapabilities {
	return batch.DispatcherCapabilities{Loads: d, Models: d, Hours: d, Limits: clientLimiter{d.limits, d.retired}}
}

// clientLimiter are the limits of clients. Budgets are those of the store in use: a retired
// engine no longer reads or counts their use.
type clientLimiter struct {
	*limits.Limiter
	retired *atomic.Bool
}

// Budgeted implements batch.ClientLimiter.
func (l clientLimiter) Budgeted() []limits.Client {
	if l.retired.Load() {
		return nil
	}
	return l.Limiter.Budgeted()
}

// Closed reports whether no line may start at this time of day.
func (d dispatcher) Closed() (batch.Closing, bool) {
	now, ok := d.BatchHours()
	return batch.Closing{Until: now.Opens}, ok && now.Share == 0
}

type slot struct {
	*upstreams.Slot
	keyName func(id string) string
}

var next = map[upstreams.Next]batch.Next{upstreams.Final: batch.Final, upstreams.Again: batch.Again, upstreams.Elsewhere: batch.Elsewhere}

// Send implements batch.Slot.
func (s slot) Send(ctx context.Context, path string, body []byte) (batch.Answer, error) {
	client := access.From(ctx)
	client.Name = s.keyName(client.KeyID)
	a, err := s.Slot.Send(access.With(ctx, client), path, body)
	if send, ok := errors.AsType[*upstreams.SendError](err); ok {
		return batch.Answer{}, &batch.SendError{Sent: send.Sent, Crashed: send.Crashed, TooLarge: send.TooLarge, Unreadable: send.Unreadable, Err: send}
	}
	if err != nil {
		return batch.Answer{}, err
	}
	return batch.Answer{
		Status: a.Status, Header: a.Header, Body: a.Body, RequestID: a.RequestID,
		Next: next[a.Next], Reason: a.Reason,
	}, nil
}

var _ batch.Dispatcher = dispatcher{}
