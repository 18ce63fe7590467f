package batch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tidegate/tidegate/internal/openai"
)

// errInputChanged is for a slice whose lines are not those that were planned.
var errInputChanged = errors.New("input file is not what was validated")

// readRequests reads all lines of a slice.
func (e *Engine) readRequests(ctx context.Context, b Batch, key string, p SlicePlan) ([]openai.Request, error) {
	content, err := e.files.Read(ctx, key, p.Offset, p.Length)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	lines := openai.NewLineReader(content, e.config().MaxLineBytes)
	requests := make([]openai.Request, 0, p.Lines)
	for {
		l, err := lines.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		r, findings := openai.ParseRequest(l.Bytes, b.Endpoint)
		if len(findings) > 0 {
			return nil, fmt.Errorf("%w: %s", errInputChanged, findings[0].Message)
		}
		r.Body = bytes.Clone(r.Body) // the reader's buffer is used again
		requests = append(requests, r)
	}
	if len(requests) != p.Lines {
		return nil, fmt.Errorf("%w: %d lines instead of %d", errInputChanged, len(requests), p.Lines)
	}
	return requests, nil
}
