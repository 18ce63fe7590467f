package httpapi_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

// bzipped is line, compressed by bzip2.
const bzipped = "QlpoOTFBWSZTWcHx1RgAAChfgAAQEASgEAAAzAC+Z98qIABURNIYnqYJoMj0aDU9JAGQ9JoZB6jVjDGag/PGTIiHqDtPUYuEjLe99DMHzshblrGhweOCEBCBXcUNUQTeF3upRDRmRdyRThQkMHx1RgA="

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func gzipped(t *testing.T, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	must(io.WriteString(w, content))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstandard(t *testing.T, content string, options ...zstd.EOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := must(zstd.NewWriter(&b, append(options, zstd.WithEncoderConcurrency(1))...))
	must(io.WriteString(w, content))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// zipped returns an archive of entries: alternating names and contents.
func zipped(t *testing.T, entries ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(entries); i += 2 {
		header := &zip.FileHeader{Name: entries[i], Method: zip.Deflate}
		if entries[i+1] == "" {
			header.Method = zip.Store // 20,000 compressors take long under the race detector
		}
		must(io.WriteString(must(w.CreateHeader(header)), entries[i+1]))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// edited changes bytes of an archive's records: those with the signature, at
// an offset in the record.
func edited(archive []byte, signature string, offset int, with ...byte) []byte {
	archive = bytes.Clone(archive)
	for i := 0; ; {
		n := bytes.Index(archive[i:], []byte(signature))
		if n < 0 {
			return archive
		}
		copy(archive[i+n+offset:], with)
		i += n + len(signature)
	}
}

const (
	zipLocal   = "PK\x03\x04"
	zipCentral = "PK\x01\x02"
	zipEnd     = "PK\x05\x06"
)

func TestCompressedUploads(t *testing.T) {
	long := strings.Repeat(line, 5000)
	var stored bytes.Buffer
	w := zip.NewWriter(&stored)
	must(io.WriteString(must(w.CreateHeader(&zip.FileHeader{Name: "in.jsonl", Method: zip.Store})), long))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, filename, format string
		packed                 []byte
		want                   string
	}{
		{"gzip", "in.jsonl.gz", "gzip", gzipped(t, long), long},
		{"gzip, short name", "IN.GZ", "gzip", gzipped(t, long), long},
		{"gzip of two members", "in.jsonl.gz", "gzip", append(gzipped(t, long), gzipped(t, line)...), long + line},
		{"zstd", "in.jsonl.zst", "zstd", zstandard(t, long), long},
		{"zstd of two frames", "in.zst", "zstd", append(zstandard(t, long), zstandard(t, line)...), long + line},
		{"bzip2", "in.jsonl.bz2", "bz2", must(base64.StdEncoding.DecodeString(bzipped)), line},
		{"bzip2 of two streams", "in.jsonl.bz2", "bz2", bytes.Repeat(must(base64.StdEncoding.DecodeString(bzipped)), 2), line + line},
		{"zip", "in.zip", "zip", zipped(t, "in.jsonl", long), long},
		{"zip, stored", "in.zip", "zip", stored.Bytes(), long},
		{"zip with a path", "in.zip", "zip", zipped(t, "../../x/in.jsonl", long), long},
		{"zip behind something", "in.zip", "zip", append([]byte("#!/bin/sh\n"), zipped(t, "in.jsonl", long)...), long},
	} {
		for _, order := range []string{"purpose first", "file first"} {
			t.Run(c.name+", "+order, func(t *testing.T) {
				a := newAPI(t, upload.Limits{})
				parts := []part{{"purpose", "", "batch"}, {"file", c.filename, string(c.packed)}}
				if order == "file first" {
					parts[0], parts[1] = parts[1], parts[0]
				}
				f := decode[openai.File](t, a.form("/v1/files", parts...))
				want := &openai.Compression{
					Format: c.format, OriginalSize: int64(len(c.packed)), DecompressedSize: int64(len(c.want)),
					CompressionRatio: math.Round(100*float64(len(c.packed))/float64(len(c.want))) / 100,
				}
				if diff := cmp.Diff(want, f.Compression); diff != "" || f.Bytes != int64(len(c.want)) {
					t.Errorf("%d bytes, compression (-want +got):\n%s", f.Bytes, diff)
				}
				if got := a.request("GET", "/v1/files/"+f.ID+"/content", ""); string(got.body) != c.want {
					t.Errorf("content is %d bytes, want %d", len(got.body), len(c.want))
				}
				a.wantStored(1, 1)
			})
		}
	}
}

func TestRefusedCompressedUploads(t *testing.T) {
	long := strings.Repeat(line, 5000)    // 420,000 bytes
	bomb := strings.Repeat("\x00", 8<<20) // eight times the limit
	gz, zst, zipFile := gzipped(t, long), zstandard(t, long), zipped(t, "in.jsonl", long)
	bz := must(base64.StdEncoding.DecodeString(bzipped))
	var names []string
	for i := range 20_000 {
		names = append(names, fmt.Sprint(i), "")
	}
	many := zipped(t, names...)
	const (
		cannot   = "The file could not be decompressed as "
		tooLarge = "The decompressed file is larger than the limit of 1000000 bytes."
		oneEntry = "The zip archive must have exactly one entry, a file."
	)
	all := newAPI(t, upload.Limits{MaxDecompressedBytes: 1_000_000}) // nothing is stored, so one is enough
	for _, c := range []struct {
		name, filename string
		content        []byte
		want           refused
	}{
		{"gzip: truncated", "in.gz", gz[:len(gz)/2], refused{400, "file", "", cannot + "gzip: it ends too early."}},
		{"gzip: truncated in its header", "in.gz", gz[:5], refused{400, "file", "", cannot + "gzip: it ends too early."}},
		{"gzip: truncated in its trailer", "in.gz", gz[:len(gz)-1], refused{400, "file", "", cannot + "gzip: it ends too early."}},
		{"gzip: wrong checksum", "in.gz", append(bytes.Clone(gz[:len(gz)-5]), 1, 2, 3, 4, 5), refused{400, "file", "", cannot + "gzip: its checksum or size is wrong."}},
		{"gzip: trailing garbage", "in.gz", append(bytes.Clone(gz), "garbage that is long"...), refused{400, "file", "", cannot + "gzip: it is not in that format, or there is something else in it."}},
		{"gzip: truncated second member", "in.gz", append(bytes.Clone(gz), gz[:20]...), refused{400, "file", "", cannot + "gzip: it ends too early."}},
		{"gzip: not at all", "in.jsonl.gz", []byte(line), refused{400, "file", "", cannot + "gzip: it is not in that format"}},
		{"gzip: corrupt", "in.gz", append(append(bytes.Clone(gz[:12]), 0xff, 0xff, 0xff), gz[15:]...), refused{400, "file", "", cannot + "gzip: "}},
		{"gzip: empty", "in.gz", nil, refused{400, "", "", "Invalid file format for Batch API."}},
		{"gzip: of nothing", "in.gz", gzipped(t, ""), refused{400, "", "", "Invalid file format for Batch API."}},
		{"gzip: of text", "in.gz", gzipped(t, "text"), refused{400, "", "", "Invalid file format for Batch API."}},
		{"gzip: in gzip", "in.gz", gzipped(t, string(gz)), refused{400, "", "", "Invalid file format for Batch API."}},
		{"gzip: bomb", "in.gz", gzipped(t, bomb), refused{400, "file", "", tooLarge}},
		{"gzip: bomb of members", "in.gz", bytes.Repeat(gz, 3), refused{400, "file", "", tooLarge}},
		{"zstd: truncated", "in.zst", zst[:len(zst)-5], refused{400, "file", "", cannot + "zstd: it ends too early."}},
		{"zstd: trailing garbage", "in.zst", append(bytes.Clone(zst), "garbage"...), refused{400, "file", "", cannot + "zstd: it is not in that format"}},
		{"zstd: not at all", "in.zst", []byte(line), refused{400, "file", "", cannot + "zstd: it is not in that format"}},
		{"zstd: bomb", "in.zst", zstandard(t, bomb), refused{400, "file", "", tooLarge}},
		{"zstd: wrong checksum", "in.zst", append(bytes.Clone(zst[:len(zst)-4]), 1, 2, 3, 4), refused{400, "file", "", cannot + "zstd: its checksum or size is wrong."}},
		{"zstd: huge window", "in.zst", []byte("\x28\xb5\x2f\xfd\x00\xa0\x01\x00\x00"), refused{400, "file", "", cannot + "zstd: it needs a window of more than 32 MiB."}},
		{"bzip2: truncated", "in.bz2", bz[:len(bz)-10], refused{400, "file", "", cannot + "bzip2: it ends too early."}},
		{"bzip2: trailing garbage", "in.bz2", append(bytes.Clone(bz), "garbage"...), refused{400, "file", "", cannot + "bzip2: it is corrupt."}},
		{"bzip2: not at all", "in.bz2", []byte(line), refused{400, "file", "", cannot + "bzip2: it is corrupt."}},
		{"zip: truncated", "in.zip", zipFile[:len(zipFile)-30], refused{400, "file", "", cannot + "zip: it is not in that format"}},
		{"zip: beginning missing", "in.zip", zipFile[40:], refused{400, "file", "", cannot + "zip: "}},
		{"zip: not at all", "in.zip", []byte(line), refused{400, "file", "", cannot + "zip: it is not in that format"}},
		{"zip: short", "in.zip", []byte("PK"), refused{400, "file", "", cannot + "zip: it is not in that format"}},
		{"zip: no entry", "in.zip", zipped(t), refused{400, "file", "", oneEntry}},
		{"zip: two entries", "in.zip", zipped(t, "a", line, "b", line), refused{400, "file", "", oneEntry}},
		{"zip: a directory", "in.zip", zipped(t, "dir/", ""), refused{400, "file", "", oneEntry}},
		{"zip: many entries", "in.zip", many, refused{400, "file", "", oneEntry}},
		{"zip: many entries that say they are one", "in.zip", edited(many, zipEnd, 8, 1, 0, 1, 0), refused{400, "file", "", oneEntry}},
		{"zip: says it has many entries", "in.zip", edited(zipFile, zipEnd, 8, 0xff, 0xff, 0xff, 0xff), refused{400, "file", "", oneEntry}},
		{"zip: encrypted", "in.zip", edited(edited(zipFile, zipCentral, 8, 9), zipLocal, 6, 9), refused{400, "file", "", "The zip archive is encrypted."}},
		{"zip: unknown method", "in.zip", edited(edited(zipFile, zipCentral, 10, 99), zipLocal, 8, 99), refused{400, "file", "", cannot + "zip: its entry is compressed in a way that is not supported."}},
		{"zip: bomb", "in.zip", zipped(t, "in.jsonl", bomb), refused{400, "file", "", tooLarge}},
		{"zip: bomb that says it is small", "in.zip", edited(zipped(t, "in.jsonl", bomb), zipCentral, 24, binary.LittleEndian.AppendUint32(nil, 1000)...), refused{400, "file", "", cannot + "zip: "}},
		{"zip: says it is larger than it is", "in.zip", edited(zipFile, zipCentral, 24, binary.LittleEndian.AppendUint32(nil, 500_000)...), refused{400, "file", "", cannot + "zip: it ends too early."}},
		{"zip: wrong checksum", "in.zip", edited(edited(zipFile, zipCentral, 16, 1, 2, 3, 4), "PK\x07\x08", 4, 1, 2, 3, 4), refused{400, "file", "", cannot + "zip: its checksum or size is wrong."}},
		{"zip: entry behind the end", "in.zip", edited(zipFile, zipCentral, 42, 0xff, 0xff, 0xff, 0x7f), refused{400, "file", "", cannot + "zip: "}},
		{"zip: in zip", "in.zip", zipped(t, "in.zip", string(zipFile)), refused{400, "", "", "Invalid file format for Batch API."}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := all.of(t)
			c.want.check(t, a.form("/v1/files", part{"file", c.filename, string(c.content)}, part{"purpose", "", "batch"}))
			a.wantStored(0, 0)
		})
	}
}

// TestDecompressedLimitByDefault: as large as the file may be uncompressed.
func TestDecompressedLimitByDefault(t *testing.T) {
	a := newAPI(t, upload.Limits{MaxFileBytes: 100_000})
	fits, tooLarge := strings.Repeat(line, 1000), strings.Repeat(line, 2000)
	a.upload("batch", "in.gz", string(gzipped(t, fits)))
	refused{400, "file", "", "The decompressed file is larger than the limit of 100000 bytes."}.check(t,
		a.form("/v1/files", part{"purpose", "", "batch"}, part{"file", "in.gz", string(gzipped(t, tooLarge))}))
	a.wantStored(1, 1)
}

// TestZip64 checks an archive whose end record refers to a Zip64 record.
func TestZip64(t *testing.T) {
	for _, c := range []struct {
		entries uint64
		status  int
	}{{1, 200}, {2, 400}, {1 << 40, 400}} {
		small := zipped(t, "in.jsonl", line)
		end := bytes.Index(small, []byte(zipEnd))
		directory := bytes.Index(small, []byte(zipCentral))
		le := binary.LittleEndian
		archive := bytes.Clone(small[:end])
		archive = append(archive, "PK\x06\x06"...)
		archive = le.AppendUint64(archive, 44)
		archive = append(archive, 45, 0, 45, 0)
		archive = append(archive, make([]byte, 8)...)
		archive = le.AppendUint64(archive, c.entries)
		archive = le.AppendUint64(archive, c.entries)
		archive = le.AppendUint64(archive, uint64(end-directory))
		archive = le.AppendUint64(archive, uint64(directory))
		archive = append(archive, "PK\x06\x07\x00\x00\x00\x00"...)
		archive = le.AppendUint64(archive, uint64(end))
		archive = append(archive, 1, 0, 0, 0)
		archive = append(archive, zipEnd...)
		archive = append(archive, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0)
		a := newAPI(t, upload.Limits{})
		r := a.form("/v1/files", part{"purpose", "", "batch"}, part{"file", "in.zip", string(archive)})
		if r.StatusCode != c.status {
			t.Errorf("%d entries: status %d: %s", c.entries, r.StatusCode, r.body)
		}
	}
}
