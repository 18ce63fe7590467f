package failpoint

import (
	"context"

	"github.com/tidegate/tidegate/batch"
)

// Dispatcher puts the points before and after a line is sent.
func (s *Set) Dispatcher(inner batch.Dispatcher) batch.Dispatcher {
	plain := &dispatcher{inner, s}
	sharer, shares := inner.(batch.LoadSharer)
	teller, tells := inner.(batch.ModelTeller)
	timed, closes := inner.(batch.Timed)
	if shares && tells && closes {
		return &wholeDispatcher{plain, sharer, teller, timed}
	}
	return plain
}

// wholeDispatcher keeps what a pool offers besides.
type wholeDispatcher struct {
	*dispatcher
	batch.LoadSharer
	batch.ModelTeller
	batch.Timed
}

type dispatcher struct {
	batch.Dispatcher
	set *Set
}

func (s *dispatcher) Reserve(model, avoid string) (batch.Slot, error) {
	inner, err := s.Dispatcher.Reserve(model, avoid)
	if err != nil {
		return nil, err
	}
	return &slot{inner, s.set}, nil
}

type slot struct {
	batch.Slot
	set *Set
}

// Send fails as a broken connection does: before, nothing was sent; after, the
// answer is lost.
func (s *slot) Send(ctx context.Context, path string, body []byte) (batch.Answer, error) {
	if err := s.set.hit("pool.Send", before); err != nil {
		return batch.Answer{}, &batch.SendError{Err: err}
	}
	answer, err := s.Slot.Send(ctx, path, body)
	if err != nil {
		return answer, err
	}
	if err := s.set.hit("pool.Send", after); err != nil {
		return batch.Answer{}, &batch.SendError{Sent: true, Err: err}
	}
	return answer, nil
}
