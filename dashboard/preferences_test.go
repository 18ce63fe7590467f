package dashboard_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPreferences(t *testing.T) {
	h := build(t, nil)
	for name, tt := range map[string]struct {
		form   []string
		cookie string // "" for none
		to     string
	}{
		"dark":             {[]string{"theme", "dark", "back", "/batches?state=failed"}, "tidegate_theme=dark", "/dashboard/batches?state=failed"},
		"light":            {[]string{"theme", "light"}, "tidegate_theme=light", "/dashboard/"},
		"as the system":    {[]string{"theme", "auto"}, "tidegate_theme=", "/dashboard/"},
		"another theme":    {[]string{"theme", "pink"}, "", "/dashboard/"},
		"a zone":           {[]string{"zone", "Asia/Kathmandu", "back", "/throughput"}, "tidegate_zone=Asia%2FKathmandu", "/dashboard/throughput"},
		"no zone":          {[]string{"zone", "Mars/Olympus"}, "", "/dashboard/"},
		"a file":           {[]string{"zone", "../../etc/passwd"}, "", "/dashboard/"},
		"the server's":     {[]string{"zone", "Local"}, "", "/dashboard/"},
		"elsewhere":        {[]string{"theme", "dark", "back", "https://evil.example/"}, "tidegate_theme=dark", "/dashboard/"},
		"elsewhere, short": {[]string{"theme", "dark", "back", "//evil.example/"}, "tidegate_theme=dark", "/dashboard/"},
		"elsewhere, back":  {[]string{"theme", "dark", "back", `/\evil.example/`}, "tidegate_theme=dark", "/dashboard/"},
		"above":            {[]string{"theme", "dark", "back", "/../v1/files"}, "tidegate_theme=dark", "/dashboard/"},
		"a header":         {[]string{"theme", "dark", "back", "/x\r\nSet-Cookie: a=b"}, "tidegate_theme=dark", "/dashboard/"},
	} {
		w := h.post("/preferences", tt.form...)
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != tt.to {
			t.Errorf("%s: %d to %q, want %q", name, w.Code, w.Header().Get("Location"), tt.to)
		}
		cookies := w.Result().Cookies()
		if tt.cookie == "" {
			if len(cookies) > 0 {
				t.Errorf("%s: set %v", name, cookies)
			}
			continue
		}
		if len(cookies) != 1 || cookies[0].Name+"="+cookies[0].Value != tt.cookie || cookies[0].Path != "/dashboard/" || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteLaxMode {
			t.Errorf("%s: set %v, want %s", name, cookies, tt.cookie)
		}
	}
}

func TestThemeAndZone(t *testing.T) {
	h := build(t, nil)
	with := func(path string, cookies ...string) string {
		r := httptest.NewRequest(http.MethodGet, "/dashboard"+path, http.NoBody)
		r.Header.Set("Cookie", strings.Join(cookies, "; "))
		return h.do(r).Body.String()
	}
	if page := with("/"); !strings.Contains(page, `data-theme=""`) || !strings.Contains(page, `data-zone-wanted="UTC"`) || !strings.Contains(page, "14:05:09 UTC") {
		t.Error("nothing said: not the system's colours, not UTC, or the script is not told to send the zone")
	}
	page := with("/", "tidegate_theme=dark", "tidegate_zone=Asia%2FKathmandu")
	for _, want := range []string{`data-theme="dark"`, "19:50:09 +0545", `<option value="Asia/Kathmandu" selected>`} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(page, "data-zone-wanted") {
		t.Error("the script is to send the zone again")
	}
	// A zone that is not among those to choose from is kept among them.
	if page := with("/", "tidegate_zone=Europe%2FUlyanovsk"); !strings.Contains(page, `<option value="Europe/Ulyanovsk" selected>`) {
		t.Error("a zone that is not in the list is not kept")
	}
	for _, bad := range []string{"tidegate_theme=<script>", "tidegate_zone=%2e%2e", "tidegate_zone=%zz", "tidegate_zone=" + strings.Repeat("A", 5000)} {
		if page := with("/", bad); !strings.Contains(page, `data-theme=""`) || !strings.Contains(page, "14:05:09 UTC") {
			t.Errorf("the cookie %.30s changed something", bad)
		}
	}
	// Ticks stand at round hours of the reader's clock, with the odd quarter
	// of an hour that Nepal has.
	if page := with("/throughput", "tidegate_zone=Asia%2FKathmandu"); !strings.Contains(page, ">12:00</text>") || !strings.Contains(page, "Mon Nov 23 12:00–12:15") {
		t.Error("the charts are not in the reader's zone")
	}
}
