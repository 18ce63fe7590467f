package openai

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

type readLine struct {
	number         int
	offset, length int64
	text           string
}

func TestLineReader(t *testing.T) {
	tests := map[string]struct {
		input string
		max   int
		want  []readLine // text "!" for one that is too long
	}{
		"empty":                    {input: ""},
		"one without newline":      {input: "{}", want: []readLine{{1, 0, 2, "{}"}}},
		"LF":                       {input: "a\nb\n", want: []readLine{{1, 0, 2, "a"}, {2, 2, 2, "b"}}},
		"CRLF":                     {input: "a\r\nb\r\n", want: []readLine{{1, 0, 3, "a"}, {2, 3, 3, "b"}}},
		"mixed ends":               {input: "a\r\nb\nc", want: []readLine{{1, 0, 3, "a"}, {2, 3, 2, "b"}, {3, 5, 1, "c"}}},
		"blank lines are counted":  {input: "\n\n  \t\r\na\n\n\nb\n\n", want: []readLine{{4, 7, 2, "a"}, {7, 11, 2, "b"}}},
		"only blank":               {input: "\n \r\n\t\r\r\n   "},
		"spaces around":            {input: " a b \t\n\tc\r\r\n", want: []readLine{{1, 0, 7, "a b"}, {2, 7, 5, "c"}}},
		"lone CR does not end":     {input: "a\rb\nc\r", want: []readLine{{1, 0, 4, "a\rb"}, {2, 4, 2, "c"}}},
		"BOM":                      {input: "\ufeffa\nb", want: []readLine{{1, 0, 5, "a"}, {2, 5, 1, "b"}}},
		"BOM before spaces":        {input: "\ufeff a\n", want: []readLine{{1, 0, 6, "a"}}},
		"BOM only":                 {input: "\ufeff"},
		"BOM on a blank line":      {input: "\ufeff\r\na", want: []readLine{{2, 5, 1, "a"}}},
		"one BOM only":             {input: "\ufeff\ufeffa", want: []readLine{{1, 0, 7, "\ufeffa"}}},
		"no BOM further down":      {input: "a\n\ufeffb", want: []readLine{{1, 0, 2, "a"}, {2, 2, 4, "\ufeffb"}}},
		"no BOM after a space":     {input: " \ufeffa", want: []readLine{{1, 0, 5, "\ufeffa"}}},
		"NEL and NBSP are content": {input: "\u0085\n\u00a0\n\v\n", want: []readLine{{1, 0, 3, "\u0085"}, {2, 3, 3, "\u00a0"}, {3, 6, 2, "\v"}}},
		"as long as allowed":       {input: "abc\nabc\r\nabc", max: 3, want: []readLine{{1, 0, 4, "abc"}, {2, 4, 5, "abc"}, {3, 9, 3, "abc"}}},
		"too long":                 {input: "abcd\nb\nabcd\r\nc\nabcde", max: 3, want: []readLine{{number: 1, text: "!"}, {2, 5, 2, "b"}, {number: 3, text: "!"}, {4, 13, 2, "c"}, {number: 5, text: "!"}}},
		"too long by a lone CR":    {input: "abc\r", max: 3, want: []readLine{{number: 1, text: "!"}}},
		"too long by spaces":       {input: "    \na", max: 3, want: []readLine{{number: 1, text: "!"}, {2, 5, 1, "a"}}},
		"nothing allowed":          {input: "a\n\nb", max: -1, want: []readLine{{number: 1, text: "!"}, {number: 3, text: "!"}}},
		"longer than the buffer":   {input: strings.Repeat("x", 3*lineBuffer) + "\ny", want: []readLine{{1, 0, 3*lineBuffer + 1, strings.Repeat("x", 3*lineBuffer)}, {2, 3*lineBuffer + 1, 1, "y"}}},
		"far too long":             {input: strings.Repeat("x", 5*lineBuffer) + "\ny", max: lineBuffer, want: []readLine{{number: 1, text: "!"}, {2, 5*lineBuffer + 1, 1, "y"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.max == 0 {
				test.max = 1 << 20
			}
			for how, r := range map[string]io.Reader{
				"whole":    strings.NewReader(test.input),
				"bytewise": iotest.OneByteReader(strings.NewReader(test.input)),
				"halves":   iotest.HalfReader(strings.NewReader(test.input)),
				"data+err": iotest.DataErrReader(strings.NewReader(test.input)),
			} {
				if got := readAll(t, NewLineReader(r, test.max), max(test.max, 0)); !slices.Equal(got, test.want) {
					t.Errorf("%s: got %+v\nwant %+v", how, got, test.want)
				}
			}
		})
	}
}

func readAll(t *testing.T, lines *LineReader, limit int) []readLine {
	t.Helper()
	var got []readLine
	for {
		line, err := lines.Next()
		if tooLong, ok := errors.AsType[*LineTooLongError](err); ok {
			if tooLong.Limit != limit {
				t.Errorf("limit is %d, want %d", tooLong.Limit, limit)
			}
			got = append(got, readLine{number: tooLong.Number, text: "!"})
			continue
		}
		if errors.Is(err, io.EOF) {
			if _, err := lines.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("Next after the end: %v, want io.EOF", err)
			}
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, readLine{line.Number, line.Offset, line.Length, string(line.Bytes)})
	}
}

