package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/uvarint"
)

// A segment is written as
//
//	version  1 byte, segmentVersion
//	lines    each: index in the slice 1 byte, flags 1 byte, length of the
//	         record uvarint, record
//	checksum 4 bytes, CRC-32C of all before, little-endian
//
// The checksum is needed because a segment is the only copy of expensive results: a
// damaged segment is reported, not written to a result file.
const (
	segmentVersion  = 1
	segmentChecksum = 4
	lineFailed      = 1 // flag: the line belongs in the error file
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrBadSegment reports that a stored segment is damaged.
var ErrBadSegment = errors.New("damaged segment")

// EncodeSegment writes the Index, Failed and Record of lines. An Index is
// below [batch.SliceLines].
func EncodeSegment(lines []batch.LineResult) []byte {
	size := 1 + segmentChecksum
	for _, l := range lines {
		size += 2 + binary.MaxVarintLen64 + len(l.Record)
	}
	b := make([]byte, 0, size)
	b = append(b, segmentVersion)
	for _, l := range lines {
		var flags byte
		if l.Failed {
			flags |= lineFailed
		}
		b = append(b, byte(l.Index), flags)
		b = binary.AppendUvarint(b, uint64(len(l.Record)))
		b = append(b, l.Record...)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// DecodeSegment decodes the output of EncodeSegment, in the same order. The records
// share b's memory. It returns ErrBadSegment for any other input.
func DecodeSegment(b []byte) ([]batch.LineResult, error) {
	if len(b) < 1+segmentChecksum {
		return nil, fmt.Errorf("%w: %d bytes", ErrBadSegment, len(b))
	}
	end := len(b) - segmentChecksum
	if binary.LittleEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return nil, fmt.Errorf("%w: wrong checksum", ErrBadSegment)
	}
	if b[0] != segmentVersion {
		return nil, fmt.Errorf("%w: unknown version %d", ErrBadSegment, b[0])
	}
	var lines []batch.LineResult
	for r := uvarint.NewReader(b[1:end]); r.More(); {
		index, flags := r.Byte(), r.Byte()
		if r.Failed() || index >= batch.SliceLines {
			return nil, fmt.Errorf("%w: line %d", ErrBadSegment, len(lines))
		}
		record := r.Bytes(r.Uvarint())
		if r.Failed() {
			return nil, fmt.Errorf("%w: length of line %d", ErrBadSegment, len(lines))
		}
		lines = append(lines, batch.LineResult{Index: int(index), Failed: flags&lineFailed != 0, Record: record})
	}
	return lines, nil
}

// MergeSegments returns the results of a slice by Index from its segments.
func MergeSegments(segments [][]byte) ([]batch.LineResult, error) {
	var (
		at   [batch.SliceLines]*batch.LineResult
		seen int
	)
	for _, s := range segments {
		lines, err := DecodeSegment(s)
		if err != nil {
			return nil, err
		}
		for i, l := range lines {
			if at[l.Index] != nil {
				return nil, fmt.Errorf("%w: line %d has two results", ErrBadSegment, l.Index)
			}
			at[l.Index] = &lines[i]
			seen++
		}
	}
	merged := make([]batch.LineResult, 0, seen)
	for _, l := range at {
		if l != nil {
			merged = append(merged, *l)
		}
	}
	return merged, nil
}
