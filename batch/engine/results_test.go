package engine_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/internal/openai"
)

func (h harness) results(t *testing.T, id string, failed bool) (engine.Results, string) {
	t.Helper()
	r, err := h.Engine.Results(t.Context(), tenant, id, failed)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(text)
}

// The results of a running batch are the beginning of its later files.
func TestResultsSoFar(t *testing.T) {
	t.Parallel()
	const n, done = 400, 200
	h := newHarness(t, batch.Config{MaxInFlight: 400})
	hold := make(chan struct{})
	fail := failEvery(7)
	h.Pool.Answer = func(ctx context.Context, id string, call int) (batch.Answer, error) {
		if id >= batchtest.CustomID(done) {
			return batchtest.Behind(hold)(ctx, id, call)
		}
		return fail(ctx, id, call)
	}
	h.Open()
	id := h.Create(h.Upload(batchtest.Input(n)))
	batchtest.Until(t, "lines are done", func() bool {
		c := h.Get(id).Counts
		return c.Completed+c.Failed == done
	})
	var early [2]string
	for i, failed := range []bool{false, true} {
		var r engine.Results
		if r, early[i] = h.results(t, id, failed); r.Bytes != -1 {
			t.Errorf("results of a running batch: got %d bytes, want -1", r.Bytes)
		}
	}
	if got := strings.Count(early[0], "\n") + strings.Count(early[1], "\n"); got != done {
		t.Errorf("%d lines so far, want %d", got, done)
	}
	if _, err := h.Engine.Results(t.Context(), "other", id, false); !errors.Is(err, batch.ErrNotFound) {
		t.Errorf("another tenant's: %v", err)
	}
	close(hold)
	b := h.Wait(id)
	for i, failed := range []bool{false, true} {
		r, text := h.results(t, id, failed)
		if r.Bytes != int64(len(text)) || text != h.content([]string{b.OutputFileID, b.ErrorFileID}[i]) {
			t.Errorf("after the end: %d bytes, told %d", len(text), r.Bytes)
		}
		if !strings.HasPrefix(text, early[i]) {
			t.Error("the file begins otherwise than what was told before")
		}
	}
	whole := h.Wait(h.Create(h.Upload(batchtest.InputFrom(5000, 3))))
	if _, err := h.Engine.Results(t.Context(), tenant, whole.ID, true); !errors.Is(err, batch.ErrNotFound) {
		t.Errorf("errors of a batch without any: %v", err)
	}
}

// Failed lines are grouped by what they have in common.
func TestFailures(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Pool.Answer = func(_ context.Context, id string, _ int) (batch.Answer, error) {
		switch {
		case strings.HasSuffix(id, "0"):
			return batchtest.Status(400, `{"error":{"message":"Request chatcmpl-0a1b2c3d4e has `+strings.TrimLeft(id[5:], "0")+`1 tokens, more than 4096."}}`), nil
		case strings.HasSuffix(id, "11"):
			return batchtest.Status(422, `{"error":{"message":"No such thing as '`+id+`'."}}`), nil
		default:
			return batchtest.OK(id), nil
		}
	}
	h.Open()
	b := h.Wait(h.Create(h.Upload(batchtest.Input(300))))
	got, err := h.Engine.Failures(t.Context(), tenant, b.ID)
	if err != nil {
		t.Fatal(err)
	}
	type group struct {
		Status   int
		Message  string
		Lines    int64
		Examples []int
	}
	var groups []group
	for _, g := range got.Groups {
		of := group{Status: g.Status, Message: g.Message, Lines: g.Lines}
		for _, l := range g.Examples {
			of.Examples = append(of.Examples, l.Number)
		}
		groups = append(groups, of)
	}
	want := []group{
		{400, "Request chatcmpl-… has … tokens, more than ….", 30, []int{1, 11, 21}},
		{422, "No such thing as ….", 3, []int{12, 112, 212}},
	}
	if diff := cmp.Diff(want, groups); diff != "" || got.Looked != 33 {
		t.Errorf("%d looked at; (-want +got):\n%s", got.Looked, diff)
	}
	if _, err := h.Engine.Failures(t.Context(), tenant, "batch_unknown"); !errors.Is(err, batch.ErrNotFound) {
		t.Errorf("of no batch: %v", err)
	}
}

