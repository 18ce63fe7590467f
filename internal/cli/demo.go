package cli

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate/internal/cli/client"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/internal/vllmsim"
)

//go:embed sample.jsonl
var sample []byte

// DemoConfig is the configuration of the demo.
type DemoConfig struct {
	Input   string // file of requests; when empty the sample, many times over unless Once is set
	Output  string // file for the results; results.jsonl in DataDir when empty
	DataDir string // made when it is missing; a new temporary one when empty
	Listen  string // of the gateway
	Once    bool   // run the batch alone, and end when it has ended

	Stdout, Stderr io.Writer
	// StartGateway starts the gateway and returns its URL, without /v1.
	StartGateway func(GatewayOptions) (url string, err error)
}

// GatewayOptions are the options of the demo's gateway.
type GatewayOptions struct {
	Listen, DataDir string
	Upstreams       []string
	MaxNumSeqs      int
	// History fills the charts of the last day with generated figures for Models.
	History bool
	Models  []string
}

// The demo's servers: as slow as small GPUs, so that progress is visible.
const (
	demoServers = 4
	demoSeqs    = 32
	demoTTFT    = 120 * time.Millisecond
	demoITL     = 20 * time.Millisecond
	// demoLines is the number of lines of the sample: a minute or two of work.
	demoLines = 16_000
)

// Demo starts simulated servers and the gateway, runs a batch on them and prints next
// steps. It runs until ctx ends or, with Once, until the batch has ended, and then returns
// an error unless every line has completed.
func Demo(ctx context.Context, cfg DemoConfig) (err error) {
	defer func() { err = interrupted(ctx, err) }()
	in, err := readDemoInput(cfg.Input)
	if err != nil {
		return err
	}
	if cfg.Input == "" && !cfg.Once {
		in.content = repeatLines(in.content, demoLines)
	}
	history := !cfg.Once && cfg.DataDir == "" // never into existing data
	if cfg.DataDir == "" {
		if cfg.DataDir, err = os.MkdirTemp("", "tidegate-demo-"); err != nil {
			return fmt.Errorf("making a data directory: %w", err)
		}
	} else if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	if cfg.Output == "" {
		cfg.Output = filepath.Join(cfg.DataDir, "results.jsonl")
	}
	r := results{output: cfg.Output}
	if err := r.check(); err != nil {
		return err
	}
	sims, err := startSims(ctx, in.models)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sims.stop()) }()
	server, err := cfg.StartGateway(GatewayOptions{Listen: cfg.Listen, DataDir: cfg.DataDir, Upstreams: sims.urls, MaxNumSeqs: demoSeqs, History: history, Models: in.models})
	if err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	s := &session{Client: &client.Client{Server: server}, out: cfg.Stdout, err: cfg.Stderr, patience: defaultPatience}
	if err := s.Ready(ctx); err != nil {
		return err
	}
	fmt.Fprintf(cfg.Stdout, "dashboard: %s/dashboard\n", server)
	fmt.Fprintf(cfg.Stdout, "%d simulated servers of %s\n", demoServers, strings.Join(in.models, ", "))
	fmt.Fprintf(cfg.Stdout, "gateway on %s, data in %s\n", server, cfg.DataDir)
	if history {
		fmt.Fprintln(cfg.Stdout, "the charts of the last day show generated figures")
	}
	var live *liveLoad
	if !cfg.Once {
		live = startLive(ctx, server, in.models[0])
		defer live.stop()
		fmt.Fprintln(cfg.Stdout, "live users stream chats beside the batch")
	}

	b, err := s.runDemo(ctx, in)
	if err != nil {
		return err
	}
	if err := s.save(ctx, b, r); err != nil {
		return err
	}
	describe(cfg.Stdout, b)
	if live != nil {
		fmt.Fprintln(cfg.Stdout, live.summary())
	}
	incomplete := complete(b)
	if cfg.Once {
		return incomplete
	}
	if incomplete != nil {
		fmt.Fprintln(cfg.Stderr, incomplete)
	}
	if b.Status != "failed" {
		fmt.Fprintf(cfg.Stdout, "\nThe results are in %s.\n", cfg.Output)
	}
	fmt.Fprintf(cfg.Stdout, `
A live request:
  curl %[1]s/v1/chat/completions -H 'Content-Type: application/json' -d '{"model": "%[2]s", "messages": [{"role": "user", "content": "Hello"}]}'

The same, streamed:
  curl -N %[1]s/v1/chat/completions -H 'Content-Type: application/json' -d '{"model": "%[2]s", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'

The dashboard, and the same in a terminal:
  %[1]s/dashboard
  curl %[1]s/health

The live users continue. Ctrl-C ends the demo.
`, server, in.models[0])
	<-ctx.Done()
	return nil
}

