package caddymodule

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/dashboard/dashboardtest"
)

// openPages returns dashboards in memory, and counts those that were opened.
func openPages(opened *int) *tenantPages {
	return &tenantPages{open: func(string) (*dashboard.Dashboard, error) {
		*opened++
		return dashboard.New(dashboard.Config{Base: "/dashboard", Source: dashboardtest.New(time.Now, nil).Source()})
	}}
}

func (p *tenantPages) mustOpen(t *testing.T, tenant string, stream bool) func() {
	t.Helper()
	_, done, err := p.of(tenant, stream)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// TestIdlePagesClose checks that the dashboard of a tenant is kept while it is used, and
// closed some time later.
func TestIdlePagesClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		p := openPages(&opened)
		defer p.close()
		stream := p.mustOpen(t, "a", true)
		p.mustOpen(t, "b", false)()
		time.Sleep(tenantIdle + time.Second)
		synctest.Wait()
		if p.pages["a"] == nil || p.pages["b"] != nil {
			t.Errorf("open: %v, want that with a stream", p.pages)
		}
		p.mustOpen(t, "a", false)()
		if opened != 2 {
			t.Errorf("opened %d dashboards, want one for each tenant", opened)
		}
		stream()
		time.Sleep(2*tenantIdle + time.Second)
		synctest.Wait()
		if len(p.pages) != 0 || p.streams != 0 {
			t.Errorf("open: %v and %d streams, want none", p.pages, p.streams)
		}
	})
}

// TestPagesAreBounded checks the limits of open dashboards and of streams.
func TestPagesAreBounded(t *testing.T) {
	opened := 0
	p := openPages(&opened)
	defer p.close()
	var busy []func()
	for i := range maxTenantPages {
		done := p.mustOpen(t, fmt.Sprint("busy-", i), false)
		busy = append(busy, done)
	}
	if _, _, err := p.of("late", false); !errors.Is(err, errPagesBusy) {
		t.Errorf("a tenant beyond the limit: got %v, want %v", err, errPagesBusy)
	}
	busy[7]()
	p.mustOpen(t, "late", false)()
	if p.pages["busy-7"] != nil || p.pages["late"] == nil || len(p.pages) != maxTenantPages {
		t.Errorf("%d dashboards are open, want %d with the new one in place of the idle one", len(p.pages), maxTenantPages)
	}
	for range maxStreams {
		p.mustOpen(t, "busy-1", true)
	}
	if _, _, err := p.of("busy-2", true); !errors.Is(err, errPagesBusy) {
		t.Errorf("a stream beyond the limit: got %v, want %v", err, errPagesBusy)
	}
	p.mustOpen(t, "busy-2", false)()
}

// TestOpeningHoldsUpNoOther opens the dashboard of a tenant while that of another does not
// open. It finds a dashboard that is opened under the lock of all, two dashboards of one
// tenant, one that stays open after all were closed, and an error that is kept.
func TestOpeningHoldsUpNoOther(t *testing.T) {
	slow, failing := make(chan struct{}), errors.New("failing")
	release := sync.OnceFunc(func() { close(slow) })
	defer release()
	var mu sync.Mutex
	opened := make(map[string]int)
	p := &tenantPages{open: func(tenant string) (*dashboard.Dashboard, error) {
		mu.Lock()
		opened[tenant]++
		n := opened[tenant]
		mu.Unlock()
		switch {
		case tenant == "slow":
			<-slow
		case tenant == "failing" && n == 1:
			<-slow
			return nil, failing
		}
		return dashboard.New(dashboard.Config{Base: "/dashboard", Source: dashboardtest.New(time.Now, nil).Source()})
	}}
	var all sync.WaitGroup
	var same [3]*dashboard.Dashboard
	var errs [3]error
	for i := range same {
		all.Go(func() {
			d, done, err := p.of("slow", i == 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer done()
			same[i] = d
		})
	}
	until(t, "the slow one is opened", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return opened["slow"] > 0
	})
	free := make(chan struct{})
	go func() {
		defer close(free)
		p.mustOpen(t, "other", true)()
		p.closeIdle()
	}()
	select {
	case <-free:
	case <-time.After(20 * time.Second):
		release()
		t.Fatal("another tenant waits for a dashboard that does not open")
	}
	for i := range errs {
		all.Go(func() { _, _, errs[i] = p.of("failing", true) })
	}
	until(t, "all wait", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.pages["slow"].requests == len(same) && p.pages["failing"] != nil && p.pages["failing"].requests == len(errs)
	})
	p.close() // while two are opened
	release()
	all.Wait()
	for i := range same {
		if same[i] == nil || same[i] != same[0] || !errors.Is(errs[i], failing) {
			t.Errorf("request %d: got the dashboard %p and %v, want %p and %v", i, same[i], errs[i], same[0], failing)
		}
	}
	if opened["slow"] != 1 || opened["failing"] != 1 || p.streams != 0 || p.pages["failing"] != nil {
		t.Errorf("got %v opened, %d streams and %v, want each once, none and no failed one", opened, p.streams, p.pages)
	}
	p.mustOpen(t, "failing", false)() // again, and closed at once
}
