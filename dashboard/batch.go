package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/a-h/templ"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/templates"
)

// The priorities that can be selected.
const (
	minPriority = -100
	maxPriority = 100
)

func (d *Dashboard) batch(w http.ResponseWriter, r *http.Request) error {
	b, err := d.source.Batches.Batch(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	v := d.batchModel(b, d.now())
	d.permit(r, b, &v)
	s := d.site(r, "Batches", v.Name())
	if !v.Over {
		s.Stream = string(templates.Site{}.To("events", "batches", b.ID))
	}
	v.Charts = progressCharts(s, b.History)
	return d.render(w, r, http.StatusOK, templates.BatchPage(s, v))
}

func (d *Dashboard) batchLive(ctx context.Context, r *http.Request, s templates.Site, snap *snapshot) (sections []section, err error) {
	b, err := d.source.Batches.Batch(ctx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	v := d.batchModel(b, s.Now)
	d.permit(r, b, &v) // the client's rights are those of all viewers that share this
	v.Charts = progressCharts(s, b.History)
	for _, p := range []struct {
		name string
		view func(templates.Site, templates.Batch) templ.Component
	}{
		{"head", templates.BatchHead},
		{"actions", templates.BatchActions},
		{"progress", templates.BatchProgress},
		{"facts", templates.BatchFacts},
		{"timeline", templates.BatchTimeline},
		{"charts", templates.BatchCharts},
		{"errors", templates.BatchErrors},
	} {
		if err := part(ctx, &sections, p.name, p.view(s, v)); err != nil {
			return nil, err
		}
	}
	return sections, nil
}

// permit withdraws the actions that the reader may not do.
func (d *Dashboard) permit(r *http.Request, b BatchDetail, v *templates.Batch) {
	client := d.client(r)
	writes := client.May(access.Batch)
	v.CanCancel, v.CanDelete, v.CanRetry = v.CanCancel && writes, v.CanDelete && writes, v.CanRetry && writes
	v.CanControl = v.CanControl && (client.May(access.Operate) || writes && client.Owns(b.KeyID))
}

// mostGroups limits the groups of failures.
const mostGroups = 20

func (d *Dashboard) batchModel(b BatchDetail, now time.Time) templates.Batch {
	v := templates.Batch{
		BatchRow: batchRow(b.Batch, now), Endpoint: b.Endpoint, Window: b.CompletionWindow,
		Input:   templates.FileLink{ID: b.InputFileID, Bytes: b.InputBytes},
		Output:  templates.FileLink{ID: b.OutputFileID, Bytes: b.OutputBytes},
		Errors:  templates.FileLink{ID: b.ErrorFileID, Bytes: b.ErrorBytes},
		RetryOf: b.RetryOf, RetriedBy: b.RetriedBy,
		Cost: d.batchCost(&b.Batch.Batch), Unpriced: b.Unpriced,
		CachedTokens: b.Usage.InputTokensDetails.CachedTokens, Reasoning: b.Usage.OutputTokensDetails.ReasoningTokens,
		Paused: !b.PausedAt.IsZero(), PauseReason: b.PauseReason, MinPriority: minPriority, MaxPriority: maxPriority,
		GroupsLeft: max(0, len(b.Failures.Groups)-mostGroups), LinesLeft: b.Counts.Failed - b.Failures.Looked, Timeline: timeline(b.Batch),
	}
	v.CanDelete = whyNotDelete(b.Batch) == ""
	v.CanRetry = whyNotRetry(b.Batch) == "" && b.RetriedBy == ""
	v.CanCancel = whyNotCancel(b.Batch) == ""
	v.CanControl = controllable(b.Batch)
	for _, name := range slices.Sorted(maps.Keys(b.Metadata)) {
		v.Metadata = append(v.Metadata, templates.Pair{Name: name, Value: b.Metadata[name]})
	}
	v.Findings = findings(b.Errors)
	for _, g := range b.Failures.Groups[:min(len(b.Failures.Groups), mostGroups)] {
		group := templates.ErrorGroup{Message: g.Message, Lines: g.Lines, Share: templates.Share(g.Lines, b.Failures.Looked)}
		if g.Status > 0 {
			group.Code = fmt.Sprintf("%d %s", g.Status, http.StatusText(g.Status))
		}
		for _, l := range g.Examples {
			group.Examples = append(group.Examples, templates.ErrorExample{Number: l.Number, CustomID: l.CustomID, Message: l.Message})
		}
		v.Groups = append(v.Groups, group)
	}
	return v
}

func findings(all []openai.BatchError) []templates.Finding {
	views := make([]templates.Finding, 0, len(all))
	for _, f := range all {
		v := templates.Finding{Code: f.Code, Message: f.Message}
		if f.Line != nil {
			v.Line = *f.Line
		}
		if f.Param != nil {
			v.Param = *f.Param
		}
		views = append(views, v)
	}
	return views
}

// timeline returns the states that a batch went through, in order.
func timeline(b Batch) []templates.Stage {
	stages := []templates.Stage{{State: string(batch.Validating), At: b.CreatedAt}}
	for _, s := range []struct {
		state batch.Status
		at    time.Time
	}{
		{batch.InProgress, b.InProgressAt},
		{"paused", b.PausedAt},
		{batch.Finalizing, b.FinalizingAt},
		{batch.Cancelling, b.CancellingAt},
		{batch.Failed, b.FailedAt},
		{batch.Expired, b.ExpiredAt},
		{batch.Cancelled, b.CancelledAt},
		{batch.Completed, b.CompletedAt},
	} {
		if !s.at.IsZero() && (s.state != "paused" || !b.Status.Terminal()) {
			stages = append(stages, templates.Stage{State: string(s.state), At: s.at})
		}
	}
	slices.SortStableFunc(stages, func(a, b templates.Stage) int { return cmp.Compare(a.At.UnixNano(), b.At.UnixNano()) })
	for i := 1; i < len(stages); i++ {
		stages[i].After = stages[i].At.Sub(stages[i-1].At)
	}
	if !b.Status.Terminal() {
		stages[len(stages)-1].Now = true
	}
	return stages
}

// progressCharts returns the charts of a batch's history.
func progressCharts(s templates.Site, history []ProgressPoint) []templates.Chart {
	if len(history) < 2 {
		return nil
	}
	lines := templates.Chart{ID: "rate", Title: "Lines per second", Series: []templates.Series{{Name: "completed", Tone: "good"}, {Name: "failed", Tone: "bad"}}}
	done := templates.Chart{ID: "done", Title: "Lines done", Series: lines.Series}
	every := max(1, len(history)/4)
	for i := 1; i < len(history); i++ {
		from, to := history[i-1], history[i]
		seconds := to.At.Sub(from.At).Seconds()
		c := templates.Column{Name: from.At.In(s.Zone).Format("Jan 2 15:04:05") + "–" + to.At.In(s.Zone).Format("15:04:05")}
		if i%every == 1 || every == 1 {
			c.Tick, c.Major = from.At.In(s.Zone).Format("15:04"), true
		}
		if seconds <= 0 {
			continue
		}
		with := func(values ...float64) templates.Column {
			c.Values = values
			return c
		}
		lines.Columns = append(lines.Columns, with(float64(to.Completed-from.Completed)/seconds, float64(to.Failed-from.Failed)/seconds))
		done.Columns = append(done.Columns, with(float64(to.Completed), float64(to.Failed)))
	}
	return []templates.Chart{done, lines}
}

// linesPerPage is the page size of the list of lines.
const linesPerPage = 100

func (d *Dashboard) lines(w http.ResponseWriter, r *http.Request) error {
	v, err := d.linesModel(r.Context(), r)
	if err != nil {
		return err
	}
	s := d.site(r, "Batches", "Lines of "+v.Batch.Name())
	d.linkLines(s, &v)
	if !v.Batch.Over {
		s.Stream = string(templates.Site{}.To("events", "batches", v.Batch.ID, "lines"))
		if q := r.URL.Query(); len(q) > 0 {
			s.Stream += "?" + q.Encode()
		}
	}
	return d.render(w, r, http.StatusOK, templates.LinesPage(s, v))
}

func (d *Dashboard) linesLive(ctx context.Context, r *http.Request, s templates.Site, _ *snapshot) (sections []section, err error) {
	v, err := d.linesModel(ctx, r)
	if err != nil {
		return nil, err
	}
	d.linkLines(s, &v)
	return sections, part(ctx, &sections, "lines", templates.LinesTable(s, v))
}

func (d *Dashboard) linesModel(ctx context.Context, r *http.Request) (templates.Lines, error) {
	query := r.URL.Query()
	q := engine.LineQuery{Limit: linesPerPage}
	state := query.Get("state")
	for s := range lineStates {
		if lineStates[s] == state {
			q.State = s
		}
	}
	if q.State == "" {
		state = "" // it is unknown
	}
	if after := query.Get("after"); after != "" {
		n, err := strconv.Atoi(after)
		if err != nil || n < 0 {
			return templates.Lines{}, refuse(http.StatusBadRequest, "The number of a line is a whole number from 1.")
		}
		q.After = n
	}
	id := r.PathValue("id")
	b, err := d.source.Batches.Batch(ctx, id)
	if err != nil {
		return templates.Lines{}, err
	}
	page, err := d.source.Batches.Lines(ctx, id, q)
	if err != nil {
		return templates.Lines{}, err
	}
	v := templates.Lines{Batch: batchRow(b.Batch, d.now()), State: state, After: q.After, More: page.More, Next: page.After}
	for _, l := range page.Lines {
		v.Rows = append(v.Rows, lineRow(l))
	}
	return v, nil
}

// linkLines adds the links to other pages.
func (d *Dashboard) linkLines(s templates.Site, v *templates.Lines) {
	here := s.To("batches", v.Batch.ID, "lines")
	v.Pages.What = "Pages of lines"
	if v.After > 0 {
		v.Pages.First = s.With(here, "state", v.State)
	}
	if v.After > linesPerPage && v.State == "" { // for a filtered list the start of the previous page is not known
		v.Pages.Previous = s.With(here, "after", strconv.Itoa(v.After-linesPerPage))
	}
	if v.More {
		v.Pages.Next = s.With(here, "state", v.State, "after", strconv.Itoa(v.Next))
	}
	for i, l := range v.Rows {
		if l.Upstream != "" {
			v.Rows[i].UpstreamPage = s.To("upstreams", upstreamKey(l.Upstream))
		}
	}
}

// lineStates are the names of states on pages and in their URLs.
var lineStates = map[engine.LineState]string{engine.LinePending: "waiting", engine.LineCompleted: "completed", engine.LineFailed: "failed"}

func lineRow(l engine.Line) templates.Line {
	return templates.Line{
		Number: l.Number, CustomID: l.CustomID, State: lineStates[l.State], Error: l.Message, Status: l.Status, Attempts: l.Attempts,
		Upstream: l.Upstream, Duration: l.Duration, InputTokens: l.Usage.InputTokens, OutputTokens: l.Usage.OutputTokens,
	}
}

func (d *Dashboard) line(w http.ResponseWriter, r *http.Request) error {
	number, err := strconv.Atoi(r.PathValue("number"))
	if err != nil || number < 1 {
		return batch.ErrNotFound
	}
	id := r.PathValue("id")
	b, err := d.source.Batches.Batch(r.Context(), id)
	if err != nil {
		return err
	}
	l, err := d.source.Batches.Line(r.Context(), id, number)
	if err != nil {
		return err
	}
	s := d.site(r, "Batches", "Line "+strconv.Itoa(number))
	v := templates.LineDetail{
		Batch: batchRow(b.Batch, s.Now), Line: lineRow(l.Line), InputBytes: int64(len(l.Input)), ResultBytes: int64(len(l.Result)),
		Before: number - 1,
	}
	v.Input, v.InputCut = shown(l.Input)
	v.Result, v.ResultCut = shown(l.Result)
	v.Prompt, v.Answer = Prompt(l.Input), Answer(l.Result)
	if int64(number) < b.Counts.Total {
		v.After = number + 1
	}
	if l.Upstream != "" {
		v.UpstreamPage = s.To("upstreams", upstreamKey(l.Upstream))
	}
	return d.render(w, r, http.StatusOK, templates.LinePage(s, v))
}

// shownBytes limits how much of a request or a result is shown.
const shownBytes = 64 << 10

// shown returns the beginning of a text and reports whether more follows.
func shown(text []byte) (string, bool) {
	if len(text) <= shownBytes {
		return string(text), false
	}
	return string(text[:shownBytes]), true
}

func (d *Dashboard) results(w http.ResponseWriter, r *http.Request) {
	kind := ResultKind(r.PathValue("kind"))
	if kind != OutputResults && kind != ErrorResults {
		d.fail(w, r, batch.ErrNotFound)
		return
	}
	d.download(w, r, func(ctx context.Context) (Download, error) {
		return d.source.Batches.Results(ctx, r.PathValue("id"), kind)
	})
}
