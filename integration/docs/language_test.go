package docs

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// riddles are words that the documentation does not use: it names who or what is
// meant.
var riddles = regexp.MustCompile(`(?i)\b(whoever|lest|for want of|of which|tells whether|that which)\b`)

func TestPlainEnglish(t *testing.T) {
	root := filepath.Join("..", "..")
	for _, pattern := range []string{"*.md", "docs/*.md", "bench/*.md", "examples/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 {
			t.Errorf("no documents match %s", pattern)
		}
		for _, name := range found {
			text := withoutCode(read(t, name))
			for line := range strings.Lines(text) {
				if word := riddles.FindString(line); word != "" {
					t.Errorf("%s has %q, want a noun in its place: %.80s…", filepath.Base(name), word, line)
				}
			}
		}
	}
}
