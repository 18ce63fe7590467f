package templates

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFold(t *testing.T) {
	for name, tt := range map[string]struct {
		text  string
		begin int // bytes that are shown
	}{
		"nothing":       {"", 0},
		"short":         {"Hello", 5},
		"a little more": {strings.Repeat("x", 1800), 1800},
		"long":          {strings.Repeat("x", 2000), 1500},
		"between runes": {"x" + strings.Repeat("ü", 1000), 1499},
		"many lines":    {strings.Repeat("x\n", 100), 40},
		"few lines":     {strings.Repeat("x\n", 19), 38},
	} {
		begin, rest := Message{Text: tt.text}.fold()
		if begin+rest != tt.text || len(begin) != tt.begin || !utf8.ValidString(begin) {
			t.Errorf("%s: %d bytes and %d folded, want %d of %d", name, len(begin), len(rest), tt.begin, len(tt.text))
		}
	}
}
