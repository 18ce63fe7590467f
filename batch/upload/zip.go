package upload

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/tidegate/tidegate/batch"
)

// zipDirectory limits the bytes read to find the one entry of an archive: twice
// the longest possible directory of one entry and the search for its end. A
// directory of millions of entries would need gigabytes of memory.
const zipDirectory = 512 << 10

// zipEntry opens the single entry of an archive.
func zipEntry(src *batch.Content, dst *measured) (io.ReadCloser, error) {
	at := &readerAt{src: src, left: zipDirectory}
	if err := checkZipRecords(at, src.Size()); err != nil {
		return nil, err
	}
	archive, err := zip.NewReader(at, src.Size())
	if at.left < 0 {
		return nil, ErrZipEntries
	}
	if err != nil {
		return nil, err
	}
	if len(archive.File) != 1 || archive.File[0].FileInfo().IsDir() {
		return nil, ErrZipEntries
	}
	entry := archive.File[0]
	const encrypted = 1 // bit of Flags: APPNOTE.TXT 4.4.4
	if entry.Flags&encrypted != 0 {
		return nil, ErrZipEncrypted
	}
	if entry.UncompressedSize64 > uint64(dst.limit) {
		return nil, &SizeError{dst.over, dst.limit}
	}
	at.left = src.Size() + zipDirectory // the limit for reading the entry
	return entry.Open()
}

// Records at the end of an archive: APPNOTE.TXT 4.3.14 to 4.3.16.
const (
	zipEndLen       = 22 // without the comment
	zip64LocatorLen = 20
	zip64EndLen     = 56
)

// checkZipRecords returns ErrZipEntries if the archive does not claim exactly one
// entry. zip.NewReader allocates memory for the claimed number: 8 bytes for each
// entry for which the archive is long enough.
func checkZipRecords(r io.ReaderAt, size int64) error {
	tail := make([]byte, min(size, zipEndLen+1<<16))
	from := size - int64(len(tail))
	if _, err := r.ReadAt(tail, from); err != nil {
		return err
	}
	at := bytes.LastIndex(tail[:max(0, len(tail)-zipEndLen+4)], []byte("PK\x05\x06"))
	if at < 0 {
		return zip.ErrFormat
	}
	end := tail[at:]
	records := uint64(binary.LittleEndian.Uint16(end[10:]))
	locator := make([]byte, zip64LocatorLen)
	if n := from + int64(at) - zip64LocatorLen; n >= 0 {
		if _, err := r.ReadAt(locator, n); err != nil {
			return err
		}
	}
	if bytes.HasPrefix(locator, []byte("PK\x06\x07")) {
		end64 := make([]byte, zip64EndLen)
		offset := binary.LittleEndian.Uint64(locator[8:])
		if offset > uint64(size) {
			return zip.ErrFormat
		}
		if _, err := r.ReadAt(end64, int64(offset)); err != nil {
			return err
		}
		// zip.NewReader reads the 64-bit count only if the 16-bit one is all ones.
		if n := binary.LittleEndian.Uint64(end64[32:]); records == 1<<16-1 || n > 1 {
			records = n
		}
	}
	if records != 1 {
		return ErrZipEntries
	}
	return nil
}

// errReadEnough ends reading an archive that exceeds the limit of readerAt.
var errReadEnough = errors.New("too much to read")

// readerAt reads a content at offsets, at most left bytes in all. Sequential reads
// open the content once.
type readerAt struct {
	src  *batch.Content
	left int64 // negative once the limit was exceeded
}

func (r *readerAt) ReadAt(p []byte, offset int64) (int, error) {
	if _, err := r.src.Seek(offset, io.SeekStart); err != nil {
		return 0, err
	}
	if r.left -= int64(len(p)); r.left < 0 {
		return 0, errReadEnough
	}
	n, err := io.ReadFull(r.src, p)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF // as io.ReaderAt requires
	}
	return n, err
}
