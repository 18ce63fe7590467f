package upload

import (
	"archive/zip"
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/semaphore"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// Compression formats, as named in rows of files and error messages.
const (
	formatGzip  = "gzip"
	formatZstd  = "zstd"
	formatBzip2 = "bzip2"
	formatZip   = "zip"
)

const (
	// zstdWindow is the largest window of zstd that is decoded, in bytes: the one
	// of zstd --ultra -20. A decoder may need several times as much memory.
	zstdWindow = 32 << 20
	// unpackAtOnce limits concurrent decompression: each file may need a window of
	// that size.
	unpackAtOnce = 2
	unpackBuffer = 128 << 10
)

// compressionOf returns the format of a file name's extension, "" for none.
func compressionOf(filename string) string {
	switch strings.ToLower(path.Ext(filename)) {
	case ".gz":
		return formatGzip
	case ".zst":
		return formatZstd
	case ".bz2":
		return formatBzip2
	case ".zip":
		return formatZip
	default:
		return ""
	}
}

// Packed reports whether a file of requests with this name is decompressed when
// it is committed.
func Packed(filename string) bool { return compressionOf(filename) != "" }

// unpack decompresses a stored content to a new one of at most limit bytes. Both share a
// room, because only one of them remains.
func (s *Service) unpack(ctx context.Context, raw stored, format string, limit int64, room *room) (stored, error) {
	s.once.Do(func() { s.unpacking = semaphore.NewWeighted(unpackAtOnce) })
	if err := s.unpacking.Acquire(ctx, 1); err != nil {
		return stored{}, err
	}
	defer s.unpacking.Release(1)
	src, err := batch.OpenContent(ctx, s.Files, raw.key, raw.bytes)
	if err != nil {
		return stored{}, fmt.Errorf("decompressing file: %w", err)
	}
	defer src.Close()
	dst, err := s.measure(ctx, openai.NewID("file-"), limit, Decompressed, room)
	if err != nil {
		return stored{}, err
	}
	if err := decompress(dst, src, format); err != nil {
		return stored{}, errors.Join(err, dst.Abort())
	}
	plain, err := dst.commit(ctx)
	if err != nil {
		return stored{}, err
	}
	plain.compression = &openai.Compression{
		Format: format, OriginalSize: raw.bytes, DecompressedSize: plain.bytes,
	}
	return plain, nil
}

// decompress writes the decompressed src to dst. Its error is a
// *DecompressError, a *SizeError or one of zip archives if the content is at
// fault.
func decompress(dst *measured, src *batch.Content, format string) error {
	err := copyPlain(dst, src, format)
	switch {
	case err == nil:
		return nil
	case src.Err() != nil:
		return fmt.Errorf("decompressing file: %w", src.Err())
	case dst.err != nil:
		return dst.err
	}
	if _, tooLarge := errors.AsType[*SizeError](err); tooLarge || errors.Is(err, ErrZipEncrypted) || errors.Is(err, ErrZipEntries) {
		return err
	}
	return &DecompressError{Format: format, Reason: reason(err), Err: err}
}

// reason describes an error of a decoder for the client.
func reason(err error) string {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "it ends too early"
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, zstd.ErrMagicMismatch), errors.Is(err, zip.ErrFormat):
		return "it is not in that format, or there is something else in it"
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, zip.ErrChecksum), errors.Is(err, zstd.ErrCRCMismatch):
		return "its checksum or size is wrong"
	case errors.Is(err, zip.ErrAlgorithm):
		return "its entry is compressed in a way that is not supported"
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return fmt.Sprintf("it needs a window of more than %d MiB", zstdWindow>>20)
	default:
		return "it is corrupt"
	}
}

// copyPlain writes the decompressed src to dst.
func copyPlain(dst *measured, src *batch.Content, format string) error {
	r, err := plainReader(src, format, dst)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{r}, make([]byte, unpackBuffer))
	return err
}

func plainReader(src *batch.Content, format string, dst *measured) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(src, unpackBuffer)
	switch format {
	case formatGzip:
		return gzip.NewReader(buffered)
	case formatZstd:
		d, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case formatBzip2:
		return io.NopCloser(bzip2.NewReader(buffered)), nil
	default:
		return zipEntry(src, dst)
	}
}
