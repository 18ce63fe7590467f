package batch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tidegate/tidegate/internal/openai"
)

// ErrInputChanged reports that the lines of a slice differ from those that were validated.
var ErrInputChanged = errors.New("input file is not what was validated")

// ReadRequests reads the requests of a slice from an input file and returns them in
// input order. It returns ErrInputChanged if the content is not what was validated.
// No line may be longer than maxLine bytes.
func ReadRequests(ctx context.Context, files Files, endpoint, key string, p SlicePlan, maxLine int) ([]openai.Request, error) {
	content, err := files.Read(ctx, key, p.Offset, p.Length)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	lines := openai.NewLineReader(content, maxLine)
	requests := make([]openai.Request, 0, p.Lines)
	for {
		l, err := lines.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		r, findings := openai.ParseRequest(l.Bytes, endpoint)
		if len(findings) > 0 {
			return nil, fmt.Errorf("%w: %s", ErrInputChanged, findings[0].Message)
		}
		r.Body = bytes.Clone(r.Body) // the reader's buffer is used again
		requests = append(requests, r)
	}
	if len(requests) != p.Lines {
		return nil, fmt.Errorf("%w: %d lines instead of %d", ErrInputChanged, len(requests), p.Lines)
	}
	return requests, nil
}
