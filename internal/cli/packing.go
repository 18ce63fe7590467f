package cli

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"io"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// packing is a compression format that the gateway decompresses. The gateway selects it by
// the file name.
type packing struct {
	name, ext, magic string
}

// plain is the packing of a file that is not compressed.
var plain = packing{}

var packings = []packing{
	{"gzip", ".gz", "\x1f\x8b"},
	{"zstd", ".zst", "\x28\xb5\x2f\xfd"},
	{"bzip2", ".bz2", "BZh"},
	{"zip", ".zip", "PK\x03\x04"},
}

// magicLen is the number of bytes that packingOf needs.
const magicLen = 4

func packingOf(head []byte) packing {
	for _, p := range packings {
		if bytes.HasPrefix(head, []byte(p.magic)) {
			return p
		}
	}
	return plain
}

// rename adds the extension by which the gateway recognizes the format to a file name.
func (p packing) rename(name string) string {
	if strings.EqualFold(filepath.Ext(name), p.ext) {
		return name
	}
	return name + p.ext
}

// zstdWindow is the largest window that the gateway decodes.
const zstdWindow = 128 << 20

// read returns the plain bytes of r to do.
func (p packing) read(r io.Reader, do func(io.Reader) error) error {
	switch p.name {
	case "":
		return do(r)
	case "gzip":
		d, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		return do(d)
	case "zstd":
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return err
		}
		defer d.Close()
		return do(d)
	case "bzip2":
		return do(bzip2.NewReader(r))
	default:
		return errors.New("an archive cannot be read")
	}
}
