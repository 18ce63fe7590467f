package caddymodule

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// maxObject limits the body of a request to an operator's route, in bytes.
const maxObject = 64 << 10

// readObject reads a JSON object; an empty body is an empty object. Unknown members are
// refused.
func readObject(w http.ResponseWriter, r *http.Request, to any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxObject))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(to)
	if refused, ok := errors.AsType[*openai.Error](err); ok { // it arrived too slowly
		return refused
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return openai.InvalidRequest("", "", "We could not parse the JSON body of your request: %s.", err)
	}
	return nil
}

// unixOrNil returns a time in seconds, nil for the zero time.
func unixOrNil(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return new(t.Unix())
}

func writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		openai.WriteError(w, r, openai.Internal(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // an error means that the client has disconnected
}
