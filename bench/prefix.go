package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// prefixOptions are the options of the scenario prefix. Flags make it shorter.
type prefixOptions struct {
	servers int
	kv      int
	jobs    string // GROUPSxLINES, separated by commas
	shared  int
	sticky  string // concurrencies per server that the sticky client tries
	rounds  int
	warm    bool // the gateway has run a job of the same size before
}

func (o *prefixOptions) register() {
	flag.IntVar(&o.servers, "prefix-servers", 4, "prefix: simulated servers")
	flag.IntVar(&o.kv, "prefix-kv", 60_000, "prefix: tokens of the KV cache of a server")
	flag.StringVar(&o.jobs, "prefix-jobs", "100x40,20x20,4000x1", "prefix: GROUPSxLINES of the jobs; in groups of one line nothing is shared")
	flag.IntVar(&o.shared, "prefix-shared", 2048, "prefix: tokens that the lines of a group share")
	flag.StringVar(&o.sticky, "prefix-sticky", "16,32,64,128", "prefix: requests in flight per server that the sticky reference tries")
	flag.IntVar(&o.rounds, "prefix-rounds", 1, "prefix: rounds of the gateway's runs; the median counts")
	flag.BoolVar(&o.warm, "prefix-warm", false, "prefix: the gateway first runs a job of the same size with other prefixes, so that the limits of the servers are known")
}

// The lines of prefix, in tokens.
const prefixOwn, prefixGenerate = 50, 100

