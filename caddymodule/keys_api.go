package caddymodule

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/internal/openai"
)

// keyObject is a managed key in the API. Key is the key itself: only the answer that
// makes it has it.
type keyObject struct {
	Object        string         `json:"object"` // "key"
	ID            string         `json:"id"`
	Key           string         `json:"key,omitempty"`
	Name          string         `json:"name"`
	Tenant        string         `json:"tenant"`
	Scopes        []access.Scope `json:"scopes"`
	Models        []string       `json:"models"` // empty: every model
	Limits        access.Limits  `json:"limits"`
	CreatedAt     int64          `json:"created_at"`
	CreatedBy     *string        `json:"created_by"`
	ExpiresAt     *int64         `json:"expires_at"`
	RevokedAt     *int64         `json:"revoked_at"`
	PreviousUntil *int64         `json:"previous_until"` // the key before the last rotation is accepted until then
}

// keyList is the response of GET /v1/keys.
type keyList struct {
	Object string      `json:"object"` // "list"
	Data   []keyObject `json:"data"`
}

// keyRequest is the body of POST /v1/keys.
type keyRequest struct {
	Name      string        `json:"name"`
	Tenant    string        `json:"tenant"`
	Scopes    []string      `json:"scopes"`
	Models    []string      `json:"models"`
	Limits    access.Limits `json:"limits"`
	ExpiresAt int64         `json:"expires_at"` // unix seconds; 0: never
}

// rotateRequest is the body of POST /v1/keys/{id}/rotate.
type rotateRequest struct {
	OverlapSeconds int64 `json:"overlap_seconds"`
}

func objectOf(k access.Key, secret string) keyObject {
	o := keyObject{
		Object: "key", ID: k.ID, Key: secret, Name: k.Name, Tenant: k.Tenant, Scopes: k.Scopes, Models: k.Models, Limits: k.Limits, CreatedAt: k.CreatedAt.Unix(),
		ExpiresAt: unixOrNil(k.ExpiresAt), RevokedAt: unixOrNil(k.RevokedAt), PreviousUntil: unixOrNil(k.PreviousUntil),
	}
	if k.CreatedBy != "" {
		o.CreatedBy = &k.CreatedBy
	}
	if o.Models == nil {
		o.Models = []string{}
	}
	return o
}

var keyPath = regexp.MustCompile(`^/v1/keys(?:/(key_[A-Za-z0-9]{1,64})(?:/(revoke|rotate|limits))?)?$`)

// manageKeys serves /v1/keys: GET lists and POST makes keys, GET /v1/keys/{id} returns
// one, and POST /v1/keys/{id}/revoke, /rotate and /limits change it.
func (h *APIHandler) manageKeys(w http.ResponseWriter, r *http.Request, path string) {
	w.Header().Set("Cache-Control", "no-store")
	at := keyPath.FindStringSubmatch(strings.TrimSuffix(path, "/"))
	if at == nil {
		openai.WriteError(w, r, openai.NotFound("", "There is no such key."))
		return
	}
	id, action := at[1], at[2]
	allowed := "GET, HEAD"
	switch {
	case action != "":
		allowed = http.MethodPost
	case id == "":
		allowed = "GET, HEAD, POST"
	}
	reading := r.Method == http.MethodGet || r.Method == http.MethodHead
	var answer any
	var err error
	switch {
	case reading && action == "" && id == "":
		answer, err = h.listKeys(r)
	case reading && action == "":
		answer, err = h.getKey(r, id)
	case r.Method == http.MethodPost && id == "":
		answer, err = h.createKey(w, r)
	case r.Method == http.MethodPost && action == "revoke":
		answer, err = h.revokeKey(r, id)
	case r.Method == http.MethodPost && action == "rotate":
		answer, err = h.rotateKey(w, r, id)
	case r.Method == http.MethodPost && action == "limits":
		answer, err = h.limitKey(w, r, id)
	default:
		w.Header().Set("Allow", allowed)
		err = openai.MethodNotAllowed(r.Method, r.URL.Path)
	}
	if err != nil {
		openai.WriteError(w, r, err)
		return
	}
	writeJSON(w, r, http.StatusOK, answer)
}

func (h *APIHandler) listKeys(r *http.Request) (keyList, error) {
	keys, err := h.keys().Keys(r.Context())
	list := keyList{Object: "list", Data: []keyObject{}}
	for _, k := range keys {
		list.Data = append(list.Data, objectOf(k, ""))
	}
	return list, err
}

func (h *APIHandler) getKey(r *http.Request, id string) (keyObject, error) {
	k, err := h.keys().Key(r.Context(), id)
	return objectOf(k, ""), err
}

func (h *APIHandler) createKey(w http.ResponseWriter, r *http.Request) (keyObject, error) {
	var request keyRequest
	if err := readObject(w, r, &request); err != nil {
		return keyObject{}, err
	}
	n := access.NewKey{Name: request.Name, Tenant: request.Tenant, Scopes: request.Scopes, Models: request.Models, Limits: request.Limits}
	if request.ExpiresAt != 0 {
		n.ExpiresAt = time.Unix(request.ExpiresAt, 0).UTC()
	}
	k, secret, err := h.keys().Create(r.Context(), n)
	return objectOf(k, secret), err
}

func (h *APIHandler) revokeKey(r *http.Request, id string) (keyObject, error) {
	k, err := h.keys().Revoke(r.Context(), id)
	return objectOf(k, ""), err
}

func (h *APIHandler) rotateKey(w http.ResponseWriter, r *http.Request, id string) (keyObject, error) {
	var request rotateRequest
	if err := readObject(w, r, &request); err != nil {
		return keyObject{}, err
	}
	if request.OverlapSeconds < 0 || request.OverlapSeconds > int64(maxOverlap/time.Second) { // a duration could overflow
		request.OverlapSeconds = -1
	}
	k, secret, err := h.keys().Rotate(r.Context(), id, time.Duration(request.OverlapSeconds)*time.Second)
	return objectOf(k, secret), err
}

func (h *APIHandler) limitKey(w http.ResponseWriter, r *http.Request, id string) (keyObject, error) {
	var members map[string]json.RawMessage
	if err := readObject(w, r, &members); err != nil {
		return keyObject{}, err
	}
	change, err := access.ParseLimitsChange(members)
	if err != nil {
		return keyObject{}, openai.InvalidRequest("", "invalid_value", "%s.", err)
	}
	k, err := h.keys().ChangeLimits(r.Context(), id, change)
	return objectOf(k, ""), err
}

func (h *APIHandler) keys() keyService { return keyService{h.app} }
