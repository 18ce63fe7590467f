package upload_test

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate/batch/upload"
)

func TestCleanFilename(t *testing.T) {
	for sent, want := range map[string]string{
		"in.jsonl":               "in.jsonl",
		" in put.jsonl ":         "in put.jsonl",
		"/etc/passwd":            "passwd",
		"../../../x":             "x",
		"a/b/":                   "b",
		`..\..\x.jsonl`:          "x.jsonl",
		"a\r\nX-Evil: 1":         "aX-Evil: 1",
		"a\x00b\x7fc\u0085d":     "abcd",
		"\u202egnp.exe":          "gnp.exe",
		"\xffx":                  "\uFFFDx",
		"日本.jsonl":               "日本.jsonl",
		"...":                    "...",
		"-rf":                    "-rf",
		strings.Repeat("ä", 255): strings.Repeat("ä", 255),
	} {
		if got, err := upload.CleanFilename(sent); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", sent, got, err, want)
		}
	}
	for _, sent := range []string{"", " ", ".", "..", "/", "//", "a/..", `\`, "\r\n", "\u200b", strings.Repeat("ä", 256)} {
		if got, err := upload.CleanFilename(sent); err == nil {
			t.Errorf("%q became %q", sent, got)
		}
	}
}
