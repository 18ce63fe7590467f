package upstreams

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net"
	"net/http"
	"net/textproto"
	"strings"
)

// Header values that many requests share. They must not be modified.
var (
	identity    = []string{"identity"}
	contentJSON = []string{"application/json"}
	userAgent   = []string{"tidegate"}
	noUserAgent = []string(nil)
	protoHTTP   = []string{"http"}
	protoHTTPS  = []string{"https"}
)

// hopByHop reports whether a header applies to one connection only (RFC 9110, section
// 7.6.1).
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Trailers", "Transfer-Encoding", "Upgrade",
		"Proxy-Authenticate", "Proxy-Authorization", "Proxy-Authentication-Info", "Http2-Settings":
		return true
	}
	return false
}

// requestHeader returns the header for upstreams, derived from the client's. vLLM
// reads few headers, but other servers may read any.
func requestHeader(r *http.Request, s *snapshot, id []string) http.Header {
	h := make(http.Header, len(r.Header)+6)
	for name, values := range r.Header {
		if hopByHop(name) {
			continue
		}
		switch name {
		case "Host", "Content-Length", "Expect", "Accept-Encoding", "Forwarded", "X-Forwarded-Proto", "X-Forwarded-Host",
			"Cookie": // of the gateway's own site
			continue
		case "Authorization", "X-Api-Key", "Api-Key":
			if s.cfg.DropAuthorization || s.bearer != nil {
				continue
			}
		}
		h[name] = values
	}
	dropNamed(h, r.Header["Connection"])

	h["Accept-Encoding"] = identity
	h["X-Request-Id"] = id
	if s.bearer != nil {
		h["Authorization"] = s.bearer
	}
	if _, there := h["User-Agent"]; !there {
		h["User-Agent"] = noUserAgent // keeps net/http from adding its own
	}
	own := new([2]string) // one allocation for two headers
	own[0], own[1] = forwardedFor(r), r.Host
	h["X-Forwarded-For"] = own[0:1:1]
	h["X-Forwarded-Host"] = own[1:2:2]
	if r.TLS != nil {
		h["X-Forwarded-Proto"] = protoHTTPS
	} else {
		h["X-Forwarded-Proto"] = protoHTTP
	}
	return h
}

// dropNamed deletes the headers that a Connection header names.
func dropNamed(h http.Header, connection []string) {
	for _, line := range connection {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.TrimString(name); name != "" {
				delete(h, http.CanonicalHeaderKey(name))
			}
		}
	}
}

func forwardedFor(r *http.Request) string {
	peer := r.RemoteAddr
	if host, _, err := net.SplitHostPort(peer); err == nil {
		peer = host
	}
	if before := r.Header["X-Forwarded-For"]; len(before) > 0 {
		return strings.Join(before, ", ") + ", " + peer
	}
	return peer
}

// maxRequestID limits a client's X-Request-Id in bytes.
const maxRequestID = 128

// RequestID returns the request's id: the client's own if it is usable.
func RequestID(r *http.Request) string { return requestID(r)[0] }

// requestID is RequestID as the value of a header.
func requestID(r *http.Request) []string {
	if ids := r.Header["X-Request-Id"]; len(ids) == 1 && usableID(ids[0]) {
		return ids
	}
	return []string{newRequestID()}
}

func usableID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] >= 0x7f {
			return false
		}
	}
	return true
}

// newRequestID returns a unique id. It is not a secret.
func newRequestID() string {
	var random [16]byte
	binary.LittleEndian.PutUint64(random[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(random[8:], rand.Uint64())
	text := [4 + 32]byte{'r', 'e', 'q', '_'}
	hex.Encode(text[4:], random[:])
	return string(text[:])
}

// answerHeader copies the headers of an upstream's answer that passesToClient allows.
// The caller sets Content-Length.
func answerHeader(dst, src http.Header, id []string) {
	named := src["Connection"]
	for name, values := range src {
		if passesToClient(name) && !isNamed(named, name) {
			dst[name] = values
		}
	}
	dst["X-Request-Id"] = id
}

// passesToClient reports whether a header of an upstream's answer is passed on. Only
// headers about the answer itself are. Others would affect the gateway's own site
// (Set-Cookie, Clear-Site-Data, Strict-Transport-Security, Access-Control-*) or a
// proxy in front (X-Accel-Redirect), or redirect the client (Location).
func passesToClient(name string) bool {
	switch name {
	case "Content-Type", "Content-Encoding", "Content-Language",
		"Retry-After", "Retry-After-Ms", "X-Should-Retry", // read by OpenAI's libraries
		"Request-Id",            // Anthropic's id of a request
		"Endpoint-Load-Metrics", // vLLM's load report
		"Server-Timing":
		return true
	}
	return strings.HasPrefix(name, "Openai-") || strings.HasPrefix(name, "Anthropic-") || strings.HasPrefix(name, "X-Ratelimit-")
}

// isNamed reports whether a Connection header lists name as hop-by-hop.
func isNamed(connection []string, name string) bool {
	for _, line := range connection {
		for field := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(textproto.TrimString(field), name) {
				return true
			}
		}
	}
	return false
}
