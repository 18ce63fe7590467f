package clients

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// TestWebhooksUnwrap has OpenAI's libraries verify a webhook of a batch and one of a test, and
// refuse both after a change.
func TestWebhooksUnwrap(t *testing.T) {
	receiver := tidegatetest.StartReceiver(t, nil)
	g := tidegatetest.Run(t, tidegatetest.Settings{Sims: tidegatetest.StartSims(t, 1), App: receiver.App(), Env: []string{receiver.Env()}})
	b := g.Submit(t, tidegatetest.BatchInput(t, 2, func(int) string { return "hello" }))
	tidegatetest.Eventually(t, time.Minute, "the webhook arrives", func() bool { return len(receiver.Got()) == 1 })
	if status, answer, err := g.Call(t.Context(), "POST", "/webhooks/test", "", nil); err != nil || status != 200 {
		t.Fatalf("test answers %d %s, %v", status, answer, err)
	}
	hooks := receiver.Got()
	changed := hooks[0]
	changed.Body = strings.Replace(changed.Body, "completed", "cancelled", 1)
	moved := hooks[1]
	moved.Headers = maps.Clone(hooks[1].Headers)
	moved.Headers["Webhook-Id"] = hooks[0].ID
	want := fmt.Sprintf("batch.completed %s %s\nwebhook.test batch_test %s\nrefused\nrefused\n", b.ID, hooks[0].ID, hooks[1].ID)
	var input strings.Builder
	for _, hook := range []tidegatetest.Webhook{hooks[0], hooks[1], changed, moved} {
		line, err := json.Marshal(hook)
		if err != nil {
			t.Fatal(err)
		}
		input.Write(append(line, '\n'))
	}
	node := filepath.Join("node", "node_modules", ".bin", "node")
	if _, err := os.Stat(node); err != nil {
		node = "node"
	}
	for _, command := range [][]string{
		{filepath.Join(tidegatetest.Root(t), ".cache", "python", "bin", "python"), filepath.Join("python", "unwrap.py")},
		{node, filepath.Join("node", "unwrap.mjs")},
	} {
		script := exec.CommandContext(t.Context(), command[0], command[1:]...)
		script.Env = append(os.Environ(), "CLIENT_WEBHOOK_SECRET="+tidegatetest.WebhookSecret, "PYTHONDONTWRITEBYTECODE=1")
		script.Stdin = strings.NewReader(input.String())
		var complaints strings.Builder
		script.Stderr = &complaints
		got, err := script.Output()
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q\n%s", command[1], got, err, want, complaints.String())
		}
	}
}
