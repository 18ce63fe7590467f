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
	opened chan struct{} // closed when the dashboard is open, or could not be opened
	// Dashboard and err are set before opened is closed, and not changed afterwards.
	*dashboard.Dashboard
	err error

	requests int       // in progress, streams and those that wait for opened included
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
// caller calls done at the end of the request. Only requests of the same tenant wait while
// its dashboard is opened.
func (p *tenantPages) of(tenant string, stream bool) (d *dashboard.Dashboard, done func(), err error) {
	page, opens, err := p.reserve(tenant, stream)
	if err != nil {
		return nil, nil, err
	}
	done = sync.OnceFunc(func() { p.done(page, stream) })
	if opens {
		p.openPage(page, tenant)
	}
	<-page.opened
	if page.err != nil {
		done()
		return nil, nil, page.err
	}
	return page.Dashboard, done, nil
}

// reserve counts a request for the dashboard of a tenant. The caller must open it if opens is
// set.
func (p *tenantPages) reserve(tenant string, stream bool) (page *tenantPage, opens bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if stream && p.streams >= maxStreams {
		return nil, false, errPagesBusy
	}
	page = p.pages[tenant]
	if opens = page == nil; opens {
		if len(p.pages) >= maxTenantPages && !p.dropOldest() {
			return nil, false, errPagesBusy
		}
		page = &tenantPage{opened: make(chan struct{})}
		if p.pages == nil {
			p.pages = make(map[string]*tenantPage)
		}
		p.pages[tenant] = page
	}
	page.requests++
	if stream {
		p.streams++
	}
	return page, opens, nil
}

// errNotOpened is the error of a dashboard whose opening panicked.
var errNotOpened = errors.New("opening the dashboard failed")

// openPage opens a reserved dashboard. One that cannot be opened is opened again for the next
// request.
func (p *tenantPages) openPage(page *tenantPage, tenant string) {
	var opened *dashboard.Dashboard
	err := errNotOpened
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		page.Dashboard, page.err = opened, err
		switch {
		case err != nil:
			delete(p.pages, tenant)
		case p.closed:
			opened.Close()
		}
		close(page.opened)
	}()
	opened, err = p.open(tenant)
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
		if page.Dashboard != nil { // openPage closes the others
			page.Close()
		}
	}
}
