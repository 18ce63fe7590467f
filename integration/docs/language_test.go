package docs

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// riddles are wordings that the documentation does not use: it names the subject.
var riddles = regexp.MustCompile(`(?i)\b(whoever|lest|for want of|of which|tells? whether|that which|nobody|somebody|at the moment|takes? note|(is|are) looked for|(is|are) there no more|stands? there|in good order|be it|ought to|save that|found out|gives? (it )?back|hand(s|ed) back|goes on|go on|(is|are) (asked|told)|is well|(is|are) how (long|many|much|often|soon|far|fast|large)|an addition|besides)\b`)

// documents returns the paths of all documents for readers.
func documents(t *testing.T) (all []string) {
	t.Helper()
	for _, pattern := range []string{"*.md", "docs/*.md", "bench/*.md", "examples/*.md"} {
		found, err := filepath.Glob(filepath.Join("..", "..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 {
			t.Errorf("no documents match %s", pattern)
		}
		all = append(all, found...)
	}
	return all
}

// TestPlainEnglish checks the text of documents, except code.
func TestPlainEnglish(t *testing.T) {
	for _, name := range documents(t) {
		for line := range strings.Lines(withoutCode(read(t, name))) {
			if word := riddles.FindString(line); word != "" {
				t.Errorf("%s has %q, want a noun or a standard term in its place: %.80s…", filepath.Base(name), word, line)
			}
		}
	}
}
