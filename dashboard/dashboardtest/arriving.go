package dashboardtest

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/internal/openai"
)

// nameless is the finding of a line without a custom_id.
func (f files) nameless(number int64, line string) openai.BatchError {
	return openai.BatchError{
		Code: "missing_required_parameter", Param: new("custom_id"), Line: new(int(number)),
		Message: f.Say("Line " + strconv.FormatInt(number, 10) + " has no custom_id: " + strings.TrimSpace(line)),
	}
}

// lookout finds what Inspect will find, in lines as they are written to it.
type lookout struct {
	files files
	tell  func(engine.Seen)

	rest []byte // of a line without its end
	seen engine.Seen
}

func (l *lookout) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte{'\n'})
		if !whole {
			return len(p), nil
		}
		l.rest = rest
		l.seen.Lines++
		if !bytes.Contains(line, []byte("custom_id")) {
			l.seen.Findings = append(l.seen.Findings, l.files.nameless(l.seen.Lines, string(line)))
		}
		l.tell(l.seen)
	}
}
