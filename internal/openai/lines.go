package openai

import (
	"bytes"
	"fmt"
	"io"
	"math"
)

// Line is one line of a JSONL file that is not blank.
type Line struct {
	Number int // 1-based; blank lines and those that are too long count
	// Offset and Length are the whole line in bytes of the source, with its
	// terminator and, for the first line, with a BOM before it. A reader of
	// just that range gives the same line. (Only a later line that begins
	// with a BOM loses it then; it is no JSON to begin with.)
	Offset, Length int64
	// Bytes is the line without terminator, BOM and whitespace around it. It
	// is valid until the next call of Next.
	Bytes []byte
}

// LineTooLongError is for a line of more than Limit bytes, not counting its
// terminator.
type LineTooLongError struct {
	Number int // of the line, 1-based
	Limit  int // in bytes
}

func (e *LineTooLongError) Error() string {
	return fmt.Sprintf("line %d is longer than %d bytes", e.Number, e.Limit)
}

// LineReader reads a JSONL file line by line in memory bounded by the longest
// line allowed. Lines end in LF or CRLF, the last one with the file. A BOM is
// stripped at the very start and nowhere else. What consists of JSON's
// whitespace only is blank; a CR that no LF follows is such whitespace.
type LineReader struct {
	r       io.Reader
	maxLine int
	err     error // of r, for when the buffer is used up
	atEnd   bool  // err is io.EOF

	buf        []byte
	start, end int   // buf[start:end] is read and not given out
	searched   int   // bytes after start without LF
	offset     int64 // of buf[start] in the source
	number     int   // of the last line begun
	skipping   bool  // in a line that is too long
}

const (
	lineBuffer = 64 << 10 // bytes, to begin with
	// emptyReads limits consecutive reads that return neither bytes nor an
	// error.
	emptyReads = 100
)

var bom = []byte("\xef\xbb\xbf")

// NewLineReader reads lines of at most maxLine bytes from r.
func NewLineReader(r io.Reader, maxLine int) *LineReader {
	return &LineReader{r: r, maxLine: min(max(maxLine, 0), math.MaxInt-2)}
}

// Next returns the next line that is not blank and io.EOF after the last. After
// a *LineTooLongError, Next continues with the following line. An error of the source
// is returned unchanged after the lines before it; the incomplete line is not returned.
func (l *LineReader) Next() (Line, error) {
	for {
		raw, err := l.next()
		if err != nil {
			return Line{}, err
		}
		line := Line{Number: l.number, Offset: l.offset, Length: int64(len(raw)), Bytes: raw}
		l.advance(len(raw))
		if line.Number == 1 {
			line.Bytes = bytes.TrimPrefix(line.Bytes, bom)
		}
		if line.Bytes = trimSpace(line.Bytes); len(line.Bytes) > 0 {
			return line, nil
		}
	}
}

// next finds the next line, whole, at l.start.
func (l *LineReader) next() ([]byte, error) {
	if l.skipping {
		if err := l.skip(); err != nil {
			return nil, err
		}
	}
	for {
		held := l.buf[l.start:l.end]
		if i := bytes.IndexByte(held[l.searched:], '\n'); i >= 0 {
			return l.begin(held[:l.searched+i+1])
		}
		l.searched = len(held)
		// The last byte may be the CR of a terminator.
		if len(held) > l.maxLine+1 {
			return l.begin(held)
		}
		if l.err == nil {
			l.fill()
			continue
		}
		if l.atEnd && len(held) > 0 {
			return l.begin(held)
		}
		return nil, l.err
	}
}

// begin counts a line and refuses it when it is too long.
func (l *LineReader) begin(raw []byte) ([]byte, error) {
	l.number++
	content, ended := bytes.CutSuffix(raw, []byte{'\n'})
	if ended {
		content = bytes.TrimSuffix(content, []byte{'\r'})
	}
	if len(content) > l.maxLine {
		l.skipping = true
		return nil, &LineTooLongError{Number: l.number, Limit: l.maxLine}
	}
	return raw, nil
}

// skip drops the remainder of a line that is too long.
func (l *LineReader) skip() error {
	for {
		held := l.buf[l.start:l.end]
		if i := bytes.IndexByte(held, '\n'); i >= 0 {
			l.advance(i + 1)
			break
		}
		l.advance(len(held))
		if l.atEnd {
			break
		}
		if l.err != nil {
			return l.err
		}
		l.fill()
	}
	l.skipping = false
	return nil
}

func (l *LineReader) advance(n int) {
	l.start += n
	l.offset += int64(n)
	l.searched = 0
}

// fill reads more, or sets l.err.
func (l *LineReader) fill() {
	if l.start > 0 {
		l.end = copy(l.buf, l.buf[l.start:l.end])
		l.start = 0
	}
	if l.end == len(l.buf) {
		size := max(lineBuffer, min(2*len(l.buf), l.maxLine+2))
		l.buf = append(make([]byte, 0, size), l.buf[:l.end]...)[:size]
	}
	for range emptyReads {
		n, err := l.r.Read(l.buf[l.end:])
		l.end += n
		l.err, l.atEnd = err, err == io.EOF
		if n > 0 || err != nil {
			return
		}
	}
	l.err = io.ErrNoProgress
}
