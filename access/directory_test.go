package access

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeStore has keys in memory.
type fakeStore struct {
	mu      sync.Mutex
	keys    []Key
	version int64
	away    error
	hangs   bool
	polls   int
	gate    chan struct{} // if not nil, every poll waits for it
}

func (s *fakeStore) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.version++
}

func (s *fakeStore) KeysVersion(ctx context.Context) (int64, error) {
	s.mu.Lock()
	hangs := s.hangs
	s.mu.Unlock()
	if s.gate != nil {
		<-s.gate
	}
	if hangs {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.polls++
	return s.version, s.away
}

func (s *fakeStore) Keys(context.Context) ([]Key, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Key(nil), s.keys...), s.version, s.away
}

// started returns a directory that runs until the test ends.
func started(t *testing.T, s *fakeStore) *Directory {
	d := NewDirectory(s, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { d.Run(ctx) })
	t.Cleanup(func() { cancel(); run.Wait() })
	synctest.Wait()
	return d
}

func find(t *testing.T, d *Directory, secret string, want error) {
	t.Helper()
	id, err := d.Find(t.Context(), secret)
	if !errors.Is(err, want) || want == nil && id.KeyID != "key_1" {
		t.Errorf("got key %q, %v, want error %v", id.KeyID, err, want)
	}
}

func TestDirectoryFollowsTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		d := started(t, s)
		find(t, d, "tg-one", ErrUnknownKey)
		// Another gateway makes a key: it is valid at once, not only after the next poll.
		s.set(func() { s.keys = []Key{{ID: "key_1", Hash: Sum("tg-one"), Scopes: []Scope{Live}}} })
		find(t, d, "tg-one", nil)
		find(t, d, "tg-on", ErrUnknownKey)
		// A revocation is effective within 5 s.
		s.set(func() { s.keys = nil })
		time.Sleep(5 * time.Second)
		find(t, d, "tg-one", ErrUnknownKey)
	})
}

func TestDirectoryWithoutItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{keys: []Key{{ID: "key_1", Hash: Sum("tg-one")}}}
		d := started(t, s)
		for name, change := range map[string]func(){
			"fails": func() { s.away = errors.New("connection refused") },
			"hangs": func() { s.hangs = true },
		} {
			s.set(change)
			time.Sleep(time.Minute)
			find(t, d, "tg-one", nil)             // known
			find(t, d, "tg-two", ErrUnavailable)  // perhaps made meanwhile
			find(t, d, "sk-other", ErrUnknownKey) // not a managed key
			s.set(func() { s.away, s.hangs = nil, false })
			time.Sleep(3 * time.Second)
			find(t, d, "tg-two", ErrUnknownKey)
			if t.Failed() {
				t.Fatalf("the store %s", name)
			}
		}
	})
}

// Clients without a key are refused as soon as there is a key that is not revoked.
func TestAnyKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		d := started(t, s)
		want := func(what string, some, admin bool) {
			t.Helper()
			if err := d.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if gotSome, gotAdmin := d.Any(); gotSome != some || gotAdmin != admin {
				t.Errorf("%s: got %t, %t, want %t, %t", what, gotSome, gotAdmin, some, admin)
			}
		}
		want("no key", false, false)
		s.set(func() {
			s.keys = []Key{{ID: "key_1", Hash: Sum("tg-one"), Scopes: []Scope{Live}, ExpiresAt: time.Now().Add(-1)}}
		})
		want("an expired key", true, false)
		s.set(func() { s.keys = append(s.keys, Key{ID: "key_2", Hash: Sum("tg-two"), Scopes: []Scope{Admin}}) })
		want("an admin", true, true)
		s.set(func() {
			for i := range s.keys {
				s.keys[i].RevokedAt = time.Now()
			}
		})
		want("revoked keys", false, false)
	})
}

func TestDirectoryBeforeItRuns(t *testing.T) {
	d := NewDirectory(&fakeStore{}, nil)
	find(t, d, "tg-one", ErrUnavailable)
	find(t, d, "sk-one", ErrUnknownKey)
}

func TestDirectoryThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{keys: []Key{{ID: "key_1", Hash: Sum("tg-one")}}}
		d := NewDirectory(s, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go d.Run(ctx)
		synctest.Wait()
		cancel()
		synctest.Wait()
		find(t, d, "tg-one", nil)
		find(t, d, "tg-two", ErrUnavailable)
	})
}

func TestKeysExpireByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{keys: []Key{{ID: "key_1", Hash: Sum("tg-new"), PreviousHash: Sum("tg-one"), PreviousUntil: time.Now().Add(time.Minute), ExpiresAt: time.Now().Add(time.Hour)}}}
		d := started(t, s)
		find(t, d, "tg-one", nil)
		find(t, d, "tg-new", nil)
		time.Sleep(time.Minute)
		find(t, d, "tg-one", ErrUnknownKey)
		find(t, d, "tg-new", nil)
		time.Sleep(time.Hour)
		find(t, d, "tg-new", ErrUnknownKey)
	})
}

// Guesses share polls of the store, so that they cannot overload it.
func TestGuessesSharePolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{gate: make(chan struct{})}
		d := NewDirectory(s, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go d.Run(ctx)
		synctest.Wait() // the first poll waits at the gate
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() { find(t, d, "tg-guess", ErrUnknownKey) })
		}
		synctest.Wait()
		close(s.gate)
		all.Wait()
		cancel()
		synctest.Wait()
		if s.polls != 2 {
			t.Errorf("got %d polls for 1000 concurrent guesses, want 2", s.polls)
		}
	})
}
