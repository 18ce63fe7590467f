package caddymodule

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tidegate/tidegate/internal/httpbody"
)

// BodyConfig limits how slowly the body of a request may arrive.
type BodyConfig struct {
	// MinRate is the minimum average number of bytes per second over each Grace.
	// Default 1 KiB.
	MinRate int64 `json:"min_rate,omitempty"`
	// Grace limits the time for which a body is slower, or stalls. Default 30s.
	Grace caddy.Duration `json:"grace,omitempty"`
}

func (b *BodyConfig) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	return block(d, b.options())
}

func (b *BodyConfig) options() map[string]option {
	return map[string]option{"min_rate": size(&b.MinRate), "grace": span(&b.Grace)}
}

// Validate checks the settings and returns the first error.
func (b BodyConfig) Validate() error {
	switch {
	case b.MinRate < 0:
		return fmt.Errorf("min_rate must be positive, not %d", b.MinRate)
	case b.Grace < 0:
		return fmt.Errorf("grace must be positive, not %s", duration(b.Grace))
	}
	return nil
}

// paced returns r with a body that is limited in slowness. release ends the use of the
// body.
func (b BodyConfig) paced(w http.ResponseWriter, r *http.Request) (watched *http.Request, release func()) {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return r, func() {}
	}
	watched = r.WithContext(r.Context())
	watched.Body, release = httpbody.Floor{Rate: b.MinRate, Grace: duration(b.Grace)}.Watch(w, r)
	return watched, release
}

// withBody is paced with a body that is decoded, too. A decoded body has at most limit
// bytes, 0 for no limit.
func (b BodyConfig) withBody(w http.ResponseWriter, r *http.Request, limit int64) (ready *http.Request, release func(), err error) {
	watched, stop := b.paced(w, r)
	if watched == r {
		return r, stop, nil
	}
	decoded, done, err := httpbody.Decode(watched, limit)
	if err != nil {
		stop()
		return nil, nil, err
	}
	return decoded, func() { stop(); done() }, nil
}
