package besh

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os/exec"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// compressed returns content in a format.
func compressed(t *testing.T, format string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	pack := func(w io.WriteCloser) {
		t.Helper()
		_, err := w.Write(content)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	switch format {
	case "gzip":
		pack(gzip.NewWriter(&b))
	case "zstd":
		w, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		pack(w)
	case "zip":
		archive := zip.NewWriter(&b)
		w, err := archive.Create("input.jsonl")
		if err == nil {
			_, err = w.Write(content)
		}
		if err := errors.Join(err, archive.Close()); err != nil {
			t.Fatal(err)
		}
	case "bz2":
		// Go has no writer of bzip2; scripts/setup requires Python.
		command := exec.CommandContext(t.Context(), "python3", "-c", "import bz2, sys; sys.stdout.buffer.write(bz2.compress(sys.stdin.buffer.read()))")
		command.Stdin, command.Stdout = bytes.NewReader(content), &b
		if err := command.Run(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// TestCompressedInputs runs a batch of an input in each format of compression: the file
// reports its format, its content is the decompressed input, and every line has its result.
func TestCompressedInputs(t *testing.T) {
	g, _ := serve(t)
	s := scripts(t, g.URL)["bearer"]
	for format, name := range map[string]string{"gzip": "in.jsonl.gz", "zip": "in.zip", "bz2": "in.jsonl.bz2", "zstd": "in.jsonl.zst"} {
		t.Run(format, func(t *testing.T) {
			s.t = t
			const lines = 20
			input := tidegatetest.BatchInput(t, lines, func(i int) string { return fmt.Sprintf("%s, line %d", format, i) })
			packed := compressed(t, format, input)
			f := s.upload(name, packed)
			c := f.Compression
			if f.Bytes != int64(len(input)) || c == nil || c.Format != format || c.OriginalSize != int64(len(packed)) {
				t.Fatalf("upload: got %+v, %+v, want %d bytes from %d of %s", f, c, len(input), len(packed), format)
			}
			if want := math.Round(100*float64(len(packed))/float64(len(input))) / 100; c.CompressionRatio != want {
				t.Errorf("compression ratio: got %v, want %v", c.CompressionRatio, want)
			}
			if content := g.Content(t, &f.ID); !bytes.Equal(content, input) {
				t.Errorf("content: got %d bytes, want the input of %d", len(content), len(input))
			}
			b := g.WaitEnd(t, s.create(f.ID).ID, patience)
			if b.Status != "completed" || b.RequestCounts.Completed != lines {
				t.Fatalf("batch: got %s with %+v, want %d lines completed", b.Status, b.RequestCounts, lines)
			}
			g.Results(t, b, input)
		})
	}
}
