package background_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate/internal/background"
)

func TestStopEndsTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := background.NewGroup(t.Context())
		ended := 0
		started := g.Start(func(ctx context.Context) {
			<-ctx.Done()
			ended++
		})
		if !started {
			t.Fatal("Start: got false, want true")
		}
		synctest.Wait()
		if err := g.Context().Err(); err != nil || ended != 0 {
			t.Fatalf("before Stop: got error %v and %d goroutines ended, want none", err, ended)
		}
		g.Stop()
		g.Wait()
		if g.Context().Err() == nil || ended != 1 {
			t.Errorf("after Stop and Wait: got error %v and %d goroutines ended, want an error and 1", g.Context().Err(), ended)
		}
	})
}

func TestParentEndsTheContext(t *testing.T) {
	parent := background.NewGroup(t.Context())
	child := background.NewGroup(parent.Context())
	parent.Stop()
	if child.Context().Err() == nil {
		t.Error("context of the child: got no error after Stop of its parent, want one")
	}
	child.Stop()
}

// A goroutine that is started while Wait waits is waited for as well.
func TestWaitIncludesLaterStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := background.NewGroup(t.Context())
		defer g.Stop()
		var first, second bool // ended
		g.Start(func(context.Context) {
			time.Sleep(time.Second)
			if !g.Start(func(context.Context) {
				time.Sleep(time.Second)
				second = true
			}) {
				t.Error("Start while Wait waits: got false, want true")
			}
			first = true
		})
		g.Wait()
		if !first || !second {
			t.Errorf("ended when Wait returned: first %v, second %v, want both", first, second)
		}
	})
}

func TestNothingStartsAfterWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := background.NewGroup(t.Context())
		defer g.Stop()
		ran := false
		g.Wait()
		if g.Start(func(context.Context) { ran = true }) {
			t.Error("Start after Wait: got true, want false")
		}
		synctest.Wait()
		if ran {
			t.Error("a goroutine ran after Wait")
		}
		g.Wait() // returns again
	})
}

func TestStartsAfterWaitIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := background.NewGroup(t.Context())
		defer g.Stop()
		ran := 0
		for range 3 {
			if !g.Start(func(context.Context) {
				time.Sleep(time.Second)
				ran++
			}) {
				t.Fatal("Start: got false, want true")
			}
			g.WaitIdle()
		}
		g.Wait()
		if ran != 3 {
			t.Errorf("goroutines that had ended: got %d, want 3", ran)
		}
	})
}
