package monitoring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

const shipped = "../../deploy/monitoring/"

// expression is one of Prometheus' in a shipped file.
type expression struct {
	where, text string
	labels      []string // that its result is to have, for legends and annotations
}

// Metrics and labels of all shipped expressions are in a scrape, with SQLite and
// with PostgreSQL.
func TestShippedExpressions(t *testing.T) {
	all := slices.Concat(dashboard(t), alerts(t), scalers(t))
	if len(all) < 60 {
		t.Fatalf("only %d expressions were found", len(all))
	}
	for _, kind := range []tidegatetest.Kind{tidegatetest.SQLite, tidegatetest.PostgresRedis} {
		t.Run(string(kind), func(t *testing.T) {
			g := busy(t, kind)
			found, series := scrape(t, g)
			t.Logf("%d series, %d expressions", series, len(all))
			for _, e := range all {
				for _, problem := range found.check(e) {
					t.Errorf("%s: %s: %s", e.where, problem, e.text)
				}
			}
			documented(t, found)
			scalerPaths(t, g)
		})
	}
}

// check holds an expression against a scrape.
func (s scraped) check(e expression) (problems []string) {
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	parsed, err := parser.ParseExpr(e.text)
	if err != nil {
		return []string{err.Error()}
	}
	known := map[string]bool{"le": true}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok || selector.Name == "up" { // Prometheus' own
			return nil
		}
		of := s[selector.Name]
		if of == nil {
			problem("no scrape has the metric %s", selector.Name)
			return nil
		}
		for label := range of {
			known[label] = true
		}
		for _, m := range selector.LabelMatchers {
			values, there := of[m.Name]
			switch {
			case m.Name == model.MetricNameLabel:
			case !there:
				problem("%s has no label %s", selector.Name, m.Name)
			case m.Type == labels.MatchEqual && values != nil && !values[m.Value]:
				problem("%s has no %s=%q", selector.Name, m.Name, m.Value)
			}
		}
		return nil
	})
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if a, ok := node.(*parser.AggregateExpr); ok {
			for _, label := range a.Grouping {
				if !known[label] {
					problem("nothing that it names has the label %s", label)
				}
			}
		}
		return nil
	})
	for _, label := range e.labels {
		if result := resultLabels(parsed); result != nil && !slices.Contains(result, label) || !known[label] && label != "instance" {
			problem("its result has no label %s", label)
		}
	}
	return problems
}

// resultLabels returns the labels of an expression's result where an aggregation
// decides that; nil otherwise.
func resultLabels(e parser.Expr) []string {
	switch e := e.(type) {
	case *parser.AggregateExpr:
		if e.Without {
			return nil
		}
		return append([]string{}, e.Grouping...)
	case *parser.BinaryExpr:
		return resultLabels(e.LHS)
	case *parser.ParenExpr:
		return resultLabels(e.Expr)
	case *parser.Call:
		if e.Func.Name == "histogram_quantile" {
			return slices.DeleteFunc(resultLabels(e.Args[1]), func(l string) bool { return l == "le" })
		}
	}
	return nil
}

func read(tb testing.TB, path string) []byte {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// variables replaces Grafana's variables by values.
var variables = strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$model", ".*", `job="$job"`, `job=~".*"`)

var (
	legendLabel = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)
	annotated   = regexp.MustCompile(`\$labels\.(\w+)`)
	labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)
)

// dashboard reads Grafana's dashboard.
func dashboard(t *testing.T) (all []expression) {
	t.Helper()
	type place struct{ H, W, X, Y int }
	var d struct {
		Title, UID string
		Panels     []struct {
			ID      int
			Type    string
			Title   string
			GridPos place
			Targets []struct{ Expr, LegendFormat string }
		}
		Templating struct {
			List []struct {
				Name, Type string
				Definition string
				IncludeAll bool
				AllValue   string
			}
		}
	}
	text := read(t, shipped+"grafana.json")
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatalf("grafana.json: %v", err)
	}
	var named []string
	for _, v := range d.Templating.List {
		named = append(named, v.Name)
		// Grafana replaces "All" by the listed values otherwise: series of the models
		// "other" and "" are not among them.
		if v.IncludeAll && v.AllValue != ".*" {
			t.Errorf("all of variable %s of the dashboard stand for %q, want .*", v.Name, v.AllValue)
		}
		if v.Type != "query" {
			continue
		}
		parts := labelValues.FindStringSubmatch(v.Definition)
		if parts == nil {
			t.Errorf("variable %s of the dashboard asks %q, want label_values(metric, label)", v.Name, v.Definition)
			continue
		}
		all = append(all, expression{"variable " + v.Name, variables.Replace(parts[1]), []string{parts[2]}})
	}
	for _, used := range regexp.MustCompile(`\$\{?([a-z]+)`).FindAllStringSubmatch(string(text), -1) {
		if !slices.Contains(named, used[1]) {
			t.Errorf("the dashboard uses $%s, which is no variable of it", used[1])
		}
	}
	ids := make(map[int]bool)
	for i, p := range d.Panels {
		if p.Title == "" || ids[p.ID] {
			t.Errorf("panel %d of the dashboard has the title %q and the id %d, want a title and an id of its own", i, p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q has no query", p.Title)
		}
		for _, q := range d.Panels[:i] {
			if a, b := p.GridPos, q.GridPos; a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("panels %q and %q overlap", p.Title, q.Title)
			}
		}
		for _, target := range p.Targets {
			e := expression{where: "panel " + p.Title, text: variables.Replace(target.Expr)}
			for _, label := range legendLabel.FindAllStringSubmatch(target.LegendFormat, -1) {
				e.labels = append(e.labels, label[1])
			}
			all = append(all, e)
		}
	}
	return all
}

