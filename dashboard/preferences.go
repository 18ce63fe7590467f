package dashboard

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/templates"
)

// Cookies of the reader's preferences.
const (
	themeCookie = "tidegate_theme"
	zoneCookie  = "tidegate_zone"
	// tenantCookie has the tenant that an administrator has selected.
	tenantCookie = "tidegate_tenant"
	cookieAge    = 365 * 24 * time.Hour
)

// site returns the parts of a page's model that all pages share.
func (d *Dashboard) site(r *http.Request, section, title string) templates.Site {
	client := d.client(r)
	s := templates.Site{
		Base: d.base, Section: section, Title: title, Zone: time.UTC, Now: d.now(),
		Name: d.name, Version: d.version, CreatesNothing: !d.creates() || !client.May(access.Batch),
		Writes: client.May(access.Batch), Operates: client.May(access.Operate), Admin: client.May(access.Admin), SeesTenants: client.SeesTenants(),
		Path: strings.TrimPrefix(r.URL.EscapedPath(), d.base), Notice: notices[r.URL.Query().Get("done")],
	}
	if query := r.URL.Query(); len(query) > 0 {
		query.Del("done") // do not show the notice again
		if encoded := query.Encode(); encoded != "" {
			s.Path += "?" + encoded
		}
	}
	if client.SeesTenants() && d.tenant != "" {
		s.Tenant, s.Foreign, s.Tenants = d.tenant, d.foreign(r), d.source.Keys.Tenants()
		s.CreatesNothing = s.CreatesNothing || s.Foreign
	}
	if c, err := r.Cookie(themeCookie); err == nil && (c.Value == "dark" || c.Value == "light") {
		s.Theme = c.Value
	}
	if c, err := r.Cookie(zoneCookie); err == nil {
		name, err := url.QueryUnescape(c.Value)
		if zone, ok := findZone(name); err == nil && ok {
			s.Zone, s.ZoneKnown = zone, true
		}
	}
	s.Zones = zonesWith(s.Zone)
	return s
}

// foreign reports whether the pages are those of another tenant than the client's.
func (d *Dashboard) foreign(r *http.Request) bool {
	return d.tenant != "" && d.tenant != d.client(r).Tenant
}

// SelectedTenant returns the tenant whose pages a client wants: administrators can select
// one, all others have their own.
func SelectedTenant(r *http.Request, client access.Identity) string {
	c, err := r.Cookie(tenantCookie)
	if err != nil || !client.SeesTenants() || access.CheckTenant(c.Value) != nil {
		return client.Tenant
	}
	return c.Value
}

// preferences stores the reader's preferences and redirects back.
func (d *Dashboard) preferences(w http.ResponseWriter, r *http.Request) {
	if !d.form(w, r) {
		return
	}
	switch theme := r.PostForm.Get("theme"); theme {
	case "dark", "light":
		d.setCookie(w, r, themeCookie, theme, cookieAge)
	case "auto":
		d.setCookie(w, r, themeCookie, "", -1)
	}
	if zone, ok := findZone(r.PostForm.Get("zone")); ok {
		d.setCookie(w, r, zoneCookie, url.QueryEscape(zone.String()), cookieAge)
	}
	if tenant, given := r.PostForm["tenant"]; given && d.client(r).SeesTenants() {
		switch name := strings.TrimSpace(tenant[0]); {
		case name == "" || name == d.client(r).Tenant:
			d.setCookie(w, r, tenantCookie, "", -1)
		case access.CheckTenant(name) != nil:
			d.fail(w, r, refuse(http.StatusBadRequest, "That cannot be the name of a tenant."))
			return
		default:
			d.setCookie(w, r, tenantCookie, name, cookieAge)
		}
	}
	http.Redirect(w, r, d.base+back(r.PostForm.Get("back")), http.StatusSeeOther)
}

// back returns the page below the base to redirect to. Other targets in the request
// are ignored.
func back(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, "/") ||
		strings.HasPrefix(u.Path, "//") || strings.ContainsAny(u.Path, "\\\r\n") || strings.Contains(u.Path, "/../") {
		return "/"
	}
	return (&url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}).String()
}

func (d *Dashboard) setCookie(w http.ResponseWriter, r *http.Request, name, value string, age time.Duration) {
	maxAge := int(age / time.Second)
	if age < 0 {
		maxAge = -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: d.base + "/", MaxAge: maxAge,
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteLaxMode,
	})
}
