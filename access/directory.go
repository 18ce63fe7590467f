package access

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of a search for a key.
var (
	// ErrUnknownKey reports that no key is valid: it never existed, has expired or was
	// revoked.
	ErrUnknownKey = errors.New("no such key")
	// ErrUnavailable reports that it cannot be found out whether a key is valid.
	ErrUnavailable = errors.New("keys cannot be read")
)

// Reader reads keys.
type Reader interface {
	// KeysVersion returns a number that changes with every change of a key.
	KeysVersion(ctx context.Context) (int64, error)
	// Keys returns all keys, and the version.
	Keys(ctx context.Context) ([]Key, int64, error)
}

const (
	// pollInterval is the time between two polls of the version of the keys. With
	// readTimeout it bounds how long a revoked key is still accepted.
	pollInterval = time.Second
	// readTimeout limits a poll of the version and the keys.
	readTimeout = 2 * time.Second
)

// Directory has the managed keys in memory. Run keeps it equal to the store. While the
// store is unavailable, the keys read last are accepted.
type Directory struct {
	store Reader
	now   func() time.Time
	// changed is called with all keys after they were read. It may be nil.
	changed func([]Key)

	keys atomic.Pointer[known]

	wake chan struct{} // a poll is requested
	mu   sync.Mutex    // guards what follows
	runs bool
	next *poll // that has not begun; nil if none is requested

	version int64 // of keys; only Run uses it
}

// known are the keys of the store.
type known struct {
	byHash map[Hash]*Key   // those that are not revoked
	byID   map[string]*Key // all
	admin  bool            // one of them has the scope admin
	limit  []*Key          // those with limits that are not revoked
	budget []*Key          // those with budgets, also revoked ones: their batches may still run
}

// index returns keys by their hashes and ids.
func index(keys []Key) *known {
	all := &known{byHash: make(map[Hash]*Key, len(keys)), byID: make(map[string]*Key, len(keys))}
	for i := range keys {
		k := &keys[i]
		all.byID[k.ID] = k
		if k.Limits.Budget() {
			all.budget = append(all.budget, k)
		}
		if !k.RevokedAt.IsZero() {
			continue
		}
		if k.Limits != (Limits{}) {
			all.limit = append(all.limit, k)
		}
		all.byHash[k.Hash] = k
		if !k.PreviousUntil.IsZero() {
			all.byHash[k.PreviousHash] = k
		}
		all.admin = all.admin || k.Identity().May(Admin)
	}
	return all
}

// poll is one read of the store.
type poll struct {
	done chan struct{} // closed at its end
	err  error         // set before
}

// NewDirectory returns a directory of the keys in a store. now is the clock, time.Now if
// nil.
func NewDirectory(store Reader, now func() time.Time) *Directory {
	if now == nil {
		now = time.Now
	}
	return &Directory{store: store, now: now, wake: make(chan struct{}, 1), version: -1}
}

// Read reads the keys if they have changed. It must not be called while Run runs.
func (d *Directory) Read(ctx context.Context) error { return d.read(ctx) }

// OnChange has f called with all keys whenever they were read, before Run or Read is
// called for the first time.
func (d *Directory) OnChange(f func(keys []Key)) { d.changed = f }

// Restore uses keys until they are read from the store.
func (d *Directory) Restore(keys []Key) { d.keys.Store(index(keys)) }

