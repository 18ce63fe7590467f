package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/tidegate/tidegate/internal/cli/client"
	"github.com/tidegate/tidegate/internal/openai"
)

// source is the content of an upload, opened once.
type source struct {
	client.Content
	from  string // as messages name it
	close func() error
}

// open opens a file, "-" for standard input. Other than regular files are streams: they
// can be read once, and their length is known at the end.
func (s *session) open(ctx context.Context, path, purpose string) (*source, error) {
	src := &source{Content: client.Content{Name: filepath.Base(path), Purpose: purpose}, from: path, close: func() error { return nil }}
	in := s.in
	if path == "-" {
		src.Name, src.from = "stdin.jsonl", "standard input"
	} else {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		in, src.close = f, f.Close
	}
	if err := src.attach(ctx, in); err != nil {
		return nil, errors.Join(err, src.close())
	}
	return src, nil
}

// attach sets the remaining content of in as the source.
func (src *source) attach(ctx context.Context, in io.Reader) error {
	if f, ok := in.(*os.File); ok {
		info, err := f.Stat()
		switch {
		case err != nil:
			return err
		case info.IsDir():
			return fmt.Errorf("%s is a directory", src.from)
		case info.Mode().IsRegular():
			at, err := f.Seek(0, io.SeekCurrent) // not 0 for standard input that was read before
			if err != nil {
				return fmt.Errorf("reading %s: %w", src.from, err)
			}
			src.Size = max(0, info.Size()-at)
			src.At = offsetReader{f, at}
		}
	}
	if src.At == nil {
		src.Stream = &interruptible{ctx: ctx, r: in}
	}
	if src.Purpose != openai.PurposeBatch {
		return nil
	}
	p, err := src.packing()
	if err == nil && p != plain {
		src.Name = p.rename(src.Name)
	}
	return err
}

// offsetReader reads from an offset on.
type offsetReader struct {
	r  io.ReaderAt
	at int64
}

func (o offsetReader) ReadAt(p []byte, off int64) (int, error) { return o.r.ReadAt(p, o.at+off) }

// peek passes the beginning of the content to read, without consuming it.
func (src *source) peek(read func(io.Reader) error) error {
	if src.At != nil {
		return read(io.NewSectionReader(src.At, 0, src.Size))
	}
	var seen bytes.Buffer
	err := read(io.TeeReader(src.Stream, &seen))
	src.Stream = io.MultiReader(&seen, src.Stream)
	return err
}

func (src *source) packing() (p packing, err error) {
	err = src.peek(func(r io.Reader) error {
		head := make([]byte, magicLen)
		n, err := io.ReadFull(r, head)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("reading %s: %w", src.from, err)
		}
		p = packingOf(head[:n])
		return nil
	})
	return p, err
}

// maxFirstLine limits the search for the end of the first line, in bytes.
const maxFirstLine = 64 << 20

// endpoint is the url of the first line.
func (src *source) endpoint() (endpoint string, err error) {
	p, err := src.packing()
	if err != nil {
		return "", err
	}
	if p.name == "zip" {
		return "", fmt.Errorf("%s is a zip archive: give --endpoint", src.from)
	}
	err = src.peek(func(r io.Reader) error {
		return p.read(r, func(r io.Reader) (err error) {
			endpoint, err = firstURL(io.LimitReader(r, maxFirstLine))
			return err
		})
	})
	if _, ok := errors.AsType[*notRequestError](err); ok {
		return "", fmt.Errorf("%s: %w", src.from, err) // an --endpoint would not help
	}
	if err != nil {
		return "", fmt.Errorf("finding the endpoint in %s: %w; give --endpoint", src.from, err)
	}
	return endpoint, nil
}

// firstURL is the url of the first line of a file of requests.
func firstURL(r io.Reader) (string, error) {
	line, err := openai.NewLineReader(r, maxFirstLine).Next()
	if errors.Is(err, io.EOF) {
		return "", errors.New("there is no request in it")
	}
	if err != nil {
		return "", err
	}
	var request map[string]json.RawMessage
	if err := json.Unmarshal(line.Bytes, &request); err != nil {
		return "", &notRequestError{line.Number, notObject(line.Bytes, err)}
	}
	url, there := request["url"]
	if !there {
		return "", fmt.Errorf("line %d names no url", line.Number)
	}
	var endpoint string
	if err := json.Unmarshal(url, &endpoint); err != nil {
		return "", fmt.Errorf("line %d: url is no string: %.100s", line.Number, url)
	}
	if endpoint == "" {
		return "", fmt.Errorf("line %d names no url", line.Number)
	}
	return endpoint, nil
}

// notRequestError reports that a line of a batch's input is no JSON object.
type notRequestError struct {
	line int
	err  error
}

func (e *notRequestError) Error() string {
	return fmt.Sprintf("line %d is no request: %s", e.line, e.err)
}
func (e *notRequestError) Unwrap() error { return e.err }

// notObject describes why a line is not one JSON object.
func notObject(line []byte, err error) error {
	var what string
	switch line[0] { // a line is never blank
	case '[':
		what = "a JSON array; a batch has one request a line, each a JSON object (jq -c '.[]' makes one of the other)"
		if !json.Valid(line) {
			what = "the beginning of a JSON array; a batch has one request a line, each a JSON object (jq -c '.[]' makes one of the other)"
		}
	case '{':
		if errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "unexpected end") {
			return errors.New("the JSON object does not end on its line; a batch has one request a line (jq -c . writes it so)")
		}
		return err
	default:
		if !json.Valid(line) {
			return err
		}
		what = "JSON, but no object"
	}
	return errors.New("it is " + what)
}

// upload uploads a source and shows its progress.
func (s *session) upload(ctx context.Context, src *source) (openai.File, error) {
	bar := newProgress(s.err)
	defer bar.end()
	content := src.Content
	content.Sent = func(n int64) {
		if n > 1<<20 || src.Size > 1<<20 {
			bar.show(state{label: "uploading " + src.Name, done: n, total: src.Size, unit: "B"})
		}
	}
	f, err := s.Upload(ctx, content)
	if err != nil {
		return f, fmt.Errorf("uploading %s: %w", src.from, err)
	}
	return f, nil
}
