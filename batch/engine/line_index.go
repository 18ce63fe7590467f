package engine

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/internal/uvarint"
)

// The index of a batch that has ended has the state and the position of each result, so
// that any page of lines takes a few short reads. It is a content that is written with the
// output and error file, with about 40 bytes for each line:
//
//	blocks     one for each slice: its lines, see appendEntry
//	directory  one entry for each slice, see indexSlice
//	names      of upstreams, a JSON array; then gatewayName and the version that wrote it
//	trailer    offset of the directory, offset of the names, indexMagic
//
// Numbers of fixed width are little-endian. No client can see its file: it
// belongs to a tenant that none can be.
const (
	indexMagic   = 0x7864697465676974 // "tigetidx"
	indexTrailer = 24                 // bytes
	indexEntry   = 56                 // bytes, of the directory
)

// Flags of a line in an index.
const (
	lineFailed byte = 1 << iota // its result is in the error file
	lineRan                     // its result is one of a run
)

// indexSlice is an entry of the directory.
type indexSlice struct {
	offset, length int64 // of its block
	output, errors int64 // position of its first result in the two files
	plan           batch.SlicePlan
	completed      int // lines
	failed         int // lines that ran
}

// pending returns how many lines never ran.
func (s indexSlice) pending() int { return s.plan.Lines - s.completed - s.failed }

func (s indexSlice) append(b []byte) []byte {
	counts := uint64(s.plan.FirstLine)<<32 | uint64(s.plan.Lines)<<16 | uint64(s.completed)<<8 | uint64(s.failed)
	for _, v := range []uint64{uint64(s.offset), uint64(s.length), uint64(s.output), uint64(s.errors), uint64(s.plan.Offset), uint64(s.plan.Length), counts} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func parseIndexSlice(b []byte) indexSlice {
	at := func(i int) int64 { return int64(binary.LittleEndian.Uint64(b[8*i:])) }
	counts := uint64(at(6))
	return indexSlice{
		offset: at(0), length: at(1), output: at(2), errors: at(3),
		plan:      batch.SlicePlan{Offset: at(4), Length: at(5), FirstLine: int(counts >> 32), Lines: int(counts >> 16 & 0xffff)},
		completed: int(counts >> 8 & 0xff), failed: int(counts & 0xff),
	}
}

// indexWriter writes an index, a slice at a time.
type indexWriter struct {
	file      resultFile
	slice     indexSlice
	block     []byte
	directory []byte
	names     []string
	numbers   map[string]int // of names, from 1
	version   string         // of this gateway
}

// begin begins a slice whose first results have these positions.
func (w *indexWriter) begin(p batch.SlicePlan, output, errors int64) {
	w.slice = indexSlice{offset: w.file.bytes, output: output, errors: errors, plan: p}
	w.block = w.block[:0]
}

// add adds the next line of the slice.
func (w *indexWriter) add(r batch.LineResult, flags byte) {
	if r.Failed {
		flags |= lineFailed
	}
	switch {
	case flags&lineRan == 0:
	case r.Failed:
		w.slice.failed++
	default:
		w.slice.completed++
	}
	head := openai.ScanResult(r.Record)
	message := ""
	if r.Failed {
		message = batch.ErrorMessage(head)
	}
	b := append(w.block, flags)
	for _, v := range []int64{
		int64(len(r.Record)), int64(head.Status), int64(w.number(r.Upstream)), int64(r.Attempts), r.Duration.Milliseconds(),
		r.Usage.InputTokens, r.Usage.InputTokensDetails.CachedTokens,
		r.Usage.OutputTokens, r.Usage.OutputTokensDetails.ReasoningTokens, r.Usage.TotalTokens,
	} {
		b = binary.AppendUvarint(b, uint64(max(v, 0)))
	}
	for _, s := range []string{head.CustomID, message} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	w.block = b
}

func (w *indexWriter) number(upstream string) int {
	if upstream == "" {
		return 0
	}
	n, known := w.numbers[upstream]
	if !known {
		if w.numbers == nil {
			w.numbers = make(map[string]int)
		}
		w.names = append(w.names, upstream)
		n = len(w.names)
		w.numbers[upstream] = n
	}
	return n
}

func (w *indexWriter) end(ctx context.Context) error {
	w.slice.length = int64(len(w.block))
	w.directory = w.slice.append(w.directory)
	return w.file.append(ctx, w.block)
}

// commit makes the index durable and describes its file; nil if there are no
// lines.
func (w *indexWriter) commit(ctx context.Context) (*batch.NewFile, error) {
	if w.file.dst == nil {
		return nil, nil
	}
	names, err := json.Marshal(append(w.names, gatewayName+w.version))
	if err != nil {
		return nil, err
	}
	directory := uint64(w.file.bytes)
	tail := append(w.directory, names...)
	for _, v := range []uint64{directory, directory + uint64(len(w.directory)), indexMagic} {
		tail = binary.LittleEndian.AppendUint64(tail, v)
	}
	if err := w.file.append(ctx, tail); err != nil {
		return nil, err
	}
	f, err := w.file.commit(ctx)
	if err != nil {
		return nil, err
	}
	f.Tenant, f.Purpose = batch.IndexTenant(f.Tenant), batch.PurposeIndex
	return f, nil
}

// errBadIndex reports that a content is not an index.
var errBadIndex = errors.New("damaged index of lines")

// lineIndex is an index that was opened.
type lineIndex struct {
	reader *lineReader
	key    string
	slices []indexSlice
	names  []string // of upstreams

	version string // of the gateway that wrote it; "": not known
}

// openIndex opens an index. It returns ErrNotFound if the content does not exist.
func (r *lineReader) openIndex(ctx context.Context, f batch.File) (*lineIndex, error) {
	trailer, err := r.readRange(ctx, f.Key, f.Bytes-indexTrailer, indexTrailer)
	if err != nil {
		return nil, err
	}
	directory, names, magic := binary.LittleEndian.Uint64(trailer), binary.LittleEndian.Uint64(trailer[8:]), binary.LittleEndian.Uint64(trailer[16:])
	if magic != indexMagic || directory > names || names > uint64(f.Bytes-indexTrailer) || (names-directory)%indexEntry != 0 {
		return nil, errBadIndex
	}
	b, err := r.readRange(ctx, f.Key, int64(directory), f.Bytes-indexTrailer-int64(directory))
	if err != nil {
		return nil, err
	}
	x := &lineIndex{reader: r, key: f.Key, slices: make([]indexSlice, 0, (names-directory)/indexEntry)}
	if err := json.Unmarshal(b[names-directory:], &x.names); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadIndex, err)
	}
	x.names, x.version = splitNames(x.names)
	for b = b[:names-directory]; len(b) > 0; b = b[indexEntry:] {
		x.slices = append(x.slices, parseIndexSlice(b))
	}
	return x, nil
}

