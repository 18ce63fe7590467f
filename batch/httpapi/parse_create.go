package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// defaultWindow is the completion_window of a request that has none, or an empty one.
const defaultWindow = "24h"

// ParseCreate reads the body of POST /v1/batches. An invalid body is an
// *openai.Error.
func ParseCreate(body []byte) (batch.CreateRequest, error) {
	p, err := parseParams(body)
	if err != nil {
		return batch.CreateRequest{}, err
	}
	var r batch.CreateRequest
	if r.InputFileID, err = p.text("input_file_id", 512); err != nil {
		return batch.CreateRequest{}, err
	}
	if r.Endpoint, err = p.text("endpoint", 512); err != nil {
		return batch.CreateRequest{}, err
	}
	if !slices.Contains(openai.BatchEndpoints, r.Endpoint) {
		return batch.CreateRequest{}, openai.InvalidValue("endpoint", shorten(r.Endpoint), openai.BatchEndpoints...)
	}
	r.CompletionWindow = defaultWindow
	if v, ok := p.get("completion_window"); ok && string(v) != `""` {
		if r.CompletionWindow, err = p.text("completion_window", 512); err != nil {
			return batch.CreateRequest{}, err
		}
	}
	if r.Window, err = parseWindow(r.CompletionWindow); err != nil {
		return batch.CreateRequest{}, err
	}
	if r.Metadata, err = p.metadata(); err != nil {
		return batch.CreateRequest{}, err
	}
	if r.OutputTTL, err = p.ttl("output_expires_after"); err != nil {
		return batch.CreateRequest{}, err
	}
	if _, ok := p.get("priority"); ok {
		if r.Priority, err = p.priority(); err != nil {
			return batch.CreateRequest{}, err
		}
	}
	if r.RequestHash, err = hashJSON(body); err != nil {
		return batch.CreateRequest{}, err
	}
	return r, nil
}

func (p params) priority() (int, error) {
	n, err := p.integer("priority", batch.MinPriority, batch.MaxPriority)
	return int(n), err
}

// parsePriority reads the body of a request to change a priority.
func parsePriority(body []byte) (int, error) {
	p, err := parseParams(body)
	if err != nil {
		return 0, err
	}
	return p.priority()
}

func parseWindow(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < batch.MinWindow || d > batch.MaxWindow {
		return 0, openai.InvalidRequest("completion_window", "invalid_value",
			"Invalid value: '%s'. Supported values are: '24h', and durations from '1m' to '720h'.", shorten(s))
	}
	return d, nil
}

// The limits of metadata (https://platform.openai.com/docs/api-reference/batch/object).
const (
	metadataPairs  = 16
	metadataKeys   = 64  // characters
	metadataValues = 512 // characters
)

func (p params) metadata() (map[string]string, error) {
	o, ok, err := p.object("metadata")
	if err != nil || !ok || len(o.members) == 0 {
		return nil, err
	}
	if n := len(o.members); n > metadataPairs {
		return nil, openai.InvalidRequest("metadata", "object_above_max_properties",
			"Invalid 'metadata': too many properties. Expected an object with at most %d properties, but got an object with %d properties instead.", metadataPairs, n)
	}
	metadata := make(map[string]string, len(o.members))
	for _, key := range slices.Sorted(maps.Keys(o.members)) { // the same error each time
		if n := utf8.RuneCountInString(key); n > metadataKeys {
			return nil, openai.InvalidRequest("metadata", "string_above_max_length",
				"Invalid property name in 'metadata': too long. Expected a string with maximum length %d, but got a string with length %d instead.", metadataKeys, n)
		}
		if slices.Contains([]byte(key), 0) {
			return nil, openai.InvalidRequest("metadata", "invalid_value", "Invalid property name in 'metadata': it must not contain the character U+0000.")
		}
		value, err := textOf(o.prefix+key, o.members[key])
		if err != nil {
			return nil, err
		}
		if n := utf8.RuneCountInString(value); n > metadataValues {
			return nil, tooLong(o.prefix+key, metadataValues, n)
		}
		metadata[key] = value
	}
	return metadata, nil
}

// hashJSON hashes valid JSON in canonical form (RFC 8785): whitespace and the order of
// members do not matter.
func hashJSON(body []byte) (string, error) {
	v := jsontext.Value(slices.Clone(body))
	if err := v.Canonicalize(); err != nil {
		return "", fmt.Errorf("canonicalizing request: %w", err)
	}
	sum := sha256.Sum256(v)
	return hex.EncodeToString(sum[:]), nil
}
