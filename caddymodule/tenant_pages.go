package caddymodule

import (
	"sync"

	"github.com/tidegate/tidegate/dashboard"
)

// tenantPages are the dashboards of tenants, each with its own pages, event streams and
// cached figures. There are at most as many as tenants of valid keys.
type tenantPages struct {
	open func(tenant string) (*dashboard.Dashboard, error)

	mu     sync.Mutex // guards what follows
	pages  map[string]*dashboard.Dashboard
	closed bool
}

// of returns the dashboard of a tenant.
func (p *tenantPages) of(tenant string) (*dashboard.Dashboard, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := p.pages[tenant]; d != nil {
		return d, nil
	}
	d, err := p.open(tenant)
	if err != nil {
		return nil, err
	}
	if p.closed {
		d.Close()
	}
	if p.pages == nil {
		p.pages = make(map[string]*dashboard.Dashboard)
	}
	p.pages[tenant] = d
	return d, nil
}

// close closes open pages, also of tenants whose dashboard is opened later.
func (p *tenantPages) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, d := range p.pages {
		d.Close()
	}
}
