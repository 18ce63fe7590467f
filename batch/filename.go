package batch

import (
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tidegate/tidegate/internal/openai"
)

// maxFilename is how long a file's name may be, in characters.
const maxFilename = 255

// CleanFilename takes from a client's name for a file what can do no harm in a
// header, a log or a directory: the base name without control characters. The
// error is about param.
func CleanFilename(param, name string) (string, error) {
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
		return "", openai.InvalidRequest(param, "invalid_value", "Invalid value for '%s': a file needs a name.", param)
	}
	if n := utf8.RuneCountInString(name); n > maxFilename {
		return "", tooLong(param, maxFilename, n)
	}
	return name, nil
}
