package vllmsim

import (
	"errors"
	"net/http"
	"time"

	"github.com/tidegate/tidegate/internal/vllmsim/engine"
)

// audioTokens limits the prompt of an opaque body: Whisper's encoder makes 1,500
// frames of its 30 seconds.
const audioTokens = 1500

// startEngine makes the engine that Config.Engine describes.
func (s *Server) startEngine() {
	cfg := engine.Config{
		Spec:          *s.cfg.Engine,
		Options:       engine.Options{Priority: s.cfg.PriorityScheduling, NoPrefixCaching: s.cfg.NoPrefixCaching, Observer: s.metrics},
		Speed:         s.cfg.Speed,
		MaxUnfinished: s.cfg.MaxQueuedReqs,
	}
	if s.cfg.MetricsLag > 0 {
		s.metrics.lag = &lag{by: s.cfg.MetricsLag}
		cfg.Published = s.metrics.publish
	}
	s.engine = engine.New(cfg)
	if s.metrics.lag != nil {
		s.metrics.publish(s.engine.Snapshot())
	}
}

// EngineStats is the part of Stats about an engine.
type EngineStats struct {
	MaxNumSeqs  int     `json:"max_num_seqs"`
	Speed       float64 `json:"speed"`
	KVUsage     float64 `json:"kv_usage"` // of its blocks, 0 to 1
	Preemptions int     `json:"preemptions"`
	Lost        float64 `json:"lost"` // seconds given up because the machine was too slow
}

func (s *Server) engineStats() *EngineStats {
	if s.engine == nil {
		return nil
	}
	shown := s.engine.Snapshot()
	return &EngineStats{
		MaxNumSeqs: shown.MaxNumSeqs, Speed: s.engine.Speed(),
		KVUsage: float64(shown.KVUsed) / float64(shown.KVTotal), Preemptions: shown.Preemptions, Lost: shown.Lost.Seconds(),
	}
}

// job is a request in the engine: a sequence for each choice.
type job struct {
	engine   *engine.Engine
	seqs     []*engine.Sequence
	progress chan struct{}
}

func (j *job) abort() { j.engine.Abort(j.seqs...) }

// generated is the number of tokens that all choices have.
func (j *job) generated() int {
	n := j.seqs[0].Generated()
	for _, q := range j.seqs[1:] {
		n = min(n, q.Generated())
	}
	return n
}

// done reports whether all choices have ended.
func (j *job) done() bool {
	for _, q := range j.seqs {
		if !q.Done() {
			return false
		}
	}
	return true
}

// submit puts the request into the engine. It reports false after it has
// answered a request that the engine refuses.
func (g *run) submit() bool {
	if g.plan.isSlow {
		g.pause(g.plan.slow)
	}
	progress := make(chan struct{}, 1)
	seqs, err := g.s.engine.Submit(g.requests(progress)...)
	if err != nil {
		g.refuse(err)
		return false
	}
	g.job = &job{engine: g.s.engine, seqs: seqs, progress: progress}
	g.begin()
	if g.plan.fault.kind == kindHang {
		g.hang()
	}
	return true
}

// refuse answers a request that the engine does not take.
func (g *run) refuse(err error) {
	if errors.Is(err, engine.ErrFull) {
		g.s.metrics.rejected()
		g.reject(&Refusal{
			Status: http.StatusServiceUnavailable, Type: "Service Unavailable",
			Message: "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.",
		})
		return
	}
	g.reject(badRequest("", "%s", err))
}

// requests describes the sequences of the answer.
func (g *run) requests(progress chan struct{}) []engine.Request {
	a := &g.sc.answer
	common := engine.Request{MaxTokens: a.tokens, Cut: a.cut, Priority: a.req.priority, StallAt: -1, WakeAt: a.tokens, Progress: progress}
	if g.streams {
		common.WakeAt = 1
	}
	switch g.plan.fault.kind {
	case kindHang:
		common.StallAt = 0
	case kindHangMid:
		common.StallAt = a.tokens / 2
		common.WakeAt = min(common.WakeAt, max(1, common.StallAt))
	}
	prompts := g.prompts()
	requests := make([]engine.Request, max(1, a.choices))
	for i := range requests {
		requests[i] = common
		requests[i].Prompt = prompts[i*len(prompts)/len(requests)]
	}
	return requests
}

// prompts tokenizes the request: one prompt, or several that are answered each
// by itself. The prompt's text comes first, so that requests that share its
// beginning share it in the prefix cache, and the rest of the body, in place of
// a chat template, after it: a prompt has as many tokens as usage says.
func (g *run) prompts() []engine.Prompt {
	req, block := &g.sc.req, g.s.cfg.Engine.BlockSize
	if g.ep.opaque {
		return []engine.Prompt{engine.NewPrompt(block, req.body[:min(len(req.body), audioTokens*bytesPerToken)])}
	}
	if g.ep.choicePerInput && len(req.inputs) > 1 {
		prompts := make([]engine.Prompt, len(req.inputs))
		for i, s := range req.inputs {
			prompts[i] = engine.NewPrompt(block, req.slice(s))
		}
		return prompts
	}
	var text span
	if n := len(req.inputs); n > 0 {
		text = span{req.inputs[0].lo, req.inputs[n-1].hi}
	}
	return []engine.Prompt{engine.NewPrompt(block, req.slice(text), req.body[:text.lo], req.body[text.hi:])}
}

// await waits until all choices have so many tokens, or are done for 0, and
// returns how many they have.
func (g *run) await(tokens int) int {
	for {
		if n := g.job.generated(); tokens > 0 && n >= tokens || g.job.done() {
			return n
		}
		select {
		case <-g.job.progress:
		case <-g.pacer.gone:
			g.quit()
		case <-g.pacer.closed:
			g.quit()
		case <-g.pacer.died:
			g.quit()
		}
	}
}

// pause waits for a duration of the wall clock.
func (g *run) pause(d time.Duration) {
	g.pacer.start = time.Now()
	g.wait(d)
}

// awaitAll waits for a whole answer, or for the half that hang-mid sends.
func (g *run) awaitAll() {
	a := &g.sc.answer
	if g.plan.fault.kind != kindHangMid {
		g.await(0)
	} else if half := a.tokens / 2; half > 0 {
		g.await(half)
	}
	a.cached = max(0, g.job.seqs[0].Cached())
	g.pause(g.plan.gap)
}

// streamEngine is stream with the times of the engine: the tokens of a step are sent at its
// end.
func (g *run) streamEngine() {
	a := &g.sc.answer
	half := a.tokens / 2
	out := g.sc.out[:0]
	for i := 0; i < a.tokens; {
		ready := g.await(i + 1)
		if i == 0 {
			a.cached = max(0, g.job.seqs[0].Cached())
			out = g.ep.events.head(out, a)
		}
		for ; i < ready; i++ {
			if i == half {
				if g.plan.gap > 0 {
					g.sendPart(out)
					out = out[:0]
					g.pause(g.plan.gap)
				}
				if g.failMid(out) {
					return
				}
			}
			out = g.ep.events.token(out, a, i)
			g.sc.out = out
		}
		if i < a.tokens {
			g.sendPart(out)
			out = out[:0]
		}
	}
	g.endStream(out, 0)
}
