package faults

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch/failpoint"
	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/openai"
)

// rare are calls that may not occur in a day, with the reason.
var rare = map[string]string{
	"store.RenewBatch":   "asked while a batch takes longer to validate or finalize than a third of its lease",
	"store.ReleaseBatch": "asked when a stop comes in the middle of that",
	"store.Forget":       "finds only what was deleted an hour ago; it is reached, and has nothing to repeat",
}

// notReached are calls that do not occur in a day, with the reason.
var notReached = map[string]string{
	"store.Quarantine":        "asked for contents older than an hour that no row names",
	"store.UnknownKeys":       "asked for contents older than an hour",
	"store.BatchOfKey":        "asked when failed lines are retried with an idempotency key",
	"store.SetWebhookTargets": "asked with webhooks, see TestWebhookFailpoints",
	"store.ClaimDeliveries":   "asked with webhooks, see TestWebhookFailpoints",
	"store.FinishDelivery":    "asked with webhooks, see TestWebhookFailpoints",
	"store.AddReceiptKey":     "asked when a client gets a receipt",
	"store.AddAudit":          "asked when a server is drained, see TestAuditFailpoints",
	"store.AuditEntries":      "asked when a client reads the log, see TestAuditFailpoints",
	"store.QueuedLines":       "asked when a client reads its limits",
	"store.TenantStorage":     "asked when a client reads its limits",
	"store.CreateKey":         "asked when keys are managed, see TestKeyFailpoints",
	"store.Key":               "asked when keys are managed, see TestKeyFailpoints",
	"store.RotateKey":         "asked when keys are managed, see TestKeyFailpoints",
	"store.ChangeKeyLimits":   "asked when keys are managed, see TestKeyFailpoints",
	"store.RevokeKey":         "asked when keys are managed, see TestKeyFailpoints",
}

// reads are calls that change nothing. A gateway that crashes after one is in the same state
// as one that crashed before it, and an error after one is an error before it, so that these
// have half of the days.
var reads = []string{
	"files.Open", "files.Read",
	"store.ActiveBatches", "store.AuditEntries", "store.Batch", "store.BatchModels", "store.BatchOfKey", "store.BatchStates",
	"store.ClaimableSlices", "store.CountParts", "store.Events", "store.File", "store.FileNames", "store.FileUses",
	"store.FindBatches", "store.Flow", "store.Garbage", "store.InputFile", "store.Key", "store.KeyUsage", "store.Keys",
	"store.KeysVersion", "store.LapsedSlices", "store.LargestFiles", "store.NeededContents",
	"store.Pace", "store.Parts", "store.Place", "store.Progress", "store.QueuedLines", "store.Results", "store.Slices", "store.Storage",
	"store.TenantStorage", "store.UnknownKeys", "store.Upload", "store.UpstreamModels", "store.UsageByModel", "store.UsageSeries",
	"store.Waiting", "store.WaitingBatches",
}

// inFlight limits the calls that are repeated after the death of the gateway.
const inFlight = 8

// everywhere tests all failpoints on every kind of backend. Without it, they are tested only
// on two kinds that together have all drivers, because a driver does not depend on those of
// the other parts.
var everywhere = flag.Bool("everywhere", false, "try the failpoints on every kind of backend")

// patience limits how long a day waits for the end of a batch, and for an answer.
var patience = flag.Duration("patience", time.Minute, "how long to wait for the end of a batch, and for an answer")

// At every call to store, queue, files and pool, before and after it, the
// gateway crashes or gets an error once. All that it promised holds.
//
// Calls that are not reached are not tried: other tests of this folder have them, or their
// time has not come.
func TestFailpoints(t *testing.T) {
	t.Parallel()
	for _, call := range slices.Concat(reads, slices.Collect(maps.Keys(rare)), slices.Collect(maps.Keys(notReached))) {
		if !slices.Contains(failpoint.Calls(), call) {
			t.Errorf("there is no call %s", call)
		}
	}
	kinds := []tidegatetest.Kind{tidegatetest.SQLite, tidegatetest.PostgresRedisS3}
	if *everywhere {
		kinds = append(kinds, tidegatetest.Postgres, tidegatetest.PostgresRedis)
	}
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			failpoints(t, tidegatetest.StartServers(t, kind, "max_connections=400"))
		})
	}
}

