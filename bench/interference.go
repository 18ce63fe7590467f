package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/internal/vllmtest"
)

// interferenceOptions are the options of measureInterference. Flags make it shorter.
type interferenceOptions struct {
	seqs   string        // --max-num-seqs of the servers, separated by commas
	fixed  string        // numbers of requests at once to compare with, likewise
	rounds int           // pairs of a time without a batch and one with
	live   time.Duration // of live requests in each
	settle time.Duration // from the creation of a batch until it is measured
}

func (o *interferenceOptions) register() {
	flag.StringVar(&o.seqs, "seqs", "16,256", "interference: --max-num-seqs of the servers")
	flag.StringVar(&o.fixed, "fixed", "8,12,16,24,32", "interference: numbers of batch lines at once that the found limit is compared with")
	flag.IntVar(&o.rounds, "rounds", 3, "interference: pairs of a time without and one with a batch")
	flag.DurationVar(&o.live, "live", 40*time.Second, "interference: length of each of these times")
	flag.DurationVar(&o.settle, "settle", 12*time.Second, "interference: from the creation of a batch until it is measured")
}

// engineModel is slow enough for a processor to have a queue: a step takes 6 ms and
// 0.7 ms for each request that runs.
const engineModel = "mid"

// interferenceResult is the result of one server.
type interferenceResult struct {
	MaxNumSeqs int                 `json:"max_num_seqs"` // of the server; not configured in the gateway
	Rounds     []interferenceRound `json:"rounds"`
	Fixed      []fixedResult       `json:"fixed"`

	// Medians over the rounds.
	TTFTRatio      float64 `json:"ttft_p50_ratio"`
	ITLRatio       float64 `json:"itl_p50_ratio"`
	LinesPerSecond float64 `json:"lines_per_second"`
	// BestFixed is the entry of Fixed with the most lines per second.
	BestFixed       int     `json:"best_fixed"`
	LinesOfBest     float64 `json:"lines_of_best"` // LinesPerSecond ÷ that of BestFixed
	EngineVersion   string  `json:"engine_version"`
	EngineArguments string  `json:"engine_arguments"`
}

// interferenceRound has live requests alone, and then with a batch.
type interferenceRound struct {
	Off            liveResult `json:"off"`
	On             liveResult `json:"on"`
	LinesPerSecond float64    `json:"lines_per_second"`
	FailedLines    int64      `json:"failed_lines"`
	Limit          int        `json:"limit"` // that the gateway had found in the end
	LimitReason    string     `json:"limit_reason"`
}

// fixedResult has live requests through the gateway with a number of workers that send
// batch lines directly to the server: an upper bound for a fixed limit.
type fixedResult struct {
	AtOnce         int        `json:"at_once"`
	LinesPerSecond float64    `json:"lines_per_second"`
	Live           liveResult `json:"live"`
}

