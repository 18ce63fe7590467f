package caddymodule

import (
	"errors"
	"sync"
	"time"

	"github.com/tidegate/tidegate/dashboard"
)

// tenantPages are the dashboards of tenants, each with its own pages, event streams and
// cached figures. One without a request for a while is closed, and opened again on demand.
type tenantPages struct {
	open func(tenant string) (*dashboard.Dashboard, error)

	mu      sync.Mutex // guards what follows
	pages   map[string]*tenantPage
	streams int // of all tenants
	sweep   *time.Timer
	closed  bool
}

// tenantPage is the dashboard of a tenant.
type tenantPage struct {
	*dashboard.Dashboard
	requests int       // in progress, streams included
	used     time.Time // when the last one ended
}

const (
	// maxTenantPages limits the tenants whose dashboards are open.
	maxTenantPages = 256
	// maxStreams limits the event streams of all tenants. Each tenant has a limit, too.
	maxStreams = 1024
	// tenantIdle is the time after which a dashboard without requests is closed.
	tenantIdle = 10 * time.Minute
)

// errPagesBusy reports that a limit of open dashboards or streams is reached.
var errPagesBusy = errors.New("too many pages are open")

// of returns the dashboard of a tenant for a request, which may be an event stream. The
// caller calls done at the end of the request.
func (p *tenantPages) of(tenant string, stream bool) (d *dashboard.Dashboard, done func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if stream && p.streams >= maxStreams {
		return nil, nil, errPagesBusy
	}
	page := p.pages[tenant]
	if page == nil {
		if len(p.pages) >= maxTenantPages && !p.dropOldest() {
			return nil, nil, errPagesBusy
		}
		opened, err := p.open(tenant)
		if err != nil {
			return nil, nil, err
		}
		if p.closed {
			opened.Close()
		}
		page = &tenantPage{Dashboard: opened}
		if p.pages == nil {
			p.pages = make(map[string]*tenantPage)
		}
		p.pages[tenant] = page
	}
	page.requests++
	if stream {
		p.streams++
	}
	return page.Dashboard, sync.OnceFunc(func() { p.done(page, stream) }), nil
}

func (p *tenantPages) done(page *tenantPage, stream bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	page.requests--
	page.used = time.Now()
	if stream {
		p.streams--
	}
	if p.sweep == nil && !p.closed {
		p.sweep = time.AfterFunc(tenantIdle, p.closeIdle)
	}
}

// dropOldest closes the dashboard that has been idle the longest, and reports whether there
// was one. The caller holds mu.
func (p *tenantPages) dropOldest() bool {
	oldest := ""
	for tenant, page := range p.pages {
		if page.requests == 0 && (oldest == "" || page.used.Before(p.pages[oldest].used)) {
			oldest = tenant
		}
	}
	if oldest == "" {
		return false
	}
	p.pages[oldest].Close()
	delete(p.pages, oldest)
	return true
}

// closeIdle closes the dashboards that were idle for tenantIdle, and looks again for the
// others later.
func (p *tenantPages) closeIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweep = nil
	if p.closed {
		return
	}
	for tenant, page := range p.pages {
		if page.requests == 0 && time.Since(page.used) >= tenantIdle {
			page.Close()
			delete(p.pages, tenant)
		}
	}
	if len(p.pages) > 0 {
		p.sweep = time.AfterFunc(tenantIdle, p.closeIdle)
	}
}

// close closes open pages, also of tenants whose dashboard is opened later.
func (p *tenantPages) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.sweep != nil {
		p.sweep.Stop()
	}
	for _, page := range p.pages {
		page.Close()
	}
}