// alerts reads the rules of Prometheus. Unknown members are refused.
func alerts(t *testing.T) (all []expression) {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				KeepFiringFor       string `yaml:"keep_firing_for"`
				Labels, Annotations map[string]string
			}
		}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(read(t, shipped+"alerts.yml")))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatalf("alerts.yml: %v", err)
	}
	seen := make(map[string]bool)
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || seen[r.Alert] {
				t.Errorf("a rule of %s is named %q, want a name of its own", g.Name, r.Alert)
			}
			seen[r.Alert] = true
			if _, err := model.ParseDuration(r.For); r.For != "" && err != nil {
				t.Errorf("%s: for: %v", r.Alert, err)
			}
			if _, err := model.ParseDuration(r.KeepFiringFor); r.KeepFiringFor != "" && err != nil {
				t.Errorf("%s: keep_firing_for: %v", r.Alert, err)
			}
			if s := r.Labels["severity"]; s != "critical" && s != "warning" && s != "info" {
				t.Errorf("%s has the severity %q", r.Alert, s)
			}
			e := expression{where: r.Alert, text: r.Expr}
			for _, name := range []string{"summary", "description"} {
				if r.Annotations[name] == "" {
					t.Errorf("%s has no %s", r.Alert, name)
				}
				for _, label := range annotated.FindAllStringSubmatch(r.Annotations[name], -1) {
					e.labels = append(e.labels, label[1])
				}
			}
			all = append(all, e)
		}
	}
	return all
}

// scaler is a document of keda.yml.
type scaler struct {
	Kind string
	Spec struct {
		Triggers []struct {
			Type     string
			Metadata map[string]string
		}
	}
}

func readScalers(tb testing.TB) (all []scaler) {
	tb.Helper()
	decoder := yaml.NewDecoder(bytes.NewReader(read(tb, shipped+"keda.yml")))
	for {
		var s scaler
		err := decoder.Decode(&s)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			tb.Fatalf("keda.yml: %v", err)
		}
		all = append(all, s)
	}
}

// scalers reads the queries of KEDA's triggers, of the model that the test has.
func scalers(t *testing.T) (all []expression) {
	t.Helper()
	for _, s := range readScalers(t) {
		for _, trigger := range s.Spec.Triggers {
			if trigger.Type == "prometheus" {
				all = append(all, expression{where: "keda.yml", text: strings.ReplaceAll(trigger.Metadata["query"], "tide-7b", tidegatetest.Model)})
			}
		}
	}
	return all
}

// scalerPaths sends the API requests of KEDA's triggers, and evaluates their paths to
// numbers.
func scalerPaths(t *testing.T, g *tidegatetest.Gateway) {
	t.Helper()
	asked := 0
	for _, s := range readScalers(t) {
		for _, trigger := range s.Spec.Triggers {
			if trigger.Type != "metrics-api" {
				continue
			}
			asked++
			_, path, _ := strings.Cut(strings.TrimPrefix(trigger.Metadata["url"], "http://"), "/")
			path = strings.ReplaceAll(path, "tide-7b", tidegatetest.Model)
			var value any
			g.Get(t, "/"+path, &value)
			for step := range strings.SplitSeq(trigger.Metadata["valueLocation"], ".") {
				switch at := value.(type) {
				case map[string]any:
					value = at[step]
				case []any:
					value = at[0]
				}
			}
			if n, ok := value.(float64); !ok || n != hangingLines {
				t.Errorf("%s of %s is %v, want the %d lines that wait", trigger.Metadata["valueLocation"], path, value, hangingLines)
			}
		}
	}
	if asked == 0 {
		t.Error("keda.yml has no trigger with an API request")
	}
}

// documented checks that docs/operations.md has all metrics of a scrape. The page shortens
// names of one family to their suffix, as in `_state`.
func documented(t *testing.T, found scraped) {
	t.Helper()
	page := string(read(t, "../../docs/operations.md"))
	names := 0
	for name := range found {
		for _, end := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, end)
		}
		if !strings.HasPrefix(name, "tidegate_") {
			continue
		}
		names++
		known := regexp.MustCompile("`" + name + "[`{]").MatchString(page)
		for at := strings.LastIndexByte(name, '_'); at > len("tidegate_"); at = strings.LastIndexByte(name[:at], '_') {
			known = known || regexp.MustCompile("(?m)^\\| .*`"+name[:at]+"_[a-z_]+[`{].*`"+name[at:]+"[`{]").MatchString(page)
		}
		if !known {
			t.Errorf("%s is not in docs/operations.md", name)
		}
	}
	if names < 50 {
		t.Errorf("got %d metrics, want at least 50", names)
	}
}
