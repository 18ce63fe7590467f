package limits

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/tidegate/tidegate/internal/atomicfile"
)

// idleTime is the time after which an unused account is removed. Almost always, all of its
// buckets are full by then. A full account is equal to a new one.
const idleTime = 2 * time.Hour

// state is the stored part of a Limiter, so that a restart does not fill the buckets.
type state struct {
	Keys    map[string]levels `json:"keys,omitempty"` // by id
	Tenants map[string]levels `json:"tenants,omitempty"`
}

// levels are the buckets of an account.
type levels struct {
	Requests *level `json:"requests,omitempty"`
	Tokens   *level `json:"tokens,omitempty"`
	Batches  *level `json:"batches,omitempty"`
}

// level is a bucket.
type level struct {
	Level float64   `json:"level"`
	Limit int64     `json:"limit,omitempty"`
	At    time.Time `json:"at"`
}

func levelOf(b bucket) *level {
	if b.at.IsZero() {
		return nil
	}
	return &level{b.level, b.limit, b.at}
}

// bucket returns the bucket, whose time is not after now: the clock may have been set back.
func (v *level) bucket(now time.Time) bucket {
	if v == nil || v.At.IsZero() {
		return bucket{}
	}
	if v.At.After(now) {
		return bucket{v.Level, v.Limit, now}
	}
	return bucket{v.Level, v.Limit, v.At}
}

// Save writes the state to a file if it has changed since the last call, and forgets
// accounts that are not used any more.
func (l *Limiter) Save(path string) error {
	s := l.state()
	if s == nil {
		return nil
	}
	text, err := json.Marshal(s)
	if err == nil {
		err = atomicfile.Write(path, text)
	}
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changed = true // for the next call
		return fmt.Errorf("writing the use of limits: %w", err)
	}
	return nil
}

// state returns the state, nil if it has not changed. Requests wait for it, so that it is
// encoded later.
func (l *Limiter) state() *state {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.changed {
		return nil
	}
	l.changed = false
	s := &state{Keys: make(map[string]levels), Tenants: make(map[string]levels)}
	now := l.now()
	for o, a := range l.accounts {
		if a.inFlight == 0 && now.Sub(a.used) > idleTime && l.full(o, *a, now) {
			delete(l.accounts, o)
			continue
		}
		of := levels{levelOf(a.requests), levelOf(a.tokens), levelOf(a.batches)}
		if o.tenant {
			s.Tenants[o.name] = of
		} else {
			s.Keys[o.name] = of
		}
	}
	return s
}

// full reports whether all buckets of an account are full. One that is so much below zero
// that it is not, after a request larger than the limit of hours, must not be renewed. The
// caller holds mu.
func (l *Limiter) full(o owner, a account, now time.Time) bool {
	a.limits = l.limitsOf(o)
	for _, r := range append(a.rates(0, l.gateways, now), a.batchRate(l.gateways, now)...) {
		if r.bucket.level < r.capacity {
			return false
		}
	}
	return true
}

// Load reads the state that Save wrote. Accounts that were used since the start keep
// theirs. A file that does not exist is no error.
func (l *Limiter) Load(path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the use of limits: %w", err)
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("reading the use of limits from %s: %w", path, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, of := range s.Keys {
		l.restore(owner{name: name}, of)
	}
	for name, of := range s.Tenants {
		l.restore(owner{tenant: true, name: name}, of)
	}
	return nil
}

func (l *Limiter) restore(o owner, of levels) {
	if l.accounts[o] != nil {
		return
	}
	now := l.now()
	l.accounts[o] = &account{owner: o, used: now, requests: of.Requests.bucket(now), tokens: of.Tokens.bucket(now), batches: of.Batches.bucket(now)}
}
