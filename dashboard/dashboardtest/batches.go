package dashboardtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/internal/openai"
)

type batches struct{ *Fake }

func (b batches) List(_ context.Context, q dashboard.BatchQuery) (dashboard.BatchPage, error) {
	unlock, err := b.begin()
	if err != nil {
		return dashboard.BatchPage{}, err
	}
	defer unlock()
	page := dashboard.BatchPage{Models: []string{b.Say(llama), b.Say(qwen), b.Say(bge)}}
	reached := q.After == ""
	for _, d := range inOrder(b.batches, q) {
		if !reached {
			reached = d.ID == q.After
			continue
		}
		if !wanted(d, q) {
			continue
		}
		if len(page.Batches) == q.Limit {
			page.More = true
			break
		}
		row := d.Batch
		if q.AllTenants {
			row.Tenant = []string{b.Say("default"), b.Say("team-1")}[len(page.Batches)%2]
		}
		page.Batches, page.After = append(page.Batches, row), d.ID
	}
	if !reached {
		return dashboard.BatchPage{}, batch.ErrBadCursor
	}
	return page, nil
}

// stateOrder is the order of batches by state.
var stateOrder = []batch.Status{
	batch.InProgress, batch.Validating, batch.Finalizing, batch.Cancelling, batch.Failed, batch.Expired, batch.Cancelled, batch.Completed,
}

func inOrder(all []*dashboard.BatchDetail, q dashboard.BatchQuery) []*dashboard.BatchDetail {
	all = slices.Clone(all)
	switch {
	case q.OldestFirst:
		slices.Reverse(all)
	case q.ByState:
		slices.SortStableFunc(all, func(a, b *dashboard.BatchDetail) int {
			return slices.Index(stateOrder, a.Status) - slices.Index(stateOrder, b.Status)
		})
	default:
	}
	return all
}

func (b batches) Some(_ context.Context, ids []string) ([]dashboard.Batch, error) {
	unlock, err := b.begin()
	if err != nil {
		return nil, err
	}
	defer unlock()
	var some []dashboard.Batch
	for _, id := range ids {
		if d, err := b.find(id); err == nil {
			some = append(some, d.Batch)
		}
	}
	return some, nil
}

func wanted(d *dashboard.BatchDetail, q dashboard.BatchQuery) bool {
	words := []string{d.ID, d.InputName}
	for name, value := range d.Metadata {
		words = append(words, name, value)
	}
	text := strings.Join(words, " ")
	switch {
	case q.Status != "" && d.Status != q.Status, q.Active && d.Status.Terminal(), q.Paused && d.PausedAt.IsZero(), q.Model != "" && d.Model != q.Model:
		return false
	case !strings.Contains(strings.ToLower(text), strings.ToLower(q.Text)):
		return false
	case !q.From.IsZero() && d.CreatedAt.Before(q.From), !q.To.IsZero() && !d.CreatedAt.Before(q.To):
		return false
	}
	return true
}

func (b batches) Batch(_ context.Context, id string) (dashboard.BatchDetail, error) {
	unlock, err := b.begin()
	if err != nil {
		return dashboard.BatchDetail{}, err
	}
	defer unlock()
	d, err := b.find(id)
	if err != nil {
		return dashboard.BatchDetail{}, err
	}
	return *d, nil
}

// state returns the state of a line, derived from the batch's counts. mu is held.
func (b batches) state(d *dashboard.BatchDetail, number int) engine.LineState {
	n := int64(number)
	done := d.Counts.Completed + d.Counts.Failed
	switch {
	case n > done:
		return engine.LinePending
	case d.Counts.Failed > 0 && n%max(1, done/d.Counts.Failed) == 0 && n/max(1, done/d.Counts.Failed) <= d.Counts.Failed:
		return engine.LineFailed
	default:
		return engine.LineCompleted
	}
}

func (b batches) makeLine(d *dashboard.BatchDetail, number int) engine.Line {
	l := engine.Line{Number: number, CustomID: b.Say("row-" + strconv.Itoa(number)), State: b.state(d, number)}
	switch l.State {
	case engine.LineCompleted:
		l.Status, l.Attempts, l.Upstream = 200, 1+number%17/16, b.upstreams[number%2*3].URL
		l.Duration, l.Usage.InputTokens, l.Usage.OutputTokens = time.Duration(900+number%1700)*time.Millisecond, int64(700+number%300), int64(150+number%120)
	case engine.LineFailed:
		l.Status, l.Attempts, l.Upstream = 400, 1, b.upstreams[0].URL
		l.Message = b.Say("This model's maximum context length is 32768 tokens. However, you requested 41216 tokens.")
		l.Duration = 14 * time.Millisecond
	default:
	}
	return l
}

func (b batches) Lines(_ context.Context, id string, q engine.LineQuery) (engine.LinePage, error) {
	unlock, err := b.begin()
	if err != nil {
		return engine.LinePage{}, err
	}
	defer unlock()
	d, err := b.find(id)
	if err != nil {
		return engine.LinePage{}, err
	}
	var page engine.LinePage
	for n := q.After + 1; int64(n) <= d.Counts.Total; n++ {
		l := b.makeLine(d, n)
		if q.State != "" && l.State != q.State {
			continue
		}
		if len(page.Lines) == q.Limit {
			page.More = true
			break
		}
		page.Lines, page.After = append(page.Lines, l), n
	}
	return page, nil
}

