package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidegate/tidegate/batch"
)

var someLines = []batch.LineResult{
	{Index: 63, Record: []byte(`{"a":1}`)},
	{Index: 0, Failed: true, Record: []byte("\x00\xff\n")},
	{Index: 7},
	{Index: 8, Record: bytes.Repeat([]byte("long"), 1000)},
}

func TestSegmentRoundTrip(t *testing.T) {
	for name, lines := range map[string][]batch.LineResult{"none": nil, "one": someLines[:1], "some": someLines} {
		got, err := DecodeSegment(EncodeSegment(lines))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(lines, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestSegmentFormat pins the bytes: databases hold them.
func TestSegmentFormat(t *testing.T) {
	got := EncodeSegment([]batch.LineResult{{Index: 5, Record: []byte("ok")}, {Index: 6, Failed: true, Record: []byte("no")}})
	want := []byte{1, 5, 0, 2, 'o', 'k', 6, 1, 2, 'n', 'o', 0x7c, 0x63, 0x52, 0xc5}
	if !bytes.Equal(got, want) {
		t.Errorf("segment is %#v, want %#v", got, want)
	}
}

func TestDamagedSegments(t *testing.T) {
	whole := EncodeSegment(someLines)
	for i := range whole {
		spoilt := slices.Clone(whole)
		spoilt[i] ^= 0x40
		if _, err := DecodeSegment(spoilt); !errors.Is(err, ErrBadSegment) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if _, err := DecodeSegment(whole[:i]); !errors.Is(err, ErrBadSegment) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

func TestMergeSegments(t *testing.T) {
	got, err := MergeSegments([][]byte{EncodeSegment(someLines[:2]), EncodeSegment(nil), EncodeSegment(someLines[2:])})
	if err != nil {
		t.Fatal(err)
	}
	want := []batch.LineResult{someLines[1], someLines[2], someLines[3], someLines[0]}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if _, err := MergeSegments([][]byte{EncodeSegment(someLines), EncodeSegment(someLines[:1])}); !errors.Is(err, ErrBadSegment) {
		t.Errorf("two results of a line: %v", err)
	}
}

// FuzzDecodeSegment decodes arbitrary segments with a valid checksum.
func FuzzDecodeSegment(f *testing.F) {
	whole := EncodeSegment(someLines)
	f.Add(whole[:len(whole)-segmentChecksum])
	f.Add([]byte{1, 64, 0, 0})
	f.Add([]byte{1, 3, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		b = binary.LittleEndian.AppendUint32(slices.Clone(b), crc32.Checksum(b, castagnoli))
		lines, err := DecodeSegment(b)
		if err != nil {
			if !errors.Is(err, ErrBadSegment) {
				t.Fatal(err)
			}
			return
		}
		again, err := DecodeSegment(EncodeSegment(lines))
		if err != nil {
			t.Fatal(err)
		}
		if !cmp.Equal(lines, again, cmpopts.EquateEmpty()) {
			t.Fatalf("%v became %v", lines, again)
		}
	})
}
