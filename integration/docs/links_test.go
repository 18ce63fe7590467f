// Package docs holds tests of the documentation as a whole.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// Every link from one document to another, or to a heading, leads somewhere.
func TestLinks(t *testing.T) {
	root := filepath.Join("..", "..")
	var documents []string
	for _, pattern := range []string{"*.md", "docs/*.md", "bench/*.md", "deploy/*.md", "bench/results/*.md", "examples/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, found...)
	}
	links := 0
	for _, at := range documents {
		for _, m := range link.FindAllStringSubmatch(withoutCode(read(t, at)), -1) {
			target, heading, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			links++
			file := at
			if target != "" {
				file = filepath.Join(filepath.Dir(at), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s links to %s, which is not there", at, m[1])
				continue
			}
			if heading != "" && !headings(read(t, file))[heading] {
				t.Errorf("%s links to %s, which has no such heading", at, m[1])
			}
		}
	}
	if links < 100 {
		t.Errorf("%d links were found in %d documents: the test looks in the wrong place", links, len(documents))
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// withoutCode leaves out blocks of code, in which brackets are no links.
func withoutCode(text string) string {
	var out strings.Builder
	code := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
			continue
		}
		if !code {
			out.WriteString(line)
		}
	}
	return out.String()
}

// headings are the anchors that GitHub makes of a document's headings
// (https://docs.github.com/en/get-started/writing-on-github).
func headings(text string) map[string]bool {
	anchors := make(map[string]bool)
	for line := range strings.Lines(withoutCode(text)) {
		title, found := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !found || !strings.HasPrefix(line, "#") {
			continue
		}
		anchors[strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, strings.TrimSpace(title))] = true
	}
	return anchors
}
