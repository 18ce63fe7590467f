package vllmsim

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// writeBody answers with a whole body. It panics with http.ErrAbortHandler if
// the client has disconnected, so that the answer is not taken for complete.
func writeBody(w http.ResponseWriter, status int, contentType []string, body []byte) {
	h := w.Header()
	h["Content-Type"] = contentType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	if len(body) > 0 {
		mustWrite(w, body)
	}
}

func mustWrite(w io.Writer, p []byte) {
	if _, err := w.Write(p); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// flush sends what was written.
func flush(w http.ResponseWriter) {
	if err := http.NewResponseController(w).Flush(); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// appendBody reads a request's body to its end: net/http watches for the
// client's leaving only from there on.
func appendBody(dst []byte, r *http.Request) ([]byte, error) {
	const spare = 512 // so that the read that meets the end finds room
	dst = slices.Grow(dst, int(min(max(r.ContentLength, 0), 1<<20))+spare)
	for {
		n, err := r.Body.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, spare)
		}
	}
}

// isJSON is vLLM's rule for the type of a body.
func isJSON(r *http.Request) bool {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(media), "application/json")
}
