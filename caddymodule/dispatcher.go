package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/upstreams"
)

// dispatcher lets the batch engine use the pool: names and errors of the one
// in those of the other. A retired engine leaves it to the one after it to tell
// other gateways what the pool has in flight, and the pool what they have.
type dispatcher struct {
	*upstreams.Pool
	retired *atomic.Bool
}

// Reserve takes a slot.
func (d dispatcher) Reserve(model, avoid string) (batch.Slot, error) {
	s, err := d.Pool.Reserve(model, avoid)
	if err != nil {
		return nil, inWords(err)
	}
	return slot{s}, nil
}

// Up tells whether a model has an upstream.
func (d dispatcher) Up(model string) error { return inWords(d.Pool.Up(model)) }

// inWords gives the engine's error for one of the pool.
func inWords(err error) error {
	if suspect, ok := errors.AsType[*upstreams.SuspectError](err); ok {
		return fmt.Errorf("%w: %s", batch.ErrDown, suspect.Reason)
	}
	switch {
	case errors.Is(err, upstreams.ErrTrial):
		return batch.ErrTrial
	case errors.Is(err, upstreams.ErrBusy):
		return batch.ErrBusy
	case errors.Is(err, upstreams.ErrDown):
		return batch.ErrDown
	case errors.Is(err, upstreams.ErrUnknownModel):
		return batch.ErrUnknownModel
	default:
		return err
	}
}

// Loads tells what this gateway has in flight.
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

// SetPeers tells the pool what other gateways have in flight.
func (d dispatcher) SetPeers(peers batch.Peers, loads map[string]batch.Load) {
	if d.retired.Load() {
		return
	}
	if loads == nil { // which says that they are not known
		d.Pool.SetPeers(upstreams.Peers(peers), nil)
		return
	}
	others := make(map[string]upstreams.Load, len(loads))
	for url, l := range loads {
		others[url] = upstreams.Load(l)
	}
	d.Pool.SetPeers(upstreams.Peers(peers), others)
}

// Closed reports whether no line may start at this time of day.
func (d dispatcher) Closed() (batch.Closing, bool) {
	now, ok := d.BatchHours()
	return batch.Closing{Until: now.Opens}, ok && now.Share == 0
}

type slot struct{ *upstreams.Slot }

var next = map[upstreams.Next]batch.Next{upstreams.Final: batch.Final, upstreams.Again: batch.Again, upstreams.Elsewhere: batch.Elsewhere}

// Send sends one request.
func (s slot) Send(ctx context.Context, path string, body []byte) (batch.Answer, error) {
	a, err := s.Slot.Send(ctx, path, body)
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

var (
	_ batch.Dispatcher  = dispatcher{}
	_ batch.LoadSharer  = dispatcher{}
	_ batch.ModelTeller = dispatcher{}
	_ batch.Timed       = dispatcher{}
)
