package besh

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

const patience = time.Minute

// packed is an input of lines, compressed.
func packed(t *testing.T, lines int, prompt string) (input, gz []byte) {
	t.Helper()
	input = tidegatetest.BatchInput(t, lines, func(i int) string { return fmt.Sprintf("%s, line %d", prompt, i) })
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(input); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return input, b.Bytes()
}

func serve(t *testing.T, simArgs ...string) (*tidegatetest.Gateway, *tidegatetest.Sim) {
	t.Helper()
	sim := tidegatetest.StartSim(t, simArgs...)
	g := tidegatetest.Run(t, tidegatetest.Settings{
		Sims: []*tidegatetest.Sim{sim}, App: "api_keys " + key, Batch: "collect_interval 100ms\n max_in_flight 20",
	})
	g.APIKey = key
	return g, sim
}

// status has the members that both generations have.
type status struct {
	Redis   string `json:"redis_status"`
	Length  *int64 `json:"queue_length"`
	Total   *int64 `json:"total_batches_in_db"`
	Active  *int64 `json:"active_batches_in_db"`
	Running *int64 `json:"active_batches"`
	Queued  *int64 `json:"queued_batches"`
	Workers *int64 `json:"max_workers"`
	Most    *int64 `json:"max_concurrent_batches"`
}

// TestLargeRun uploads ten compressed files of twenty lines, creates ten batches from them,
// and polls the status until no batch is active.
func TestLargeRun(t *testing.T) {
	g, _ := serve(t)
	for name, s := range scripts(t, g.URL) {
		t.Run(name, func(t *testing.T) {
			s.t = t
			const batches, lines = 10, 20
			before := *get[status](s, "/v1/batches/status").Total
			inputs := make(map[string][]byte)
			for i := range batches {
				input, gz := packed(t, lines, fmt.Sprintf("%s, batch %d", name, i))
				f := s.upload(fmt.Sprintf("large_%d.jsonl.gz", i), gz)
				c := f.Compression
				if f.Purpose != "batch" || f.Bytes != int64(len(input)) || c == nil || c.Format != "gzip" || c.OriginalSize != int64(len(gz)) {
					t.Fatalf("upload: got %+v, %+v", f, c)
				}
				if want := math.Round(100*float64(len(gz))/float64(len(input))) / 100; c.CompressionRatio != want {
					t.Errorf("compression ratio: got %v, want %v", c.CompressionRatio, want)
				}
				b := s.create(f.ID)
				if b.CompletionWindow != "24h" || b.InputFileID != f.ID {
					t.Fatalf("batch: got %+v", b)
				}
				inputs[b.ID] = input
			}
			var now status
			tidegatetest.Eventually(t, patience, "no batch is active", func() bool {
				now = get[status](s, "/v1/batches/status")
				return *now.Active == 0
			})
			if now.Redis != "connected" || *now.Length != 0 || *now.Total != before+batches || *now.Running != 0 || *now.Queued != 0 || *now.Workers < 1 || *now.Most < 1 {
				t.Errorf("status: got %+v", now)
			}
			for id, input := range inputs {
				b := g.Batch(t, id)
				totals := b.BatchTotals
				if b.Status != "completed" || totals.RequestTotal != lines || totals.RequestCompleted != lines || totals.RequestFailed != 0 ||
					totals.PromptTokens < 1 || totals.CompletionTokens < 1 || totals.TotalTokens != totals.PromptTokens+totals.CompletionTokens {
					t.Errorf("batch %s is %s with %+v", id, b.Status, totals)
				}
				g.Results(t, b, input)
			}
			s.checkReports(batches*lines, before+batches)
		})
	}
}

