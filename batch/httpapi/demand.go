package httpapi

import (
	"context"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch/engine"
)

// Demanded has the methods that the API needs to report demand.
type Demanded interface {
	// Demand returns batch.ErrUnavailable while the demand is unknown.
	Demand(ctx context.Context, tenant string) (engine.Demand, error)
}

// demandReport is the response of GET /v1/batches/demand. Unknown values are null.
type demandReport struct {
	Object      string        `json:"object"` // "batch_demand"
	At          int64         `json:"at"`     // unix seconds
	Closed      bool          `json:"closed"`
	ClosedUntil *int64        `json:"closed_until"`
	Data        []modelDemand `json:"data"`
}

type modelDemand struct {
	Object        string           `json:"object"` // "batch_demand.model"
	Model         *string          `json:"model"`  // null for lines with unknown model
	Batches       int64            `json:"batches"`
	Validating    int64            `json:"validating_batches"` // of Batches
	Lines         int64            `json:"lines"`
	LinesInFlight int64            `json:"lines_in_flight"`
	InputTokens   *int64           `json:"estimated_input_tokens"`
	OutputTokens  *int64           `json:"estimated_output_tokens"`
	LinesPerMin   *float64         `json:"lines_per_minute"`
	MeasuredAt    *int64           `json:"measured_at"`
	Seconds       *int64           `json:"seconds"`
	DeadlineRatio *float64         `json:"deadline_ratio"`
	BatchesAtRisk int64            `json:"late_batches"`
	PausedBatches int64            `json:"paused_batches"`
	PausedLines   int64            `json:"paused_lines"`
	OldestAt      *int64           `json:"oldest_at"`
	Deadlines     []deadlineDemand `json:"deadlines"`
}

type deadlineDemand struct {
	WithinSeconds *int64 `json:"within_seconds"` // null: at any time
	Batches       int64  `json:"batches"`
	Lines         int64  `json:"lines"`
	InputTokens   *int64 `json:"estimated_input_tokens"`
	OutputTokens  *int64 `json:"estimated_output_tokens"`
	Seconds       *int64 `json:"seconds"`
}

// getDemand returns the remaining work of batches, with ?model=NAME of one model. A model
// without work gets zeros, because an autoscaler needs a number.
func (h *handler) getDemand(w http.ResponseWriter, r *http.Request, _ string) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	model, one, err := query.get("model")
	if err != nil {
		return err
	}
	d, err := h.batches.Demand(r.Context(), h.tenant(r))
	if err != nil {
		return err
	}
	d.Models = access.Visible(access.From(r.Context()), d.Models, func(m engine.ModelDemand) string { return m.Model })
	if one {
		d.Models = slices.DeleteFunc(slices.Clone(d.Models), func(m engine.ModelDemand) bool { return m.Model != model })
		if len(d.Models) == 0 {
			d.Models = []engine.ModelDemand{{Model: model, Remaining: new(time.Duration), InputTokens: new(int64), OutputTokens: new(int64)}}
		}
	}
	o := demandReport{Object: "batch_demand", At: d.At.Unix(), Closed: d.Closed, ClosedUntil: unix(d.ClosedUntil), Data: []modelDemand{}}
	for i := range d.Models {
		o.Data = append(o.Data, modelDemandOf(&d.Models[i]))
	}
	return answer(w, o)
}

func modelDemandOf(m *engine.ModelDemand) modelDemand {
	o := modelDemand{
		Object: "batch_demand.model", Batches: m.Batches, Validating: m.Validating, Lines: m.Lines, LinesInFlight: m.InFlight, InputTokens: m.InputTokens, OutputTokens: m.OutputTokens,
		LinesPerMin: thousandths(m.LinesPerMinute), MeasuredAt: unix(m.MeasuredAt), Seconds: seconds(m.Remaining), DeadlineRatio: thousandths(m.DeadlineRatio),
		BatchesAtRisk: m.AtRisk, PausedBatches: m.PausedBatches, PausedLines: m.PausedLines, OldestAt: unix(m.Oldest), Deadlines: []deadlineDemand{},
	}
	if m.Model != "" {
		o.Model = &m.Model
	}
	for _, d := range m.Deadlines {
		due := deadlineDemand{Batches: d.Batches, Lines: d.Lines, InputTokens: d.InputTokens, OutputTokens: d.OutputTokens, Seconds: seconds(d.Remaining)}
		if d.Within > 0 {
			due.WithinSeconds = new(int64(d.Within / time.Second))
		}
		o.Deadlines = append(o.Deadlines, due)
	}
	return o
}

// seconds rounds up to whole seconds; nil for none.
func seconds(d *time.Duration) *int64 {
	if d == nil {
		return nil
	}
	return new(int64((*d + time.Second - 1) / time.Second))
}

// thousandths rounds to thousandths; nil for none.
func thousandths(f *float64) *float64 {
	if f == nil {
		return nil
	}
	return new(math.Round(1000**f) / 1000)
}
