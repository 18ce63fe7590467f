package dashboard

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/templates"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counted reads and counts.
func counted(reads *atomic.Int64) func(context.Context) (Now, error) {
	return func(context.Context) (Now, error) {
		return Now{Queue: templates.Queue{Active: int(reads.Add(1))}}, nil
	}
}

func mustJoin(t *testing.T, b *broadcaster) *viewer {
	t.Helper()
	v, ok := b.join()
	if !ok {
		t.Fatal("there was no place")
	}
	return v
}

func TestOneReadingForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		b := newBroadcaster(counted(&reads), time.Second, 100)
		defer b.close()
		time.Sleep(time.Minute)
		if n := reads.Load(); n != 0 {
			t.Fatalf("got %d readings without a reader, want 0", n)
		}
		viewers := make([]*viewer, 50)
		for i := range viewers {
			viewers[i] = mustJoin(t, b)
		}
		// The first reading may be over before the last has joined.
		time.Sleep(time.Second)
		synctest.Wait()
		for range 10 {
			var first *snapshot
			for _, v := range viewers {
				s := <-v.news
				if first == nil {
					first = s
				}
				if s != first {
					t.Fatal("viewers have different snapshots")
				}
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if n := reads.Load(); n != 12 {
			t.Errorf("%d readings in 11 s for 50 viewers, want 12", n)
		}
		for _, v := range viewers {
			b.leave(v)
		}
		synctest.Wait()
		before := reads.Load()
		time.Sleep(time.Minute)
		if n := reads.Load(); n != before {
			t.Errorf("%d readings after the last had left", n-before)
		}
		v := mustJoin(t, b) // it starts again
		if s := <-v.news; s.now.Queue.Active != int(before)+1 {
			t.Errorf("reading %d after %d", s.now.Queue.Active, before)
		}
		b.leave(v)
	})
}

// TestComingAndGoing checks that a viewer that joins and leaves at any time does not start a
// second loop.
func TestComingAndGoing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		b := newBroadcaster(counted(&reads), time.Second, 100)
		defer b.close()
		for range 100 {
			v := mustJoin(t, b)
			b.leave(v)
		}
		v := mustJoin(t, b)
		synctest.Wait()
		before := reads.Load()
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		if n := reads.Load() - before; n != 10 {
			t.Errorf("%d readings in 10 s", n)
		}
		b.leave(v)
	})
}

func TestSlowViewerGetsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		b := newBroadcaster(counted(&reads), time.Second, 100)
		defer b.close()
		slow, quick := mustJoin(t, b), mustJoin(t, b)
		seen := 0
		for range 20 {
			synctest.Wait()
			<-quick.news
			seen++
			time.Sleep(time.Second)
		}
		synctest.Wait()
		s := <-slow.news
		if s.number != b.latest.number {
			t.Errorf("the slow viewer has snapshot %d, the newest is %d", s.number, b.latest.number)
		}
		if seen != 20 {
			t.Errorf("the quick viewer saw %d of 20", seen)
		}
		select {
		case s := <-slow.news:
			t.Errorf("and there was another, %d", s.number)
		default:
		}
		b.leave(slow)
		b.leave(quick)
	})
}

func TestPlacesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		b := newBroadcaster(counted(&reads), time.Second, 2)
		one, two := mustJoin(t, b), mustJoin(t, b)
		if _, ok := b.join(); ok {
			t.Error("a third had a place")
		}
		b.leave(one)
		three := mustJoin(t, b)
		b.leave(two)
		b.leave(three)
		b.close()
		if _, ok := b.join(); ok {
			t.Error("one had a place after the end")
		}
	})
}

// TestCloseWaits checks that close waits for viewers.
func TestCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroadcaster(func(ctx context.Context) (Now, error) {
			<-ctx.Done() // a store that never answers
			return Now{}, ctx.Err()
		}, time.Second, 2)
		v := mustJoin(t, b)
		go func() {
			<-b.ctx.Done()
			time.Sleep(3 * time.Second) // it takes its time
			b.leave(v)
		}()
		synctest.Wait()
		began := time.Now()
		b.close()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("closing took %s", took)
		}
	})
}

func TestReadingMayFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		var well atomic.Bool
		b := newBroadcaster(func(context.Context) (Now, error) {
			if !well.Load() {
				return Now{}, broken
			}
			return Now{Queue: templates.Queue{Active: 1}}, nil
		}, time.Second, 2)
		defer b.close()
		v := mustJoin(t, b)
		if s := <-v.news; !errors.Is(s.err, broken) {
			t.Errorf("error %v", s.err)
		}
		well.Store(true)
		if s := <-v.news; s.err != nil || s.now.Queue.Active != 1 {
			t.Errorf("then %+v, %v", s.now, s.err)
		}
		b.leave(v)
	})
}

// Pages that are opened share readings as well.
func TestCurrentIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		b := newBroadcaster(counted(&reads), time.Second, 2)
		defer b.close()
		for range 100 {
			b.current()
		}
		time.Sleep(time.Second)
		b.current()
		if n := reads.Load(); n != 2 {
			t.Errorf("%d readings", n)
		}
	})
}

func TestPageIsMadeOnce(t *testing.T) {
	s := &snapshot{ctx: t.Context(), pages: make(map[string]*rendered)}
	made := 0
	render := func(context.Context) ([]section, error) {
		made++
		return []section{{"a", []byte("b")}}, nil
	}
	for range 10 {
		if got, err := s.page("x", render); err != nil || len(got) != 1 {
			t.Fatal(got, err)
		}
	}
	if _, err := s.page("y", render); err != nil {
		t.Fatal(err)
	}
	if made != 2 {
		t.Errorf("2 pages were made %d times", made)
	}
}
