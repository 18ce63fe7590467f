package upstreams

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/internal/openai"
)

// maxModelName bounds the name of a model in bytes: it becomes a label of
// metrics and a key of maps.
const maxModelName = 1024

// parseModels reads an answer to GET /v1/models. Servers write the object in many
// ways: an entry without a usable id is passed over, a number may have a fraction
// or be a string, and members that the gateway does not know are kept.
func parseModels(body []byte) ([]openai.Model, error) {
	var list struct {
		Data []map[string]json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, errors.New("no list of models")
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

// extraMost bounds what is kept of the members of a model that the gateway does not
// know, in bytes.
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
		// permission has random ids and times in vLLM: it would be news at each look.
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

// wholeNumber reads a number that may have a fraction, 0 for anything else or what
// no integer holds.
func wholeNumber(text json.RawMessage) int64 {
	var f float64
	if json.Unmarshal(text, &f) != nil || f < -1<<53 || f > 1<<53 {
		return 0
	}
	return int64(f)
}

// parseVersion reads vLLM's answer to GET /version, "" when it is something
// else.
func parseVersion(body []byte) string {
	var v struct {
		Version string `json:"version"`
	}
	if json.Unmarshal(body, &v) != nil || len(v.Version) > 100 {
		return ""
	}
	return v.Version
}

// gauges are a server's own figures, summed over its engines.
type gauges struct {
	told             bool
	running, waiting float64 // requests
	kvCache          float64 // part of the KV cache that is used, 0 to 1, of the fullest engine

	// Counters.
	preempts     float64 // requests that were preempted
	counted      bool    // prompt and generated are told
	prompt       float64 // tokens of prompts
	generated    float64 // tokens
	steps        float64 // of the engine
	queried      float64 // tokens of prompts that were looked up in the prefix cache
	prefillTime  float64 // seconds from a request's first step to its first token
	prefills     float64 // requests of which that is the sum
	intervalTime float64 // seconds between tokens of a request
	intervals    float64 // of which that is the sum
}

// gaugeReaders take in vLLM's metrics, by name
// (https://docs.vllm.ai/en/latest/usage/metrics/).
var gaugeReaders = map[string]func(*gauges, float64){
	"vllm:num_requests_running": func(g *gauges, v float64) { g.running += v },
	"vllm:num_requests_waiting": func(g *gauges, v float64) { g.waiting += v },
	"vllm:kv_cache_usage_perc":  func(g *gauges, v float64) { g.kvCache = max(g.kvCache, v) },
	"vllm:gpu_cache_usage_perc": func(g *gauges, v float64) { g.kvCache = max(g.kvCache, v) }, // before 0.9

	"vllm:num_preemptions_total":              func(g *gauges, v float64) { g.preempts += v },
	"vllm:prompt_tokens_total":                func(g *gauges, v float64) { g.prompt += v; g.counted = true },
	"vllm:generation_tokens_total":            func(g *gauges, v float64) { g.generated += v; g.counted = true },
	"vllm:iteration_tokens_total_count":       func(g *gauges, v float64) { g.steps += v },
	"vllm:prefix_cache_queries_total":         func(g *gauges, v float64) { g.queried += v },
	"vllm:request_prefill_time_seconds_sum":   func(g *gauges, v float64) { g.prefillTime += v },
	"vllm:request_prefill_time_seconds_count": func(g *gauges, v float64) { g.prefills += v },
	"vllm:inter_token_latency_seconds_sum":    func(g *gauges, v float64) { g.intervalTime += v },
	"vllm:inter_token_latency_seconds_count":  func(g *gauges, v float64) { g.intervals += v },
}

var metricPrefix = []byte("vllm:")

// parseGauges finds the figures in Prometheus' text format. What it does not
// understand it passes over.
func parseGauges(body []byte) gauges {
	var g gauges
	for len(body) > 0 {
		var line []byte
		line, body, _ = bytes.Cut(body, newline)
		end := bytes.IndexAny(line, "{ ")
		if end < 0 || !bytes.HasPrefix(line, metricPrefix) {
			continue
		}
		read := gaugeReaders[string(line[:end])]
		if read == nil {
			continue
		}
		if value, ok := sampleValue(line[end:]); ok {
			g.told = true
			read(&g, value)
		}
	}
	return g
}

// engine returns the figures that change with the engine's steps.
func (g *gauges) engine() engineFigures {
	return engineFigures{g.running, g.waiting, g.preempts, g.prompt + g.generated, g.steps, g.queried, g.kvCache}
}

var newline = []byte{'\n'}

// sampleValue reads what stands behind a metric's name: labels, the value, and
// perhaps a time.
func sampleValue(rest []byte) (float64, bool) {
	if i := bytes.LastIndexByte(rest, '}'); i >= 0 {
		rest = rest[i+1:]
	}
	field, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte{' '})
	value, err := strconv.ParseFloat(string(field), 64)
	return value, err == nil && value >= 0 && value < 1e15 // neither NaN nor infinite
}

func sameModels(a, b []openai.Model) bool { return slices.Equal(a, b) }
