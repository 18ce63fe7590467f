package browser

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// TestFindingsOfGateway reads the program's findings about a file that is still being
// uploaded.
func TestFindingsOfGateway(t *testing.T) {
	const name = "0123456789abcdef0123456789abcdef"
	gateway := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: []*tidegatetest.Sim{tidegatetest.StartSim(t)}})
	body, to := io.Pipe()
	form := multipart.NewWriter(to)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, gateway.URL+"/dashboard/new/upload", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", form.FormDataContentType())
	r.Header.Set("Tidegate-Upload", name)
	answered := make(chan error, 1)
	go func() {
		answer, err := http.DefaultClient.Do(r)
		if err == nil {
			err = answer.Body.Close()
			if answer.StatusCode != http.StatusOK || answer.Header.Get("Tidegate-Location") == "" {
				err = fmt.Errorf("the upload was answered with %s", answer.Status)
			}
		}
		answered <- err
	}()
	file, err := form.CreateFormFile("file", "slow.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	line := tidegatetest.BatchInput(t, 1, func(int) string { return "Hello" })
	if _, err := file.Write(append(line, "no JSON\n"...)); err != nil {
		t.Fatal(err)
	}
	tidegatetest.Eventually(t, time.Minute, "the finding is there", func() bool {
		status, found, err := gateway.Call(t.Context(), http.MethodGet, "/dashboard/new/arriving?upload="+name, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		return status == http.StatusOK && strings.Contains(string(found), "not parseable as valid JSON")
	})
	if err := errors.Join(form.Close(), to.Close(), <-answered); err != nil {
		t.Fatal(err)
	}
}

// TestGateway stores a file, makes a batch of it and follows that from its
// creation to its end without a reload, then reads its lines, retries those that
// failed and deletes it: in the dashboard of the program itself, with a key.
func TestGateway(t *testing.T) {
	const lines, failing, key = 400, 8, "a-key"
	sim := tidegatetest.StartSim(t, "--ttft", "200ms", "--max-num-seqs", "16")
	gateway := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: []*tidegatetest.Sim{sim}, APIKey: key})
	input := filepath.Join(t.TempDir(), "prompts.jsonl")
	text := tidegatetest.BatchInput(t, lines, func(i int) string {
		if i%(lines/failing) == 3 {
			return "[[sim:status=400]]"
		}
		return "Hello"
	})
	if err := os.WriteFile(input, text, 0o600); err != nil {
		t.Fatal(err)
	}
	p := open(t, desktop)
	// A page that was opened with a name and a password is shown with them.
	p.visit(strings.Replace(gateway.URL, "http://", "http://reader:"+key+"@", 1) + "/dashboard/new")
	p.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{input}))
	p.click("form[data-upload] button", "#h-found")
	p.click("section form button.main", "#live-head")
	evaluate[bool](p, `window.same = true`)
	const state = `document.querySelector('.title .state').textContent`
	p.until(state + ` === 'in progress' && /[1-9]\d? %/.test(document.querySelector('#live-progress').textContent)`)
	p.until(state + ` === 'completed' && document.getElementById('a-retry') !== null`)
	if !evaluate[bool](p, `window.same === true`) {
		t.Error("the page was loaded again")
	}
	id := evaluate[string](p, `location.pathname.split('/').pop()`)
	if b := gateway.Batch(t, id); b.RequestCounts.Completed != lines-failing || b.RequestCounts.Failed != failing {
		t.Errorf("of %d lines %+v, want %d failed", lines, b.RequestCounts, failing)
	}
	p.narrow("the batch")
	p.shoot("gateway-batch")

	batch := gateway.URL + "/dashboard/batches/" + id
	p.visit(batch + "/lines?state=failed")
	if got := evaluate[int](p, `document.querySelectorAll('main tbody tr').length`); got != failing {
		t.Errorf("%d lines failed on the page, want %d", got, failing)
	}
	p.shoot("gateway-lines")
	for _, page := range []string{"/", "/throughput", "/files", "/upstreams", "/doctor"} {
		p.visit(gateway.URL + "/dashboard" + page)
		p.settle()
		p.narrow(page)
		p.shoot("gateway-" + cmp.Or(strings.Trim(page, "/"), "overview"))
	}
	p.visit(batch + "/delete")
	p.click("form button.danger", "h1")
	if status, _, err := gateway.Call(t.Context(), http.MethodGet, "/v1/batches/"+id, "", nil); err != nil || status != http.StatusNotFound {
		t.Errorf("the deleted batch: %d, %v", status, err)
	}
	p.quiet()
}
