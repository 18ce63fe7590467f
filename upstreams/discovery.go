package upstreams

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/tidegate/tidegate/internal/openai"
)

// maxModelName bounds the name of a model in bytes: it becomes a label of
// metrics and a key of maps.
const maxModelName = 1024

// parseModels reads an answer to GET /v1/models.
func parseModels(body []byte) ([]openai.Model, error) {
	var list openai.ModelList
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, errors.New("no list of models")
	}
	if len(list.Data) == 0 {
		return nil, errors.New("no models")
	}
	models := make([]openai.Model, 0, len(list.Data))
	for _, m := range list.Data {
		if m.ID == "" || len(m.ID) > maxModelName {
			return nil, errors.New("a model without a usable id")
		}
		if slices.ContainsFunc(models, func(other openai.Model) bool { return other.ID == m.ID }) {
			continue
		}
		m.Object = "model"
		models = append(models, m)
	}
	return models, nil
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

// gauges are a server's own figures.
type gauges struct {
	told             bool
	running, waiting float64 // requests, summed over engines
	counted          bool    // tokens is told
	preempts         float64 // requests that were preempted, a counter
	tokens           float64 // prompt and generated tokens, a counter
	kvCache          float64 // part of the KV cache that is used, 0 to 1, of the fullest engine
}

// Names of vLLM's metrics (https://docs.vllm.ai/en/latest/usage/metrics/), the
// last one as it was before version 0.9.
const (
	metricRunning = "vllm:num_requests_running"
	metricWaiting = "vllm:num_requests_waiting"
	metricKVCache = "vllm:kv_cache_usage_perc"
	metricKVOld   = "vllm:gpu_cache_usage_perc"

	metricPreempts   = "vllm:num_preemptions_total"
	metricPrompt     = "vllm:prompt_tokens_total"
	metricGeneration = "vllm:generation_tokens_total"
)

var metricPrefix = []byte("vllm:")

// parseGauges finds the figures in Prometheus' text format. What it does not
// understand it passes over.
func parseGauges(body []byte) gauges {
	var g gauges
	for len(body) > 0 {
		var line []byte
		line, body, _ = bytes.Cut(body, newline)
		if !bytes.HasPrefix(line, metricPrefix) {
			continue
		}
		end := bytes.IndexAny(line, "{ ")
		if end < 0 {
			continue
		}
		name := string(line[:end])
		switch name {
		case metricRunning, metricWaiting, metricKVCache, metricKVOld, metricPreempts, metricPrompt, metricGeneration:
		default:
			continue
		}
		value, ok := sampleValue(line[end:])
		if !ok {
			continue
		}
		g.told = true
		switch name {
		case metricRunning:
			g.running += value
		case metricWaiting:
			g.waiting += value
		case metricPreempts:
			g.preempts += value
		case metricPrompt, metricGeneration:
			g.tokens += value
			g.counted = true
		default:
			g.kvCache = max(g.kvCache, value)
		}
	}
	return g
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
