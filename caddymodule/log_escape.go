package caddymodule

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

// escapingEncoder writes every control and format character and line separator of an
// entry as \uXXXX, so that a value that a client sent cannot control a terminal, reverse
// the direction of a line or begin another one. Encoders escape the control characters
// below U+0020 in fields themselves.
type escapingEncoder struct{ zapcore.Encoder }

// Clone is part of the interface zapcore.Encoder.
func (e escapingEncoder) Clone() zapcore.Encoder { return escapingEncoder{e.Encoder.Clone()} }

// EncodeEntry is part of the interface zapcore.Encoder. It escapes the encoded entry, as
// fields may be objects with names and values of clients. The console format writes the
// message as it is, but begins lines with a color: so ESC, tabs and line ends are escaped
// in the message alone.
func (e escapingEncoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	entry.Message = escapeRunes(entry.Message, unicode.IsControl)
	out, err := e.Encoder.EncodeEntry(entry, fields)
	if err != nil {
		return nil, err
	}
	text := out.String()
	if escaped := escapeRunes(text, func(r rune) bool { return r == unicode.MaxASCII }); escaped != text {
		out.Reset()
		out.AppendString(escaped)
	}
	return out, nil
}

// escapeRunes writes some runes of ASCII, all control and format characters and line
// separators beyond it, and invalid bytes, as the escapes of JSON.
func escapeRunes(text string, ascii func(rune) bool) string {
	risky := func(r rune) bool {
		if r <= unicode.MaxASCII {
			return ascii(r)
		}
		return r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
	}
	if strings.IndexFunc(text, risky) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case !risky(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
