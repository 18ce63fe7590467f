package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// fleetClient has a connection for each request at once.
var fleetClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4096, DisableCompression: true}}

// prose returns a chat of about prompt tokens, four bytes each, with generate tokens in the
// response. It begins with the name, so that no two share a prefix in a server's cache.
func prose(name string, prompt, generate int, stream bool) []byte {
	return limited(name, prompt, generate, generate, stream)
}

// limited is prose with another max_tokens than the tokens that are generated.
func limited(name string, prompt, generate, limit int, stream bool) []byte {
	head := fmt.Sprintf(`{"model":"%s","stream":%t,"max_tokens":%d,"messages":[{"role":"user","content":"%s `, model, stream, limit, name)
	tail := fmt.Sprintf(` [[sim:tokens=%d]]"}]}`, generate)
	filler := max(0, 4*prompt-len(head)-len(tail))
	return []byte(head + strings.Repeat("tide ", filler/5+1)[:filler] + tail)
}

// sent is a client's measurement of one streamed request.
type sent struct {
	at   time.Duration   // when it was due, from the start of the traffic
	late time.Duration   // from then until it was sent
	ttft time.Duration   // from then to the first token
	gaps []time.Duration // between tokens
}

// liveTraffic sends streamed requests at their scheduled times, independent of the number
// in flight.
type liveTraffic struct {
	addr    string // of a gateway or nginx
	due     arrivals
	request func(i int) liveRequest
	first   func(ttft time.Duration) // called for each first token; may be nil
}

// liveRequest is a streamed request.
type liveRequest struct {
	body   []byte
	tokens int // of the answer
}

// run sends the traffic and waits for all answers. A request that fails
// the measurement.
func (l liveTraffic) run(ctx context.Context) ([]sent, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := make([]sent, len(l.due))
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		failure error
	)
	start := time.Now()
	for i, at := range l.due {
		if err := pause(ctx, time.Until(start.Add(at))); err != nil {
			break
		}
		running.Go(func() {
			seen, err := l.send(ctx, l.request(i), start.Add(at))
			seen.at = at
			all[i] = seen
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				if failure == nil {
					failure = fmt.Errorf("live request %d: %w", i, err)
				}
				cancel()
			}
		})
	}
	running.Wait()
	if failure != nil {
		return nil, failure
	}
	return all, ctx.Err()
}

// send sends one request that was due at a moment.
func (l liveTraffic) send(ctx context.Context, r liveRequest, due time.Time) (s sent, err error) {
	s.late = time.Since(due)
	answer, err := postFleet(ctx, l.addr, r.body)
	if err != nil {
		return s, err
	}
	defer answer.Body.Close()
	last := due
	in, content := bufio.NewReaderSize(answer.Body, 16<<10), []byte(`"content":"`)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return s, fmt.Errorf("the stream ended after %d tokens", len(s.gaps)+1)
		}
		if err != nil {
			return s, fmt.Errorf("reading stream: %w", err)
		}
		switch {
		case bytes.HasPrefix(line, []byte("data: [DONE]")):
			if len(s.gaps)+1 != r.tokens {
				return s, fmt.Errorf("the stream has %d tokens, want %d", len(s.gaps)+1, r.tokens)
			}
			return s, nil
		case !bytes.HasPrefix(line, []byte("data: {")) || bytes.Contains(line, []byte(`"role"`)) || !bytes.Contains(line, content):
			continue // the role, an empty line
		}
		now := time.Now()
		if s.ttft == 0 {
			s.ttft = now.Sub(due)
			if l.first != nil {
				l.first(s.ttft)
			}
		} else {
			s.gaps = append(s.gaps, now.Sub(last))
		}
		last = now
	}
}

// postFleet sends a chat and fails unless the answer is 200.
func postFleet(ctx context.Context, addr string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := fleetClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("sending request: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		defer answer.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 4096)) // what there is of it
		return nil, fmt.Errorf("%s answered %s: %s", addr, answer.Status, text)
	}
	return answer, nil
}

// postWhole sends a chat and reads the answer.
func postWhole(ctx context.Context, addr string, body []byte) error {
	answer, err := postFleet(ctx, addr, body)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	return nil
}

// tokensIn returns the number of tokens that arrived in a window.
func tokensIn(all []sent, w window) float64 {
	n := 0.0
	for _, s := range all {
		at := s.at + s.ttft
		if w.holds(at) {
			n++
		}
		for _, gap := range s.gaps {
			if at += gap; w.holds(at) {
				n++
			}
		}
	}
	return n
}

// liveTimes are quantiles over live requests, in milliseconds.
type liveTimes struct {
	Requests int     `json:"requests"`
	TTFT50   float64 `json:"ttft_p50_ms"`
	TTFT99   float64 `json:"ttft_p99_ms"`
	ITL50    float64 `json:"itl_p50_ms"` // of all gaps between tokens
	ITL99    float64 `json:"itl_p99_ms"`
}

func (t liveTimes) String() string {
	return fmt.Sprintf("TTFT p50 %.1f p99 %.1f ms, ITL p50 %.1f p99 %.1f ms (%d requests)", t.TTFT50, t.TTFT99, t.ITL50, t.ITL99, t.Requests)
}

// over divides by the times of another side.
func (t liveTimes) over(off liveTimes) liveTimes {
	return liveTimes{
		Requests: t.Requests,
		TTFT50:   t.TTFT50 / off.TTFT50, TTFT99: t.TTFT99 / off.TTFT99,
		ITL50: t.ITL50 / off.ITL50, ITL99: t.ITL99 / off.ITL99,
	}
}

// timesOf are the quantiles of requests that were due in one of the windows.
func timesOf(all []sent, windows ...window) (t liveTimes, err error) {
	var ttft, gaps []float64
	for _, s := range all {
		for _, w := range windows {
			if w.holds(s.at) {
				ttft = append(ttft, s.ttft.Seconds()*1e3)
				for _, gap := range s.gaps {
					gaps = append(gaps, gap.Seconds()*1e3)
				}
			}
		}
	}
	if len(gaps) == 0 {
		return t, errors.New("no live request is in the window that is measured")
	}
	return liveTimes{
		Requests: len(ttft),
		TTFT50:   quantile(ttft, 0.5), TTFT99: quantile(ttft, 0.99),
		ITL50: quantile(gaps, 0.5), ITL99: quantile(gaps, 0.99),
	}, nil
}
