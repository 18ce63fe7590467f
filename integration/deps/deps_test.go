// Package deps tests the imports between packages, as in docs/architecture.md.
package deps

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tidegate/tidegate"

// mayImport lists the packages of this module that each package may import, except in
// tests. A name includes the packages below it; the longest name counts.
var mayImport = map[string][]string{
	"":                        {"caddymodule"},
	"access":                  {"internal/atomicfile", "internal/limitname", "internal/money", "internal/saturate"},
	"dashboard":               {"access", "batch", "batch/engine", "upstreams", "doctor", "templates", "internal/openai", "internal/csvtable"},
	"dashboard/source":        {"access", "dashboard", "batch", "batch/engine", "batch/httpapi", "batch/upload", "upstreams", "doctor", "templates", "internal/openai"},
	"dashboard/dashboardtest": {"access", "dashboard", "batch", "batch/engine", "upstreams", "doctor", "templates", "internal/openai"},
	"templates":               {},
	"doctor":                  {"access", "batch", "batch/engine", "upstreams", "internal/descriptors"},
	"cmd":                     {"caddymodule"},
	"caddymodule":             {"access", "dashboard", "dashboard/source", "doctor", "batch", "batch/audit", "batch/engine", "batch/httpapi", "batch/upload", "batch/webhook", "batch/failpoint", "batch/store", "batch/queue", "batch/files", "upstreams", "internal"},
	"batch":                   {"access", "internal/openai", "internal/csvtable", "internal/money", "internal/saturate"},
	"batch/scheduler":         {"access", "batch", "batch/scheduler/order", "internal/openai", "internal/modellabel", "internal/background", "internal/wait"},
	"batch/scheduler/order":   {},
	"batch/engine":            {"internal/receipt", "access", "batch", "batch/scheduler", "batch/scheduler/order", "batch/upload", "internal/openai", "internal/modellabel", "internal/background", "internal/uvarint", "internal/wait"},
	"batch/httpapi":           {"access", "batch", "batch/engine", "batch/upload", "internal/openai", "internal/csvtable"},
	"batch/batchtest":         {"access", "batch", "batch/engine", "batch/upload", "batch/store", "batch/queue", "batch/files", "internal/openai", "internal/wait"},
	"batch/failpoint":         {"access", "batch", "internal/openai"},
	"batch/upload":            {"batch", "internal/openai"},
	"batch/audit":             {"batch"},
	"batch/webhook":           {"batch", "internal/background", "internal/wait"},
	"batch/store":             {"access", "batch", "batch/store", "internal/openai", "internal/uvarint", "internal/saturate"},
	"batch/queue":             {"batch", "batch/queue", "internal/openai"},
	"batch/files":             {"batch", "batch/files", "internal/openai"},
	"upstreams":               {"access", "upstreams/prefix", "internal/openai", "internal/descriptors", "internal/guardrail", "internal/modellabel"},
	"upstreams/prefix":        {},
	"internal/openai":         {"internal/saturate"},
	"internal/csvtable":       {},
	"internal/saturate":       {},
	"internal/limitname":      {},
	"internal/httpbody":       {"internal/openai"},
	"internal/descriptors":    {},
	"internal/guardrail":      {},
	"internal/modellabel":     {},
	"internal/money":          {"internal/saturate"},
	"internal/uvarint":        {},
	"internal/receipt":        {"internal/openai"},
	"internal/wait":           {},
	"internal/background":     {},
	"internal/atomicfile":     {},
	"internal/vllmsim":        {"internal/openai"},
	"internal/testprocess":    {},
	"internal/redistest":      {"internal/testprocess"},
	"internal/vllmtest":       {"internal/testprocess"},
	"internal/pgtest":         {"internal/testprocess"},
	"internal/s3test":         {},
	"internal/proxytest":      {},
	"internal/certtest":       {},
	"internal/metricstest":    {},
	"internal/cli":            {"internal/limitname", "internal/receipt", "internal/cli", "internal/openai", "internal/vllmsim"},
	"bench":                   {"batch", "batch/engine", "batch/store", "batch/queue", "internal", "internal/vllmsim"},
}

// mayImportCaddy are the packages that may import Caddy.
var mayImportCaddy = []string{"cmd", "caddymodule"}

func room(path string) string {
	for path != "" {
		if _, known := mayImport[path]; known {
			return path
		}
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			break
		}
		path = path[:i]
	}
	if _, known := mayImport[path]; known {
		return path
	}
	return "?" + path
}

// allowed reports whether a package may import another. A name without an entry in mayImport
// includes all packages below it.
func allowed(from, to string) bool {
	for to = room(to); to != ""; {
		if slices.Contains(mayImport[from], to) {
			return true
		}
		i := strings.LastIndexByte(to, '/')
		if i < 0 {
			return false
		}
		to = to[:i]
		if _, isRoom := mayImport[to]; isRoom {
			return false
		}
	}
	return false
}

func TestImports(t *testing.T) {
	list := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"/...")
	var warnings strings.Builder
	list.Stderr = &warnings
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, warnings.String())
	}
	checked := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		path := strings.TrimPrefix(strings.TrimPrefix(fields[0], module), "/")
		if strings.HasPrefix(path, "integration") {
			continue
		}
		from := room(path)
		if strings.HasPrefix(from, "?") {
			t.Errorf("%s has no entry in mayImport", path)
			continue
		}
		checked++
		for _, imported := range fields[1:] {
			if strings.HasPrefix(imported, "github.com/caddyserver/") && !slices.Contains(mayImportCaddy, from) {
				t.Errorf("%s imports %s: only %v may", path, imported, mayImportCaddy)
			}
			to, ours := strings.CutPrefix(imported, module+"/")
			if ours && room(to) != from && !allowed(from, to) {
				t.Errorf("%s imports %s: %q may import %v only", path, to, from, mayImport[from])
			}
		}
	}
	if checked < 10 {
		t.Errorf("got %d checked packages, want at least 10", checked)
	}
}
