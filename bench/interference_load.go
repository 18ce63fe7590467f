package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	liveInterval = time.Second // between live requests, whether or not earlier ones have ended
	liveTokens   = 32
	liveWords    = 40
)

// Of the lines of the batch, each at random.
var (
	lineTokens = []int{32, 64, 96}
	lineWords  = []int{30, 60, 120}
)

// words make prompts that have no beginning in common. They are safe for concurrent
// use.
type words struct {
	mu     sync.Mutex
	random *rand.Rand // guarded by mu
	text   []string
}

// wordsFile is a text with a few thousand words; bench runs in the project's root.
const wordsFile = "docs/operations.md"

func newWords() *words {
	text, err := os.ReadFile(wordsFile)
	if err != nil { // elsewhere, any words will do
		text = []byte(strings.Repeat("the tide comes in and goes out again ", 100))
	}
	return &words{random: rand.New(rand.NewPCG(1, 1)), text: strings.Fields(string(text))}
}

// chat returns a request with n words that requests a number of tokens.
func (w *words) chat(n, tokens int, stream bool) map[string]any {
	w.mu.Lock()
	at := w.random.IntN(len(w.text) - n)
	w.mu.Unlock()
	request := map[string]any{
		"model": engineModel, "max_tokens": tokens, "ignore_eos": true,
		"messages": []map[string]string{{"role": "user", "content": strings.Join(w.text[at:at+n], " ")}},
	}
	if stream {
		request["stream"] = true
	}
	return request
}

// line is the body of a line of the batch.
func (w *words) line() map[string]any {
	w.mu.Lock()
	n, tokens := lineWords[w.random.IntN(len(lineWords))], lineTokens[w.random.IntN(len(lineTokens))]
	w.mu.Unlock()
	return w.chat(n, tokens, false)
}

// streamed is a client's measurement of one streamed request.
type streamed struct {
	ttft time.Duration
	gaps []time.Duration // between events with text
}

// itl is the time per token after the first.
func (s streamed) itl() time.Duration {
	var total time.Duration
	for _, gap := range s.gaps {
		total += gap
	}
	return total / (liveTokens - 1)
}

// stream sends a live request to the gateway.
func (e *interfering) stream(ctx context.Context) (s streamed, err error) {
	body, err := json.Marshal(e.words.chat(liveWords, liveTokens, true))
	if err != nil {
		return s, fmt.Errorf("encoding request: %w", err)
	}
	begun := time.Now()
	answer, err := postJSON(ctx, "http://"+e.gateway+"/v1/chat/completions", body)
	if err != nil {
		return s, err
	}
	defer answer.Body.Close()
	last, done := begun, false
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		if string(data) == "[DONE]" {
			done = true
			continue
		}
		var event struct {
			Choices []struct{ Delta struct{ Content string } }
		}
		if err := json.Unmarshal(data, &event); err != nil {
			return s, fmt.Errorf("reading event: %w", err)
		}
		if len(event.Choices) == 0 || event.Choices[0].Delta.Content == "" {
			continue // the role, or the end
		}
		now := time.Now()
		if s.ttft == 0 {
			s.ttft = now.Sub(begun)
		} else {
			s.gaps = append(s.gaps, now.Sub(last))
		}
		last = now
	}
	if err := lines.Err(); err != nil {
		return s, fmt.Errorf("reading stream: %w", err)
	}
	if !done || len(s.gaps) == 0 {
		return s, fmt.Errorf("a stream ended early, after %d gaps", len(s.gaps))
	}
	return s, nil
}

// postJSON sends a request and fails unless the answer is 200.
func postJSON(ctx context.Context, url string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("sending request: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return nil, fmt.Errorf("%s answered %s: %s (%w)", url, answer.Status, text, err)
	}
	return answer, nil
}