// checkReports reads the reports of its generation.
func (s script) checkReports(requests, batches int64) {
	s.t.Helper()
	dashboard, analytics := "/v1/batches/dashboard", "/v1/batches/analytics"
	if s.second {
		dashboard, analytics = "/v1/dashboard", "/v1/analytics"
	}
	board := report[struct {
		Object  string
		Batches []struct {
			CreatedAt   string   `json:"created_at"`
			CompletedAt string   `json:"completed_at"`
			Seconds     *float64 `json:"duration_seconds"`
			ErrorRate   *float64 `json:"error_rate_percentage"`
			Usage       struct {
				Requests int64 `json:"request_count"`
			} `json:"token_usage"`
		}
		Summary struct {
			Batches   int64            `json:"total_batches"`
			ByStatus  map[string]int64 `json:"batches_by_status"`
			Completed int64            `json:"total_request_completed"`
			Overall   struct {
				Requests int64 `json:"total_requests"`
			} `json:"overall_token_usage"`
		}
	}](s, dashboard+"?page=1&limit=50")
	if board.Object != "dashboard" || board.Summary.Batches != batches || board.Summary.ByStatus["completed"] != batches ||
		board.Summary.Completed < requests || board.Summary.Overall.Requests != board.Summary.Completed {
		s.t.Errorf("dashboard: got %+v, want %d batches", board.Summary, batches)
	}
	for _, b := range board.Batches {
		created, err := time.Parse("2006-01-02T15:04:05.999999", b.CreatedAt)
		completed, err2 := time.Parse("2006-01-02T15:04:05.999999", b.CompletedAt)
		if err != nil || err2 != nil || completed.Before(created) || time.Since(created) > time.Hour || b.Seconds == nil || *b.ErrorRate != 0 || b.Usage.Requests != 20 {
			s.t.Errorf("batch in the dashboard: got %+v", b)
		}
	}
	timeline := report[struct {
		Object    string
		Intervals []struct{ Count int64 }
		Summary   struct {
			Batches int64 `json:"total_batches"`
		}
	}](s, analytics+"/timeline")
	if timeline.Object != "batch_timeline" || len(timeline.Intervals) != 96 || timeline.Summary.Batches != batches {
		s.t.Errorf("timeline: got %d intervals, %+v, want 96 with %d batches", len(timeline.Intervals), timeline.Summary, batches)
	}
	tokens := report[struct {
		Object    string
		Intervals []struct{}
		Summary   struct {
			Batches   int64   `json:"total_batches"`
			Requests  int64   `json:"total_request_completed"`
			Tokens    int64   `json:"total_tokens"`
			Peak      int64   `json:"peak_interval"`
			Seconds   float64 `json:"total_duration_seconds"`
			TimeRange struct{ Start, End string }
		}
	}](s, analytics+"/tokens")
	if tokens.Object != "token_timeline" || len(tokens.Intervals) != 96 || tokens.Summary.Batches != batches || tokens.Summary.Requests < requests ||
		tokens.Summary.Peak < 1 || tokens.Summary.Tokens < tokens.Summary.Peak || tokens.Summary.Seconds <= 0 {
		s.t.Errorf("tokens: got %d intervals, %+v", len(tokens.Intervals), tokens.Summary)
	}
}

// TestCheckOneBatch polls one batch until it has ended, and fetches its output.
func TestCheckOneBatch(t *testing.T) {
	g, _ := serve(t)
	for name, s := range scripts(t, g.URL) {
		t.Run(name, func(t *testing.T) {
			s.t = t
			input, gz := packed(t, 20, name)
			id := s.create(s.upload("one.jsonl.gz", gz).ID).ID
			var b struct {
				Status string
				Total  int64   `json:"request_total"`
				Done   int64   `json:"request_completed"`
				Failed int64   `json:"request_failed"`
				Output *string `json:"output_file_id"`
			}
			tidegatetest.Eventually(t, patience, "the batch has completed", func() bool {
				b = get[struct {
					Status string
					Total  int64   `json:"request_total"`
					Done   int64   `json:"request_completed"`
					Failed int64   `json:"request_failed"`
					Output *string `json:"output_file_id"`
				}](s, "/v1/batches/"+id)
				return b.Status == "completed"
			})
			if b.Total != 20 || b.Done != 20 || b.Failed != 0 || b.Output == nil {
				t.Fatalf("batch: got %+v", b)
			}
			code, output := s.do(s.work, http.MethodGet, "/v1/files/"+*b.Output+"/content", "", nil)
			if code != http.StatusOK {
				t.Fatalf("output: got %d %s", code, output)
			}
			tidegatetest.CheckResults(t, input, output, nil)
			usage := get[struct {
				ID       string `json:"batch_id"`
				Tokens   int64  `json:"total_tokens"`
				Requests int64  `json:"request_count"`
			}](s, "/v1/batches/"+id+"/token_usage")
			if usage.ID != id || usage.Tokens < 1 || usage.Requests != 20 {
				t.Errorf("token usage: got %+v", usage)
			}
		})
	}
}

