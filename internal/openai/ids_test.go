package openai

import (
	"regexp"
	"testing"
)

func TestNewID(t *testing.T) {
	form := regexp.MustCompile(`^batch_[0-9a-f]{32}$`)
	seen := map[string]bool{}
	for range 1000 {
		id := NewID("batch_")
		if !form.MatchString(id) || seen[id] {
			t.Fatalf("id %q is repeated or of another form", id)
		}
		seen[id] = true
	}
}
