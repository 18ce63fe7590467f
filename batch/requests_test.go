package batch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// contents are files with one content.
type contents struct {
	batch.Files
	text string
	err  error // of reads, after the bytes
}

func (c contents) Read(_ context.Context, _ string, offset, length int64) (io.ReadCloser, error) {
	end := min(int64(len(c.text)), offset+length)
	r := io.Reader(strings.NewReader(c.text[min(offset, end):end]))
	if c.err != nil {
		r = io.MultiReader(r, iotest.ErrReader(c.err))
	}
	return io.NopCloser(r), nil
}

// TestReadRequest checks that each line that was visited can be read again at its place, as it
// was, and that a line that is not what it was is noticed, but not blamed for a failed read. It
// finds places that are not those of the file, as of slices that do not begin with it, and
// changes that leave a line valid.
func TestReadRequest(t *testing.T) {
	const endpoint = "/v1/chat/completions"
	line := func(id string) string {
		return fmt.Sprintf(`{"custom_id":%q,"method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"%s"}]}}`, id, strings.Repeat(id, 50))
	}
	first := "\xef\xbb\xbf" + line("a") + "\r\n\n  " + line("b") + " \t\n"
	text := first + " \n" + line("c") + "\n" + line("d") // the last one without its end
	files := contents{text: text}
	var got, again []openai.Request
	var places []batch.LinePlace
	for _, plan := range []batch.SlicePlan{{Length: int64(len(first)), Lines: 2}, {Offset: int64(len(first)), Length: int64(len(text) - len(first)), Lines: 2}} {
		err := batch.VisitRequests(t.Context(), files, endpoint, "key", plan, 1000, func(_ int, r openai.Request, at batch.LinePlace) {
			r.Body = bytes.Clone(r.Body)
			got, places = append(got, r), append(places, at)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, at := range places {
		r, err := batch.ReadRequest(t.Context(), files, endpoint, "key", at)
		if err != nil {
			t.Fatal(err)
		}
		again = append(again, r)
	}
	if diff := cmp.Diff(got, again); diff != "" || len(got) != 4 {
		t.Errorf("%d requests (-visited +read again):\n%s", len(got), diff)
	}
	away := errors.New("away")
	for name, tt := range map[string]struct {
		files contents
		want  error
	}{
		"another character":     {contents{text: strings.Replace(text, "cccc", "cCcc", 1)}, batch.ErrInputChanged},
		"another line":          {contents{text: strings.ReplaceAll(text, "c", "e")}, batch.ErrInputChanged},
		"shorter":               {contents{text: text[:len(first)+20]}, batch.ErrInputChanged},
		"empty":                 {contents{}, batch.ErrInputChanged},
		"moved":                 {contents{text: "moved" + text}, batch.ErrInputChanged},
		"the read fails":        {contents{text: text[:len(first)+20], err: away}, away},
		"the connection is cut": {contents{text: text[:len(first)+20], err: io.ErrUnexpectedEOF}, io.ErrUnexpectedEOF},
	} {
		if _, err := batch.ReadRequest(t.Context(), tt.files, endpoint, "key", places[2]); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}
