package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/openai"
)

// reader uses the dashboard with HTML forms only.
type reader struct {
	*testing.T
	at     string // the gateway's URL
	header http.Header
}

// ask sends a request like a browser and returns the response, without following redirects.
func (r *reader) ask(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, r.at+path, body)
	if err != nil {
		return nil, err
	}
	maps.Copy(request.Header, r.header)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	if method == http.MethodPost && request.Header.Get("Sec-Fetch-Site") == "" {
		request.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	return http.DefaultTransport.RoundTrip(request)
}

// page requests a page and checks that it contains texts.
func (r *reader) page(path string, says ...string) string {
	r.Helper()
	answer, err := r.ask(r.Context(), http.MethodGet, "/dashboard"+path, "", nil)
	if err != nil {
		r.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		r.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		r.Fatalf("%s: %s: %.2000s", path, answer.Status, text)
	}
	for _, s := range says {
		if !strings.Contains(string(text), s) {
			r.Errorf("%s does not contain %q", path, s)
		}
	}
	return string(text)
}

// post sends a form and returns the resulting page.
func (r *reader) post(path string, form url.Values) string {
	r.Helper()
	return r.sent(path, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
}

func (r *reader) sent(path, contentType string, body io.Reader) string {
	r.Helper()
	answer, err := r.ask(r.Context(), http.MethodPost, "/dashboard"+path, contentType, body)
	if err != nil {
		r.Fatal(err)
	}
	defer answer.Body.Close()
	to := strings.TrimPrefix(answer.Header.Get("Location"), "/dashboard")
	if answer.StatusCode != http.StatusSeeOther || to == "" {
		text, _ := io.ReadAll(answer.Body) // for the message alone
		r.Fatalf("POST %s: %s: %.2000s", path, answer.Status, text)
	}
	return to
}

// refused posts a form that is to be refused.
func (r *reader) refused(status int, path string, form url.Values, header ...string) {
	r.Helper()
	other := &reader{r.T, r.at, r.header.Clone()}
	if other.header == nil {
		other.header = make(http.Header)
	}
	for i := 0; i < len(header); i += 2 {
		other.header.Set(header[i], header[i+1])
	}
	answer, err := other.ask(r.Context(), http.MethodPost, "/dashboard"+path, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
	if err != nil {
		r.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != status {
		r.Errorf("POST %s: %s, want %d", path, answer.Status, status)
	}
}

// upload sends a file by the form of a new batch.
func (r *reader) upload(name string, content []byte) string {
	r.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", name)
	if err == nil {
		_, err = part.Write(content)
	}
	if err == nil {
		err = form.Close()
	}
	if err != nil {
		r.Fatal(err)
	}
	return r.sent("/new/upload", form.FormDataContentType(), &body)
}

// follow reads the events of a page until one contains a text.
func (r *reader) follow(path, what string) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Minute) // a batch is not called late in its first minute
	defer cancel()
	answer, err := r.ask(ctx, http.MethodGet, "/dashboard/events"+path, "", nil)
	if err != nil {
		r.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.Contains(lines.Text(), what) {
			return
		}
	}
	r.Fatalf("the events of %s end without %q: %v", path, what, lines.Err())
}

var fileID = regexp.MustCompile(`file-[0-9a-f]+`)

// TestDashboard checks a file, creates a batch from it, follows it to its end, and performs
// every action on it, on a real gateway.
func TestDashboard(t *testing.T) {
	t.Parallel()
	sim := tidegatetest.StartSim(t, "--ttft", "10ms")
	gateway := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: []*tidegatetest.Sim{sim}})
	r := &reader{T: t, at: gateway.URL}
	for _, path := range []string{"/", "/throughput", "/throughput?span=7d", "/throughput?span=30d", "/batches", "/new", "/files", "/upstreams", "/doctor"} {
		r.page(path, "<title>")
	}
	r.page("/", "No known problems", sim.URL)
	r.page("/doctor", "prefix caching", "disk space")

	// Findings first.
	bad := r.page(r.upload("bad.jsonl", []byte("{\n"+`{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"no-such-model","messages":[{"role":"user","content":"x"}]}}`+"\n")))
	for _, says := range []string{"bad.jsonl", "no-such-model", "not served", "parseable"} {
		if !strings.Contains(bad, says) {
			t.Errorf("the page of an invalid file does not contain %q", says)
		}
	}

	const lines, failing = 300, 7
	input := tidegatetest.BatchInput(t, lines, func(i int) string {
		if i%50 == 3 {
			return "[[sim:status=400]]"
		}
		return "Hello"
	})
	checked := r.upload("good <&> ü.jsonl", input)
	page := r.page(checked, "good &lt;&amp;&gt; ü.jsonl", "300")
	id := fileID.FindString(page)
	form := url.Values{"file": {id}, "endpoint": {"/v1/chat/completions"}, "window": {"24h0m0s"}, "priority": {"5"}, "metadata": {"team=<b>ops</b>"}}
	r.refused(http.StatusForbidden, "/new", form, "Sec-Fetch-Site", "cross-site", "Origin", "https://elsewhere.example")
	r.refused(http.StatusBadRequest, "/new", url.Values{"file": {id}, "endpoint": {"/v1/chat/completions"}, "window": {"24h0m0s"}, "priority": {"101"}})
	at := r.post("/new", form)
	batchPage, _, _ := strings.Cut(at, "?")
	r.page(at, "was created", "&lt;b&gt;ops&lt;/b&gt;")
	r.follow(batchPage, "completed")
	tidegatetest.Eventually(t, time.Minute, "the batch to end", func() bool {
		return strings.Contains(r.page(batchPage), "Delete")
	})
	r.page(batchPage, "good &lt;&amp;&gt; ü.jsonl", "Retry", "400 Bad Request", "Output")
	batchID := strings.TrimPrefix(batchPage, "/batches/")
	b := gateway.Batch(t, batchID)
	if b.RequestCounts.Completed+b.RequestCounts.Failed != lines || b.RequestCounts.Failed == 0 || b.CompletionWindow != "24h" {
		t.Errorf("the batch is %+v", b)
	}

	// Lines, one by one and by state, and downloads.
	r.page(batchPage+"/lines", "line-000000", "completed")
	if failed := r.page(batchPage + "/lines?state=failed"); strings.Contains(failed, "line-000000") || !strings.Contains(failed, "line-000003") {
		t.Error("the failed lines are others")
	}
	r.page(batchPage+"/lines/4", "line-000003", "sim:status=400")
	answer, err := r.ask(t.Context(), http.MethodGet, "/dashboard"+batchPage+"/results/output", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	output, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || !bytes.Equal(output, gateway.Content(t, b.OutputFileID)) {
		t.Errorf("the download has %d bytes: %v", len(output), err)
	}

	// A new batch of what failed; the lines fail again.
	again := r.post(batchPage+"/retry", nil)
	retryPage, _, _ := strings.Cut(again, "?")
	tidegatetest.Eventually(t, time.Minute, "the retry to end", func() bool { return strings.Contains(r.page(retryPage), "Delete") })
	r.page(retryPage, batchID)
	if second := r.post(batchPage+"/retry", nil); second != again {
		t.Errorf("asking for the retry again led to %s, not to %s", second, again)
	}
	r.page(batchPage, strings.TrimPrefix(retryPage, "/batches/"))

	r.post(retryPage+"/delete", nil)
	r.page(batchPage, "Retry failed lines")
	var byClient openai.Batch
	if status, answer, err := gateway.Call(t.Context(), http.MethodPost, "/v1/batches/"+batchID+"/retry_failed", "", nil); err != nil || status != http.StatusOK {
		t.Errorf("retrying as a client: %d %s, %v", status, answer, err)
	} else if err := json.Unmarshal(answer, &byClient); err != nil {
		t.Error(err)
	}
	if third := r.post(batchPage+"/retry", nil); third == again || !strings.Contains(third, byClient.ID) {
		t.Errorf("a retry after the first was deleted and a client has made another led to %s, not to %s", third, byClient.ID)
	}

	r.page("/batches?q=ops", batchID)
	r.page("/files", "good &lt;&amp;&gt; ü.jsonl", batchID+"_output.jsonl")
	r.page("/throughput", "Uploads per 15 minutes")
	r.page(batchPage+"/delete", "are deleted permanently")
	r.post(batchPage+"/delete", url.Values{"input": {"on"}})
	if status, _, err := gateway.Call(t.Context(), http.MethodGet, "/v1/batches/"+batchID, "", nil); err != nil || status != http.StatusNotFound {
		t.Errorf("a deleted batch: %d, %v", status, err)
	}
	r.refused(http.StatusNotFound, batchPage+"/pause", nil)
}

