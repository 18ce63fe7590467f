package docs

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/batch"
)

// TestStateDiagramHasEveryState checks that the diagram has every state of a batch and marks
// the terminal ones.
func TestStateDiagramHasEveryState(t *testing.T) {
	page := read(t, filepath.Join("..", "..", "docs", "architecture.md"))
	_, diagram, _ := strings.Cut(page, "stateDiagram-v2\n")
	diagram, _, _ = strings.Cut(diagram, "```")
	states := []batch.Status{
		batch.Validating, batch.Failed, batch.InProgress, batch.Finalizing,
		batch.Completed, batch.Expired, batch.Cancelling, batch.Cancelled,
	}
	known := map[string]bool{"[*]": true}
	for _, s := range states {
		known[string(s)] = true
		if got := strings.Contains(diagram, "    "+string(s)+" --> [*]\n"); got != s.Terminal() {
			t.Errorf("diagram ends in %s: got %v, want %v", s, got, s.Terminal())
		}
		if !strings.Contains(diagram, "--> "+string(s)+":") {
			t.Errorf("diagram has no edge to %s", s)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^    (\S+) --> ([^\s:]+)`).FindAllStringSubmatch(diagram, -1) {
		if !known[m[1]] || !known[m[2]] {
			t.Errorf("diagram has an edge %s, which names no state", m[0])
		}
	}
}

// TestListItemsAreShort limits a list item to four lines of a page on a screen.
func TestListItemsAreShort(t *testing.T) {
	const most = 480 // bytes: four lines of 120
	item := regexp.MustCompile(`^\s*(-|\d+\.) `)
	for _, name := range documents(t) {
		for line := range strings.Lines(read(t, name)) {
			if item.MatchString(line) && len(line) > most {
				t.Errorf("list item of %s has %d bytes, want at most %d: %.60s…", filepath.Base(name), len(line), most, line)
			}
		}
	}
}
