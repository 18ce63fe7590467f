package failpoint

import (
	"context"
	"errors"

	"github.com/tidegate/tidegate/batch"
)

// Store adds failpoints to a store.
func (s *Set) Store(inner batch.Store) batch.Store { return &store{inner, s} }

// Queue adds failpoints to a queue.
func (s *Set) Queue(inner batch.Queue) batch.Queue { return &queue{inner, s} }

// Files adds failpoints to files.
func (s *Set) Files(inner batch.Files) batch.Files { return &files{inner, s} }

// Dispatcher adds failpoints to the sending of lines.
func (s *Set) Dispatcher(inner batch.Dispatcher) batch.Dispatcher { return &dispatcher{inner, s} }

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

// Reserve returns a slot with failpoints.
func (s *dispatcher) Reserve(model, avoid string, fit func(upstream string) bool) (batch.Slot, error) {
	inner, err := s.inner.Reserve(model, avoid, fit)
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