// A batch is paused, given another priority, resumed and cancelled.
func TestDashboardControls(t *testing.T) {
	t.Parallel()
	sim := tidegatetest.StartSim(t, "--ttft", "100ms", "--max-num-seqs", "4")
	gateway := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: []*tidegatetest.Sim{sim}})
	r := &reader{T: t, at: gateway.URL}
	b := gateway.Submit(t, tidegatetest.BatchInput(t, 2000, func(int) string { return "Hello" }))
	page := "/batches/" + b.ID
	r.follow(page, "in progress")
	r.post(page+"/pause", nil)
	r.page(page, "paused", "Resume")
	tidegatetest.Eventually(t, time.Minute, "what runs to end", func() bool { return sim.Stats(t).Running == 0 })
	r.page("/batches?state=active", b.ID)
	r.page("/batches?state=paused", b.ID)
	r.post(page+"/priority", url.Values{"priority": {"-7"}})
	r.page(page, "-7")
	done := gateway.Batch(t, b.ID).RequestCounts.Completed
	r.post(page+"/resume", nil)
	tidegatetest.Eventually(t, time.Minute, "more lines to complete", func() bool { return gateway.Batch(t, b.ID).RequestCounts.Completed > done })
	r.page("/", b.ID)
	r.page(page+"/cancel", "cannot be resumed")
	r.post(page+"/cancel", nil)
	r.follow(page, "cancelled")
	r.refused(http.StatusConflict, page+"/pause", nil)

	upstreams := r.page("/upstreams")
	server := regexp.MustCompile(`/upstreams/[0-9a-f]{12}`).FindString(upstreams)
	r.page(server+"/drain", "No other server")
	r.post(server+"/drain", nil)
	r.page("/", "No upstream takes requests")
	r.post(server+"/undrain", nil)
	r.page(server, "Live in flight", sim.URL)
}

