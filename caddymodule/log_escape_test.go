package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// risky controls a terminal, reverses text, ends a line or is invisible: ESC, DEL, NEL, CSI
// of one character, a soft hyphen, a line and a paragraph separator, an override of the
// direction and its end, a byte order mark and a tag beyond 16 bits.
const risky = "\x1b[2J\x7f\u0085\u009b31m\u00ad\u2028\u2029\u202e\u202c\ufeff\U000e0041"

type riskyObject struct{}

func (riskyObject) MarshalLogObject(e zapcore.ObjectEncoder) error {
	e.AddString("name "+risky, risky)
	return e.AddArray("list", zapcore.ArrayMarshalerFunc(func(a zapcore.ArrayEncoder) error {
		a.AppendString(risky)
		return nil
	}))
}

// No character that controls a terminal or a line is in an entry of the format, in either
// encoder: in a field of any kind, a name, the message or a field of the logger, and JSON has
// the value that was logged. It finds a kind of field that is written as it was sent, and a
// clone of the encoder (for loggers with fields) that does not escape.
func TestLogEscapes(t *testing.T) {
	for format, wrap := range map[string]string{"json": `{"format":"json"}`, "console": `{"format":"console"}`, "default": ""} {
		t.Run(format, func(t *testing.T) {
			ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
			defer cancel()
			f := &LogFormat{WrappedRaw: json.RawMessage(wrap)}
			if wrap == "" {
				f.WrappedRaw = nil
			}
			if err := f.Provision(ctx); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Cleanup() }()
			var out strings.Builder
			log := zap.New(zapcore.NewCore(f, zapcore.AddSync(&out), zap.DebugLevel))
			request := caddyhttp.LoggableHTTPRequest{Request: &http.Request{
				Method: "GET", RequestURI: "/" + risky + "?a=" + risky + "&key=secret",
				Header: http.Header{"User-Agent": {risky}, "Referer": {risky}, "Idempotency-Key": {risky}, "X-" + risky: {risky}},
			}}
			fields := []zap.Field{
				zap.String("string", risky), zap.String("key "+risky, "x"), zap.ByteString("bytes", []byte(risky+"\x9b")), zap.Strings("strings", []string{risky}),
				zap.Error(errors.New(risky)), zap.Stringer("stringer", slog.StringValue(risky)), zap.Any("any", map[string]any{risky: []string{risky}}),
				zap.Object("object", riskyObject{}), zap.Object("request", request),
			}
			log.Info("fields", fields...)
			log.With(fields...).Named("inner").Info("with")
			log.Info("message " + risky + "\n2026 FAKE\x9b")
			if n := strings.Count(out.String(), "\n"); n != 3 {
				t.Errorf("got %d lines, want 3: %q", n, out.String())
			}
			if strings.Contains(out.String(), "secret") {
				t.Errorf("the log has the key: %q", out.String())
			}
			for line := range strings.Lines(out.String()) {
				line = strings.TrimSuffix(line, "\n")
				if format == "console" { // levels have colors
					line = strings.ReplaceAll(strings.ReplaceAll(line, "\t", " "), "\x1b[34mINFO\x1b[0m", "INFO")
				}
				for _, r := range line {
					if r == unicode.ReplacementChar || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
						t.Errorf("got %U in %q", r, line)
					}
				}
				for _, r := range []string{`\u001b`, `\u007f`, `\u0085`, `\u009b`, `\u00ad`, `\u2028`, `\u2029`, `\u202e`, `\u202c`, `\ufeff`, `\udb40\udc41`} {
					if !strings.Contains(strings.ReplaceAll(line, `\\`, `\`), r) { // JSON escapes the message again
						t.Errorf("got no %s in %q", r, line)
					}
				}
				_, object, ok := strings.Cut(line, "{")
				if !ok {
					continue // the message alone, on a console
				}
				var entry struct {
					String, Msg string
					Request     struct{ Headers map[string][]string }
				}
				if err := json.Unmarshal([]byte("{"+object), &entry); err != nil {
					t.Errorf("%v in %q", err, line)
				}
				if strings.Contains(line, "message") {
					continue
				}
				if got := entry.Request.Headers["User-Agent"]; entry.String != risky || fmt.Sprint(got) != fmt.Sprint([]string{risky}) {
					t.Errorf("got %q and %q, want the value that was logged", entry.String, got)
				}
			}
		})
	}
}

// Entries without such characters are not changed.
func TestLogEscapesNothingElse(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	f := &LogFormat{WrappedRaw: json.RawMessage(`{"format":"console"}`)}
	if err := f.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Cleanup() }()
	const text = `Grüße, 東京 🚀 "C:\x" <a&b>`
	entry := zapcore.Entry{Message: text, Level: zap.WarnLevel}
	got, err := f.EncodeEntry(entry, []zap.Field{zap.String("text", text)})
	if err != nil {
		t.Fatal(err)
	}
	want, err := f.FilterEncoder.EncodeEntry(entry, []zap.Field{zap.String("text", text)})
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != want.String() {
		t.Errorf("got %q, want %q", got, want)
	}
}

// BenchmarkLogFormat writes an entry of the access log.
func BenchmarkLogFormat(b *testing.B) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: b.Context()})
	defer cancel()
	f := new(LogFormat)
	if err := f.Provision(ctx); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Cleanup() }()
	log := zap.New(zapcore.NewCore(f, zapcore.AddSync(io.Discard), zap.DebugLevel))
	request := caddyhttp.LoggableHTTPRequest{Request: &http.Request{
		Method: "POST", Host: "localhost", RequestURI: "/v1/chat/completions",
		Header: http.Header{"User-Agent": {"OpenAI/Python 1.99"}, "Content-Type": {"application/json"}, "Authorization": {"x"}},
	}}
	for b.Loop() {
		log.Info("handled request", zap.Object("request", request), zap.Int("status", 200))
	}
}
