package dashboard_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/dashboard"
)

func TestActions(t *testing.T) {
	first := build(t, nil)
	ids, files, key := first.IDs(), first.FileIDs(), first.upstreamKey()
	for name, tt := range map[string]struct {
		path  string
		form  []string
		done  string // action of the gateway
		to    string // where it leads
		shows string // text on the page
	}{
		"cancel":            {"/batches/" + ids[1] + "/cancel", nil, "cancel " + ids[1], "/batches/" + ids[1] + "?done=cancelled", "is being cancelled"},
		"delete":            {"/batches/" + ids[9] + "/delete", nil, "delete false " + ids[9], "/batches?done=deleted", "It was deleted"},
		"delete with input": {"/batches/" + ids[9] + "/delete", []string{"input", "yes"}, "delete true " + ids[9], "/batches?done=deleted", "It was deleted"},
		"pause":             {"/batches/" + ids[1] + "/pause", nil, "pause " + ids[1], "/batches/" + ids[1] + "?done=paused", "Resume"},
		"resume":            {"/batches/" + ids[5] + "/resume", nil, "resume " + ids[5], "/batches/" + ids[5] + "?done=resumed", "Pause"},
		"priority":          {"/batches/" + ids[1] + "/priority", []string{"priority", "-7"}, "priority -7 " + ids[1], "/batches/" + ids[1] + "?done=prioritized", "−7"},
		"drain":             {"/upstreams/" + key + "/drain", nil, "drain http://vllm-1.gpu.internal:8000", "/upstreams/" + key + "?done=draining", "51 requests of this gateway are in flight there"},
		"undrain":           {"/upstreams/" + key + "/undrain", nil, "undrain http://vllm-1.gpu.internal:8000", "/upstreams/" + key + "?done=undrained", "gets requests again"},
		"delete a file":     {"/files/" + files[3] + "/delete", nil, "delete " + files[3], "/files?done=deleted", "It was deleted"},
		"create": {
			"/new",
			[]string{"file", files[0], "endpoint", "/v1/embeddings", "window", "6h0m0s", "priority", "5", "metadata", "a=b\r\n\r\n c = d=e \r\n"},
			"create " + files[0] + " /v1/embeddings 6h0m0s 5 map[a:b c:d=e]", "", "The batch was created",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := build(t, nil)
			w := h.post(tt.path, tt.form...)
			if w.Code != http.StatusSeeOther {
				t.Fatalf("%d\n%s", w.Code, w.Body)
			}
			if done := h.Done(); !slices.Equal(done, []string{tt.done}) {
				t.Errorf("did %q, want %q", done, tt.done)
			}
			to := strings.TrimPrefix(w.Header().Get("Location"), "/dashboard")
			if tt.to != "" && to != tt.to {
				t.Errorf("leads to %s, want %s", to, tt.to)
			}
			if page := h.page(to); !strings.Contains(page, tt.shows) {
				t.Errorf("%q is not to be seen there", tt.shows)
			}
		})
	}
}

func TestRetry(t *testing.T) {
	h := build(t, nil)
	failed := h.IDs()[9]
	if page := h.page("/batches/" + failed); !strings.Contains(page, "Retry failed lines") {
		t.Error("it is not offered")
	}
	w := h.post("/batches/" + failed + "/retry")
	made := h.IDs()[0]
	if to := w.Header().Get("Location"); to != "/dashboard/batches/"+made+"?done=retried" {
		t.Errorf("leads to %q", to)
	}
	if page := h.page("/batches/" + made); !strings.Contains(page, "repeats lines of") || !strings.Contains(page, failed) {
		t.Error("the new batch does not show the batch that it retries")
	}
	if page := h.page("/batches/" + failed); !strings.Contains(page, "repeated by") || strings.Contains(page, "Retry failed lines") {
		t.Error("the old batch does not show its retry")
	}
}

