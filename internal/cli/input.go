package cli

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"github.com/tidegate/tidegate/internal/openai"
)

// input is what is uploaded: a file, or standard input.
type input struct {
	path   string // for people; "-" for standard input
	name   string // for the gateway
	length int64  // -1 when it is not known
	io.Reader
	file *os.File // nil for standard input
}

// open opens a file, or standard input for "-".
func (s *session) open(path string) (*input, error) {
	if path == "-" {
		return &input{path: path, name: "stdin.jsonl", length: -1, Reader: s.in}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	in := &input{path: path, name: filepath.Base(path), length: info.Size(), Reader: f, file: f}
	if !info.Mode().IsRegular() { // a pipe
		in.length = -1
	}
	return in, nil
}

func (in *input) close() {
	if in.file != nil {
		_ = in.file.Close() // it was only read
	}
}

// peekLimit is how long the first line may be, in bytes.
const peekLimit = 64 << 20

// endpoint is the url of the first line. Nothing of the input is lost by that.
func (in *input) endpoint() (string, error) {
	var read bytes.Buffer
	url, err := firstURL(io.TeeReader(in.Reader, &read))
	in.Reader = io.MultiReader(&read, in.Reader)
	if err != nil {
		return "", fmt.Errorf("%s: %w; give --endpoint", in.path, err)
	}
	return url, nil
}

// firstURL is the url of the first line of a file, which may be compressed.
func firstURL(content io.Reader) (string, error) {
	content, err := decompressed(content)
	if err != nil {
		return "", err
	}
	line, err := openai.NewLineReader(content, peekLimit).Next()
	if errors.Is(err, io.EOF) {
		return "", errors.New("there is no line that names the endpoint")
	}
	if err != nil {
		return "", fmt.Errorf("reading the first line: %w", err)
	}
	var request struct {
		URL string `json:"url"`
	}
	if json.Unmarshal(line.Bytes, &request) != nil || request.URL == "" {
		return "", fmt.Errorf("line %d names no url", line.Number)
	}
	return request.URL, nil
}

// decompressed reads through gzip and Zstandard, by the first bytes of a content.
func decompressed(content io.Reader) (io.Reader, error) {
	magic := make([]byte, 4)
	n, err := io.ReadFull(content, magic)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("reading the input: %w", err)
	}
	magic = magic[:n]
	content = io.MultiReader(bytes.NewReader(magic), content)
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		plain, err := gzip.NewReader(content)
		if err != nil {
			return nil, fmt.Errorf("decompressing the input: %w", err)
		}
		return plain, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		plain, err := zstd.NewReader(content, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("decompressing the input: %w", err)
		}
		return plain, nil
	case bytes.HasPrefix(magic, []byte("PK\x03\x04")):
		return nil, errors.New("the endpoint cannot be read from a zip archive")
	}
	return content, nil
}

// upload uploads a file, "-" for standard input, and shows how far it is.
func (s *session) upload(ctx context.Context, path, purpose string) (openai.File, error) {
	in, err := s.open(path)
	if err != nil {
		return openai.File{}, err
	}
	defer in.close()
	return s.uploadInput(ctx, in, purpose)
}

func (s *session) uploadInput(ctx context.Context, in *input, purpose string) (openai.File, error) {
	bar := newProgress(s.err)
	defer bar.end()
	f, err := s.Upload(ctx, in.name, purpose, in, in.length, func(n int64) {
		if in.length > 1<<20 {
			bar.show(state{label: "uploading " + in.name, done: n, total: in.length, unit: "B"})
		}
	})
	if err != nil {
		return f, fmt.Errorf("uploading %s: %w", in.path, err)
	}
	return f, nil
}
