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
		"all gateways export the same lines": {"TidegateBatchStill", open + `
			tidegate_batch_lines_waiting{model="m",instance="serve"} 100x40
			tidegate_batch_lines_waiting{model="m",instance="work"} 100x40
			tidegate_batch_idle_seconds{model="m",instance="serve"} 0+60x40
			tidegate_batch_idle_seconds{model="m",instance="work"} 0+60x40`, `{model="m"} 100`},
		"all lines that are left run": {"TidegateBatchStill", open + `
			tidegate_batch_lines_waiting{model="m",instance="serve"} 0x40
			tidegate_batch_lines_waiting{model="m",instance="work"} 0x40
			tidegate_batch_idle_seconds{model="m",instance="work"} 0+60x40`, ""},
		"one gateway fails, the other has most requests": {"TidegateLiveErrors", `
			tidegate_live_requests_total{code="200",instance="a"} 0+60000x40
			tidegate_live_requests_total{code="200",instance="b"} 0+60x40
			tidegate_live_requests_total{code="502",instance="b"} 0+60x40`, `{instance="b"} 0.5`},
		"no gateway fails": {"TidegateLiveErrors", `
			tidegate_live_requests_total{code="200",instance="a"} 0+60x40
			tidegate_live_requests_total{code="502",instance="a"} 0x40`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := resultOf(t, ruleOf(t, tt.alert), tt.series); got != tt.want {
				t.Errorf("the alert is %q, want %q", got, tt.want)
			}
		})
	}
}

// resultOf evaluates an expression after 30 minutes.
func resultOf(t *testing.T, expression, series string) string {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute})
	query, err := engine.NewInstantQuery(t.Context(), seriesOf(t, series), nil, expression, begun.Add(30*time.Minute))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	defer query.Close()
	result, err := query.Exec(t.Context()).Vector()
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	var all []string
	for _, s := range result {
		all = append(all, fmt.Sprintf("%s %v", s.Metric, s.F))
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

// shared are metrics of the work of all gateways, which every gateway exports, with labels
// and a value for which the alerts fire.
var shared = map[string]string{
	"tidegate_batches":              `{status="in_progress"} 3x40`,
	"tidegate_batches_paused":       `{} 2x40`,
	"tidegate_batches_late":         `{reason="slow"} 1x40`,
	"tidegate_batch_lines_waiting":  `{model="m"} 100x40`,
	"tidegate_batch_oldest_seconds": `{model="m"} 600x40`,
	"tidegate_batch_deadline_ratio": `{model="m"} 2x40`,
	"tidegate_batch_idle_seconds":   `{model="m"} 600x40`,
}

// TestFiguresOfAllGateways checks that panels and alerts about the work of all gateways show
// the same for three gateways as for one: lines that wait are not counted three times.
func TestFiguresOfAllGateways(t *testing.T) {
	series := func(instances ...string) (lines string) {
		for _, instance := range instances {
			lines += `tidegate_batch_hours_ratio{instance="` + instance + "\"} 1x40\n"
			for name, rest := range shared {
				labels, values, _ := strings.Cut(rest, "}")
				if labels != "{" {
					labels += ","
				}
				lines += name + labels + `instance="` + instance + `"}` + values + "\n"
			}
		}
		return lines
	}
	seen := make(map[string]bool)
	for _, e := range slices.Concat(dashboard(t), alerts(t)) {
		parsed, err := parser.ParseExpr(e.text)
		if err != nil {
			t.Fatalf("%s: %v", e.where, err)
		}
		var names []string
		parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
			if s, ok := node.(*parser.VectorSelector); ok && s.Name != "tidegate_batch_hours_ratio" {
				names = append(names, s.Name)
			}
			return nil
		})
		if len(names) == 0 || strings.HasPrefix(e.where, "variable ") || slices.ContainsFunc(names, func(name string) bool { return shared[name] == "" }) {
			continue
		}
		for _, name := range names {
			seen[name] = true
		}
		one := resultOf(t, e.text, series("a"))
		if got := resultOf(t, e.text, series("a", "b", "c")); got != one || one == "" {
			t.Errorf("%s: got %q of three gateways, want the result of one, %q: %s", e.where, got, one, e.text)
		}
	}
	for name := range shared {
		if !seen[name] {
			t.Errorf("no panel or alert is about %s alone", name)
		}
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
