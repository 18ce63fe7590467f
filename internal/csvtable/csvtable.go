// Package csvtable writes CSV tables (RFC 4180) that are safe to open in a spreadsheet.
package csvtable

import (
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Writer writes the rows of a table.
type Writer struct {
	out *csv.Writer
	row []string
}

// NewWriter returns a Writer, and writes the header of the table.
func NewWriter(w io.Writer, columns ...string) *Writer {
	t := &Writer{out: csv.NewWriter(w)}
	t.out.UseCRLF = true
	_ = t.out.Write(columns) // Flush returns the first error
	return t
}

// Row writes a row. Cells of type string are texts of clients: one that a spreadsheet would
// evaluate as a formula begins with an apostrophe. Cells of other types are numbers.
func (t *Writer) Row(cells ...any) {
	t.row = t.row[:0]
	for _, c := range cells {
		if s, isText := c.(string); isText {
			t.row = append(t.row, text(s))
		} else {
			t.row = append(t.row, fmt.Sprint(c))
		}
	}
	_ = t.out.Write(t.row)
}

// Flush writes the rows that are buffered, and returns the first error of the table.
func (t *Writer) Flush() error {
	t.out.Flush()
	return t.out.Error()
}

// text returns a text with an apostrophe before it if a spreadsheet would evaluate it
// (https://owasp.org/www-community/attacks/CSV_Injection).
func text(s string) string {
	first := strings.TrimLeft(s, " ")
	if first != "" && strings.IndexByte("'=+-@\t\r\n|%", first[0]) >= 0 {
		return "'" + s
	}
	return s
}

// SetHeader sets the header of a response that is a table. Browsers save it as filename.
func SetHeader(h http.Header, filename string) {
	h.Set("Content-Type", "text/csv; charset=utf-8; header=present")
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", filename))
	h.Set("X-Content-Type-Options", "nosniff")
}
