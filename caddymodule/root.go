package caddymodule

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tidegate/tidegate/internal/openai"
)

// dashboardVar is the variable of a request for the root that has passed a dashboard:
// its path. A server may have several sites with a dashboard each, or none.
const dashboardVar = "tidegate.dashboard"

// announce stores the path of the dashboard for the handlers after it, for the root
// of the site. If a prefix was stripped from the path, the dashboard cannot be
// reached by its own path.
func (h *DashboardHandler) announce(r *http.Request) {
	if r.URL.Path != "/" {
		return
	}
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && original.URL != nil && original.URL.Path != "/" {
		return
	}
	caddyhttp.SetVar(r.Context(), dashboardVar, h.path)
}

// rootRedirect redirects a browser that requests the root of the site to the
// dashboard, and reports whether it did.
func (d *door) rootRedirect(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path != "/" || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	path, _ := caddyhttp.GetVar(r.Context(), dashboardVar).(string)
	if path == "" {
		return false
	}
	w.Header().Add("Vary", "Accept")
	if !acceptsHTML(r.Header["Accept"]) {
		return false
	}
	if err := d.guard.checkReader(r); err != nil {
		openai.WriteError(w, r, err)
		return true
	}
	http.Redirect(w, r, path, http.StatusSeeOther)
	return true
}

// acceptsHTML reports whether a client lists HTML among the types that it accepts, as
// browsers do. Ranges such as */* do not count: all other clients send them.
func acceptsHTML(accept []string) bool {
	for _, list := range accept {
		for one := range strings.SplitSeq(list, ",") {
			media, params, err := mime.ParseMediaType(one)
			if err != nil || media != "text/html" {
				continue
			}
			if q, given := params["q"]; given {
				if weight, err := strconv.ParseFloat(q, 64); err != nil || weight <= 0 {
					continue
				}
			}
			return true
		}
	}
	return false
}