func TestLineReaderGivesErrorsOfTheSource(t *testing.T) {
	broken := errors.New("disk gone")
	for name, test := range map[string]struct {
		before string
		max    int
		lines  int
	}{
		"at once":                    {"", 10, 0},
		"between lines":              {"a\nb\n", 10, 2},
		"within a line":              {"a\nb", 10, 1},
		"within one that is skipped": {"a\nbbbbbbbbbbbbbbb", 10, 1},
	} {
		t.Run(name, func(t *testing.T) {
			lines := NewLineReader(io.MultiReader(strings.NewReader(test.before), iotest.ErrReader(broken)), test.max)
			for range test.lines {
				if _, err := lines.Next(); err != nil {
					t.Fatal(err)
				}
			}
			_, err := lines.Next()
			if _, ok := errors.AsType[*LineTooLongError](err); ok {
				_, err = lines.Next()
			}
			if !errors.Is(err, broken) {
				t.Fatalf("got %v, want the error of the source itself", err)
			}
			if _, err := lines.Next(); !errors.Is(err, broken) {
				t.Fatalf("then got %v, want the same error again", err)
			}
		})
	}
}

type stalledReader struct{}

func (stalledReader) Read([]byte) (int, error) { return 0, nil }

func TestLineReaderFailsOnAStalledSource(t *testing.T) {
	if _, err := NewLineReader(stalledReader{}, 10).Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("got %v, want io.ErrNoProgress", err)
	}
}

// endless returns size bytes without a newline.
type endless struct{ size int }

func (e *endless) Read(p []byte) (int, error) {
	if e.size == 0 {
		return 0, io.EOF
	}
	n := min(len(p), e.size)
	for i := range p[:n] {
		p[i] = 'x'
	}
	e.size -= n
	return n, nil
}

func TestLineReaderMemoryIsBounded(t *testing.T) {
	const limit = 256 << 10
	lines := NewLineReader(&endless{64 << 20}, limit)
	if _, err := lines.Next(); err == nil {
		t.Fatal("a line of 64 MiB was read")
	}
	if _, err := lines.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v, want io.EOF", err)
	}
	if len(lines.buf) > limit+2 {
		t.Errorf("the buffer grew to %d bytes for a limit of %d", len(lines.buf), limit)
	}
}

func TestLineReaderDoesNotAllocate(t *testing.T) {
	input := strings.Repeat(`{"custom_id":"a"}`+"\n", 10_000)
	lines := NewLineReader(strings.NewReader(input), 1<<20)
	if _, err := lines.Next(); err != nil { // the buffer
		t.Fatal(err)
	}
	allocated := testing.AllocsPerRun(5_000, func() {
		if _, err := lines.Next(); err != nil {
			t.Fatal(err)
		}
	})
	if allocated != 0 {
		t.Errorf("%v allocations a line", allocated)
	}
}

func FuzzLineReader(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n \r\nc"), 10, 3)
	f.Add([]byte("\ufeff{}\n\ufeff\n\ufeffx"), 5, 1)
	f.Add([]byte("aaaaaaaaaaaaaa\nb\r\r\n\r"), 4, 7)
	f.Fuzz(func(t *testing.T, input []byte, limit, chunk int) {
		limit = min(max(limit, 1), 1<<16)
		lines := NewLineReader(&chunks{input, max(chunk, 1)}, limit)
		var end int64
		number := 0
		for {
			line, err := lines.Next()
			if tooLong, ok := errors.AsType[*LineTooLongError](err); ok {
				number = after(t, number, tooLong.Number)
				continue
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			number = after(t, number, line.Number)
			if line.Offset < end || line.Length < int64(len(line.Bytes)) {
				t.Fatalf("line %+v begins before %d or is shorter than its bytes", line, end)
			}
			whole := input[line.Offset : line.Offset+line.Length]
			if line.Offset > 0 && input[line.Offset-1] != '\n' {
				t.Fatalf("line %q does not begin after a newline", whole)
			}
			if i := bytes.IndexByte(whole, '\n'); i >= 0 && i < len(whole)-1 || i < 0 && line.Offset+line.Length < int64(len(input)) {
				t.Fatalf("line %q does not end with the line", whole)
			}
			if want := bytes.Count(input[:line.Offset], []byte{'\n'}) + 1; line.Number != want {
				t.Fatalf("line %q has the number %d, want %d", whole, line.Number, want)
			}
			// What stands between two lines is blank or too long.
			for gap := range bytes.Lines(input[end:line.Offset]) {
				if blank := len(trimSpace(bytes.TrimPrefix(gap, bom))) == 0; !blank && len(gap) <= limit {
					t.Fatalf("%q was left out", gap)
				}
			}
			end = line.Offset + line.Length
			if line.Number > 1 && bytes.HasPrefix(whole, bom) {
				continue // no JSON; read alone, it would lose the BOM
			}
			again, err := NewLineReader(bytes.NewReader(whole), limit).Next()
			if err != nil {
				t.Fatalf("reading %q again: %v", whole, err)
			}
			if !bytes.Equal(again.Bytes, line.Bytes) || again.Offset != 0 || again.Length != line.Length {
				t.Fatalf("reading %q again gives %+v instead of %+v", whole, again, line)
			}
		}
	})
}

func after(t *testing.T, last, number int) int {
	t.Helper()
	if number <= last {
		t.Fatalf("line %d comes after line %d", number, last)
	}
	return number
}

// chunks returns at most size bytes at a time.
type chunks struct {
	rest []byte
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.rest[:min(len(c.rest), c.size)])
	c.rest = c.rest[n:]
	return n, nil
}
