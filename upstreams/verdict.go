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

// blame is the cause of an error answer, which determines how it is handled. The
// table is in docs/failures.md.
type blame uint8

const (
	blameNone    blame = iota // no error
	blameRequest              // the request: final
	blameClient               // the client's own key: another server may accept it, otherwise final
	blamePassing              // the request on this server: retry elsewhere, or later
	blameModel                // the server does not have the model any longer
	blameFull                 // the server is at its limit
	blameKey                  // the server rejects the gateway's key
	blameEither               // the server or the request
	blameServer               // the server, or something between it and the gateway
)

// elsewhere reports whether another server may give a better answer.
func (b blame) elsewhere() bool { return b >= blameClient }

// verdict is the result of judge.
type verdict struct {
	blame  blame
	status int // for a client that gets no better answer
	// problem replaces the server's own message in the answer to the client; "" keeps
	// it.
	problem string
	// reason is shown by /health for a server that is suspect because of the answer.
	reason string
}

// reply is the part of a server's answer that judge needs.
type reply struct {
	status    int
	header    http.Header
	body      []byte // of an error: its beginning
	clientKey bool   // the request carried a client's key
	model     string // that the request was sent for
}

// judge determines the cause of an answer. The body matters only for errors.
func judge(s reply) verdict {
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
		case isModelGone(s.body, s.model):
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
		return is(blameRequest, "") // the request is too large, whichever server or proxy reports it
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

// statusName returns a status with its name.
func statusName(status int) string {
	if text := http.StatusText(status); text != "" {
		return fmt.Sprintf("%d (%s)", status, text)
	}
	return fmt.Sprintf("%d (an unknown status)", status)
}

// isNoRoute reports whether the body of a 404 is a web framework's answer for an
// unknown path.
func isNoRoute(body []byte) bool {
	e, ok := readError(body)
	return !ok || strings.EqualFold(strings.TrimSuffix(e.message, "."), "Not Found")
}

// judgeEvent judges an error event at the beginning of a stream like an answer with
// the status in the error.
func (a *attempt) judgeEvent(body []byte, clientKey bool) (verdict, reply) {
	e, _ := readError(body)
	got := reply{status: e.status(), header: http.Header{"Content-Type": contentJSON}, body: body, clientKey: clientKey, model: a.model}
	return judge(got), got
}

// isJSON reports whether an answer is declared as JSON.
func isJSON(h http.Header) bool {
	media := mediaType(h)
	return media == "application/json" || strings.HasSuffix(media, "+json") && strings.HasPrefix(media, "application/")
}

// isHTML reports whether an answer is an HTML page: model servers send none, but
// proxies do.
func isHTML(h http.Header) bool {
	media := mediaType(h)
	return media == "text/html" || media == "application/xhtml+xml"
}

// mediaType returns the media type of a Content-Type, in lower case and without its
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

// retryAfter is the Retry-After sent to clients when no server can answer: about the
// time to detect that a server is up again.
const retryAfter = 2 * time.Second

// envelope returns the error for a client: in OpenAI's envelope, with the server's
// own message if the verdict keeps it. raw is the server's body if it has the
// envelope already.
func (v verdict) envelope(s reply) (e *openai.Error, raw []byte) {
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

// body returns the envelope as JSON.
func (v verdict) body(s reply) []byte {
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