func (b batches) Line(_ context.Context, id string, number int) (engine.LineDetail, error) {
	unlock, err := b.begin()
	if err != nil {
		return engine.LineDetail{}, err
	}
	defer unlock()
	d, err := b.find(id)
	if err != nil {
		return engine.LineDetail{}, err
	}
	if int64(number) > d.Counts.Total {
		return engine.LineDetail{}, batch.ErrNotFound
	}
	l := engine.LineDetail{Line: b.makeLine(d, number)}
	l.Input = []byte("{\n  \"custom_id\": " + jsonText(l.CustomID) + ",\n  \"method\": \"POST\",\n  \"url\": \"" + d.Endpoint + "\",\n  \"body\": {\n    \"model\": " + jsonText(d.Model) + ",\n    \"messages\": [\n      {\"role\": \"user\", \"content\": " + jsonText(b.Say("Summarize the ticket in two sentences.")) + "}\n    ]\n  }\n}")
	if l.State == engine.LineCompleted {
		l.Result = []byte("{\n  \"custom_id\": " + jsonText(l.CustomID) + ",\n  \"response\": {\n    \"status_code\": 200,\n    \"body\": {\"choices\": [{\"message\": {\"content\": " + jsonText(b.Say("The customer cannot log in since the update.")) + "}}], \"logprobs\": [" + strings.Repeat("-0.0312, ", 10_000) + "0]}\n  }\n}")
	}
	return l, nil
}

// jsonText encodes a text as JSON, without escaping HTML, which pages must do.
func jsonText(text string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		panic(err) // strings can always be written
	}
	return strings.TrimSpace(b.String())
}

func (b batches) Results(_ context.Context, id string, kind dashboard.ResultKind) (dashboard.Download, error) {
	unlock, err := b.begin()
	if err != nil {
		return dashboard.Download{}, err
	}
	defer unlock()
	d, err := b.find(id)
	if err != nil {
		return dashboard.Download{}, err
	}
	return dashboard.Download{ReadCloser: io.NopCloser(strings.NewReader("{\"custom_id\":\"row-1\"}\n")), Filename: d.InputName + "." + string(kind) + ".jsonl", Bytes: -1}, nil
}

func (b batches) Create(_ context.Context, r batch.CreateRequest) (string, error) {
	unlock, err := b.begin("create", r.InputFileID, r.Endpoint, r.Window.String(), strconv.Itoa(r.Priority), fmt.Sprint(r.Metadata))
	if err != nil {
		return "", err
	}
	defer unlock()
	return b.insert(r.InputFileID, r.Endpoint, r.Priority, r.Metadata), nil
}

// insert makes a batch. mu is held.
func (b batches) insert(file, endpoint string, priority int, metadata map[string]string) string {
	d := &dashboard.BatchDetail{}
	d.ID, d.Status, d.Endpoint, d.InputFileID, d.Priority = b.id("batch_"), batch.Validating, endpoint, file, priority
	d.Metadata, d.CompletionWindow, d.CreatedAt = maps.Clone(metadata), "24h", b.Clock()
	d.ExpiresAt = d.CreatedAt.Add(24 * time.Hour)
	d.Remaining.Why = "measured for less than a minute"
	for _, f := range b.files {
		if f.ID == file {
			d.InputName, d.InputBytes = f.Filename, f.Bytes
		}
	}
	b.batches = slices.Insert(b.batches, 0, d)
	return d.ID
}

func (b batches) RetryFailed(_ context.Context, id string) (string, error) {
	unlock, err := b.begin("retry", id)
	if err != nil {
		return "", err
	}
	defer unlock()
	d, err := b.find(id)
	if err != nil {
		return "", err
	}
	made := b.insert(d.InputFileID, d.Endpoint, d.Priority, d.Metadata)
	b.batches[0].RetryOf, d.RetriedBy = id, made
	b.batches[0].Counts = openai.RequestCounts{Total: d.Counts.Failed}
	return made, nil
}

// change applies do to a batch if its state allows the action.
func (b batches) change(action, id string, allowed func(batch.Status) bool, do func(*dashboard.BatchDetail)) error {
	unlock, err := b.begin(action, id)
	if err != nil {
		return err
	}
	defer unlock()
	d, err := b.find(id)
	if err != nil {
		return err
	}
	if !allowed(d.Status) {
		return batch.ErrConflict
	}
	do(d)
	return nil
}

func controllable(s batch.Status) bool { return s == batch.Validating || s == batch.InProgress }

func (b batches) Cancel(_ context.Context, id string) error {
	return b.change("cancel", id, func(s batch.Status) bool { return !s.Terminal() }, func(d *dashboard.BatchDetail) {
		d.Status, d.CancellingAt, d.InFlight = batch.Cancelling, b.Clock(), 0
	})
}

func (b batches) Pause(_ context.Context, id string) error {
	return b.change("pause", id, controllable, func(d *dashboard.BatchDetail) { d.PausedAt = b.Clock() })
}

func (b batches) Resume(_ context.Context, id string) error {
	return b.change("resume", id, controllable, func(d *dashboard.BatchDetail) { d.PausedAt = time.Time{} })
}

func (b batches) SetPriority(_ context.Context, id string, priority int) error {
	return b.change("priority "+strconv.Itoa(priority), id, controllable, func(d *dashboard.BatchDetail) { d.Priority = priority })
}

func (b batches) Delete(_ context.Context, id string, input bool) error {
	return b.change("delete "+strconv.FormatBool(input), id, batch.Status.Terminal, func(d *dashboard.BatchDetail) {
		b.batches = slices.DeleteFunc(b.batches, func(o *dashboard.BatchDetail) bool { return o == d })
	})
}
