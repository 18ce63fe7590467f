package monitoring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
	"go.yaml.in/yaml/v3"
)

// ruleOf reads the expression of an alert.
func ruleOf(t *testing.T, name string) string {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(read(t, shipped+"alerts.yml"), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Alert == name {
				return strings.Join(strings.Fields(r.Expr), " ")
			}
		}
	}
	t.Fatalf("there is no alert %s", name)
	return ""
}

// TestAlertsOfOneAmongMany checks that a healthy model or gateway does not hide the problem
// of another.
func TestAlertsOfOneAmongMany(t *testing.T) {
	const open = `
		tidegate_batch_hours_ratio 1x40`
	for name, tt := range map[string]struct {
		alert  string
		series string // a minute apart
		want   string // series of the result after 30 minutes; "" for none
	}{
		"a server was down before the gateway restarted": {"TidegateServerDown", `
			tidegate_upstream_state{state="down",upstream="u"} 1x15 0x25
			tidegate_upstream_state{state="loading",upstream="u"} 0x15 1x25`, `{upstream="u"} 1`},
		"a new server loads": {"TidegateServerDown", `
			tidegate_upstream_state{state="down",upstream="u"} 0x40
			tidegate_upstream_state{state="loading",upstream="u"} 1x40`, ""},
		"a server was down and is up": {"TidegateServerDown", `
			tidegate_upstream_state{state="down",upstream="u"} 1x15 0x25
			tidegate_upstream_state{state="loading",upstream="u"} 0x40`, ""},
		"a server is stopped on purpose": {"TidegateServerDown", `
			tidegate_upstream_state{state="down",upstream="u"} 0x40
			tidegate_upstream_state{state="away",upstream="u"} 1x40
			tidegate_upstream_state{state="loading",upstream="u"} 0x40`, ""},
		"one model moves, the other stands still": {"TidegateBatchStill", open + `
			tidegate_batch_lines_waiting{model="m",instance="a"} 100x40
			tidegate_batch_lines_waiting{model="n",instance="a"} 50x40
			tidegate_batch_idle_seconds{model="m",instance="a"} 5x40
			tidegate_batch_idle_seconds{model="n",instance="a"} 0+60x40`, `{model="n"} 50`},
		"all move": {"TidegateBatchStill", open + `
			tidegate_batch_lines_waiting{model="m",instance="a"} 100x40
			tidegate_batch_idle_seconds{model="m",instance="a"} 5x40`, ""},
		"a model without an ended line": {"TidegateBatchStill", open + `
			tidegate_batch_lines_waiting{model="m",instance="a"} 100x40
			tidegate_batch_idle_seconds{model="n",instance="a"} 5x40`, `{model="m"} 100`},
		"nothing waits": {"TidegateBatchStill", open + `
			tidegate_batch_lines_waiting{model="m",instance="a"} 0x40
			tidegate_batch_idle_seconds{model="m",instance="a"} 0+60x40`, ""},
		"outside of its hours": {"TidegateBatchStill", `
			tidegate_batch_hours_ratio 0x40
			tidegate_batch_lines_waiting{model="m",instance="a"} 100x40
			tidegate_batch_idle_seconds{model="m",instance="a"} 0+60x40`, ""},
		"one of two gateways has an old look": {"TidegateBatchStill", open + `
			tidegate_batch_lines_waiting{model="m",instance="a"} 100x40
			tidegate_batch_lines_waiting{model="m",instance="b"} 90x40
			tidegate_batch_idle_seconds{model="m",instance="a"} 0+60x40
			tidegate_batch_idle_seconds{model="m",instance="b"} 5x40`, ""},
		"one gateway fails, the other has most requests": {"TidegateLiveErrors", `
			tidegate_live_requests_total{code="200",instance="a"} 0+60000x40
			tidegate_live_requests_total{code="200",instance="b"} 0+60x40
			tidegate_live_requests_total{code="502",instance="b"} 0+60x40`, `{instance="b"} 0.5`},
		"no gateway fails": {"TidegateLiveErrors", `
			tidegate_live_requests_total{code="200",instance="a"} 0+60x40
			tidegate_live_requests_total{code="502",instance="a"} 0x40`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute})
			query, err := engine.NewInstantQuery(t.Context(), seriesOf(t, tt.series), nil, ruleOf(t, tt.alert), begun.Add(30*time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			defer query.Close()
			result, err := query.Exec(t.Context()).Vector()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range result {
				got = append(got, fmt.Sprintf("%s %v", s.Metric, s.F))
			}
			if got := strings.Join(got, "; "); got != tt.want {
				t.Errorf("the alert is %q, want %q", got, tt.want)
			}
		})
	}
}

// begun is when the series of a test begin.
var begun = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// fixed are series that a query reads.
type fixed []promql.Series

// seriesOf reads series in the notation of Prometheus' own tests.
func seriesOf(t *testing.T, lines string) storage.Queryable {
	t.Helper()
	var all fixed
	for line := range strings.Lines(lines) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		metric, values, err := parser.ParseSeriesDesc(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		s := promql.Series{Metric: metric}
		for i, v := range values {
			s.Floats = append(s.Floats, promql.FPoint{T: begun.Add(time.Duration(i) * time.Minute).UnixMilli(), F: v.Value})
		}
		all = append(all, s)
	}
	return storage.QueryableFunc(func(int64, int64) (storage.Querier, error) { return all, nil })
}

// Select finds series.
func (f fixed) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	found := &set{next: -1}
	for _, s := range f {
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Metric.Get(m.Name)) }) {
			found.series = append(found.series, s)
		}
	}
	return found
}

// Queries of alerts do not ask for these.

func (fixed) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errors.ErrUnsupported
}

func (fixed) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errors.ErrUnsupported
}

func (fixed) Close() error { return nil }

// set goes through series.
type set struct {
	series []promql.Series
	next   int
}

func (s *set) Next() bool                      { s.next++; return s.next < len(s.series) }
func (s *set) At() storage.Series              { return promql.NewStorageSeries(s.series[s.next]) }
func (*set) Err() error                        { return nil }
func (*set) Warnings() annotations.Annotations { return nil }