func TestRefusedActions(t *testing.T) {
	h := build(t, nil)
	ids, file := h.IDs(), h.FileIDs()[0]
	create := func(name, value string) []string {
		form := []string{"file", file, "endpoint", "/v1/embeddings", "window", "6h0m0s", "priority", "5", "metadata", ""}
		for i := 0; i < len(form); i += 2 {
			if form[i] == name {
				form[i+1] = value
			}
		}
		return form
	}
	for name, tt := range map[string]struct {
		path   string
		form   []string
		status int
	}{
		"no such batch":         {"/batches/batch_nobody/pause", nil, http.StatusNotFound},
		"no such file":          {"/files/file-missing/delete", nil, http.StatusNotFound},
		"no such upstream":      {"/upstreams/000000000000/drain", nil, http.StatusNotFound},
		"no such action":        {"/batches/" + ids[1] + "/explode", nil, http.StatusMethodNotAllowed},
		"pause what is over":    {"/batches/" + ids[8] + "/pause", nil, http.StatusConflict},
		"delete what runs":      {"/batches/" + ids[1] + "/delete", nil, http.StatusConflict},
		"priority too large":    {"/batches/" + ids[1] + "/priority", []string{"priority", "101"}, http.StatusBadRequest},
		"priority no number":    {"/batches/" + ids[1] + "/priority", []string{"priority", "high"}, http.StatusBadRequest},
		"no file":               {"/new", create("file", ""), http.StatusBadRequest},
		"another endpoint":      {"/new", create("endpoint", "/v1/admin"), http.StatusBadRequest},
		"a window of a second":  {"/new", create("window", "1s"), http.StatusBadRequest},
		"metadata without =":    {"/new", create("metadata", "a"), http.StatusBadRequest},
		"metadata twice":        {"/new", create("metadata", "a=1\na=2"), http.StatusBadRequest},
		"too many metadata":     {"/new", create("metadata", strings.Repeat("x", 0)+"a=1\nb=1\nc=1\nd=1\ne=1\nf=1\ng=1\nh=1\ni=1\nj=1\nk=1\nl=1\nm=1\nn=1\no=1\np=1\nq=1"), http.StatusBadRequest},
		"a form that is a film": {"/new", create("metadata", strings.Repeat("x", 70<<10)), http.StatusRequestEntityTooLarge},
	} {
		w := h.post(tt.path, tt.form...)
		if w.Code != tt.status {
			t.Errorf("%s: %d, want %d", name, w.Code, tt.status)
		}
		inspect(t, name, w.Body.String())
	}
}

// TestCrossSite sends every action from another site: all must be refused.
func TestCrossSite(t *testing.T) {
	h := build(t, nil, func(c *dashboard.Config) { c.TrustedOrigins = []string{"https://ops.example.com"} })
	ids, file, key := h.IDs(), h.FileIDs()[0], h.upstreamKey()
	paths := []string{
		"/batches/" + ids[1] + "/cancel", "/batches/" + ids[9] + "/delete", "/batches/" + ids[9] + "/retry", "/batches/" + ids[1] + "/pause",
		"/batches/" + ids[5] + "/resume", "/batches/" + ids[1] + "/priority", "/new", "/new/upload", "/files/" + file + "/delete",
		"/upstreams/" + key + "/drain", "/upstreams/" + key + "/undrain", "/preferences",
	}
	for _, path := range paths {
		for name, header := range map[string][2]string{
			"by Sec-Fetch-Site": {"Sec-Fetch-Site", "cross-site"},
			"from a neighbour":  {"Sec-Fetch-Site", "same-site"},
			"by Origin":         {"Origin", "https://evil.example"},
			"from nowhere":      {"Origin", "null"},
		} {
			r := httptest.NewRequest(http.MethodPost, "/dashboard"+path, strings.NewReader("priority=1&theme=dark"))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set(header[0], header[1])
			w := h.do(r)
			if w.Code != http.StatusForbidden || w.Header().Get("Content-Security-Policy") != policy || len(w.Result().Cookies()) > 0 {
				t.Errorf("%s %s: %d", path, name, w.Code)
			}
		}
	}
	if done := h.Done(); len(done) > 0 {
		t.Errorf("and yet: %q", done)
	}
	r := httptest.NewRequest(http.MethodPost, "/dashboard/batches/"+ids[1]+"/pause", http.NoBody)
	r.Header.Set("Origin", "https://ops.example.com")
	if w := h.do(r); w.Code != http.StatusSeeOther {
		t.Errorf("from a trusted origin: %d", w.Code)
	}
}

// TestOffers checks that pages offer exactly the possible actions.
func TestOffers(t *testing.T) {
	h := build(t, nil)
	ids := h.IDs()
	for i, want := range map[int]string{
		0:  "pause priority cancel",  // validating
		1:  "pause priority cancel",  // in progress
		5:  "resume priority cancel", // paused
		6:  "cancel",                 // finalizing
		7:  "",                       // cancelling
		8:  "delete",                 // completed
		9:  "retry delete",           // completed, with failures
		10: "delete",                 // failed
		11: "retry delete",           // expired
		12: "delete",                 // cancelled
	} {
		page := h.page("/batches/" + ids[i])
		var offered []string
		for _, action := range []string{"retry", "pause", "resume", "priority", "cancel", "delete"} {
			if strings.Contains(page, "/batches/"+ids[i]+"/"+action+`"`) {
				offered = append(offered, action)
			}
		}
		if got := strings.Join(offered, " "); got != want {
			t.Errorf("batch %d offers %q, want %q", i, got, want)
		}
	}
}
