package engine_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/files/local"
)

// nopFiles have room, and nothing in them.
type nopFiles struct{ batch.Files }

func (nopFiles) Ping(context.Context) error                                { return nil }
func (nopFiles) List(context.Context, func(string, time.Time) error) error { return nil }

var errRefusedPlace = errors.New("it was refused for its files")

// crossing is a store to which gateways announce themselves at the same moment:
// as in a database, none of them sees the others yet.
type crossing struct {
	*batchtest.SharedStore
	there *sync.WaitGroup

	mu    sync.Mutex
	known map[string]bool // guarded by mu
}

func (s *crossing) Capabilities() batch.StoreCapabilities {
	c := s.SharedStore.Capabilities()
	c.Membership = s
	return c
}

func (s *crossing) Announce(ctx context.Context, a batch.Peer, ttl time.Duration) ([]batch.Peer, error) {
	others, err := s.SharedStore.Announce(ctx, a, ttl)
	s.mu.Lock()
	again := s.known[a.ID]
	s.known[a.ID] = true
	s.mu.Unlock()
	if again {
		return others, err
	}
	s.there.Done()
	s.there.Wait()
	return nil, err
}

// Of gateways with different files that start at the same moment, not all stay.
func TestOtherFilesAtTheSameMoment(t *testing.T) {
	t.Parallel()
	var there sync.WaitGroup
	there.Add(2)
	s := &crossing{SharedStore: batchtest.NewCluster(t, batch.Config{}, 0).Store, there: &there, known: map[string]bool{}}
	opened := make(chan error, 2)
	for _, place := range []string{"/here", "/elsewhere"} {
		engine := batchtest.NewEngine(batch.Config{}, s, batchtest.SharedFiles{Files: nopFiles{}, Location: place}, batchtest.NewPool())
		go func() {
			err := engine.Open(t.Context())
			if err == nil {
				err = engine.Stop(t.Context())
			} else if strings.Contains(err.Error(), "/here") && strings.Contains(err.Error(), "/elsewhere") {
				err = errRefusedPlace
			}
			opened <- err
		}()
	}
	refused := 0
	for range 2 {
		if err := <-opened; errors.Is(err, errRefusedPlace) {
			refused++
		} else if err != nil {
			t.Error(err)
		}
	}
	if refused == 0 {
		t.Error("both were taken")
	}
}

// Two gateways that already work report that their files differ. One of them was silent
// when the other joined.
func TestOtherFilesAreNoticed(t *testing.T) {
	t.Parallel()
	s := batchtest.NewCluster(t, batch.Config{}, 0)
	engine := batchtest.NewEngine(batch.Config{}, s.Store, batchtest.SharedFiles{Files: nopFiles{}, Location: "/here"}, batchtest.NewPool())
	if err := engine.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	engine.Start()
	other := batch.Peer{ID: "other", Host: "elsewhere", Place: "/elsewhere"}
	if _, err := s.Store.Announce(t.Context(), other, time.Minute); err != nil {
		t.Fatal(err)
	}
	told := func() bool {
		return strings.Contains(strings.Join(engine.Health(t.Context()).Paused.Texts(), "\n"), "with other files (/elsewhere)")
	}
	batchtest.Until(t, "it says so", told)
	if err := s.Store.Withdraw(t.Context(), other.ID); err != nil {
		t.Fatal(err)
	}
	batchtest.Until(t, "the problem is no longer reported", func() bool { return !told() })
	if err := engine.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// A gateway that sees other files than those that are there is refused.
func TestOtherFilesAreRefused(t *testing.T) {
	t.Parallel()
	s := batchtest.NewCluster(t, batch.Config{}, 1)
	other := batchtest.NewEngine(batch.Config{}, s.Store, batchtest.SharedFiles{Files: nil, Location: "/elsewhere"}, batchtest.NewPool())
	err := other.Open(t.Context())
	if err == nil || !strings.Contains(err.Error(), "/elsewhere") {
		t.Errorf("opened: %v", err)
	}
	if n := s.Store.PeerCount(); n != 1 {
		t.Errorf("%d gateways are known", n)
	}
	unshared := batchtest.NewEngine(batch.Config{}, s.Store, local.New(local.Config{Dir: t.TempDir()}), batchtest.NewPool())
	if err := unshared.Open(t.Context()); err == nil {
		t.Error("files without a place were taken")
		if err := unshared.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// sharingPool records the announcements of other gateways that it gets.
type sharingPool struct {
	*batchtest.Pool
	loads map[string]batch.Load
	told  atomic.Pointer[map[string]batch.Load]
	peers atomic.Int32

	counted atomic.Pointer[batch.Peers]
}

func (p *sharingPool) Capabilities() batch.DispatcherCapabilities {
	c := p.Pool.Capabilities()
	c.Loads = p
	return c
}

func (p *sharingPool) Loads() map[string]batch.Load { return p.loads }

func (p *sharingPool) SetPeers(n batch.Peers, loads map[string]batch.Load) {
	p.peers.Store(int32(n.All))
	p.counted.Store(&n)
	p.told.Store(&loads)
}

// Every pool gets the requests in flight on the other gateways. Those of a gateway that
// has left, or no longer announces them, are removed.
func TestLoadsAreShared(t *testing.T) {
	t.Parallel()
	s := batchtest.NewCluster(t, batch.Config{}, 0)
	pools := make([]*sharingPool, 3)
	engines := make([]*engine.Engine, 3)
	for i := range pools {
		pools[i] = &sharingPool{Pool: batchtest.NewPool(), loads: map[string]batch.Load{"http://a": {Live: i, Batch: 10}}}
		engines[i] = batchtest.NewEngine(batch.Config{}, s.Store, batchtest.SharedFiles{Files: nopFiles{}, Location: "here"}, pools[i])
		if err := engines[i].Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := int(pools[i].peers.Load()); n != i { // before it begins a line
			t.Errorf("gateway %d: got %d peers when it opens, want %d", i, n, i)
		}
		engines[i].Start()
	}
	told := func(p *sharingPool, peers int, want map[string]batch.Load) func() bool {
		return func() bool {
			loads := p.told.Load()
			return loads != nil && int(p.peers.Load()) == peers && maps.Equal(*loads, want)
		}
	}
	batchtest.Until(t, "the first has the loads of the others", told(pools[0], 2, map[string]batch.Load{"http://a": {Live: 3, Batch: 20}}))
	if err := engines[2].Stop(t.Context()); err != nil {
		t.Error(err)
	}
	batchtest.Until(t, "the first has seen that one left", told(pools[0], 1, map[string]batch.Load{"http://a": {Live: 1, Batch: 10}}))
	s.Store.Away.Store(true)
	batchtest.Until(t, "the first forgets what is old, and leaves the other its share", told(pools[0], 1, map[string]batch.Load{}))
	s.Store.Away.Store(false)
	for _, e := range engines[:2] {
		if err := e.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n := s.Store.PeerCount(); n != 0 {
		t.Errorf("%d gateways are still known", n)
	}
}
