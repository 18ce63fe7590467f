package store

import (
	"encoding/binary"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/uvarint"
)

// The info of a segment has the data of its lines other than results. It is stored
// separately, so that older versions can still read the segment:
//
//	version   1 byte, infoVersion
//	upstreams their number uvarint, then each: length uvarint, bytes
//	lines     each: index in the slice 1 byte, then as uvarints: number of the
//	          upstream from 1 (0: none), attempts, duration in ms, input,
//	          cached, output, reasoning and total tokens
//
// That is about 15 bytes per line. An info is used in reports only: one that cannot
// be decoded is treated as missing.
const infoVersion = 1

// EncodeInfo writes the Usage and LineInfo of lines.
func EncodeInfo(lines []batch.LineResult) []byte {
	var names []string
	numbers := map[string]uint64{"": 0}
	for _, l := range lines {
		if _, known := numbers[l.Upstream]; !known {
			names = append(names, l.Upstream)
			numbers[l.Upstream] = uint64(len(names))
		}
	}
	b := append(make([]byte, 0, 32+20*len(lines)), infoVersion)
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, n := range names {
		b = binary.AppendUvarint(b, uint64(len(n)))
		b = append(b, n...)
	}
	for _, l := range lines {
		b = append(b, byte(l.Index))
		for _, v := range []int64{
			int64(numbers[l.Upstream]), int64(l.Attempts), l.Duration.Milliseconds(),
			l.Usage.InputTokens, l.Usage.InputTokensDetails.CachedTokens,
			l.Usage.OutputTokens, l.Usage.OutputTokensDetails.ReasoningTokens, l.Usage.TotalTokens,
		} {
			b = binary.AppendUvarint(b, uint64(max(v, 0)))
		}
	}
	return b
}

// AddInfo sets the Usage and LineInfo of results, indexed by Index, from the
// output of EncodeInfo.
func AddInfo(results []batch.LineResult, info []byte) {
	if len(info) == 0 || info[0] != infoVersion {
		return
	}
	r := uvarint.NewReader(info[1:])
	names := []string{""}
	for n := r.Uvarint(); n > 0 && !r.Failed(); n-- {
		names = append(names, string(r.Bytes(r.Uvarint())))
	}
	var at [256]*batch.LineResult
	for i := range results {
		at[byte(results[i].Index)] = &results[i]
	}
	for r.More() {
		l := at[r.Byte()]
		var v [8]uint64
		for i := range v {
			v[i] = r.Uvarint()
		}
		if r.Failed() || l == nil || v[0] >= uint64(len(names)) {
			return
		}
		l.Upstream, l.Attempts, l.Duration = names[v[0]], int(v[1]), time.Duration(v[2])*time.Millisecond
		l.Usage.InputTokens, l.Usage.InputTokensDetails.CachedTokens = int64(v[3]), int64(v[4])
		l.Usage.OutputTokens, l.Usage.OutputTokensDetails.ReasoningTokens = int64(v[5]), int64(v[6])
		l.Usage.TotalTokens = int64(v[7])
	}
}

// StoredSegment is a segment as it was stored.
type StoredSegment struct{ Data, Info []byte }

// MergeStored returns the results of a slice by Index, with their Usage and LineInfo.
func MergeStored(segments []StoredSegment) ([]batch.LineResult, error) {
	data := make([][]byte, len(segments))
	for i, s := range segments {
		data[i] = s.Data
	}
	lines, err := MergeSegments(data)
	if err != nil {
		return nil, err
	}
	for _, s := range segments {
		AddInfo(lines, s.Info)
	}
	return lines, nil
}
