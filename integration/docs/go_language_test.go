package docs

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// forbiddenInGo are wordings that do not belong in technical English, with their standard
// replacements. Patterns are matched against one line, ignoring case.
var forbiddenInGo = []struct{ name, pattern, write string }{
	{"tells whether", `\b(tell|say)s? whether\b`, "reports whether"},
	{"gives", `^\s*// \w+ (gives|tells|wants)\b`, "returns, reports, requires"},
	{"whoever", `\bwhoever\b`, "every client that, any caller"},
	{"nobody", `\bnobody\b`, "no client, no server, no one in the role meant"},
	{"somebody", `\b(some|any|every)body\b`, "a client, any caller, all users"},
	{"lest", `\blest\b`, "so that … not"},
	{"for want of", `\bfor want of\b`, "because of a lack of, limit reached"},
	{"of which nothing", `\bof which (nothing|no|there|one|only|every|clients)\b`, "without, unknown"},
	{"that which", `\bthat which\b`, "the noun"},
	{"is looked for", `\b(is|are|was|were) looked (for|at)\b`, "is searched, is checked"},
	{"is told", `\b(is|are|was|were) told (that|to|of|by|what|when|why|how|which|the)\b`, "is notified, gets, has"},
	{"stands there", `\bstands there\b`, "is specified, already specified"},
	{"is there no more", `\b(is|are) there no more\b`, "no longer exists"},
	{"takes note", `\btakes? note\b`, "records"},
	{"takes in", `\btakes in (what|how|that|the|a|an)\b`, "handles, records, adds"},
	{"is well", `\b(is|are) (not )?well\b`, "is healthy"},
	{"goes on", `\b(goes|go|went) on\b`, "continues"},
	{"at the moment", `\bat the moment\b`, "now, currently, when"},
	{"gives back", `\b(gives? (it |them )?|given |hand(s|ed)? )back\b`, "returns, releases"},
	{"in good order", `\bin good order\b`, "gracefully, without an error"},
	{"lets go of", `\blets? go of\b`, "releases"},
	{"knows of nothing", `\bknows (of )?nothing\b`, "does not depend on, is not affected"},
	{"is how", `//.*\b(is|are) how\b`, "limits, is the number of, is the time after which; with the unit"},
	{"is what", `^\s*// \w+ (is|are) (what|who)\b`, "the noun"},
}

// plainDirs are the directories whose Go files, including tests, are written in plain English.
var plainDirs = []string{
	"access", "upstreams", "caddymodule", "dashboard", "doctor", "templates", "internal", "cmd", "bench",
	"batch", "integration",
}

// exemptInGo are lines that need a forbiddenInGo wording, by a part of their text: quotations
// of other programs, names, and texts of log messages, errors and metrics that alerts may
// match.
var exemptInGo = []string{
	"http.NoBody", "account postgres or nobody", "as postgres or nobody", `"postgres", "nobody"`,
}

// TestPlainEnglishInGo checks comments and strings of Go files.
func TestPlainEnglishInGo(t *testing.T) {
	for _, dir := range plainDirs {
		err := filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_templ.go") || filepath.Dir(path) == filepath.Join("..", "..", "integration", "docs") {
				return err
			}
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, problem := range checkGo(path, string(source)) {
				t.Error(problem)
			}
			_, err = parser.ParseFile(token.NewFileSet(), path, source, parser.SkipObjectResolution)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestForbiddenInGoIsFound shows that each pattern finds the wording that it is named for.
func TestForbiddenInGoIsFound(t *testing.T) {
	for text, want := range map[string]string{
		"// up tells whether it runs":                "tells whether",
		"// whoever reads it":                        "whoever",
		"// Nobody is left to tell.":                 "nobody",
		`"slots stay free for want of memory"`:       "for want of",
		"// left alone, lest their lines run twice":  "lest",
		"// shortLook is how often it is looked for": "is looked for",
		`"health_interval stands there twice"`:       "stands there",
		`"it is there no more"`:                      "is there no more",
		"// counts gives the sums of a batch.":       "gives",
		`"a client is told that it failed"`:          "is told",
		"// A server that is well is probed.":        "is well",
		"// The batch goes on after the restart.":    "goes on",
		"// what was claimed is handed back":         "gives back",
		"// turn is what a poller gets.":             "is what",
		"// patience is how long a client waits.":    "is how",
		"// It returns how many lines are left.":     "",
		"// reports whether it runs":                 "",
		"// the latest request":                      "",
	} {
		got := strings.Join(checkGo("x.go", text), "\n")
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

// checkGo returns the forbiddenInGo wordings in the comments and strings of a Go file.
func checkGo(path, source string) (problems []string) {
	for i, line := range strings.Split(source, "\n") {
		if !strings.ContainsAny(line, "/\"`") || !anyGoPattern.MatchString(line) || isExemptInGo(line) {
			continue
		}
		for _, f := range goPatterns {
			if f.re.MatchString(line) {
				problems = append(problems, fmt.Sprintf("%s:%d: got %q, want %s, in: %s", path, i+1, f.name, f.write, strings.TrimSpace(line)))
			}
		}
	}
	return problems
}

func isExemptInGo(line string) bool {
	for _, part := range exemptInGo {
		if strings.Contains(line, part) {
			return true
		}
	}
	return false
}

type goPattern struct {
	name, write string
	re          *regexp.Regexp
}

var goPatterns = func() (all []goPattern) {
	for _, f := range forbiddenInGo {
		all = append(all, goPattern{f.name, f.write, regexp.MustCompile("(?i)" + f.pattern)})
	}
	return all
}()

// anyGoPattern matches each line that one of goPatterns matches.
var anyGoPattern = func() *regexp.Regexp {
	var all []string
	for _, f := range forbiddenInGo {
		all = append(all, f.pattern)
	}
	return regexp.MustCompile("(?i)" + strings.Join(all, "|"))
}()
