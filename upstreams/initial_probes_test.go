package upstreams

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

func looked(p *Pool) bool {
	select {
	case <-p.Probed():
		return true
	default:
		return false
	}
}

// The first look of a pool ends when each server has been probed; those that hang
// are waited for a while, and longer while no other one is up.
func TestFirstLook(t *testing.T) {
	for _, c := range []struct {
		name         string
		probed, up   int
		after        time.Duration
		before, then bool
	}{
		{"none is probed", 0, 0, initialWaitMax, false, true},
		{"one hangs and another is up", 1, 1, initialWait, false, true},
		{"one hangs and the other is down", 1, 0, initialWait, false, false},
		{"all are probed", 2, 0, 0, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := NewPool(zap.NewNop())
				p.upstreams = []*upstream{{}, {}}
				p.mu.Lock()
				p.beginInitialProbes()
				p.mu.Unlock()
				for i := range c.probed {
					p.upstreams[i].probed = true
					if i < c.up {
						p.upstreams[i].state = StateUp
					}
					p.noteProbed()
				}
				if got := looked(p); got != c.before {
					t.Errorf("at once: got %t, want %t", got, c.before)
				}
				time.Sleep(c.after)
				synctest.Wait()
				if got := looked(p); got != c.then {
					t.Errorf("after %s: got %t, want %t", c.after, got, c.then)
				}
				p.mu.Lock()
				p.endInitialProbes()
				p.mu.Unlock()
			})
		})
	}
}
