package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

func TestRoutes(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	file, upload, b := openai.NewID("file-"), openai.NewID("upload_"), openai.NewID("batch_")
	unknown := func(method, path string) refused {
		return refused{404, "", "unknown_url", "Invalid URL (" + method + " " + path + ")"}
	}
	noFile := func(id string) refused { return refused{404, "id", "", "No such File object: " + id} }
	noBatch := func(id string) refused { return refused{404, "", "", "No batch found with id '" + id + "'."} }
	noUpload := func(id string) refused { return refused{404, "", "", "No upload found with id '" + id + "'."} }
	badFlag := func(name string) refused { return refused{400, name, "invalid_value", "Invalid value: 'maybe'."} }
	badLimit := refused{400, "limit", "integer_below_min_value", ""}
	wrong := refused{405, "", "method_not_supported", "Not allowed to "}
	for _, c := range []struct {
		method, path string
		want         refused
		allow        string
	}{
		{"GET", "/v1/files/" + file, noFile(file), ""},
		{"GET", "/v1/files/" + file + "/content", noFile(file), ""},
		{"DELETE", "/v1/files/" + file, noFile(file), ""},
		{"GET", "/v1/batches/" + b, noBatch(b), ""},
		{"POST", "/v1/batches/" + b + "/cancel", noBatch(b), ""},
		{"DELETE", "/v1/batches/" + b, noBatch(b), ""},
		{"POST", "/v1/uploads/" + upload + "/cancel", noUpload(upload), ""},

		{"GET", "/v1/files/x", noFile("x"), ""},
		{"GET", "/v1/files/" + b, noFile(b), ""},
		{"GET", "/v1/files/..", noFile(".."), ""},
		{"GET", "/v1/files/file-%2e%2e%2fx", noFile("file-%2e%2e%2fx"), ""},
		{"GET", "/v1/files/file-..%2f..%2fetc%2fpasswd/content", noFile("file-..%2f..%2fetc%2fpasswd"), ""},
		{"GET", "/v1/files/file-a%00b", noFile("file-a%00b"), ""},
		{"GET", "/v1/files/file-a%27%20OR%201=1", noFile("file-a%27%20OR%201=1"), ""},
		{"GET", "/v1/files/FILE-abc", noFile("FILE-abc"), ""},
		{"GET", "/v1/files/file-" + strings.Repeat("a", 5000), noFile("file-aaa"[:5]), ""},
		{"GET", "/v1/batches/x", noBatch("x"), ""},
		{"GET", "/v1/batches/batch_%F0%9F%98%80", noBatch("batch_%F0%9F%98%80"), ""},
		{"GET", "/v1/batches/analytics", noBatch("analytics"), ""},
		{"POST", "/v1/batches/status/cancel", noBatch("status"), ""},
		{"POST", "/v1/uploads/x/complete", noUpload("x"), ""},

		{"GET", "/v1/models", unknown("GET", "/v1/models"), ""},
		{"GET", "/v1/files/x/", noFile("x"), ""},
		{"GET", "/v1/files//", unknown("GET", "/v1/files//"), ""},
		{"GET", "/v1/batches/x?estimate=1", noBatch("x"), ""},
		{"GET", "/v1/files/file-a%00b?x=1", noFile("file-a%00b"), ""},
		{"GET", "/v1/files/file-..%2f..%2fetc%2fpasswd/content?x=1", noFile("file-..%2f..%2fetc%2fpasswd"), ""},
		{"DELETE", "/v1/batches/batch_no_such?cancel=false", noBatch("batch_no_such"), ""},
		{"DELETE", "/v1/batches/batch_no_such?cancel=maybe", badFlag("cancel"), ""},
		{"DELETE", "/v1/batches/" + b + "?cancel=maybe", badFlag("cancel"), ""},
		{"DELETE", "/v1/batches/x?input=maybe", badFlag("input"), ""},
		{"GET", "/v1/batches/x?estimate=maybe", badFlag("estimate"), ""},
		{"GET", "/v1/batches/x/results?limit=0", badLimit, ""},
		{"GET", "/v1/batches/" + b + "/results?limit=0", badLimit, ""},
		{"GET", "/v1//files", unknown("GET", "/v1//files"), ""},
		{"GET", "/v1/files//content", unknown("GET", "/v1/files//content"), ""},
		{"GET", "/v1/files/" + file + "/content/", noFile(file), ""},
		{"GET", "/v1/files/../batches", unknown("GET", "/v1/files/../batches"), ""},
		{"GET", "/v1%2ffiles", unknown("GET", "/v1%2ffiles"), ""},
		{"GET", "/V1/files", unknown("GET", "/V1/files"), ""},
		{"GET", "/v1/uploads/" + upload, unknown("GET", "/v1/uploads/"+upload), ""},

		{"PUT", "/v1/files", wrong, "GET, HEAD, POST"},
		{"DELETE", "/v1/files", wrong, "GET, HEAD, POST"},
		{"PATCH", "/v1/files/" + file, wrong, "DELETE, GET, HEAD"},
		{"POST", "/v1/files/" + file, wrong, "DELETE, GET, HEAD"},
		{"POST", "/v1/files/" + file + "/content", wrong, "GET, HEAD"},
		{"OPTIONS", "/v1/batches", wrong, "GET, HEAD, POST"},
		{"GET", "/v1/batches/" + b + "/cancel", wrong, "POST"},
		{"GET", "/v1/uploads", wrong, "POST"},
		{"PUT", "/v1/uploads/" + upload + "/parts", wrong, "POST"},
	} {
		name := c.method + " " + c.path
		t.Run(name[:min(len(name), 60)], func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), c.method, a.server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.URL.Opaque = c.path // unescaped
			got := a.send(r)
			c.want.check(t, got)
			if allow := got.Header.Get("Allow"); allow != c.allow {
				t.Errorf("Allow is %q, want %q", allow, c.allow)
			}
		})
	}
}

func TestHead(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	f := a.upload("batch", "in.jsonl", line)
	for path, status := range map[string]int{
		"/v1/files":                             200,
		"/v1/files/" + f.ID:                     200,
		"/v1/files/" + f.ID + "/content":        200,
		"/v1/batches":                           200,
		"/v1/files/":                            200,
		"/v1/files/" + f.ID + "/":               200,
		"/v1/files/" + f.ID + "/content/":       200,
		"/v1/batches/":                          200,
		"/v1/batches/status/":                   200,
		"/v1/dashboard/":                        200,
		"/v1/files/" + openai.NewID("file-"):    404,
		"/v1/batches/" + openai.NewID("batch_"): 404,
	} {
		r := a.request(http.MethodHead, path, "")
		if r.StatusCode != status || len(r.body) > 0 || r.ContentLength <= 0 {
			t.Errorf("HEAD %s: status %d, %d bytes of %d", path, r.StatusCode, len(r.body), r.ContentLength)
		}
	}
}
