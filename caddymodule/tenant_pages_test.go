package caddymodule

import (
	"errors"
	"fmt"
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
