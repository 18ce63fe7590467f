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
	cookieAge   = 365 * 24 * time.Hour
)

// site returns the parts of a page's model that all pages share.
func (d *Dashboard) site(r *http.Request, section, title string) templates.Site {
	client := d.client(r)
	s := templates.Site{
		Base: d.base, Section: section, Title: title, Zone: time.UTC, Now: d.now(),
		Name: d.name, Version: d.version, CreatesNothing: !d.creates() || !client.May(access.Batch),
		Writes: client.May(access.Batch), Operates: client.May(access.Operate), Admin: client.May(access.Admin),
		Path: strings.TrimPrefix(r.URL.EscapedPath(), d.base), Notice: notices[r.URL.Query().Get("done")],
	}
	if query := r.URL.Query(); len(query) > 0 {
		query.Del("done") // do not show the notice again
		if encoded := query.Encode(); encoded != "" {
			s.Path += "?" + encoded
		}
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