// A batch that is too much for its window is named, with what to do, for as long
// as it is.
func TestDashboardLate(t *testing.T) {
	t.Parallel()
	const lines = 20_000 // of 20 a second, in 10 minutes
	sim := tidegatetest.StartSim(t, "--ttft", "200ms", "--max-num-seqs", "4")
	gateway := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: []*tidegatetest.Sim{sim}})
	r := &reader{T: t, at: gateway.URL}
	input := gateway.Upload(t, "much.jsonl", tidegatetest.BatchInput(t, lines, func(int) string { return "Hello" }))
	var late openai.Batch
	_, made, err := gateway.Call(t.Context(), http.MethodPost, "/v1/batches", "application/json",
		fmt.Appendf(nil, `{"input_file_id": %q, "endpoint": %q, "completion_window": "10m"}`, input.ID, tidegatetest.ChatPath))
	if err := errors.Join(err, json.Unmarshal(made, &late)); err != nil {
		t.Fatal(err)
	}
	page := "/batches/" + late.ID
	r.follow("/", "Batch much.jsonl will miss its deadline")
	r.page("/", `href="/dashboard`+page+`"`, fmt.Sprintf("of %d lines are left", lines), "Raise its priority, pause others, or add servers.")
	r.post(page+"/pause", nil)
	r.follow("/", "Batch much.jsonl is paused and will miss its deadline")
	r.page("/", "Resume it.")
	r.post(page+"/resume", nil)
	r.post(page+"/cancel", nil)
	r.follow(page, "cancelled")
	tidegatetest.Eventually(t, time.Minute, "nothing to be late", func() bool { return !strings.Contains(r.page("/"), "miss its deadline") })
}

// Where the gateway has keys, a reader shows one as password.
func TestDashboardKeys(t *testing.T) {
	t.Parallel()
	sim := tidegatetest.StartSim(t)
	gateway := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: []*tidegatetest.Sim{sim}, APIKey: "secret"})
	for _, test := range []struct {
		name, password string
		status         int
	}{{"none", "", 401}, {"wrong", "guess", 401}, {"right", "secret", 200}} {
		for _, path := range []string{"/dashboard/", "/dashboard/events/", "/dashboard/assets/x/app.css", "/doctor"} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, gateway.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if test.password != "" {
				request.SetBasicAuth("any name", test.password)
			}
			if path == "/doctor" && test.password != "" {
				request.Header.Set("Authorization", "Bearer "+test.password)
			}
			answer, err := http.DefaultTransport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			want := test.status
			if want == http.StatusOK && strings.Contains(path, "assets") {
				want = http.StatusNotFound
			}
			if answer.StatusCode != want {
				t.Errorf("%s, %s: %s, want %d", test.name, path, answer.Status, want)
			}
			if want == http.StatusUnauthorized && answer.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: page has no instruction", path)
			}
		}
	}
}
