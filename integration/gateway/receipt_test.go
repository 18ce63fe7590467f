package gateway

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// A receipt names the files of a batch as a client downloads them. It is the same each time,
// also after a restart, and the command verifies it and the files.
func TestReceipt(t *testing.T) {
	t.Parallel()
	sims := tidegatetest.StartSims(t, 2)
	g := tidegatetest.Run(t, tidegatetest.Settings{Sims: sims})
	input := tidegatetest.BatchInput(t, 150, func(int) string { return "hello" })
	b := g.Submit(t, input)
	if status, answer, err := g.Call(t.Context(), http.MethodGet, "/v1/batches/"+b.ID+"/receipt", "", nil); err != nil || status == http.StatusOK && !strings.Contains(string(answer), `"completed"`) {
		t.Errorf("before the end: %d %s, %v", status, answer, err)
	}
	b = g.WaitEnd(t, b.ID, time.Minute)
	fetch := func(path string) []byte {
		status, answer, err := g.Call(t.Context(), http.MethodGet, path, "", nil)
		if err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %s, %v", path, status, answer, err)
		}
		return answer
	}
	text := fetch("/v1/batches/" + b.ID + "/receipt")
	for _, sim := range sims {
		if !bytes.Contains(text, []byte(sim.URL)) {
			t.Errorf("receipt %s does not name %s", text, sim.URL)
		}
	}
	if !bytes.Contains(text, []byte(`"gateway_version":"`)) || bytes.Contains(text, []byte(`"gateway_version":""`)) {
		t.Errorf("receipt %s has no version", text)
	}
	keys := fetch("/v1/batches/receipt_keys")
	g.Restart(t)
	if again := fetch("/v1/batches/" + b.ID + "/receipt"); !bytes.Equal(again, text) {
		t.Errorf("receipt after a restart is %s, want %s", again, text)
	}

	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	output := g.Content(t, b.OutputFileID)
	receipt, keyFile := file("receipt.json", text), file("keys.json", keys)
	in, out := file("input.jsonl", input), file("output.jsonl", output)
	verify := func(args ...string) (string, error) {
		command := exec.CommandContext(t.Context(), tidegatetest.Binary(t), append([]string{"batch", "verify"}, args...)...)
		said, err := command.CombinedOutput()
		return string(said), err
	}
	for _, trusted := range [][]string{{"--keys", keyFile}, {"--server", g.URL}} {
		if said, err := verify(append(trusted, receipt, in, out)...); err != nil || !strings.Contains(said, "is the input file") || !strings.Contains(said, "is the output file") {
			t.Errorf("verify %v: %v\n%s", trusted, err, said)
		}
	}
	changed := bytes.Clone(output)
	changed[len(changed)/2] ^= 1
	said, err := verify("--keys", keyFile, receipt, file("changed.jsonl", changed))
	if err == nil || !strings.Contains(said, fmt.Sprintf("output %s has the same %d bytes", *b.OutputFileID, len(output))) {
		t.Errorf("changed output: %v\n%s", err, said)
	}
	said, err = verify("--keys", keyFile, receipt, file("short.jsonl", output[1:]))
	if err == nil || !strings.Contains(said, fmt.Sprintf("has %d bytes, this file %d", len(output), len(output)-1)) {
		t.Errorf("short output: %v\n%s", err, said)
	}
	said, err = verify("--keys", keyFile, file("forged.json", bytes.Replace(text, []byte(`"total":150`), []byte(`"total":151`), 1)))
	if err == nil || !strings.Contains(said, "signature is wrong") {
		t.Errorf("forged receipt: %v\n%s", err, said)
	}

	if status, answer, err := g.Call(t.Context(), http.MethodDelete, "/v1/files/"+*b.OutputFileID, "", nil); err != nil || status != http.StatusOK {
		t.Fatalf("deleting: %d %s, %v", status, answer, err)
	}
	if status, answer, err := g.Call(t.Context(), http.MethodGet, "/v1/batches/"+b.ID+"/receipt", "", nil); err != nil || status != http.StatusConflict {
		t.Errorf("after the deletion of the output: %d %s, %v; want 409", status, answer, err)
	}
	for path, want := range map[string]int{"/v1/batches/batch_unknown/receipt": http.StatusNotFound, "/v1/batches/receipt_keys": http.StatusOK} {
		if status, answer, err := g.Call(t.Context(), http.MethodGet, path, "", nil); err != nil || status != want {
			t.Errorf("%s: %d %s, %v; want %d", path, status, answer, err, want)
		}
	}
}
