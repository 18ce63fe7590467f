package upstreams

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// verdict is what an answer is worth, by its header.
type verdict byte

const (
	asItIs   verdict = iota // for the client, whatever its status
	reworded                // an error in no form that a client understands
	redirect                // to somewhere the caller is not sent
	webPage                 // from something that is no model server
)

// judge looks at the header of an answer.
func judge(answer *http.Response) verdict {
	switch status := answer.StatusCode; {
	case 300 <= status && status < 400:
		return redirect
	case status < 300:
		if isHTML(answer.Header) {
			return webPage
		}
	case !isJSON(answer.Header):
		return reworded
	}
	return asItIs
}

// isJSON tells whether an answer says that it is JSON.
func isJSON(h http.Header) bool {
	media := mediaType(h)
	return media == "application/json" || strings.HasSuffix(media, "+json") && strings.HasPrefix(media, "application/")
}

// isHTML tells whether an answer is a page for people: no server of models
// gives one, but proxies on the way do.
func isHTML(h http.Header) bool {
	media := mediaType(h)
	return strings.EqualFold(media, "text/html") || strings.EqualFold(media, "application/xhtml+xml")
}

// mediaType is what a Content-Type names, without its parameters.
func mediaType(h http.Header) string {
	kind := h["Content-Type"]
	if len(kind) != 1 {
		return ""
	}
	media, _, _ := strings.Cut(kind[0], ";")
	return strings.TrimSpace(media)
}

// status is what the client is told instead of status.
func (v verdict) status(status int) int {
	if v == redirect || v == webPage {
		return http.StatusBadGateway
	}
	return status
}

// explain makes the client's answer of one that is not passed on as it is.
func (v verdict) explain(status int) *openai.Error {
	switch v {
	case redirect:
		return openai.BadGateway("The model server answered with a redirect.")
	case webPage:
		return openai.BadGateway("The model server answered with an HTML page.")
	case asItIs, reworded:
	}
	text := http.StatusText(status)
	if text == "" {
		text = "an unknown status"
	}
	e := openai.BadGateway("The model server answered %d (%s).", status, text)
	e.Status = status
	switch {
	case status == http.StatusTooManyRequests:
		e.Type, e.Code = openai.TypeRateLimit, "rate_limit_exceeded"
	case status < http.StatusInternalServerError:
		e.Type, e.Code = openai.TypeInvalidRequest, ""
	}
	return e
}

// envelope is explain as a body.
func (v verdict) envelope(status int) []byte {
	text, err := json.Marshal(v.explain(status))
	if err != nil { // strings always marshal
		panic(err)
	}
	return text
}

// passing tells whether another server may do better.
func (v verdict) passing(status int) bool {
	switch v.status(status) {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusTooManyRequests:
		return true
	}
	return false
}

// retryAfter is how long clients are asked to wait when nobody serves a model:
// about as long as it takes to see that a server is back.
const retryAfter = 2 * time.Second
