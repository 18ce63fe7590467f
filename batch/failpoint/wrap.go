package failpoint

import (
	"context"
	"errors"

	"github.com/tidegate/tidegate/batch"
)

// Store adds failpoints to a store.
func (s *Set) Store(inner batch.Store) batch.Store {
	plain := &store{inner, s}
	registry, shared := inner.(batch.Registry)
	waker, wakes := inner.(batch.Waker)
	limiter, limits := inner.(batch.ConnectionLimiter)
	switch {
	case shared && wakes && limits:
		return &limitedStore{&sharedStore{plain, registry, waker}, limiter}
	case shared && wakes:
		return &sharedStore{plain, registry, waker}
	default:
		return plain
	}
}

// limitedStore keeps the optional features of a store with a limit of connections.
type limitedStore struct {
	*sharedStore
	batch.ConnectionLimiter
}

// sharedStore keeps the optional features of a store that several gateways share.
type sharedStore struct {
	*store
	batch.Registry
	batch.Waker
}

// Queue adds failpoints to a queue.
func (s *Set) Queue(inner batch.Queue) batch.Queue {
	plain := &queue{inner, s}
	if retainer, ok := inner.(batch.Retainer); ok {
		return &retainingQueue{plain, retainer}
	}
	return plain
}

// retainingQueue keeps the optional feature of a queue in memory.
type retainingQueue struct {
	*queue
	batch.Retainer
}

// Files adds failpoints to files.
func (s *Set) Files(inner batch.Files) batch.Files {
	plain := &files{inner, s}
	placed, hasPlace := inner.(batch.Placed)
	measured, hasSpace := inner.(batch.Measured)
	switch {
	case hasPlace && hasSpace:
		return &localFiles{plain, placed, measured}
	case hasPlace:
		return &placedFiles{plain, placed}
	case hasSpace:
		return &measuredFiles{plain, measured}
	default:
		return plain
	}
}

// localFiles, placedFiles and measuredFiles keep the optional features of files.
type (
	localFiles struct {
		*files
		batch.Placed
		batch.Measured
	}
	placedFiles struct {
		*files
		batch.Placed
	}
	measuredFiles struct {
		*files
		batch.Measured
	}
)

// Create returns a writer with failpoints.
func (s *files) Create(ctx context.Context, key string) (batch.FileWriter, error) {
	if err := s.set.hit("files.Create", before); err != nil {
		return nil, err
	}
	w, err := s.inner.Create(ctx, key)
	if err != nil {
		return nil, err
	}
	if err := s.set.hit("files.Create", after); err != nil {
		return nil, errors.Join(err, w.Abort()) // the caller never sees w
	}
	return &fileWriter{w, s.set}, nil
}

// Dispatcher adds failpoints to the sending of lines.
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

// wholeDispatcher keeps the optional features of a pool.
type wholeDispatcher struct {
	*dispatcher
	batch.LoadSharer
	batch.ModelTeller
	batch.Timed
}

// Reserve returns a slot with failpoints.
func (s *dispatcher) Reserve(model, avoid string) (batch.Slot, error) {
	inner, err := s.inner.Reserve(model, avoid)
	if err != nil {
		return nil, err
	}
	return &slot{inner, s.set}, nil
}

// Send fails like a broken connection. Before: nothing was sent. After: the
// answer is lost.
func (s *slot) Send(ctx context.Context, path string, body []byte) (batch.Answer, error) {
	if err := s.set.hit("pool.Send", before); err != nil {
		return batch.Answer{}, &batch.SendError{Err: err}
	}
	answer, err := s.inner.Send(ctx, path, body)
	if err != nil {
		return answer, err
	}
	if err := s.set.hit("pool.Send", after); err != nil {
		return batch.Answer{}, &batch.SendError{Sent: true, Err: err}
	}
	return answer, nil
}