// measureInterference has live requests on a real vLLM without and with a batch,
// with a gateway that has no limit configured, and compares the lines per second
// with those of fixed limits.
func measureInterference(ctx context.Context, b *bench) (any, error) {
	seqs, err := numbers(b.interference.seqs)
	if err != nil {
		return nil, fmt.Errorf("-seqs: %w", err)
	}
	fixed, err := numbers(b.interference.fixed)
	if err != nil {
		return nil, fmt.Errorf("-fixed: %w", err)
	}
	var all []interferenceResult
	for _, n := range seqs {
		r, err := b.interferenceOn(ctx, n, fixed)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// numbers reads positive integers separated by commas; none for "".
func numbers(text string) ([]int, error) {
	var all []int
	for field := range strings.SplitSeq(text, ",") {
		if field == "" {
			continue
		}
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is no positive number", field)
		}
		all = append(all, n)
	}
	return all, nil
}

// interferenceOn measures on a separate server.
func (b *bench) interferenceOn(ctx context.Context, maxNumSeqs int, fixed []int) (r interferenceResult, err error) {
	options := vllmtest.Options{Model: engineModel, MaxNumSeqs: maxNumSeqs}
	fmt.Printf("starting vLLM with --max-num-seqs %d\n", maxNumSeqs)
	server, err := vllmtest.Launch(options)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if err := server.AwaitReady(ctx); err != nil {
		return r, err
	}
	engine := &process{name: "vllm", addr: strings.TrimPrefix(server.URL, "http://")}
	gateway, err := b.startGateway(ctx, []*process{engine})
	if err != nil {
		return r, err
	}
	defer gateway.stop()
	e := interfering{options: b.interference, server: server, gateway: gateway.addr, words: newWords()}
	if err := e.warmUp(ctx); err != nil {
		return r, err
	}
	r.MaxNumSeqs, r.EngineArguments = maxNumSeqs, strings.Join(server.Args(), " ")
	if r.EngineVersion, err = e.version(ctx); err != nil {
		return r, err
	}
	// The sides alternate, so that other load of the machine affects all.
	for i := range max(b.interference.rounds, len(fixed)) {
		if i < b.interference.rounds {
			round, err := e.round(ctx)
			if err != nil {
				return r, err
			}
			fmt.Printf("round %d: %s\n", i+1, round)
			r.Rounds = append(r.Rounds, round)
		}
		if i < len(fixed) {
			f, err := e.fixed(ctx, fixed[i])
			if err != nil {
				return r, err
			}
			fmt.Printf("%d lines at once: %.2f lines/s, live %s\n", f.AtOnce, f.LinesPerSecond, f.Live)
			r.Fixed = append(r.Fixed, f)
		}
	}
	r.summarize()
	fmt.Printf("max_num_seqs %d: TTFT × %.2f, ITL × %.2f, %.2f lines/s, %.2f of the best fixed limit (%d)\n",
		r.MaxNumSeqs, r.TTFTRatio, r.ITLRatio, r.LinesPerSecond, r.LinesOfBest, r.BestFixed)
	return r, nil
}

// summarize computes medians over rounds, each relative to its neighbour.
func (r *interferenceResult) summarize() {
	n := len(r.Rounds)
	if n == 0 {
		return
	}
	ttft, itl, lines := make([]float64, n), make([]float64, n), make([]float64, n)
	for i, round := range r.Rounds {
		ttft[i], itl[i] = round.On.TTFT50/round.Off.TTFT50, round.On.ITL50/round.Off.ITL50
		lines[i] = round.LinesPerSecond
	}
	r.TTFTRatio, r.ITLRatio, r.LinesPerSecond = median(ttft), median(itl), median(lines)
	best := 0.0
	for _, f := range r.Fixed {
		if f.LinesPerSecond > best {
			best, r.BestFixed = f.LinesPerSecond, f.AtOnce
		}
	}
	if best > 0 {
		r.LinesOfBest = r.LinesPerSecond / best
	}
}

func (r interferenceRound) String() string {
	return fmt.Sprintf("off %s; on %s; %.2f lines/s at a limit of %d (%s)", r.Off, r.On, r.LinesPerSecond, r.Limit, r.LimitReason)
}

// interfering measures with one server behind one gateway.
type interfering struct {
	options interferenceOptions
	server  *vllmtest.Server
	gateway string // host:port
	words   *words
}

// warmUp sends requests whose first execution on the server is slow.
func (e *interfering) warmUp(ctx context.Context) error {
	for range 3 {
		if _, err := e.stream(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (e *interfering) version(ctx context.Context) (string, error) {
	var v struct{ Version string }
	err := call(ctx, http.MethodGet, e.server.URL+"/version", "", nil, &v)
	return v.Version, err
}

// interferingLines is more than a batch gets done while it is measured.
const interferingLines = 3000

// round measures live requests alone and with a batch.
func (e *interfering) round(ctx context.Context) (r interferenceRound, err error) {
	if r.Off, err = e.live(ctx); err != nil {
		return r, err
	}
	fileID, err := upload(ctx, e.gateway, func(to io.Writer) error {
		for i := range interferingLines {
			line := map[string]any{"custom_id": strconv.Itoa(i), "method": http.MethodPost, "url": "/v1/chat/completions", "body": e.words.line()}
			if err := json.NewEncoder(to).Encode(line); err != nil {
				return fmt.Errorf("writing input: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	b, err := createBatch(ctx, e.gateway, fileID)
	if err != nil {
		return r, err
	}
	if err := pause(ctx, e.options.settle); err != nil {
		return r, err
	}
	before, begun, err := e.progress(ctx, b.ID)
	if err != nil {
		return r, err
	}
	if r.On, err = e.live(ctx); err != nil {
		return r, err
	}
	after, ended, err := e.progress(ctx, b.ID)
	if err != nil {
		return r, err
	}
	if after.Status != "in_progress" {
		return r, fmt.Errorf("the batch is %s with %+v: it must be longer", after.Status, after.RequestCounts)
	}
	r.LinesPerSecond = float64(after.RequestCounts.Completed-before.RequestCounts.Completed) / ended.Sub(begun).Seconds()
	r.FailedLines = after.RequestCounts.Failed
	if r.Limit, r.LimitReason, err = e.limit(ctx); err != nil {
		return r, err
	}
	if err := call(ctx, http.MethodPost, "http://"+e.gateway+"/v1/batches/"+b.ID+"/cancel", "", nil, &b); err != nil {
		return r, err
	}
	return r, e.idle(ctx)
}

// progress is the state of a batch, and when it was read.
func (e *interfering) progress(ctx context.Context, id string) (b batchState, at time.Time, err error) {
	err = call(ctx, http.MethodGet, "http://"+e.gateway+"/v1/batches/"+id, "", nil, &b)
	return b, time.Now(), err
}

// limit is the limit that the gateway has found for the server, and why.
func (e *interfering) limit(ctx context.Context) (limit int, reason string, err error) {
	var health struct {
		Upstreams []struct {
			Limit  int
			Reason string `json:"limit_reason"`
		}
	}
	if err := call(ctx, http.MethodGet, "http://"+e.gateway+"/health", "", nil, &health); err != nil {
		return 0, "", err
	}
	if len(health.Upstreams) != 1 {
		return 0, "", fmt.Errorf("the gateway has %d upstreams, want 1", len(health.Upstreams))
	}
	return health.Upstreams[0].Limit, health.Upstreams[0].Reason, nil
}

// idle waits until no request runs at the server.
func (e *interfering) idle(ctx context.Context) error {
	for {
		m, err := e.server.Metrics(ctx)
		if err != nil {
			return err
		}
		if m["vllm:num_requests_running"]+m["vllm:num_requests_waiting"] == 0 {
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}