func failpoints(t *testing.T, servers *tidegatetest.Servers) {
	sims := tidegatetest.StartSims(t, 2, "--ttft", "20ms")
	for _, call := range failpoint.Calls() {
		if _, ok := notReached[call]; ok {
			continue
		}
		fail(t, servers, sims, call, 1, (*day).run)
	}
	t.Run("not reached", func(t *testing.T) {
		t.Parallel()
		var points []string
		for call := range notReached {
			points = append(points, call+":before=error")
		}
		d := begin(t, servers, sims, "not-reached", strings.Join(points, ","))
		d.run()
		if log := d.gateway.Log(t); strings.Contains(log, "failpoint ") {
			t.Errorf("a call of notReached occurred: %s", log)
		}
	})
}

// fail runs days in which the gateway crashes or gets an error before and after the nth
// call.
func fail(t *testing.T, servers *tidegatetest.Servers, sims []*tidegatetest.Sim, call string, nth int, live func(d *day)) {
	read := slices.Contains(reads, call)
	_, mayNotOccur := rare[call]
	for _, when := range []string{"before", "after"} {
		for _, action := range []string{"crash", "error"} {
			if read && (when == "before") == (action == "crash") {
				continue
			}
			place := call + ":" + when + "=" + action
			point := fmt.Sprintf("%s@%d", place, nth)
			name := place
			if nth > 1 {
				name = point
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				d := begin(t, servers, sims, point, point)
				live(d)
				if d.loading != nil {
					d.loading.loaded.Store(true) // nothing is wrong with a server that is up
				}
				fired := func() bool { return strings.Contains(d.gateway.Log(t), "failpoint "+point+"\n") }
				if !mayNotOccur && !tidegatetest.Poll(20*time.Second, fired) {
					t.Error("it never came to that")
				}
				d.recovered()
				if action == "crash" && fired() != (d.gateway.Deaths() > 0) {
					t.Errorf("%d deaths", d.gateway.Deaths())
				}
			})
		}
	}
}

// begin starts the gateway of a day with failpoints.
func begin(t *testing.T, servers *tidegatetest.Servers, sims []*tidegatetest.Sim, name, points string) *day {
	b := servers.NewBackend(t)
	b.MaxConns = 4
	d := &day{t: t, name: name, sims: sims, backend: b}
	upstreams := sims
	if slices.ContainsFunc(waitingCalls, func(call string) bool { return strings.HasPrefix(points, call) }) {
		d.loading = startLoading(t)
		upstreams = append(slices.Clip(sims), &d.loading.Sim)
	}
	d.gateway = tidegatetest.Persist(t, tidegatetest.Settings{
		Sims: upstreams, Binary: tidegatetest.FaultyBinary(t), Env: []string{"TIDEGATE_FAILPOINTS=" + points},
		App:   b.App() + "\ncost {\n currency EUR\n model * input 500000 output 1000000\n batch_discount 0\n}",
		Batch: fmt.Sprintf("max_in_flight %d\n lease 1s\n collect_interval 100ms\n retry_backoff 10ms 20ms", inFlight),
	})
	d.gateway.Patience = *patience
	return d
}

// day is a sequence of operations of all kinds on a gateway.
type day struct {
	t       *testing.T
	name    string
	sims    []*tidegatetest.Sim
	loading *loadingServer // nil if no batch waits
	backend *tidegatetest.Backend
	gateway *tidegatetest.Gateway
}

// look sends all kinds of read requests.
func (d *day) look(wholeID string) {
	for _, path := range []string{
		"/v1/batches/status", "/v1/batches/dashboard", "/v1/batches/analytics/timeline", "/v1/batches/analytics/tokens", "/v1/batches/" + wholeID + "?estimate=1",
		"/dashboard/throughput", "/dashboard/batches", "/dashboard/batches/" + wholeID, "/dashboard/files",
	} {
		d.ask(http.MethodGet, path, http.StatusOK)
	}
	// The first page is partial while the store is unavailable: it is requested
	// until it is complete.
	d.ask(http.MethodGet, "/dashboard/", http.StatusOK)
}