// list returns the jobs.
func (o *prefixOptions) list() (jobs []prefixJob, err error) {
	for field := range strings.SplitSeq(o.jobs, ",") {
		j := prefixJob{Name: field, Shared: o.shared, Own: prefixOwn, Generate: prefixGenerate}
		groups, lines, _ := strings.Cut(field, "x")
		var wrong [2]error
		j.Groups, wrong[0] = strconv.Atoi(groups)
		j.Lines, wrong[1] = strconv.Atoi(lines)
		if errors.Join(wrong[:]...) != nil || j.Groups < 1 || j.Lines < 1 {
			return nil, fmt.Errorf("-prefix-jobs: %q is not GROUPSxLINES", field)
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// prefixRun is one run of a job on a fleet of its own.
type prefixRun struct {
	Seconds     float64      `json:"seconds"` // of the servers' clock, independent of their speed
	LinesPerSec float64      `json:"lines_per_second"`
	Counts      engineCounts `json:"counts"`
	OfUnique    float64      `json:"computed_of_unique"`
	InFlight    int          `json:"in_flight_per_server,omitempty"` // of the sticky reference
	OfSticky    float64      `json:"makespan_of_sticky,omitempty"`
	LostSeconds float64      `json:"lost_seconds"`
	Parts       *batchParts  `json:"parts,omitempty"` // of the gateway's makespan
}

// prefixResult is a job through the gateway and as the reference.
type prefixResult struct {
	Job       prefixJob              `json:"job"`
	Tokens    int                    `json:"prompt_tokens"`
	Unique    int                    `json:"unique_tokens"`
	Tried     []prefixRun            `json:"sticky_tried"`
	Reference prefixRun              `json:"sticky"` // the shortest of Tried
	Rounds    map[string][]prefixRun `json:"rounds"` // by the order of the file
	Gateway   map[string]prefixRun   `json:"gateway"`
}

// measurePrefix compares a batch whose lines share prefixes with a client that
// divides the groups over the servers in advance.
func measurePrefix(ctx context.Context, b *bench) (any, error) {
	o := &b.prefix
	jobs, err := o.list()
	if err != nil {
		return nil, err
	}
	tries, err := numbers(o.sticky)
	if err == nil && len(tries) == 0 {
		err = errors.New("none given")
	}
	if err != nil {
		return nil, fmt.Errorf("-prefix-sticky: %w", err)
	}
	var results []prefixResult
	for _, job := range jobs {
		u := job.unique()
		r := prefixResult{Job: job, Tokens: u.Tokens, Unique: u.Computed, Rounds: make(map[string][]prefixRun), Gateway: make(map[string]prefixRun)}
		fmt.Printf("  %s: %d prompt tokens, %d unique\n", job.Name, r.Tokens, r.Unique)
		for _, inFlight := range tries {
			run, err := b.prefixRun(ctx, &r, func(servers fleet, run *prefixRun) error {
				run.Seconds, err = job.sticky(ctx, servers, inFlight)
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("%s, sticky, %d in flight: %w", job.Name, inFlight, err)
			}
			run.InFlight = inFlight
			run.print(fmt.Sprintf("sticky, %d in flight", inFlight))
			r.Tried = append(r.Tried, run)
		}
		r.Reference = shortest(r.Tried)
		for _, order := range prefixOrders(job) {
			for range o.rounds {
				run, err := b.prefixRun(ctx, &r, func(servers fleet, run *prefixRun) error {
					return b.prefixBatch(ctx, servers, job, order.lines, run)
				})
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", job.Name, order.name, err)
				}
				run.OfSticky = run.Seconds / r.Reference.Seconds
				run.print("gateway, " + order.name)
				r.Rounds[order.name] = append(r.Rounds[order.name], run)
			}
			r.Gateway[order.name] = medianRun(r.Rounds[order.name])
			g := r.Gateway[order.name]
			fmt.Printf("%s, %s: computed ÷ unique %.2f, makespan ÷ sticky (%d in flight) %.2f, %.0f lines/s; the sticky reference computes %.2f and has %.0f lines/s (median of %d)\n",
				job.Name, order.name, g.OfUnique, r.Reference.InFlight, g.OfSticky, g.LinesPerSec, r.Reference.OfUnique, r.Reference.LinesPerSec, o.rounds)
		}
		results = append(results, r)
	}
	return map[string]any{"servers": o.servers, "kv_tokens": o.kv, "speed": b.fleet.speed, "jobs": results}, nil
}

// fileOrder is an order of the lines in the input file.
type fileOrder struct {
	name  string
	lines []groupLine
}

// prefixOrders returns the orders of a job. Groups of one line have one.
func prefixOrders(j prefixJob) []fileOrder {
	if j.Lines == 1 {
		return []fileOrder{{"nothing shared", j.grouped()}}
	}
	return []fileOrder{{"grouped", j.grouped()}, {"shuffled", j.shuffled()}}
}

// prefixRun runs a job on new servers, whose caches are empty. work sets the seconds that
// it took, and the counts of the servers before it if it ran something else first.
func (b *bench) prefixRun(ctx context.Context, r *prefixResult, work func(fleet, *prefixRun) error) (run prefixRun, err error) {
	o := &b.prefix
	servers, err := b.startFleet(ctx, o.servers, append(b.fleet.args(), "--kv-tokens", strconv.Itoa(o.kv))...)
	if err != nil {
		return run, err
	}
	defer servers.stop()
	before, _, err := servers.countsNow(ctx)
	if err != nil {
		return run, err
	}
	if before != (engineCounts{}) {
		return run, fmt.Errorf("servers that have just started have counted %+v", before)
	}
	if err := work(servers, &run); err != nil {
		return run, err
	}
	earlier := run.Counts
	if run.Counts, err = servers.counts(ctx, int(earlier.Requests)+r.Job.size()); err != nil {
		return run, err
	}
	run.Counts.subtract(&earlier)
	lost, err := servers.lost(ctx)
	if err != nil {
		return run, err
	}
	run.LostSeconds = lost.Seconds()
	run.Seconds *= b.fleet.speed
	run.LinesPerSec = float64(r.Job.size()) / run.Seconds
	run.OfUnique = run.Counts.Computed / float64(r.Unique)
	return run, nil
}

func (r prefixRun) print(name string) {
	fmt.Printf("    %-22s %.1f s, %.0f lines/s; computed %.0f tokens, %.2f of unique; hit rate %.2f; recomputed %.0f after %.0f preemptions",
		name, r.Seconds, r.LinesPerSec, r.Counts.Computed, r.OfUnique, r.Counts.hitRate(), r.Counts.Recomputed, r.Counts.Preemptions)
	if p := r.Parts; p != nil {
		fmt.Printf("; planning %.2f, sending %.2f, ending %.2f, output %.2f s, limits %v", p.Planning, p.Sending, p.Ending, p.Output, p.Limits)
	}
	if r.LostSeconds > 0 {
		fmt.Printf("; VOID: the servers lost %.1f s", r.LostSeconds)
	}
	fmt.Println()
}

// prefixBatch runs a job through a gateway on embedded defaults. The makespan is the time
// from the creation of the batch to its end.
func (b *bench) prefixBatch(ctx context.Context, servers fleet, j prefixJob, lines []groupLine, run *prefixRun) error {
	gateway, err := b.startGateway(ctx, servers)
	if err != nil {
		return err
	}
	defer gateway.stop()
	if b.prefix.warm {
		if _, err := b.prefixMakespan(ctx, gateway, j.after(), lines, run); err != nil {
			return fmt.Errorf("the job before: %w", err)
		}
		if run.Counts, err = servers.counts(ctx, j.size()); err != nil {
			return err
		}
	}
	run.Seconds, err = b.prefixMakespan(ctx, gateway, j, lines, run)
	return err
}

// prefixMakespan runs a job as a batch, sets its parts and returns its seconds.
func (b *bench) prefixMakespan(ctx context.Context, gateway *process, j prefixJob, lines []groupLine, run *prefixRun) (float64, error) {
	fileID, err := upload(ctx, gateway.addr, func(to io.Writer) error { return j.write(to, lines) })
	if err != nil {
		return 0, err
	}
	before, err := seeLines(ctx, gateway.addr)
	if err != nil {
		return 0, err
	}
	watched, stop := context.WithCancel(ctx)
	defer stop()
	seen := make(chan []linesSeen, 1)
	go func() { seen <- watchLines(watched, gateway.addr) }()
	begin := time.Now()
	created, err := createBatch(ctx, gateway.addr, fileID)
	if err != nil {
		return 0, err
	}
	ended, err := waitBatch(ctx, gateway.addr, created.ID, nil)
	if err != nil {
		return 0, err
	}
	end := time.Now()
	stop()
	parts := partsOf(<-seen, begin, end, before.ended, int64(len(lines)), b.fleet.speed)
	run.Parts = &parts
	return end.Sub(begin).Seconds(), checkOutput(ctx, gateway.addr, ended)
}

// sticky sends each group to one server, group after group, with a fixed number
// of requests in flight per server. It returns the seconds until the last answer.
func (j prefixJob) sticky(ctx context.Context, servers fleet, inFlight int) (float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var workers sync.WaitGroup
	begin := time.Now()
	for i, lines := range j.divide(len(servers)) {
		queue := make(chan groupLine)
		workers.Go(func() {
			defer close(queue)
			for _, l := range lines {
				select {
				case queue <- l:
				case <-ctx.Done():
					return
				}
			}
		})
		for range inFlight {
			workers.Go(func() {
				for l := range queue {
					if err := postWhole(ctx, servers[i].addr, j.body(l)); err != nil {
						cancel(err)
						return
					}
				}
			})
		}
	}
	workers.Wait()
	return time.Since(begin).Seconds(), context.Cause(ctx)
}

// shortest returns the run with the shortest makespan.
func shortest(runs []prefixRun) prefixRun {
	best := runs[0]
	for _, r := range runs[1:] {
		if r.Seconds < best.Seconds {
			best = r
		}
	}
	return best
}

// medianRun returns the run with the median makespan.
func medianRun(runs []prefixRun) prefixRun {
	times := make([]float64, len(runs))
	for i, r := range runs {
		times[i] = r.Seconds
	}
	middle := median(times)
	for _, r := range runs {
		if r.Seconds == middle {
			return r
		}
	}
	return runs[0]
}