// A file is inspected by the rules of validation.
func TestInspect(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxRequests: 8, MaxLineBytes: 4096})
	h.Open()
	line := func(id, model, url string) string {
		return `{"custom_id":"` + id + `","method":"POST","url":"` + url + `","body":{"model":"` + model + `","messages":[{"role":"user","content":"x"}],"input":"x"}}` + "\n"
	}
	const chat, embeddings = "/v1/chat/completions", "/v1/embeddings"
	for _, c := range []struct {
		name, text string
		want       engine.Inspection
		codes      []string // "line code"
	}{
		{"good", line("a", "m", embeddings) + "\n" + line("b", "m", embeddings), engine.Inspection{Endpoint: embeddings, Seen: engine.Seen{Lines: 2}, Models: map[string]int64{"m": 2}}, nil},
		{"empty", "", engine.Inspection{Models: map[string]int64{}}, []string{"empty_file"}},
		{
			"two models, a repeated id, another endpoint, no JSON",
			line("a", "m", chat) + line("a", "n", chat) + line("c", "m", embeddings) + "{\n",
			engine.Inspection{Endpoint: chat, Seen: engine.Seen{Lines: 4}, Models: map[string]int64{"m": 2, "n": 1}},
			[]string{"duplicate_custom_id", "model_not_found", "invalid_url", "invalid_json_line"},
		},
		{"no endpoint that batches have", line("a", "m", "/nowhere"), engine.Inspection{Endpoint: chat, Seen: engine.Seen{Lines: 1}, Models: map[string]int64{"m": 1}}, []string{"invalid_url"}},
		{"a long line", line("a", strings.Repeat("m", 5000), chat), engine.Inspection{Seen: engine.Seen{Lines: 1}, Models: map[string]int64{}}, []string{"invalid_request"}},
		{"too many", strings.Repeat("{}\n", 20), engine.Inspection{Endpoint: chat, Seen: engine.Seen{Lines: 9}, Models: map[string]int64{}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var seen []engine.Seen
			got, err := h.Engine.InspectLines(t.Context(), strings.NewReader(c.text), func(s engine.Seen) { seen = append(seen, s) })
			if err != nil {
				t.Fatal(err)
			}
			if int64(len(seen)) != got.Lines && c.name != "too many" { // the line over the limit is not reported
				t.Errorf("got %d progress reports for %d lines, want one for each", len(seen), got.Lines)
			}
			for i, s := range seen {
				if s.Lines != int64(i+1) || !slices.EqualFunc(s.Findings, got.Findings[:len(s.Findings)], func(a, b openai.BatchError) bool { return a == b }) {
					t.Errorf("after line %d it had seen %+v", i+1, s)
				}
			}
			var codes []string
			for _, f := range got.Findings {
				codes = append(codes, f.Code)
			}
			if c.name == "too many" {
				if last := codes[len(codes)-1]; last != "too_many_requests" {
					t.Errorf("the last finding is %s", last)
				}
				codes = nil
			}
			got.Findings, got.Bytes = nil, 0
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.codes, codes); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
	broken := errors.New("broken off")
	if _, err := h.Engine.InspectLines(t.Context(), io.MultiReader(strings.NewReader(line("a", "m", chat)), failingReader{broken}), nil); !errors.Is(err, broken) {
		t.Errorf("error is %v, want that of reading", err)
	}
	stored := h.Upload(line("a", "m", chat))
	got, err := h.Engine.Inspect(t.Context(), tenant, stored)
	if err != nil || got.Lines != 1 || got.Bytes == 0 {
		t.Errorf("of a stored file: %+v, %v", got, err)
	}
	if _, err := h.Engine.Inspect(t.Context(), "other", stored); !errors.Is(err, batch.ErrNotFound) {
		t.Errorf("another tenant's: %v", err)
	}
	b := h.Wait(h.Create(stored))
	_, err = h.Engine.Inspect(t.Context(), tenant, b.OutputFileID)
	if refused, ok := errors.AsType[*batch.PurposeError](err); !ok || refused.FileID != b.OutputFileID {
		t.Errorf("of results: got %v, want a PurposeError of %s", err, b.OutputFileID)
	}
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// What runs is counted by batch, and the room for contents is measured.
func TestLinesInFlightAndSpace(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 20})
	hold := make(chan struct{})
	h.Pool.Answer = batchtest.Behind(hold)
	h.Open()
	if got := h.Engine.LinesInFlight(t.Context()); len(got) != 0 {
		t.Errorf("in flight before anything: %v", got)
	}
	id := h.Create(h.Upload(batchtest.Input(50)))
	batchtest.Until(t, "lines run", func() bool { return h.Engine.LinesInFlight(t.Context())[id] == 20 })
	close(hold)
	h.Wait(id)
	s, known, err := h.Engine.Space()
	if err != nil || !known || s.Free <= 0 || s.Free > s.Total {
		t.Errorf("space is %+v, %v, %v", s, known, err)
	}
}
