package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// textFiles are the scripts, configurations, templates and programs in other languages than
// Go, whose comments and messages are written in plain English.
var textFiles = []string{
	".ci/*", ".env.example", ".golangci.yml", "*Caddyfile", "*Dockerfile", "*.yml", "deploy/*", "deploy/monitoring/*.yml", "examples/*", "scripts/*",
	"templates/*.templ", "templates/assets/app.*", "integration/clients/node/*.mjs", "integration/clients/python/*.py", "integration/vllm/*.py",
}

// exemptInText are lines that need a forbidden wording, by a part of their text.
var exemptInText = []string{"of each of which", "each of which", "one of which"}

// TestPlainEnglishInText checks files that are neither Go nor documents.
func TestPlainEnglishInText(t *testing.T) {
	for _, pattern := range textFiles {
		found, err := filepath.Glob(filepath.Join("..", "..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 {
			t.Errorf("no files match %s", pattern)
		}
		for _, path := range found {
			if info, err := os.Stat(path); err != nil || info.IsDir() || strings.HasSuffix(path, ".md") {
				continue
			}
			for _, problem := range checkText(path, read(t, path)) {
				t.Error(problem)
			}
		}
	}
}

// TestForbiddenInTextIsFound shows which wordings are found.
func TestForbiddenInTextIsFound(t *testing.T) {
	for text, want := range map[string]bool{
		"# whoever starts it":                           true,
		"<p>Nobody waits.</p>":                          true,
		"# it is told that the server ended":            true,
		"// Row is what a page shows of a batch.":       true,
		"# Two servers, each of which has one GPU.":     false,
		"# Starts the gateway, and waits until it runs": false,
	} {
		if got := len(checkText("x", text)) > 0; got != want {
			t.Errorf("%s: got %t, want %t", text, got, want)
		}
	}
}

// defined are comments that begin with a riddle: "x is what …".
var defined = regexp.MustCompile(`^\s*(//|#) \w+ (is|are) (what|who|how)\b`)

func checkText(path, text string) (problems []string) {
	for line := range strings.Lines(text) {
		exempt := false
		for _, part := range exemptInText {
			exempt = exempt || strings.Contains(line, part)
		}
		if exempt {
			continue
		}
		if riddles.MatchString(line) || defined.MatchString(line) {
			problems = append(problems, path+": want a noun or a standard term in: "+strings.TrimSpace(line))
			continue
		}
		problems = append(problems, checkGo(path, `"`+line)...)
	}
	return problems
}
