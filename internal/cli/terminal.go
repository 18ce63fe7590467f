package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
)

// terminal cleans text for people: names, reasons and errors from a server, a client or a
// file cannot move the cursor, hide text or change its direction. All output of commands
// passes through it, except the progress bar's control sequences, JSON (see writeJSON) and
// file contents that are written to a pipe. Each Write must have whole characters.
type terminal struct{ w io.Writer }

// Write writes text with everything but printable text, line ends and tabs replaced.
func (t terminal) Write(text []byte) (int, error) {
	if _, err := io.WriteString(t.w, cleanText(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}

// unsafe reports whether a character may control a terminal: control characters including
// C1, bidirectional marks, zero-width and other format characters, and separators of
// lines and paragraphs.
func unsafe(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

// writeJSON writes v as one line. Characters that are unsafe on a terminal are
// escaped: the value stays the same.
func writeJSON(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(escapeJSON(text), '\n'))
	return err
}

// escapeJSON escapes unsafe characters, which are within strings, as valid JSON has
// no others.
func escapeJSON(text []byte) []byte {
	if !bytes.ContainsFunc(text, unsafe) {
		return text
	}
	var out []byte
	for _, r := range string(text) {
		switch {
		case !unsafe(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff: // a pair of surrogates
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

// content returns the writer for file contents: unchanged, except on a terminal.
func (s *session) content() io.Writer {
	if f, ok := s.out.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		return terminal{s.out}
	}
	return s.out
}

// plainError has the message of an error made fit for a terminal.
type plainError struct{ err error }

func (e plainError) Error() string { return cleanText(e.err.Error()) }
func (e plainError) Unwrap() error { return e.err }

// cleanly makes the message of an error fit for a terminal.
func cleanly(err error) error {
	if err == nil {
		return nil
	}
	if exit, ok := errors.AsType[*ExitError](err); ok {
		return &ExitError{exit.Code, plainError{exit.Err}}
	}
	return plainError{err}
}
