package cli

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestSim(t *testing.T) {
	for flags, say := range map[string]string{
		"--fault nonsense":                       `--fault nonsense: parsing fault "nonsense": want KIND=RATE`,
		"--fault nonsense=0.5":                   "--fault nonsense=0.5: ",
		"--fault cut=2":                          `rate "2" is no number from 0 to 1`,
		"--fault cut=0.6 --fault status-503=0.6": "--fault: the rates are 1.2 together, more than 1",
		"--ttft -1s":                             "--ttft must be at least 0",
		"--itl -1s":                              "--itl must be at least 0",
		"--startup -1s":                          "--startup must be at least 0",
		"--max-num-seqs 0":                       "--max-num-seqs must be at least 1",
		"--max-model-len -1":                     "--max-model-len must be at least 0",
		"--model=":                               "--model must not be empty",
		"--listen nowhere":                       "--listen: ",
		"--ttft 5":                               "invalid argument",
		"x":                                      `unknown command "x"`,
		"--listen 127.0.0.1:999999 --fault cut=0": "--listen: ",
	} {
		tidegate(t.Context(), nil, append([]string{"sim"}, strings.Fields(flags)...)...).want(t, 1, say)
	}
}

func TestSimServes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	printed := make(chan struct{}, 1)
	out := &watchedWriter{word: "\n", seen: func() { printed <- struct{}{} }}
	cmd := &cobra.Command{Use: "sim"}
	SimCommand(cmd)
	cmd.SetOut(out)
	cmd.SetArgs([]string{"--listen", "127.0.0.1:0", "--model", "a", "--model", "b", "--fault", "cut=0"})
	ended := make(chan error)
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	<-printed
	_, url, ok := strings.Cut(strings.TrimSpace(out.String()), "simulated vLLM server of a, b on ")
	if !ok {
		t.Fatalf("printed %q", out.String())
	}
	answer, err := http.Get(url + "/v1/models")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	models, err := io.ReadAll(answer.Body)
	if err != nil || !strings.Contains(string(models), `"a"`) || !strings.Contains(string(models), `"b"`) {
		t.Errorf("serves %s, %v", models, err)
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// While the model loads, nothing listens.
func TestSimRefusesAtStartup(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--refuse-at-startup", "--engine=h100-8b"} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		cmd := &cobra.Command{Use: "sim"}
		SimCommand(cmd)
		cmd.SetOut(io.Discard)
		cmd.SetArgs([]string{"--listen", addr, "--startup", "1h", flag})
		go func() { ended <- cmd.ExecuteContext(ctx) }()
		if conn, err := net.Dial("tcp", addr); err == nil {
			t.Errorf("%s: something listens", flag)
			_ = conn.Close()
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
