package batch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"

	"github.com/tidegate/tidegate/internal/openai"
)

// ErrInputChanged reports that the lines of a slice differ from those that were validated.
var ErrInputChanged = errors.New("input file is not what was validated")

// LinePlace is where a line is in an input file, and what it was when its slice was read.
type LinePlace struct {
	Offset, Length int64  // bytes of the input file
	sum            uint64 // of the line without the white space around it
}

// ReadRequests returns the requests of a slice from the content of the input file, in
// input order. It returns ErrInputChanged if the content is not what was validated.
// No line may be longer than maxLine bytes.
func ReadRequests(ctx context.Context, files Files, endpoint, key string, p SlicePlan, maxLine int) ([]openai.Request, error) {
	requests := make([]openai.Request, 0, p.Lines)
	err := VisitRequests(ctx, files, endpoint, key, p, maxLine, func(_ int, r openai.Request, _ LinePlace) {
		r.Body = bytes.Clone(r.Body)
		requests = append(requests, r)
	})
	if err != nil {
		return nil, err
	}
	return requests, nil
}

// VisitRequests calls visit with each request of a slice, as ReadRequests returns them, and
// with its place. The body is valid until visit returns. If the content is not what was
// validated, this may be found out after some calls.
func VisitRequests(ctx context.Context, files Files, endpoint, key string, p SlicePlan, maxLine int, visit func(index int, r openai.Request, at LinePlace)) error {
	content, err := files.Read(ctx, key, p.Offset, p.Length)
	if err != nil {
		return err
	}
	defer content.Close()
	lines := openai.NewLineReader(content, maxLine)
	n := 0
	for {
		l, err := lines.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		r, err := parseLine(l.Bytes, endpoint)
		if err != nil {
			return err
		}
		if n < p.Lines {
			visit(n, r, LinePlace{Offset: p.Offset + l.Offset, Length: l.Length, sum: xxhash.Sum64(l.Bytes)})
		}
		n++
	}
	if n != p.Lines {
		return fmt.Errorf("%w: %d lines instead of %d", ErrInputChanged, n, p.Lines)
	}
	return nil
}

// ReadRequest returns the request of a line from the content of the input file. It returns
// ErrInputChanged if the line is not what it was.
func ReadRequest(ctx context.Context, files Files, endpoint, key string, at LinePlace) (openai.Request, error) {
	content, err := files.Read(ctx, key, at.Offset, at.Length)
	if err != nil {
		return openai.Request{}, err
	}
	defer content.Close()
	var read bytes.Buffer
	read.Grow(int(at.Length) + bytes.MinRead)
	if _, err := read.ReadFrom(io.LimitReader(content, at.Length)); err != nil {
		return openai.Request{}, err
	}
	line := read.Bytes()
	if at.Offset == 0 {
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf")) // as a LineReader does
	}
	line = bytes.Trim(line, " \t\r\n")
	if xxhash.Sum64(line) != at.sum {
		return openai.Request{}, fmt.Errorf("%w: the line at byte %d is another one", ErrInputChanged, at.Offset)
	}
	return parseLine(line, endpoint)
}

// parseLine parses a line that was validated. The body aliases it.
func parseLine(line []byte, endpoint string) (openai.Request, error) {
	r, findings := openai.ParseRequest(line, endpoint)
	if len(findings) > 0 {
		return openai.Request{}, fmt.Errorf("%w: %s", ErrInputChanged, findings[0].Message)
	}
	return r, nil
}
