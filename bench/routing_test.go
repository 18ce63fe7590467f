package main

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	mooncakeLines = `{"timestamp": 3000, "input_length": 1300, "output_length": 500, "hash_ids": [0, 1, 2]}
{"timestamp": 3500, "input_length": 1030, "output_length": 0, "hash_ids": [0, 1, 3]}
{"timestamp": 9000, "input_length": 700, "output_length": 2, "hash_ids": [0, 4]}
`
	azureRows = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50.9305900,396,109\r\n"
)

// traceFile writes a trace and returns its path.
func traceFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	var out io.WriteCloser = f
	if strings.HasSuffix(name, ".gz") {
		out = gzip.NewWriter(f)
	}
	if _, err := io.WriteString(out, text); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(out.Close(), f.Close()); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	return path
}

func TestReadTrace(t *testing.T) {
	ms := time.Millisecond
	mooncake := []traceRequest{{0, 1300, 500, []int{0, 1, 2}}, {500 * ms, 1030, 1, []int{0, 1, 3}}, {6000 * ms, 700, 2, []int{0, 4}}}
	azure := []traceRequest{{0, 374, 44, nil}, {4250 * ms, 396, 109, nil}}
	for name, test := range map[string]struct {
		file, text string
		n          int
		want       []traceRequest
	}{
		"mooncake":            {"a.jsonl", mooncakeLines, 3, mooncake},
		"mooncake, zipped":    {"a.jsonl.gz", mooncakeLines, 3, mooncake},
		"the first":           {"a.jsonl", mooncakeLines, 2, mooncake[:2]},
		"azure":               {"a.csv", azureRows, 2, azure},
		"azure, zipped":       {"a.csv.gz", azureRows, 2, azure},
		"too few":             {"a.csv", azureRows, 3, nil},
		"neither":             {"a.txt", azureRows, 1, nil},
		"no numbers":          {"a.csv", strings.Replace(azureRows, "374", "x", 1), 1, nil},
		"no JSON":             {"a.jsonl", "{", 1, nil},
		"zipped only by name": {"a.csv.gz", "", 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readTrace(traceFile(t, test.file, test.text), test.n)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(traceRequest{})); diff != "" || (err != nil) != (test.want == nil) {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// Requests have as many tokens as the trace says, and share their common blocks.
func TestTraceBody(t *testing.T) {
	trace, err := readTrace(traceFile(t, "a.jsonl", mooncakeLines), 3)
	if err != nil {
		t.Fatal(err)
	}
	var unique uniquePrompts
	for i, r := range trace {
		body := r.body(traceName(i))
		if !json.Valid(body) || len(body) != tokenBytes*r.prompt {
			t.Errorf("request %d has %d bytes, want 4 for each of %d tokens: %s", i, len(body), r.prompt, body)
		}
		unique.add(body)
	}
	// The second request shares two blocks of 512 tokens with the first one, of which
	// its end takes a part; the third one shares one block.
	if want := 1300 + (1030 - 1008) + (700 - 512); unique.Computed != want {
		t.Errorf("got %d of %d tokens computed, want %d", unique.Computed, unique.Tokens, want)
	}
	alone := traceRequest{prompt: 374, generate: 44}
	if body := alone.body("trace-000001"); len(body) != 4*374 || !strings.Contains(string(body), "trace-000001") {
		t.Errorf("got %d bytes, want 4 for each of 374 tokens: %s", len(body), body)
	}
}

func TestHighest(t *testing.T) {
	for _, limit := range []float64{0.1, 1, 1.49, 3.7, 20} {
		tries := 0
		got, err := highest(1, 0.05, func(f float64) (bool, error) { tries++; return f <= limit, nil })
		if err != nil || got > limit || got*1.05 < limit || tries > 14 {
			t.Errorf("limit %g: got %g after %d tries, %v", limit, got, tries, err)
		}
	}
	for name, answer := range map[string]bool{"always": true, "never": false} {
		if _, err := highest(1, 0.05, func(float64) (bool, error) { return answer, nil }); err == nil {
			t.Errorf("%s within the bound: got no error", name)
		}
	}
	failure := errors.New("failure")
	if _, err := highest(1, 0.05, func(float64) (bool, error) { return true, failure }); !errors.Is(err, failure) {
		t.Errorf("got %v, want the failure", err)
	}
}

// As many requests may be over the bound as leave the 99th percentile within it.
func TestMayBeOver(t *testing.T) {
	for _, n := range []int{1, 50, 100, 101, 199, 200, 2000} {
		times := make([]float64, n)
		for i := range mayBeOver(n) {
			times[i] = 9
		}
		if got := quantile(times, 0.99); got != 0 {
			t.Errorf("of %d requests %d are over: p99 is %g, want 0", n, mayBeOver(n), got)
		}
		times[n-1] = 9
		if got := quantile(times, 0.99); got != 9 {
			t.Errorf("of %d requests %d are over: p99 is %g, want 9", n, mayBeOver(n)+1, got)
		}
	}
}

// A replay ends when the bound is exceeded permanently, and its times are those of the
// servers' clock.
func TestRoutingTimes(t *testing.T) {
	var r routingRun
	r.times([]sent{{ttft: 4 * time.Second, late: time.Second}, {ttft: 2 * time.Second}}, 0.5)
	if r.TTFT50 != 2 || r.TTFT99 != 2 || r.Late99 != 0.5 {
		t.Errorf("got %+v, want half of the wall clock's", r)
	}
}
