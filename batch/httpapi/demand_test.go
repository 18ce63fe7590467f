package httpapi_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/httpapi"
)

type service = httpapi.Batches // a field of another name than its method

// demanding has batches wait.
type demanding struct {
	service
	demand engine.Demand
	err    error
}

func (d demanding) Demand(_ context.Context, tenant string) (engine.Demand, error) {
	if tenant != batch.DefaultTenant {
		return engine.Demand{}, nil
	}
	return d.demand, d.err
}

func TestDemandReport(t *testing.T) {
	at := time.Unix(1790000000, 0)
	minutes, ratio, many, few := 10.0, 0.123456, int64(7000), int64(700)
	long := 90*time.Minute + time.Millisecond
	work := engine.Demand{At: at, Models: []engine.ModelDemand{
		{
			Model: "m", Batches: 2, Validating: 1, Lines: 900, InFlight: 8, InputTokens: &many, OutputTokens: &few, LinesPerMinute: &minutes, MeasuredAt: at, Remaining: &long, DeadlineRatio: &ratio,
			AtRisk: 1, Oldest: at.Add(-time.Hour), Deadlines: []engine.DeadlineDemand{{Within: time.Hour, Batches: 1, Lines: 9}, {Batches: 2, Lines: 900, InputTokens: &many, OutputTokens: &few, Remaining: &long}},
		},
		{PausedBatches: 1, PausedLines: 5},
	}}
	const m = `{"object":"batch_demand.model","model":"m","batches":2,"validating_batches":1,"lines":900,"lines_in_flight":8,"estimated_input_tokens":7000,"estimated_output_tokens":700,"lines_per_minute":10,"measured_at":1790000000,"seconds":5401,"deadline_ratio":0.123,"late_batches":1,"paused_batches":0,"paused_lines":0,"oldest_at":1789996400,"deadlines":[{"within_seconds":3600,"batches":1,"lines":9,"estimated_input_tokens":null,"estimated_output_tokens":null,"seconds":null},{"within_seconds":null,"batches":2,"lines":900,"estimated_input_tokens":7000,"estimated_output_tokens":700,"seconds":5401}]}`
	const several = `{"object":"batch_demand.model","model":null,"batches":0,"validating_batches":0,"lines":0,"lines_in_flight":0,"estimated_input_tokens":null,"estimated_output_tokens":null,"lines_per_minute":null,"measured_at":null,"seconds":null,"deadline_ratio":null,"late_batches":0,"paused_batches":1,"paused_lines":5,"oldest_at":null,"deadlines":[]}`
	const none = `{"object":"batch_demand.model","model":"n","batches":0,"validating_batches":0,"lines":0,"lines_in_flight":0,"estimated_input_tokens":0,"estimated_output_tokens":0,"lines_per_minute":null,"measured_at":null,"seconds":0,"deadline_ratio":null,"late_batches":0,"paused_batches":0,"paused_lines":0,"oldest_at":null,"deadlines":[]}`
	const open = `{"object":"batch_demand","at":1790000000,"closed":false,"closed_until":null,"data":[`
	for name, tt := range map[string]struct {
		demand engine.Demand
		err    error
		method string
		query  string
		status int
		want   string // "" for any
	}{
		"all models":        {demand: work, status: 200, want: open + m + "," + several + "]}"},
		"one model":         {demand: work, query: "?model=m", status: 200, want: open + m + "]}"},
		"a model idle":      {demand: work, query: "?model=n", status: 200, want: open + none + "]}"},
		"a model twice":     {demand: work, query: "?model=m&model=n", status: 400},
		"nothing":           {demand: engine.Demand{At: at}, status: 200, want: open + "]}"},
		"outside its hours": {demand: engine.Demand{At: at, Closed: true, ClosedUntil: at.Add(time.Hour)}, status: 200, want: `{"object":"batch_demand","at":1790000000,"closed":true,"closed_until":1790003600,"data":[]}`},
		"not known":         {err: fmt.Errorf("looking: %w", batch.ErrUnavailable), status: 503},
		"POST":              {method: "POST", status: 405},
	} {
		t.Run(name, func(t *testing.T) {
			h := httpapi.New(httpapi.Config{Batches: demanding{demand: tt.demand, err: tt.err}})
			method := tt.method
			if method == "" {
				method = "GET"
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(method, "/v1/batches/demand"+tt.query, nil))
			if w.Code != tt.status {
				t.Errorf("got status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if got := w.Body.String(); tt.want != "" && got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}