func (d *day) run() {
	t, g := d.t, d.gateway
	d.live()
	const lines = 150 // three slices
	whole, cancelled := d.whole(lines), d.input("cancelled", lines)
	wholeID := g.Submit(t, whole).ID
	g.WaitCompleted(t, wholeID, 20, *patience)
	for _, change := range []string{"pause", "priority", "resume"} {
		status, answer, err := g.Ask(t, http.MethodPost, "/v1/batches/"+wholeID+"/"+change, "application/json", []byte(`{"priority": 1}`))
		if err != nil || status != http.StatusOK && status != http.StatusConflict {
			t.Fatalf("%s: %d %s %v", change, status, answer, err)
		}
	}
	g.StopAndLaunch(t)
	cancelledID := g.Submit(t, cancelled).ID
	d.ask(http.MethodPost, "/v1/batches/"+cancelledID+"/cancel", http.StatusOK, http.StatusConflict)
	waitingID := ""
	if d.loading != nil {
		waitingID = g.Submit(t, bytes.ReplaceAll(d.input("waiting", waitingLines), []byte(`"model":"`+tidegatetest.Model+`"`), []byte(`"model":"`+waitingModel+`"`))).ID
	}
	bad := bytes.Replace(d.input("bad", 2), []byte(`"POST"`), []byte(`"GET"`), 1)
	badID := g.Submit(t, bad).ID
	uploaded := d.uploadParts()

	b := g.WaitEnd(t, wholeID, *patience)
	if g.Results(t, b, whole); b.Status != "completed" || b.RequestCounts != (openai.RequestCounts{Total: lines, Completed: lines}) {
		t.Errorf("the batch ended as %s, %+v", b.Status, b.RequestCounts)
	}
	d.calls(lines)
	over := g.WaitEnd(t, cancelledID, *patience)
	r := g.Results(t, over, cancelled)
	if c := over.RequestCounts; c.Total != lines || int(c.Completed) != len(r.Output) || int(c.Failed) > len(r.Errors) {
		t.Errorf("the cancelled batch ended as %s, %+v with %d and %d results", over.Status, c, len(r.Output), len(r.Errors))
	}
	if failed := g.WaitEnd(t, badID, *patience); failed.Status != "failed" || failed.Errors == nil {
		t.Errorf("the bad batch ended as %+v", failed)
	}
	d.used(b.Usage, over.Usage)
	if d.loading != nil {
		d.waits(waitingID)
	}
	d.look(wholeID)
	if got := g.Content(t, &uploaded); string(got) != "first second" {
		t.Errorf("the upload holds %q", got)
	}

	gone := []string{b.InputFileID, uploaded}
	d.ask(http.MethodDelete, "/v1/files/"+b.InputFileID, http.StatusOK, http.StatusNotFound)
	d.ask(http.MethodDelete, "/v1/files/"+uploaded, http.StatusOK, http.StatusNotFound)
	d.ask(http.MethodDelete, "/v1/batches/"+cancelledID+"?input=true", http.StatusOK, http.StatusNotFound)
	for _, id := range []*string{over.OutputFileID, over.ErrorFileID, &over.InputFileID} {
		if id != nil && *id != "" {
			gone = append(gone, *id)
		}
	}
	for _, id := range gone {
		d.ask(http.MethodGet, "/v1/files/"+id, http.StatusNotFound)
	}
	d.collected(gone)
	if got := g.Batch(t, wholeID); got.RequestCounts != b.RequestCounts || got.Status != b.Status {
		t.Errorf("the batch is %s, %+v after its end", got.Status, got.RequestCounts)
	}
}

// waitingCalls are the calls of a batch that waits for its model, and of the demand. Only
// days in which one of them fails have such a batch, which takes some seconds.
var waitingCalls = []string{"store.WaitingBatches", "store.BatchModels", "store.Flow", "store.CountLines"}

// waitingModel is the model of a batch of waitingLines that waits because a server is
// loading that may have the model.
const (
	waitingModel = "waiting"
	waitingLines = 3
)

// loadingServer reports that it is loading until it is loaded, and then has waitingModel.
type loadingServer struct {
	tidegatetest.Sim // its URL alone
	loaded           atomic.Bool
}

