package dashboard

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzhttp"
	"github.com/klauspost/compress/gzip"
)

// compressedTypes are the content types that are compressed. Files of users are sent
// as they are stored.
var compressedTypes = []string{"text/html", "text/css", "text/javascript", "text/plain", "text/event-stream", "image/svg+xml"}

// compressing makes h answer in zstd or gzip, as the request accepts. Event streams
// are compressed as one stream each, so that repeated sections cost little more than
// their changes.
//
// Requests from pages of other sites are not compressed. Otherwise such a page could
// make a search repeat guesses next to secret contents, and learn from the length of
// the encrypted response which guess is in them (BREACH).
func compressing(h http.Handler) (http.Handler, error) {
	wrap, err := gzhttp.NewWrapper(gzhttp.CompressionLevel(gzip.BestSpeed), gzhttp.ContentTypeFilter(compresses))
	if err != nil {
		return nil, fmt.Errorf("configuring compression: %w", err)
	}
	compressed := wrap(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Sec-Fetch-Site") {
		case "cross-site", "same-site":
			h.ServeHTTP(w, r)
		default:
			compressed.ServeHTTP(w, r)
		}
	}), nil
}

func compresses(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	for _, c := range compressedTypes {
		if strings.EqualFold(strings.TrimSpace(kind), c) {
			return true
		}
	}
	return false
}

// uncompressed returns the writer below the compression. It outlives the request,
// while the compressing writer is reused for others.
func uncompressed(w http.ResponseWriter) http.ResponseWriter {
	if u, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
		return u.Unwrap()
	}
	return w
}

// connection returns a controller of the connection that w answers. Other goroutines than
// the handler's may set write deadlines with it, which net/http permits: it passes over the
// writers of middleware, which are for the handler alone. Caddy's keeps the deadline that
// was set, and reads it with each Write (caddyhttp.IdleTimeoutWriter). A deadline that is
// set while nothing is being written may be replaced by it before the next Write.
func connection(w http.ResponseWriter) *http.ResponseController {
	for {
		below, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return http.NewResponseController(w)
		}
		w = below.Unwrap()
	}
}
