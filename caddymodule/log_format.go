package caddymodule

import (
	"encoding/json"
	"fmt"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"go.uber.org/zap"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

func init() {
	caddy.RegisterModule(new(LogFormat))
}

// LogFormat removes client keys from log entries that Caddy does not redact itself:
// the headers X-Api-Key and Api-Key and similar ones, and keys in queries. Values
// become REDACTED. Control and format characters are written as \uXXXX.
//
// Only the encoder of a log can do that. Caddy's server clones the request for its
// access log before the first handler is called (caddyhttp.Server.ServeHTTP: "clone
// the request for logging purposes before it enters any handler chain"), and the
// loggers of a server have no exported field or hook.
type LogFormat struct {
	// WrappedRaw is the format of the redacted entry. Default: json, or console on a
	// terminal.
	WrappedRaw json.RawMessage `json:"wrap,omitempty" caddy:"namespace=caddy.logging.encoders inline_key=format"`

	*logging.FilterEncoder `json:"-"`
}

// keyHeaders contain client keys. Caddy redacts Authorization, Proxy-Authorization
// and Cookie, unless log_credentials is on.
var keyHeaders = []string{"X-Api-Key", "Api-Key", "X-Goog-Api-Key", "X-Auth-Token", "X-Access-Token"}

// keyQuery matches the value of a query parameter whose name indicates a key.
const keyQuery = `(?i)([?&;][^=&;#]*(?:key|token|secret|passw|credential|auth)[^=&;#]*=)[^&;#]*`

// CaddyModule returns the Caddy module information.
func (*LogFormat) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.encoders.tidegate", New: func() caddy.Module { return new(LogFormat) }}
}

// Provision sets up the filters.
func (f *LogFormat) Provision(ctx caddy.Context) error {
	query, err := json.Marshal(map[string]string{"filter": "regexp", "regexp": keyQuery, "value": "${1}REDACTED"})
	if err != nil {
		return fmt.Errorf("writing filter: %w", err)
	}
	fields := map[string]json.RawMessage{"request>uri": query, "request>headers>Referer": query}
	for _, name := range keyHeaders {
		fields["request>headers>"+name] = json.RawMessage(`{"filter": "replace", "value": "REDACTED"}`)
	}
	f.FilterEncoder = &logging.FilterEncoder{WrappedRaw: f.WrappedRaw, FieldsRaw: fields}
	if err := f.FilterEncoder.Provision(ctx); err != nil {
		return err
	}
	logFormats.Add(1)
	return nil
}

// Clone is part of the interface zapcore.Encoder.
func (f *LogFormat) Clone() zapcore.Encoder { return escapingEncoder{f.FilterEncoder}.Clone() }

// EncodeEntry is part of the interface zapcore.Encoder.
func (f *LogFormat) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	return escapingEncoder{f.FilterEncoder}.EncodeEntry(entry, fields)
}

// Cleanup ends the use of the format.
func (f *LogFormat) Cleanup() error {
	if f.FilterEncoder != nil {
		logFormats.Add(-1)
	}
	return nil
}

// logFormats counts the LogFormats in use.
var logFormats atomic.Int64

// checkLogs warns once about access logs of the gateway's servers that may contain
// keys. Caddy opens logs before it provisions apps.
func (a *App) checkLogs(ctx caddy.Context) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || server.Logs == nil || a.warnedOfLogs || logFormats.Load() > 0 && !server.Logs.ShouldLogCredentials {
		return
	}
	a.warnedOfLogs = true
	a.log.Warn("access logs may hold API keys",
		zap.Bool("log_credentials", server.Logs.ShouldLogCredentials),
		zap.String("remedy", "use `format tidegate` in `log`, unless its format filters X-Api-Key, Api-Key and keys in queries; do not set log_credentials"))
}

// UnmarshalCaddyfile sets up the module:
//
//	tidegate {
//		wrap <format> ...
//	}
func (f *LogFormat) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	return block(d, f.options())
}

func (f *LogFormat) options() map[string]option {
	return map[string]option{"wrap": func(d *caddyfile.Dispenser) error {
		if !d.NextArg() {
			return d.ArgErr()
		}
		name := d.Val()
		module, err := caddyfile.UnmarshalModule(d, "caddy.logging.encoders."+name)
		if err != nil {
			return err
		}
		encoder, ok := module.(zapcore.Encoder)
		if !ok {
			return d.Errf("module %s (%T) is not a log format", name, module)
		}
		f.WrappedRaw = caddyconfig.JSONModuleObject(encoder, "format", name, nil)
		return nil
	}}
}

var (
	_ zapcore.Encoder                  = (*LogFormat)(nil)
	_ caddy.CleanerUpper               = (*LogFormat)(nil)
	_ caddy.Provisioner                = (*LogFormat)(nil)
	_ caddy.ConfiguresFormatterDefault = (*LogFormat)(nil)
	_ caddyfile.Unmarshaler            = (*LogFormat)(nil)
)