// Run reads the keys, and again after every change, until ctx ends.
func (d *Directory) Run(ctx context.Context) {
	d.mu.Lock()
	d.runs = true
	d.mu.Unlock()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		d.poll(ctx)
		select {
		case <-ctx.Done():
		case <-ticker.C:
		case <-d.wake:
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.runs = false
	if d.next != nil {
		d.next.finish(ErrUnavailable)
		d.next = nil
	}
}

func (p *poll) finish(err error) {
	p.err = err
	close(p.done)
}

// poll reads the version, and the keys if they have changed.
func (d *Directory) poll(ctx context.Context) {
	d.mu.Lock()
	wanted := d.next
	d.next = nil
	d.mu.Unlock()
	err := d.read(ctx)
	if wanted != nil {
		wanted.finish(err)
	}
}

func (d *Directory) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	version, err := d.store.KeysVersion(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if version == d.version {
		return nil
	}
	keys, version, err := d.store.Keys(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	d.keys.Store(index(keys))
	d.version = version
	if d.changed != nil {
		d.changed(keys)
	}
	return nil
}

// Refresh reads the changes that were made before the call. Concurrent calls share one
// poll.
func (d *Directory) Refresh(ctx context.Context) error {
	d.mu.Lock()
	if !d.runs {
		d.mu.Unlock()
		return ErrUnavailable
	}
	p := d.next
	if p == nil {
		p = &poll{done: make(chan struct{})}
		d.next = p
	}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

// Managed reports whether a text may be a managed key.
func Managed(secret string) bool { return strings.HasPrefix(secret, Prefix) }

// Find returns the identity of a key. An unknown one is searched in the store before
// it is refused, because another gateway may have made it just now. It returns
// ErrUnknownKey or ErrUnavailable.
func (d *Directory) Find(ctx context.Context, secret string) (Identity, error) {
	if !Managed(secret) {
		return Identity{}, ErrUnknownKey
	}
	h := Sum(secret)
	if k := d.lookup(h); k != nil {
		return k.Identity(), nil
	}
	if err := d.Refresh(ctx); err != nil {
		return Identity{}, err
	}
	if k := d.lookup(h); k != nil {
		return k.Identity(), nil
	}
	return Identity{}, ErrUnknownKey
}

// Any reports whether there is a key that is not revoked, and whether one of them has the
// scope admin. Expired keys count, so that a gateway is not open to clients without a key
// after its last key has expired.
func (d *Directory) Any() (some, admin bool) {
	keys := d.keys.Load()
	return keys != nil && len(keys.byHash) > 0, keys != nil && keys.admin
}

// Known reports whether keys have been read.
func (d *Directory) Known() bool { return d.keys.Load() != nil }

// Has reports whether a key is valid, by the keys in memory.
func (d *Directory) Has(secret string) bool { return Managed(secret) && d.lookup(Sum(secret)) != nil }

// Tenants returns the tenants of all keys in memory, in order.
func (d *Directory) Tenants() []string {
	keys := d.keys.Load()
	if keys == nil {
		return nil
	}
	names := make(map[string]bool)
	for _, k := range keys.byID {
		names[k.Tenant] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// Limits returns the limits of the key with an id, also of one that is no longer valid:
// its batches may still run.
func (d *Directory) Limits(id string) Limits {
	if keys := d.keys.Load(); keys != nil {
		if k := keys.byID[id]; k != nil {
			return k.Limits
		}
	}
	return Limits{}
}

// Limited returns the keys that have limits and are not revoked. They must not be changed.
func (d *Directory) Limited() []*Key {
	if keys := d.keys.Load(); keys != nil {
		return keys.limit
	}
	return nil
}

// Budgeted returns the keys that have budgets, also revoked ones. They must not be changed.
func (d *Directory) Budgeted() []*Key {
	if keys := d.keys.Load(); keys != nil {
		return keys.budget
	}
	return nil
}

// Name returns the name of the key with an id, also of one that is revoked; "" if it is not
// known.
func (d *Directory) Name(id string) string {
	if keys := d.keys.Load(); keys != nil {
		if k := keys.byID[id]; k != nil {
			return k.Name
		}
	}
	return ""
}

// lookup returns the valid key with a hash, nil if there is none. The hash of a guess
// is not known to who guesses, so that the time of the search in the map reveals nothing;
// the whole hash is compared in constant time.
func (d *Directory) lookup(h Hash) *Key {
	keys := d.keys.Load()
	if keys == nil {
		return nil
	}
	k := keys.byHash[h]
	if k == nil || !k.Valid(h, d.now()) {
		return nil
	}
	if subtle.ConstantTimeCompare(k.Hash[:], h[:])|subtle.ConstantTimeCompare(k.PreviousHash[:], h[:]) == 0 {
		return nil
	}
	return k
}