// liveResult has the latencies of live requests in one period, in seconds.
type liveResult struct {
	Requests int     `json:"requests"` // that were answered whole
	Errors   int     `json:"errors"`   // failed requests: an overload is part of the measurement
	TTFT50   float64 `json:"ttft_p50_s"`
	TTFT95   float64 `json:"ttft_p95_s"`
	ITL50    float64 `json:"itl_p50_s"` // of the requests' means
	ITL95    float64 `json:"itl_p95_s"`
	Gap99    float64 `json:"gap_p99_s"` // of all gaps between events
}

func (r liveResult) String() string {
	failed := ""
	if r.Errors > 0 {
		failed = fmt.Sprintf(", %d of %d failed", r.Errors, r.Errors+r.Requests)
	}
	return fmt.Sprintf("TTFT p50 %.3f s p95 %.3f s, ITL p50 %.1f ms%s", r.TTFT50, r.TTFT95, 1000*r.ITL50, failed)
}

// live sends live requests for the time in the options and waits for all responses.
func (e *interfering) live(ctx context.Context) (liveResult, error) {
	var (
		mu      sync.Mutex
		all     []streamed
		errs    []error
		running sync.WaitGroup
	)
	start := time.Now()
	for i := 0; time.Duration(i)*liveInterval < e.options.live; i++ {
		if err := pause(ctx, time.Until(start.Add(time.Duration(i)*liveInterval))); err != nil {
			return liveResult{}, err
		}
		running.Go(func() {
			s, err := e.stream(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			all = append(all, s)
		})
	}
	running.Wait()
	if err := ctx.Err(); err != nil {
		return liveResult{}, err
	}
	if len(all) == 0 {
		return liveResult{}, fmt.Errorf("no live request was answered: %w", errors.Join(errs...))
	}
	r := summary(all)
	r.Errors = len(errs)
	return r, nil
}

// summary returns the quantiles of the latencies of live requests.
func summary(all []streamed) liveResult {
	ttft, itl := make([]float64, 0, len(all)), make([]float64, 0, len(all))
	var gaps []float64
	for _, s := range all {
		ttft, itl = append(ttft, s.ttft.Seconds()), append(itl, s.itl().Seconds())
		for _, gap := range s.gaps {
			gaps = append(gaps, gap.Seconds())
		}
	}
	return liveResult{
		Requests: len(all), TTFT50: quantile(ttft, 0.5), TTFT95: quantile(ttft, 0.95),
		ITL50: quantile(itl, 0.5), ITL95: quantile(itl, 0.95), Gap99: quantile(gaps, 0.99),
	}
}

// fixed measures live requests through the gateway with n workers that send batch lines
// sequentially to the server.
func (e *interfering) fixed(ctx context.Context, n int) (r fixedResult, err error) {
	r.AtOnce = n
	working, stop := context.WithCancel(ctx)
	defer stop()
	var done atomic.Int64
	failures := make(chan error, n)
	for range n {
		go func() { failures <- e.work(working, &done) }()
	}
	if err := pause(ctx, e.options.settle); err != nil {
		return r, err
	}
	before, begun := done.Load(), time.Now()
	if r.Live, err = e.live(ctx); err != nil {
		return r, err
	}
	r.LinesPerSecond = float64(done.Load()-before) / time.Since(begun).Seconds()
	stop()
	for range n {
		if err := <-failures; err != nil {
			return r, err
		}
	}
	return r, e.idle(ctx)
}

// work sends lines until the context ends, and counts the responses.
func (e *interfering) work(ctx context.Context, done *atomic.Int64) error {
	for ctx.Err() == nil {
		if err := e.sendLine(ctx); err == nil {
			done.Add(1)
		} else if ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// sendLine sends a line to the server and reads the answer.
func (e *interfering) sendLine(ctx context.Context) error {
	body, err := json.Marshal(e.words.line())
	if err != nil {
		return fmt.Errorf("encoding request: %w", err)
	}
	answer, err := postJSON(ctx, e.server.URL+"/v1/chat/completions", body)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	return nil
}