// contents are the contents of files below a directory.
func contents(t *testing.T, dir string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "files"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != "lock" && d.Name() != "place" {
			found = append(found, path)
		}
		return nil // deleted meanwhile
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestDeleteAllWhileOneRuns deletes all batches and files while one batch runs: the lists
// become empty, its lines are aborted, and none of its data is left.
func TestDeleteAllWhileOneRuns(t *testing.T) {
	g, sim := serve(t, "--ttft", "30s")
	for name, s := range scripts(t, g.URL) {
		t.Run(name, func(t *testing.T) {
			s.t = t
			var made []string
			for i := range 3 {
				_, gz := packed(t, 20, fmt.Sprintf("%s, delete %d", name, i))
				made = append(made, s.create(s.upload("delete.jsonl.gz", gz).ID).ID)
			}
			tidegatetest.Eventually(t, patience, "lines run", func() bool { return g.Health(t).Batch.InFlight > 0 })
			deleted := s.deleteAll("batches")
			slices.Sort(made)
			slices.Sort(deleted)
			if !slices.Equal(deleted, made) {
				t.Errorf("batches deleted: got %v, want %v, each once", deleted, made)
			}
			if files := s.deleteAll("files"); len(files) != 3 {
				t.Errorf("files deleted: got %v, want the three inputs", files)
			}
			for _, id := range made {
				if code, text := s.do(s.work, http.MethodGet, "/v1/batches/"+id, "", nil); code != http.StatusNotFound {
					t.Errorf("deleted batch: got %d %s, want 404", code, text)
				}
			}
			if now := get[status](s, "/v1/batches/status"); *now.Total != 0 || *now.Active != 0 {
				t.Errorf("status: got %d batches, %d active, want none", *now.Total, *now.Active)
			}
			tidegatetest.Eventually(t, patience, "lines are aborted", func() bool { return g.Health(t).Batch.InFlight == 0 })
			tidegatetest.Eventually(t, patience, "contents are gone", func() bool { return len(contents(t, g.Data)) == 0 })
		})
	}
	if stats := sim.Stats(t); stats.Finished != 0 {
		t.Errorf("got %d answered lines, want all aborted", stats.Finished)
	}
}

// TestDeleteRunningThenKill checks that a batch that was deleted while it ran stays deleted
// if the gateway is killed at once: the next start runs none of its lines and removes its
// data.
func TestDeleteRunningThenKill(t *testing.T) {
	g, sim := serve(t, "--ttft", "30s")
	s := scripts(t, g.URL)["Api-Key"]
	_, gz := packed(t, 200, "killed")
	id := s.create(s.upload("kill.jsonl.gz", gz).ID).ID
	tidegatetest.Eventually(t, patience, "lines run", func() bool { return g.Health(t).Batch.InFlight > 0 })
	code, text := s.do(s.work, http.MethodDelete, "/v1/batches/"+id+"?input=true", "", nil)
	g.Kill(t)
	if want := fmt.Sprintf(`{"id":%q,"object":"batch","deleted":true,"message":"Batch %s deleted successfully"}`, id, id); code != http.StatusOK || string(text) != want {
		t.Fatalf("deletion: got %d %s, want 200 %s", code, text, want)
	}
	tidegatetest.Eventually(t, patience, "the server notices the kill", func() bool { return sim.Stats(t).Running == 0 })
	before := tidegatetest.TotalCalls(t, sim)
	g.Start(t)
	if code, text := s.do(s.work, http.MethodGet, "/v1/batches/"+id, "", nil); code != http.StatusNotFound {
		t.Errorf("after the kill: got %d %s, want 404", code, text)
	}
	tidegatetest.Eventually(t, patience, "contents are gone", func() bool { return len(contents(t, g.Data)) == 0 })
	// Only the lines of another batch run.
	_, gz = packed(t, 5, "[[sim:status=400]]")
	next := s.create(s.upload("next.jsonl.gz", gz).ID).ID
	g.WaitEnd(t, next, patience)
	if after := tidegatetest.TotalCalls(t, sim); len(after) > len(before)+5 {
		t.Errorf("got %d requests that the server had not seen, want 5", len(after)-len(before))
	}
}
