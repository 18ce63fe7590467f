package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

func (h *hooked) Results(ctx context.Context, ref batch.SliceRef) ([]batch.LineResult, error) {
	h.interrupt()
	return h.Store.Results(ctx, ref)
}

// claim claims the batch that waits for a worker.
func (a *api) claim() batch.BatchClaim {
	a.t.Helper()
	c, err := a.store.ClaimBatch(a.t.Context(), "test", time.Minute, batch.Validate)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

// begun is a batch of two lines, which runs.
func (a *api) begun() string {
	a.t.Helper()
	id := a.createBatch().ID
	plan := batch.Plan{Model: "m", Lines: 2, Slices: []batch.SlicePlan{{Length: int64(2 * len(line)), Lines: 2}}}
	if err := a.store.StartBatch(a.t.Context(), a.claim(), plan); err != nil {
		a.t.Fatal(err)
	}
	return id
}

// commit makes a line's result durable.
func (a *api) commit(id string, index int, record string) {
	a.t.Helper()
	slices, err := a.store.ClaimSlices(a.t.Context(), batch.Claimant{Owner: "test", Lease: time.Nanosecond}, []batch.SliceRef{{BatchID: id}})
	if err != nil || len(slices) != 1 {
		a.t.Fatal(slices, err)
	}
	result := batch.LineResult{Index: index, Record: []byte(record), Model: "m"}
	stale, err := a.store.CommitResults(a.t.Context(), []batch.SegmentWrite{{Claim: slices[0].SliceClaim, Lines: []batch.LineResult{result}}})
	if err != nil || len(stale) > 0 {
		a.t.Fatal(stale, err)
	}
}

// finish ends a batch whose lines are all done, and forgets its work.
func (a *api) finish(output string) {
	a.t.Helper()
	ctx, id := a.t.Context(), openai.NewID("file-")
	dst, err := a.files.Create(ctx, id)
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := dst.Write([]byte(output)); err != nil {
		a.t.Fatal(err)
	}
	if err := dst.Commit(ctx); err != nil {
		a.t.Fatal(err)
	}
	f := batch.NewFile{ID: id, Tenant: batch.DefaultTenant, Key: id, Filename: "out.jsonl", Purpose: openai.PurposeBatchOutput, Bytes: int64(len(output))}
	if err := a.store.FinishBatch(ctx, a.claim(), batch.Outcome{Output: &f}); err != nil {
		a.t.Fatal(err)
	}
	for n := 1; n > 0; {
		if n, err = a.store.DropWork(ctx, 100); err != nil {
			a.t.Fatal(err)
		}
	}
}

func (r reply) want(t *testing.T, body string) {
	t.Helper()
	if r.StatusCode != http.StatusOK || string(r.body) != body {
		t.Errorf("%d %q, want %q", r.StatusCode, r.body, body)
	}
}

func TestResultsSoFar(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	id := a.begun()
	path := "/v1/batches/" + id
	a.request("GET", path+"/output", "").want(t, "")
	a.commit(id, 1, `{"custom_id":"b"}`)
	got := a.request("GET", path+"/output", "")
	got.want(t, `{"custom_id":"b"}`+"\n")
	if d := got.Header.Get("Content-Disposition"); d != `attachment; filename="`+id+`_output.jsonl"` {
		t.Errorf("Content-Disposition %s", d)
	}
	if head := a.request("HEAD", path+"/output", ""); head.StatusCode != 200 || len(head.body) > 0 {
		t.Errorf("HEAD: %d %q", head.StatusCode, head.body)
	}
	a.request("GET", path+"/errors", "").want(t, "")
	refused{404, "", "", "No batch found"}.check(t, a.request("GET", path+"/output", "", tenantHeader, "other"))
	refused{404, "", "", "No batch found"}.check(t, a.request("GET", "/v1/batches/batch_unknown/errors", ""))
	refused{405, "", "method_not_supported", "Not allowed to "}.check(t, a.request("POST", path+"/output", ""))

	a.commit(id, 0, `{"custom_id":"a"}`)
	whole := `{"custom_id":"a"}` + "\n" + `{"custom_id":"b"}` + "\n"
	a.finish(whole)
	after := a.request("GET", path+"/output", "")
	after.want(t, whole)
	if after.ContentLength != int64(len(whole)) {
		t.Errorf("Content-Length %d", after.ContentLength)
	}
	a.request("GET", path+"/errors", "").want(t, "")
	b := decode[openai.Batch](t, a.request("GET", path, ""))
	a.request("DELETE", "/v1/files/"+*b.OutputFileID, "")
	refused{409, "", "", "The results of batch '" + id + "' are gone."}.check(t, a.request("GET", path+"/output", ""))
}

// TestResultsOfABatchThatEnds checks that a batch that ends before the response starts is
// read from its files.
func TestResultsOfABatchThatEnds(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	id := a.begun()
	whole := strings.Repeat(`{"custom_id":"x"}`+"\n", 2)
	a.commit(id, 0, `{"custom_id":"x"}`)
	reading, ended := make(chan struct{}), make(chan struct{})
	a.store.meanwhile = func() {
		close(reading)
		<-ended
	}
	answered := make(chan string)
	go func() {
		answer, err := a.server.Client().Get(a.server.URL + "/v1/batches/" + id + "/output")
		if err != nil {
			answered <- err.Error()
			return
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		answered <- fmt.Sprint(answer.StatusCode, " ", string(body), " ", err)
	}()
	<-reading
	a.commit(id, 1, `{"custom_id":"x"}`)
	a.finish(whole)
	close(ended)
	if got, want := <-answered, "200 "+whole+" <nil>"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
