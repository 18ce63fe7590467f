package upstreams

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Facts are the settings that a server reports. A setting that is not reported has
// the zero value.
type Facts struct {
	PrefixCaching string // "True" or "False"
	Blocks        int64  // of its KV cache
	BlockSize     int64  // tokens in each
	Scheduling    string // "fcfs" or "priority"
	MaxNumSeqs    int64  // of each engine
	Engines       int64  // data-parallel engines behind the server
}

// seqs returns how many requests the server runs concurrently, 0 if it does not
// report that.
func (f Facts) seqs() int { return int(f.MaxNumSeqs * max(f.Engines, 1)) }

// The metrics in which vLLM reports its settings as labels: all versions have the
// first, newer ones the second
// (https://docs.vllm.ai/en/latest/design/metrics.html#cache-config-info).
const (
	metricCacheConfig = "vllm:cache_config_info"
	metricConfig      = "vllm:vllm_config_info"
)

// parse parses the labels of a metric and reports whether the metric contains
// settings.
func (f *Facts) parse(name, labels []byte) bool {
	if string(name) != metricCacheConfig && string(name) != metricConfig {
		return false
	}
	if rest, ok := bytes.CutPrefix(labels, []byte{'{'}); ok {
		f.parseLabels(string(rest))
		if string(name) == metricCacheConfig {
			f.Engines++ // each engine has a line
		}
	}
	return true
}

// parseLabels parses labels.
func (f *Facts) parseLabels(labels string) {
	for {
		name, rest, ok := strings.Cut(labels, `="`)
		if !ok {
			return
		}
		value, rest, ok := quoted(rest)
		if !ok {
			return
		}
		switch name = strings.TrimPrefix(strings.TrimLeft(name, ", "), "cache_config_"); name {
		case "enable_prefix_caching":
			if value == "True" || value == "False" {
				f.PrefixCaching = value
			}
		case "num_gpu_blocks":
			whole(&f.Blocks, value)
		case "block_size":
			whole(&f.BlockSize, value)
		case "scheduler_config_policy":
			f.Scheduling = value
		case "scheduler_config_max_num_seqs":
			whole(&f.MaxNumSeqs, value)
		}
		labels = rest
	}
}

// quoted returns a label's value up to its closing quote.
func quoted(s string) (value, rest string, ok bool) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[:i], s[i+1:], true
		}
	}
	return "", "", false
}

func whole(to *int64, text string) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 {
		*to = n
	}
}

// Facts returns the settings that servers reported at the last probe, by URL.
func (p *Pool) Facts() map[string]Facts {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string]Facts, len(p.upstreams))
	for _, u := range p.upstreams {
		all[u.url] = u.facts
	}
	return all
}

// Peers returns the number of other gateways that use the same store.
func (p *Pool) Peers() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.peers.All
}

// errNotAsked is returned for a server that is not up.
var errNotAsked = errors.New("the server is not up")

// TryPriority sends a request for one token with a priority, and reports whether the
// server accepts it. It returns false without an error if the server refuses it, as
// vLLM's first engine does without --scheduling-policy priority. Other failures are
// errors.
func (p *Pool) TryPriority(ctx context.Context, url string) (bool, error) {
	s := p.now.Load()
	for _, u := range s.upstreams {
		if u.url == url {
			return u.tryPriority(ctx, p.modelOf(u))
		}
	}
	return false, ErrNoUpstream
}

func (p *Pool) modelOf(u *upstream) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !u.isUp() || len(u.models) == 0 {
		return ""
	}
	return u.models[0].ID
}

func (u *upstream) tryPriority(ctx context.Context, model string) (bool, error) {
	if model == "" {
		return false, errNotAsked
	}
	body, err := json.Marshal(map[string]any{
		"model": model, "max_tokens": 1, "priority": 1, "messages": []map[string]string{{"role": "user", "content": "."}},
	})
	if err != nil {
		return false, fmt.Errorf("writing request: %w", err)
	}
	rt := routes["/v1/chat/completions"]
	way := u.access.Load()
	header := way.probeHeader()
	header["Content-Type"] = contentJSON
	request := blank.WithContext(ctx)
	request.URL, request.Host, request.Header = u.urls[rt.index], u.host, header
	request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	answer, err := way.out.keep.RoundTrip(request)
	if err != nil {
		return false, fmt.Errorf("asking for a token: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, probeLimit))
	switch {
	case err != nil:
		return false, fmt.Errorf("asking for a token: %w", err)
	case answer.StatusCode == http.StatusOK:
		return true, nil
	case refusesPriority(text):
		return false, nil
	}
	return false, fmt.Errorf("POST %s answers %d", rt.target, answer.StatusCode)
}
