package source

import (
	"context"
	"sync"
	"time"
)

// remembered is a cached value that is read again when it is older than age.
type remembered[T any] struct {
	age  time.Duration
	now  func() time.Time
	read func(context.Context) (T, error)

	mu    sync.Mutex
	at    time.Time // guarded by mu; zero: not read yet
	value T         // guarded by mu
}

func remember[T any](age time.Duration, now func() time.Time, read func(context.Context) (T, error)) *remembered[T] {
	return &remembered[T]{age: age, now: now, read: read}
}

// get returns the value. Concurrent callers wait for one read; an error is not
// cached.
func (r *remembered[T]) get(ctx context.Context) (T, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if !r.at.IsZero() && now.Sub(r.at) < r.age && !now.Before(r.at) {
		return r.value, nil
	}
	value, err := r.read(ctx)
	if err == nil {
		r.at, r.value = now, value
	}
	return value, err
}

// recent caches the newest values by key.
type recent[K comparable, V any] struct {
	age time.Duration

	mu     sync.Mutex
	values map[K]dated[V] // guarded by mu
}

type dated[V any] struct {
	at    time.Time
	value V
}

// recentLimit is the number of cached values.
const recentLimit = 64

func (r *recent[K, V]) get(key K, now time.Time) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, ok := r.values[key]
	if !ok || now.Sub(d.at) > r.age {
		var none V
		return none, false
	}
	return d.value, true
}

func (r *recent[K, V]) put(key K, now time.Time, value V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.values == nil {
		r.values = make(map[K]dated[V])
	}
	for len(r.values) >= recentLimit {
		var oldest K
		var at time.Time
		for k, d := range r.values {
			if at.IsZero() || d.at.Before(at) {
				oldest, at = k, d.at
			}
		}
		delete(r.values, oldest)
	}
	r.values[key] = dated[V]{now, value}
}
