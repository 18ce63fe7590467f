package vllm

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// absent are metrics that the gateway reads and this vLLM does not have, with the
// reason why it does not need them.
var absent = map[string]string{
	"vllm:gpu_cache_usage_perc":           "the name of vllm:kv_cache_usage_perc before vLLM 0.9",
	"vllm:gpu_prefix_cache_hits_total":    "the name of vllm:prefix_cache_hits_total before vLLM 0.10",
	"vllm:gpu_prefix_cache_queries_total": "the name of vllm:prefix_cache_queries_total before vLLM 0.10",
	"vllm:vllm_config_info":               "settings that some versions report; the gateway finds its limits without them",
}

// Every metric of vLLM that the gateway's code names is there, or known to be
// absent.
func (s *suite) metricNames(t *testing.T) {
	there := metrics(t, s.servers[0])
	names := namedMetrics(t)
	if len(names) == 0 {
		t.Fatal("no name of a metric found in upstreams")
	}
	for _, name := range names {
		_, exists := there[name]
		reason, allowed := absent[name]
		switch {
		case exists:
			t.Logf("%s: there", name)
		case allowed:
			t.Logf("%s: absent (%s)", name, reason)
		default:
			t.Errorf("the gateway reads %s, which this vLLM does not have", name)
		}
	}
}

// namedMetrics are the strings in the code of upstreams that begin as vLLM's
// metrics do, sorted.
func namedMetrics(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(tidegatetest.Root(t), "upstreams", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			if name := strings.TrimSuffix(text, "{"); strings.HasPrefix(name, "vllm:") && name != "vllm:" {
				names = append(names, name)
			}
			return true
		})
	}
	slices.Sort(names)
	return slices.Compact(names)
}
