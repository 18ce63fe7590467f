package upload

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxFilename limits the length of a file's name, in characters.
const MaxFilename = 255

// FilenameError reports a file name that cannot be used.
type FilenameError struct {
	Length int // of the name in characters: 0, or more than MaxFilename
}

func (e *FilenameError) Error() string {
	if e.Length == 0 {
		return "file name is empty"
	}
	return fmt.Sprintf("file name has %d characters, the limit is %d", e.Length, MaxFilename)
}

// CleanFilename returns the base name of a client's name for a file, without
// control and invisible characters, so that it is safe in headers, logs and
// directories. Its error is a *FilenameError.
func CleanFilename(name string) (string, error) {
	name = strings.ToValidUTF8(name, "\uFFFD")
	name = strings.Map(func(r rune) rune {
		// Cf: invisible, such as those that turn the direction of writing.
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, name)
	name = strings.TrimSpace(path.Base(strings.ReplaceAll(name, `\`, "/")))
	switch name {
	case "", ".", "..", "/":
		return "", &FilenameError{}
	}
	if n := utf8.RuneCountInString(name); n > MaxFilename {
		return "", &FilenameError{Length: n}
	}
	return name, nil
}
