package upstreams

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// blame says what an answer is about, and so what follows from it. The table
// is in docs/failures.md.
type blame uint8

const (
	blameNone    blame = iota // an answer
	blameRequest              // the request: final
	blameClient               // the client's own key: another server may know it, final otherwise
	blamePassing              // the request on this server: another server, or later
	blameModel                // the server does not have the model any more
	blameFull                 // the server has no room
	blameKey                  // the server refuses the gateway's key
	blameEither               // the server or the request
	blameServer               // the server, or something between it and the gateway
)

// elsewhere reports whether another server may answer better.
func (b blame) elsewhere() bool { return b >= blameClient }

// verdict is what judge finds.
type verdict struct {
	blame  blame
	status int // for a client that gets no other answer
	// problem replaces the server's own message for such a client; "" keeps it.
	problem string
	// reason is what /health says of a server that is suspected for the answer.
	reason string
}

// said is what a server said, as far as it has to be known to judge it.
type said struct {
	status    int
	header    http.Header
	body      []byte // of an error: its beginning
	clientKey bool   // the request carried a key of the client's
}

// judge decides what an answer is about. The body matters only for errors.
func judge(s said) verdict {
	status := s.status
	is := func(b blame, problem string) verdict {
		v := verdict{blame: b, status: status, problem: problem, reason: fmt.Sprintf("it answers %s", statusName(status))}
		if b == blameServer && (status < 500 || status > 599) {
			v.status = http.StatusBadGateway
		}
		return v
	}
	json := isJSON(s.header)
	switch {
	case status >= 200 && status < 300:
		if isHTML(s.header) {
			v := is(blameServer, "The model server answered with an HTML page.")
			v.reason += " with an HTML page"
			return v
		}
		return verdict{blame: blameNone, status: status}
	case status >= 300 && status < 400:
		v := is(blameServer, "The model server answered with a redirect.")
		v.reason += ", a redirect"
		return v
	case status < 200 || status > 599:
		return is(blameServer, fmt.Sprintf("The model server answered with the status %d.", status))
	}
	switch status {
	case http.StatusTooManyRequests:
		return is(blameFull, "")
	case http.StatusServiceUnavailable:
		if json {
			return is(blameFull, "")
		}
	case http.StatusInternalServerError:
		if !isHTML(s.header) {
			return is(blameEither, "")
		}
	case http.StatusUnauthorized, http.StatusForbidden:
		if !json {
			break
		}
		if s.clientKey {
			return is(blameClient, "")
		}
		v := is(blameKey, "The model server refused the gateway's key.")
		v.status = http.StatusBadGateway
		v.reason = fmt.Sprintf("it refuses the gateway's key (%s)", statusName(status))
		return v
	case http.StatusNotFound:
		switch {
		case !json:
		case isModelGone(s.body):
			return is(blameModel, "")
		case isNoRoute(s.body):
			return is(blamePassing, "")
		default:
			return is(blameRequest, "")
		}
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		if json {
			return is(blamePassing, "")
		}
	case http.StatusRequestTimeout, http.StatusTooEarly:
		return is(blamePassing, "")
	case http.StatusPaymentRequired, http.StatusProxyAuthRequired, http.StatusMisdirectedRequest,
		http.StatusUpgradeRequired, http.StatusNetworkAuthenticationRequired:
		v := is(blameServer, "")
		v.status = http.StatusBadGateway
		return v
	case http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge:
		return is(blameRequest, "") // whoever says so, the request is too large
	case http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		if !isHTML(s.header) { // some servers say in plain text what is invalid
			return is(blameRequest, "")
		}
	}
	switch {
	case status >= 500:
		return is(blameServer, "")
	case json:
		return is(blameRequest, "")
	}
	v := is(blameServer, fmt.Sprintf("The model server answered %s in a form that is not the API's.", statusName(status)))
	v.reason += " with a page that no model server writes"
	return v
}

// statusName is a status with its name.
func statusName(status int) string {
	if text := http.StatusText(status); text != "" {
		return fmt.Sprintf("%d (%s)", status, text)
	}
	return fmt.Sprintf("%d (an unknown status)", status)
}

