package upstreams

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/internal/openai"
)

// maxModelName limits the name of a model in bytes: it becomes a metrics label and a
// map key.
const maxModelName = 1024

// parseModels parses an answer to GET /v1/models. It is lenient, because servers
// differ: entries without a usable id are skipped, a number may have a fraction or be
// a string, and unknown members are kept.
func parseModels(body []byte) ([]openai.Model, error) {
	var list struct {
		Data []map[string]json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, errors.New("not a list of models")
	}
	models := make([]openai.Model, 0, len(list.Data))
	for _, entry := range list.Data {
		m, ok := parseModel(entry)
		if ok && !slices.ContainsFunc(models, func(other openai.Model) bool { return other.ID == m.ID }) {
			models = append(models, m)
		}
	}
	if len(models) == 0 {
		return nil, errors.New("no models with a usable id")
	}
	return models, nil
}

// extraMost limits the size of a model's unknown members, in bytes.
const extraMost = 8 << 10

func parseModel(entry map[string]json.RawMessage) (m openai.Model, ok bool) {
	m.Object = "model"
	if json.Unmarshal(entry["id"], &m.ID) != nil || m.ID == "" || len(m.ID) > maxModelName {
		return m, false
	}
	m.Created = wholeNumber(entry["created"])
	m.MaxModelLen = max(0, wholeNumber(entry["max_model_len"]))
	if json.Unmarshal(entry["owned_by"], &m.OwnedBy) != nil {
		m.OwnedBy = ""
	}
	var extra []string
	for _, name := range slices.Sorted(maps.Keys(entry)) {
		switch name {
		case "id", "object", "created", "owned_by", "max_model_len":
			continue
		}
		// permission contains random ids and timestamps in vLLM: it would differ at
		// each discovery.
		if name == "permission" {
			continue
		}
		key, err := json.Marshal(name)
		var value bytes.Buffer
		if err == nil && json.Compact(&value, entry[name]) == nil {
			extra = append(extra, string(key)+":"+value.String())
		}
	}
	if joined := strings.Join(extra, ","); len(joined) <= extraMost {
		m.Extra = joined
	}
	return m, true
}

// wholeNumber parses a number that may have a fraction. It returns 0 for anything
// else, and for numbers outside of ±2^53.
func wholeNumber(text json.RawMessage) int64 {
	var f float64
	if json.Unmarshal(text, &f) != nil || f < -1<<53 || f > 1<<53 {
		return 0
	}
	return int64(f)
}

// parseVersion parses vLLM's answer to GET /version. It returns "" for anything else.
func parseVersion(body []byte) string {
	var v struct {
		Version string `json:"version"`
	}
	if json.Unmarshal(body, &v) != nil || len(v.Version) > 100 {
		return ""
	}
	return v.Version
}

func sameModels(a, b []openai.Model) bool { return slices.Equal(a, b) }
