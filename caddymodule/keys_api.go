package caddymodule

import (
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
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

// maxOverlap limits how long the previous key is accepted.
const maxOverlap = 30 * 24 * time.Hour

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

var keyPath = regexp.MustCompile(`^/v1/keys(?:/(key_[A-Za-z0-9]{1,64})(?:/(revoke|rotate))?)?$`)

// manageKeys serves /v1/keys: GET lists and POST makes keys, GET /v1/keys/{id} returns
// one, and POST /v1/keys/{id}/revoke and /rotate change it.
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
	default:
		w.Header().Set("Allow", allowed)
		err = openai.MethodNotAllowed(r.Method, r.URL.Path)
	}
	if err != nil {
		openai.WriteError(w, r, keyError(err))
		return
	}
	writeJSON(w, r, http.StatusOK, answer)
}

// keyError returns the answer for an error.
func keyError(err error) error {
	if e, ok := errors.AsType[*openai.Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, batch.ErrNotFound):
		return openai.NotFound("", "There is no such key.")
	case errors.Is(err, batch.ErrConflict):
		return openai.Conflict("The key is revoked or has expired.")
	case errors.Is(err, batch.ErrTooManyKeys):
		return openai.Conflict("There are %d keys, which is the limit. Revoke keys that are not used.", batch.KeysKept)
	case errors.Is(err, access.ErrFirstKey):
		return &openai.Error{Status: http.StatusConflict, Type: openai.TypeInvalidRequest, Code: "first_key_not_admin", Message: "The first key needs the scope admin, without models and without expiry: from then on, clients without a key are refused, and no one else could manage keys. Make it first (tidegate keys create NAME --scopes admin), or configure a key with the scope admin.", NoRetry: true}
	case errors.Is(err, access.ErrLastAdmin):
		return &openai.Error{Status: http.StatusConflict, Type: openai.TypeInvalidRequest, Code: "last_admin_key", Message: "No other key with the scope admin would remain that does not expire, and the configuration has none. Make another one first, or configure one.", NoRetry: true}
	case errors.Is(err, access.ErrMoreRights):
		return &openai.Error{Status: http.StatusForbidden, Type: openai.TypeInvalidRequest, Code: "more_rights", Message: err.Error()}
	case errors.Is(err, batch.ErrUnavailable):
		return openai.Unavailable(startingRetry, "Keys cannot be read or changed now.").WithCause(err)
	default:
		return openai.Internal(err)
	}
}

func (h *APIHandler) listKeys(r *http.Request) (keyList, error) {
	keys, _, err := h.app.runtime.engine.Store().Keys(r.Context())
	list := keyList{Object: "list", Data: []keyObject{}}
	for _, k := range keys {
		list.Data = append(list.Data, objectOf(k, ""))
	}
	return list, err
}

func (h *APIHandler) getKey(r *http.Request, id string) (keyObject, error) {
	k, err := h.app.runtime.engine.Store().Key(r.Context(), id)
	return objectOf(k, ""), err
}

func (h *APIHandler) createKey(w http.ResponseWriter, r *http.Request) (keyObject, error) {
	var request keyRequest
	if err := readObject(w, r, &request); err != nil {
		return keyObject{}, err
	}
	client := clientOf(r)
	k := access.Key{ID: openai.NewID("key_"), Name: request.Name, Tenant: request.Tenant, Models: request.Models, Limits: request.Limits, CreatedBy: client.KeyID}
	if k.Tenant == "" {
		k.Tenant = client.Tenant
	}
	if len(request.Scopes) == 0 {
		request.Scopes = []string{string(access.Live), string(access.Batch)}
	}
	var err error
	if k.Scopes, err = access.ParseScopes(request.Scopes); err != nil {
		return keyObject{}, openai.InvalidRequest("scopes", "invalid_value", "%s.", err)
	}
	if request.ExpiresAt != 0 {
		if k.ExpiresAt = time.Unix(request.ExpiresAt, 0).UTC(); !k.ExpiresAt.After(time.Now()) || k.ExpiresAt.Year() > 9999 {
			return keyObject{}, openai.InvalidRequest("expires_at", "invalid_value", "'expires_at' must be in the future, in seconds since 1970.")
		}
	}
	if err := k.Check(); err != nil {
		return keyObject{}, openai.InvalidRequest("", "invalid_value", "%s.", err)
	}
	if err := client.Covers(k); err != nil {
		return keyObject{}, err
	}
	secret := access.Generate()
	k.Hash = access.Sum(secret)
	made, err := h.app.runtime.engine.Store().CreateKey(r.Context(), k, h.app.keepAdmin(func(keys []access.Key) error { return access.CheckFirst(keys, &k) }))
	if err != nil {
		return keyObject{}, err
	}
	h.keysChanged(r, "created", made)
	return objectOf(made, secret), nil
}

func (h *APIHandler) revokeKey(r *http.Request, id string) (keyObject, error) {
	k, err := h.app.runtime.engine.Store().RevokeKey(r.Context(), id, h.app.keepAdmin(func(keys []access.Key) error { return access.CheckRevoke(keys, id) }))
	if err != nil {
		return keyObject{}, err
	}
	h.keysChanged(r, "revoked", k)
	return objectOf(k, ""), nil
}

func (h *APIHandler) rotateKey(w http.ResponseWriter, r *http.Request, id string) (keyObject, error) {
	var request rotateRequest
	if err := readObject(w, r, &request); err != nil {
		return keyObject{}, err
	}
	if request.OverlapSeconds < 0 || request.OverlapSeconds > int64(maxOverlap/time.Second) {
		return keyObject{}, openai.InvalidRequest("overlap_seconds", "invalid_value", "'overlap_seconds' must be from 0 to %d.", int64(maxOverlap/time.Second))
	}
	store := h.app.runtime.engine.Store()
	k, err := store.Key(r.Context(), id)
	if err != nil {
		return keyObject{}, err
	}
	if err := clientOf(r).Covers(k); err != nil { // the answer has the new secret
		return keyObject{}, err
	}
	secret := access.Generate()
	if k, err = store.RotateKey(r.Context(), id, access.Sum(secret), time.Duration(request.OverlapSeconds)*time.Second); err != nil {
		return keyObject{}, err
	}
	h.keysChanged(r, "rotated", k)
	return objectOf(k, secret), nil
}

// keepAdmin returns a check of changes of keys, nil if every change is allowed because
// keys can be managed without a managed key.
func (a *App) keepAdmin(check batch.KeysCheck) batch.KeysCheck {
	if a.keys.Administers(time.Now()) || a.users != nil && a.users.administrators || a.AuthOff && a.keys.Len() == 0 {
		return nil
	}
	return check
}

// keysChanged logs a change, and applies it on this gateway at once. If that fails, the
// directory applies it as soon as the store answers.
func (h *APIHandler) keysChanged(r *http.Request, what string, k access.Key) {
	h.app.runtime.log.Info("key changed", zap.String("change", what), zap.String("key", k.ID), zap.String("name", k.Name), zap.String("tenant", k.Tenant), zap.String("by", clientOf(r).KeyID))
	_ = h.app.runtime.directory.Refresh(r.Context())
}