// isModelGone reports whether the body of a 404 says that the model is unknown.
func isModelGone(body []byte) bool {
	e, ok := readError(body)
	if !ok {
		return false
	}
	if e.code == "model_not_found" {
		return true
	}
	text := strings.ToLower(e.message)
	return strings.Contains(text, "model") && (strings.Contains(text, "not exist") || strings.Contains(text, "not found") || strings.Contains(text, "unknown") || strings.Contains(text, "not loaded") || strings.Contains(text, "not served"))
}

// isNoRoute reports whether the body of a 404 is that of a web framework for a
// path that it does not know.
func isNoRoute(body []byte) bool {
	e, ok := readError(body)
	return !ok || strings.EqualFold(strings.TrimSuffix(e.message, "."), "Not Found")
}

// judgeEvent judges the error that a stream begins with: as an answer of the
// status that the error names.
func judgeEvent(body []byte, clientKey bool) (verdict, int) {
	e, _ := readError(body)
	status := e.status()
	return judge(said{status: status, header: http.Header{"Content-Type": contentJSON}, body: body, clientKey: clientKey}), status
}

// isJSON reports whether an answer says that it is JSON.
func isJSON(h http.Header) bool {
	media := mediaType(h)
	return media == "application/json" || strings.HasSuffix(media, "+json") && strings.HasPrefix(media, "application/")
}

// isHTML reports whether an answer is a page for people: model servers send
// none, proxies on the way do.
func isHTML(h http.Header) bool {
	media := mediaType(h)
	return media == "text/html" || media == "application/xhtml+xml"
}

// mediaType returns what a Content-Type names, in lower case and without its
// parameters.
func mediaType(h http.Header) string {
	kind := h["Content-Type"]
	if len(kind) != 1 {
		return ""
	}
	media, _, _ := strings.Cut(kind[0], ";")
	media = strings.TrimSpace(media)
	for i := range len(media) {
		if 'A' <= media[i] && media[i] <= 'Z' {
			return strings.ToLower(media)
		}
	}
	return media
}

// retryAfter is how long clients are asked to wait when no server can answer:
// about as long as it takes to see that one is back.
const retryAfter = 2 * time.Second

// envelope makes the error that a client gets of one that a server answered:
// in OpenAI's envelope, with the server's own message where the verdict keeps
// it. raw is the server's body if that has the envelope already.
func (v verdict) envelope(s said) (e *openai.Error, raw []byte) {
	from, ok := readError(s.body)
	if !ok && !isHTML(s.header) {
		from.message = boundedText(s.body)
	}
	if v.problem == "" && v.status == s.status && from.whole {
		return nil, s.body
	}
	e = &openai.Error{Status: v.status, Message: v.problem, Type: openai.TypeServer, Code: "upstream_error"}
	if e.Message == "" {
		e.Message = from.message
	}
	if e.Message == "" {
		e.Message = "The model server answered " + statusName(s.status) + "."
	}
	switch {
	case v.status == http.StatusTooManyRequests:
		e.Type, e.Code = openai.TypeRateLimit, "rate_limit_exceeded"
	case v.blame == blameModel:
		e.Type, e.Code = openai.TypeInvalidRequest, "model_not_found"
	case v.status < http.StatusInternalServerError:
		e.Type, e.Code = openai.TypeInvalidRequest, ""
	}
	if v.problem == "" {
		if from.kind != "" {
			e.Type = from.kind
		}
		if from.code != "" && v.blame != blameModel {
			e.Code = from.code
		}
		e.Param = from.param
	}
	if v.status == http.StatusTooManyRequests || v.status == http.StatusServiceUnavailable || v.blame == blameKey {
		e.RetryAfter = retryAfter
	}
	return e, nil
}

// body is the envelope as JSON.
func (v verdict) body(s said) []byte {
	e, raw := v.envelope(s)
	if raw != nil {
		return bytes.TrimSpace(raw)
	}
	text, err := json.Marshal(e)
	if err != nil { // strings always marshal
		panic(err)
	}
	return text
}
