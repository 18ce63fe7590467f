package templates

import (
	"net/url"
	"strings"
	"time"

	"github.com/a-h/templ"
)

// Site is the part of a page's model that all pages share.
type Site struct {
	Base    string // path under which the dashboard lies, "" for the root
	Section string // of the navigation
	Title   string
	Path    string // of this page below Base with its query, to come back to
	Stream  string // path of its event stream below Base; "" when it has none
	Notice  string // what was done just now
	Wide    bool   // the page uses the full width

	// CreatesNothing reports whether this gateway, or the reader's rights, do not allow to
	// create files and batches.
	CreatesNothing bool

	// The reader's rights: Writes to create, change and delete files and batches, Operates
	// to drain servers and control all batches, Admin to do everything.
	Writes, Operates, Admin bool
	// SeesTenants reports whether the reader may see the objects of all tenants.
	SeesTenants bool

	// Tenant is the tenant of the page, for administrators; "" for others.
	Tenant  string
	Foreign bool     // it is not the reader's own
	Tenants []string // to select from

	Name    string // of the installation, "" for none
	Version string // of the gateway, "" when it is not known

	Theme     string // "dark", "light" or "": as the reader's system has it
	Zone      *time.Location
	ZoneKnown bool     // the reader has selected it
	Zones     []string // to select from
	Now       time.Time
}

// tenantName returns the tenant of the page for a filter.
func (s Site) tenantName() string {
	if s.Tenant == "" {
		return "this tenant"
	}
	return s.Tenant
}

// section is an entry of the navigation.
type section struct {
	name, path string
	may        func(Site) bool // for these readers; nil: all
}

var sections = []section{
	{name: "Overview"},
	{name: "Wall", path: "wall"},
	{name: "Throughput", path: "throughput"},
	{name: "Usage", path: "usage"},
	{name: "Batches", path: "batches"},
	{name: "Files", path: "files"},
	{name: "Upstreams", path: "upstreams"},
	{name: "Doctor", path: "doctor", may: func(s Site) bool { return s.Operates }},
	{name: "Keys", path: "keys", may: isAdmin},
	{name: "Webhooks", path: "webhooks", may: isAdmin},
	{name: "Audit", path: "audit", may: isAdmin},
}

func isAdmin(s Site) bool { return s.Admin }

// sections returns the navigation of the reader.
func (s Site) sections() (all []section) {
	for _, sec := range sections {
		if sec.may == nil || sec.may(s) {
			all = append(all, sec)
		}
	}
	return all
}

// To returns the address of a page; each part is escaped.
func (s Site) To(parts ...string) templ.SafeURL {
	var b strings.Builder
	b.WriteString(s.Base)
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(p))
	}
	if len(parts) == 0 || parts[0] == "" && len(parts) == 1 {
		return templ.SafeURL(s.Base + "/")
	}
	return templ.SafeURL(b.String())
}

// Below returns the address of a page for a path below the base.
func (s Site) Below(path string) templ.SafeURL { return templ.SafeURL(s.Base + path) }

// With returns the address of a page with a query; names and values alternate, and
// names without a value are omitted.
func (s Site) With(page templ.SafeURL, pairs ...string) templ.SafeURL {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return page
	}
	return page + templ.SafeURL("?"+q.Encode())
}

// asset returns the address of an asset. It changes with the content, so that
// browsers may cache it forever.
func (s Site) asset(name string) string {
	return s.Base + "/assets/" + Assets[name].Hash + "/" + name
}

// stream returns the address of the page's event stream.
func (s Site) stream() string {
	if s.Tenant == "" {
		return s.Base + s.Stream
	}
	separator := "?"
	if strings.Contains(s.Stream, "?") {
		separator = "&"
	}
	return s.Base + s.Stream + separator + url.Values{"tenant": {s.Tenant}}.Encode()
}

// zoneName returns the displayed name of the reader's zone.
func (s Site) zoneName() string {
	if s.Zone == time.UTC {
		return "UTC"
	}
	return s.Zone.String()
}

// pageTitle returns the title of the page in the browser. The name distinguishes
// installations.
func (s Site) pageTitle() string {
	if s.Name == "" {
		return s.Title + " · Tidegate"
	}
	return s.Title + " · " + s.Name + " · Tidegate"
}
