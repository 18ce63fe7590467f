package guardrail

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Request is a request that the service decides about.
type Request struct {
	ID          string // X-Request-Id of a live request, "" for a batch line
	Class       string // "live" or "batch"
	Tenant      string
	KeyID       string // of the client's key or user, "" for a client without one
	KeyName     string // "" if it is not known
	Endpoint    string // path, such as /v1/chat/completions
	ContentType string
	Body        []byte
	JSON        bool // Body is valid JSON
}

// asked is the body of a request to the service.
type asked struct {
	ID          string          `json:"id,omitempty"`
	Class       string          `json:"class"`
	Tenant      string          `json:"tenant"`
	KeyID       string          `json:"key_id,omitempty"`
	KeyName     string          `json:"key_name,omitempty"`
	Endpoint    string          `json:"endpoint"`
	ContentType string          `json:"content_type,omitempty"`
	Body        json.RawMessage `json:"body,omitempty"`        // JSON bodies
	BodyBase64  []byte          `json:"body_base64,omitempty"` // all others
}

// encode returns the body of the request to the service.
func (r *Request) encode() []byte {
	a := asked{ID: r.ID, Class: r.Class, Tenant: r.Tenant, KeyID: r.KeyID, KeyName: r.KeyName, Endpoint: r.Endpoint, ContentType: r.ContentType}
	if r.JSON {
		a.Body = r.Body
	} else {
		a.BodyBase64 = r.Body
	}
	text, err := json.Marshal(a)
	if err != nil { // valid JSON and strings always marshal
		panic(err)
	}
	return text
}

// answered is the body of the service's response.
type answered struct {
	Action  string          `json:"action"`
	Message string          `json:"message"`
	Code    string          `json:"code"`
	Body    json.RawMessage `json:"body"`
}

// Limits of the texts of a rejection, in bytes, and the code of one without.
const (
	maxMessage  = 2 << 10
	maxCode     = 100
	defaultCode = "guardrail_rejected"
)

// decode returns the decision that a response contains. Errors do not contain the
// response, which may repeat the prompt.
func decode(text []byte, r *Request) (Decision, error) {
	var a answered
	if err := json.Unmarshal(text, &a); err != nil {
		return Decision{}, errors.New("the response is not a JSON object with an action")
	}
	switch a.Action {
	case "pass":
		return Decision{Action: Pass, Body: r.Body}, nil
	case "reject":
		d := Decision{Action: Reject, Message: clip(a.Message, maxMessage), Code: clip(a.Code, maxCode)}
		if d.Message == "" {
			d.Message = "The request was rejected by this gateway's guardrail."
		}
		if d.Code == "" {
			d.Code = defaultCode
		}
		return d, nil
	case "replace":
		if !r.JSON {
			return Decision{}, errors.New("the response replaces a body that is not JSON")
		}
		if len(a.Body) == 0 || a.Body[0] != '{' {
			return Decision{}, errors.New("the response replaces the body by something that is not a JSON object")
		}
		return Decision{Action: Replace, Body: a.Body}, nil
	case "":
		return Decision{}, errors.New("the response has no action")
	}
	return Decision{}, fmt.Errorf("the response has the unknown action %q", clip(a.Action, maxCode))
}

// clip limits the length of a text of the service.
func clip(text string, most int) string {
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}