// readRange reads exactly length bytes.
func (r *lineReader) readRange(ctx context.Context, key string, offset, length int64) ([]byte, error) {
	if offset < 0 || length < 0 {
		return nil, errBadIndex
	}
	src, err := r.files.Read(ctx, key, offset, length)
	if err != nil {
		return nil, err
	}
	b := make([]byte, length)
	_, err = io.ReadFull(src, b)
	return b, errors.Join(err, src.Close())
}

// indexed is a line with the place of its result.
type indexed struct {
	Line
	failed         bool // the result is in the error file
	offset, length int64
}

// lines reads the lines of a slice.
func (x *lineIndex) lines(ctx context.Context, s indexSlice) ([]indexed, error) {
	b, err := x.reader.readRange(ctx, x.key, s.offset, s.length)
	if err != nil {
		return nil, err
	}
	r := uvarint.NewReader(b)
	at := [2]int64{s.output, s.errors}
	lines := make([]indexed, 0, s.plan.Lines)
	for i := range s.plan.Lines {
		flags := r.Byte()
		var v [10]int64
		for j := range v {
			v[j] = int64(r.Uvarint())
		}
		id, message := r.Bytes(r.Uvarint()), r.Bytes(r.Uvarint())
		if r.Failed() || v[2] < 0 || v[2] > int64(len(x.names)) {
			return nil, errBadIndex
		}
		l := indexed{failed: flags&lineFailed != 0, length: v[0]}
		l.Number, l.CustomID, l.Message, l.Status = s.plan.FirstLine+i+1, string(id), string(message), int(v[1])
		l.State = stateOf(flags)
		if v[2] > 0 {
			l.Upstream = x.names[v[2]-1]
		}
		l.Attempts, l.Duration = int(v[3]), time.Duration(v[4])*time.Millisecond
		l.Usage = usageOf([5]int64(v[5:]))
		file := 0
		if l.failed {
			file = 1
		}
		l.offset = at[file]
		at[file] += l.length + 1
		lines = append(lines, l)
	}
	return lines, nil
}

func stateOf(flags byte) LineState {
	switch {
	case flags&lineRan == 0:
		return LinePending
	case flags&lineFailed != 0:
		return LineFailed
	default:
		return LineCompleted
	}
}

func usageOf(v [5]int64) openai.Usage {
	return openai.Usage{
		InputTokens: v[0], InputTokensDetails: openai.InputTokensDetails{CachedTokens: v[1]},
		OutputTokens: v[2], OutputTokensDetails: openai.OutputTokensDetails{ReasoningTokens: v[3]}, TotalTokens: v[4],
	}
}