// runDemo uploads the input and runs it as a batch.
func (s *session) runDemo(ctx context.Context, in demoInput) (openai.Batch, error) {
	f, err := s.Upload(ctx, client.Content{Name: in.name, Purpose: openai.PurposeBatch, At: bytes.NewReader(in.content), Size: int64(len(in.content))})
	if err != nil {
		return openai.Batch{}, fmt.Errorf("uploading %s: %w", in.name, err)
	}
	b, err := s.create(ctx, f, client.CreateBatch{Endpoint: in.endpoint, CompletionWindow: "24h"})
	if err != nil {
		return b, err
	}
	return s.wait(ctx, b.ID)
}

// demoInput is a file of requests.
type demoInput struct {
	name     string // for the gateway
	content  []byte // content of the file
	endpoint string
	models   []string // at least one
}

// readDemoInput reads a file, "" for the sample, and finds its endpoint and models.
func readDemoInput(path string) (demoInput, error) {
	in := demoInput{name: "sample.jsonl", content: sample}
	if path != "" {
		content, err := os.ReadFile(path)
		if err != nil {
			return in, err
		}
		in.name, in.content = filepath.Base(path), content
	}
	p := packingOf(in.content)
	if p != plain {
		in.name = p.rename(in.name)
	}
	err := p.read(bytes.NewReader(in.content), func(r io.Reader) (err error) {
		text, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if in.endpoint, err = firstURL(bytes.NewReader(text)); err != nil {
			return err
		}
		in.models, err = modelsOf(text)
		return err
	})
	if err != nil {
		return in, fmt.Errorf("reading the requests in %s: %w", in.name, err)
	}
	return in, nil
}

// repeatLines repeats the lines of a file up to n lines, each with a unique custom_id.
func repeatLines(content []byte, n int) []byte {
	lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
	var out bytes.Buffer
	for i := range n {
		line := lines[i%len(lines)]
		id := openai.ScanCustomID(line)
		out.Write(bytes.Replace(line, []byte(strconv.Quote(id)), fmt.Appendf(nil, "%q", fmt.Sprintf("%s-%04d", id, i)), 1))
		out.WriteByte('\n')
	}
	return out.Bytes()
}

// modelsOf are the models that the requests name.
func modelsOf(text []byte) ([]string, error) {
	named := make(map[string]bool)
	lines := openai.NewLineReader(bytes.NewReader(text), len(text))
	for {
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		var request struct {
			Body struct {
				Model string `json:"model"`
			} `json:"body"`
		}
		if json.Unmarshal(line.Bytes, &request) == nil && request.Body.Model != "" {
			named[request.Body.Model] = true
		}
	}
	if len(named) == 0 {
		return nil, errors.New("no line names a model")
	}
	return slices.Sorted(maps.Keys(named)), nil
}

// simPool is the demo's servers.
type simPool struct {
	urls   []string
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	errs   []error // guarded by mu
}

func startSims(ctx context.Context, models []string) (*simPool, error) {
	// They run longer than ctx, until the gateway has stopped.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &simPool{cancel: cancel}
	for range demoServers {
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(fmt.Errorf("starting a simulated server: %w", err), p.stop())
		}
		p.urls = append(p.urls, "http://"+ln.Addr().String())
		p.wg.Go(func() {
			if err := vllmsim.Serve(running, ln, vllmsim.Config{Models: models, TTFT: demoTTFT, ITL: demoITL, MaxNumSeqs: demoSeqs}); err != nil {
				p.mu.Lock()
				p.errs = append(p.errs, err)
				p.mu.Unlock()
			}
		})
	}
	return p, nil
}

func (p *simPool) stop() error {
	p.cancel()
	p.wg.Wait()
	return errors.Join(p.errs...)
}