func startLoading(t *testing.T) *loadingServer {
	s := new(loadingServer)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !s.loaded.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"object":"list","data":[{"id":%q,"object":"model"}]}`, waitingModel)
	}))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// waits checks that a batch waits for its model and is in the demand, and deletes it.
func (d *day) waits(id string) {
	d.t.Helper()
	var demand struct {
		Data []struct {
			Lines int64
		}
	}
	counted := func() bool {
		d.gateway.Get(d.t, "/v1/batches/demand?model="+waitingModel, &demand)
		return len(demand.Data) == 1 && demand.Data[0].Lines == waitingLines
	}
	if !tidegatetest.Poll(30*time.Second, counted) {
		d.t.Errorf("demand of the model that loads: got %+v, want %d lines", demand, waitingLines)
	}
	if b := d.gateway.Batch(d.t, id); b.Status != "validating" || b.WaitReason == nil || !strings.Contains(*b.WaitReason, "loading") {
		d.t.Errorf("the batch of the model that loads: got %+v, want validating and the reason", b)
	}
	d.ask(http.MethodDelete, "/v1/batches/"+id+"?input=true", http.StatusOK, http.StatusNotFound)
}

// used checks that the usage report and the counters of usage are the sum of the usage of
// batches.
func (d *day) used(batches ...openai.Usage) {
	d.t.Helper()
	var want struct{ Input, Output int64 }
	for _, u := range batches {
		want.Input, want.Output = want.Input+u.InputTokens, want.Output+u.OutputTokens
	}
	var report struct {
		Summary struct {
			Input  int64 `json:"total_input_tokens"`
			Output int64 `json:"total_output_tokens"`
		}
	}
	d.gateway.Get(d.t, "/v1/batches/analytics/tokens", &report)
	// The cost of a batch is of exactly its lines, and so is that of the day.
	var usage struct {
		Total struct {
			Input  int64   `json:"input_tokens"`
			Output int64   `json:"output_tokens"`
			Cost   float64 `json:"cost"`
		} `json:"total"`
	}
	d.gateway.Get(d.t, "/v1/usage?class=batch", &usage)
	if got := usage.Total; got.Input != want.Input || got.Output != want.Output || got.Cost != float64(got.Input)/2+float64(got.Output) {
		d.t.Errorf("the cost of %+v is reported as %+v, want a half for each input token and one for each output token", want, got)
	}
	if got := report.Summary; got.Input != want.Input || got.Output != want.Output {
		d.t.Errorf("usage of %+v is reported as %+v", want, got)
	}
	if got := d.gateway.BatchThroughput(d.t); got.InputTokens != want.Input || got.OutputTokens != want.Output {
		d.t.Errorf("usage of %+v is counted as %+v", want, got)
	}
}

// live sends a chat request.
func (d *day) live() {
	status, answer, err := d.gateway.Ask(d.t, http.MethodPost, tidegatetest.ChatPath, "application/json", tidegatetest.ChatBody(d.t, d.name, false))
	if err != nil || status != http.StatusOK {
		d.t.Fatalf("live: %d %s %v", status, answer, err)
	}
}

func (d *day) input(name string, lines int) []byte {
	return tidegatetest.BatchInput(d.t, lines, func(i int) string { return "sim-id:" + d.id(name, i) })
}

// whole is the input of the batch that is begun before the stop and ends after
// it, however fast or slow the machine is: lines behind the first take long
// enough for the stop to come while others wait for their places, and the last
// is held for longer than a lease goes without being renewed.
func (d *day) whole(lines int) []byte {
	const long = "500ms" // a lease of 1s is renewed every 333ms
	return tidegatetest.BatchInput(d.t, lines, func(i int) string {
		prompt := "sim-id:" + d.id("whole", i)
		if i >= 40 && i < 40+inFlight || i == lines-1 {
			prompt += " [[sim:slow=" + long + "]]"
		}
		return prompt
	})
}

// id names a line to the simulated servers.
func (d *day) id(name string, line int) string { return d.prefix(name) + strconv.Itoa(line) }

// prefix returns the beginning of the names of all lines of an input.
func (d *day) prefix(name string) string {
	return strings.NewReplacer(":", "-", "=", "-", "@", "-").Replace(d.name) + "-" + name + "-"
}

// ask sends a request and checks that the response has one of the statuses.
func (d *day) ask(method, path string, want ...int) {
	d.t.Helper()
	status, answer, err := d.gateway.Ask(d.t, method, path, "", nil)
	if err != nil || !slices.Contains(want, status) {
		d.t.Fatalf("%s %s: %d %s %v, want %v", method, path, status, answer, err, want)
	}
}

// uploadParts makes a file of two parts, and another upload that is cancelled.
func (d *day) uploadParts() (fileID string) {
	t, g := d.t, d.gateway
	decode := func(answer []byte, into any) {
		t.Helper()
		if err := json.Unmarshal(answer, into); err != nil {
			t.Fatalf("%v: %s", err, answer)
		}
	}
	for range 50 { // an answer that is lost leaves an upload that cannot be gone on with
		var upload openai.Upload
		var parts []string
		_, answer, err := g.Ask(t, http.MethodPost, "/v1/uploads", "application/json", []byte(`{"filename":"a.txt","purpose":"user_data","mime_type":"text/plain","bytes":12}`))
		if err != nil {
			t.Fatal(err)
		}
		decode(answer, &upload)
		for _, text := range []string{"first ", "second"} {
			var form bytes.Buffer
			w := multipart.NewWriter(&form)
			part, err := w.CreateFormFile("data", "part")
			if err == nil {
				_, err = part.Write([]byte(text))
			}
			if err != nil || w.Close() != nil {
				t.Fatal(err)
			}
			var p openai.UploadPart
			if _, answer, err = g.Ask(t, http.MethodPost, "/v1/uploads/"+upload.ID+"/parts", w.FormDataContentType(), form.Bytes()); err != nil {
				t.Fatal(err)
			}
			decode(answer, &p)
			parts = append(parts, p.ID)
		}
		body, err := json.Marshal(map[string][]string{"part_ids": parts})
		if err != nil {
			t.Fatal(err)
		}
		status, answer, err := g.Ask(t, http.MethodPost, "/v1/uploads/"+upload.ID+"/complete", "application/json", body)
		if err != nil {
			t.Fatal(err)
		}
		if status != http.StatusOK { // completed, and the answer was lost
			continue
		}
		decode(answer, &upload)
		var other openai.Upload
		if _, answer, err = g.Ask(t, http.MethodPost, "/v1/uploads", "application/json", []byte(`{"filename":"b.txt","purpose":"user_data","mime_type":"text/plain","bytes":1}`)); err != nil {
			t.Fatal(err)
		}
		decode(answer, &other)
		d.ask(http.MethodPost, "/v1/uploads/"+other.ID+"/cancel", http.StatusOK)
		return upload.File.ID
	}
	t.Fatal("no upload could be completed")
	return ""
}

// calls asserts that every line of the whole batch was sent, and that no more
// were sent again than were in flight when the gateway died, or lost an answer.
func (d *day) calls(lines int) {
	again := d.repeated(lines)
	if most := int64(inFlight*d.gateway.Deaths() + 2); again > most { // 2: an answer is lost once in each process
		d.t.Errorf("%d calls were made again after %d deaths with %d lines in flight", again, d.gateway.Deaths(), inFlight)
	}
}

// repeated counts repeated lines of the whole batch, and checks that each was sent.
func (d *day) repeated(lines int) (again int64) {
	received := make(map[string]int64)
	for _, s := range d.sims {
		for id, c := range s.CallsNamed(d.t, d.prefix("whole")) {
			received[id] += c.Received
		}
	}
	for i := range lines {
		n := received[d.id("whole", i)]
		if n == 0 {
			d.t.Errorf("line %d was never sent", i)
		}
		again += n - 1
	}
	return again
}

// collected waits until contents are gone from the disk.
func (d *day) collected(ids []string) {
	for _, id := range ids {
		if !tidegatetest.Poll(30*time.Second, func() bool {
			d.ask(http.MethodGet, "/v1/files", http.StatusOK) // so that it is alive
			return !slices.Contains(d.backend.Contents(d.t), id)
		}) {
			d.t.Errorf("content of %s still exists", id)
		}
	}
}

// recovered waits until the gateway reports the status ok, and checks that no data is left
// over.
func (d *day) recovered() {
	var last []byte
	if !tidegatetest.Poll(20*time.Second, func() bool {
		_, last, _ = d.gateway.Ask(d.t, http.MethodGet, "/health", "", nil)
		return bytes.Contains(last, []byte(`"status":"ok"`))
	}) {
		d.t.Errorf("status is not ok: %s", last)
	}
	if d.backend.Dir == "" { // unfinished uploads to S3 are kept for an hour
		return
	}
	unfinished, err := os.ReadDir(filepath.Join(d.backend.Dir, "tmp"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, f := range unfinished {
		if !strings.HasPrefix(f.Name(), "ping-") {
			d.t.Errorf("unfinished: %s", f.Name())
		}
	}
}
