package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// OpenAI's client for Python reads the headers of a limit, and its next attempt comes when
// the gateway said and is admitted.
func TestPythonObeysLimits(t *testing.T) {
	python := filepath.Join(tidegatetest.Root(t), ".cache", "python", "bin", "python")
	g := tidegatetest.Run(t, tidegatetest.Settings{
		Sims: tidegatetest.StartSims(t, 1), Env: []string{"LIMITED_KEY=limited-secret"},
		App: "key limited {\nsecret {env.LIMITED_KEY}\nlimits {\nrequests_per_minute 20\n}\n}",
	})
	script := exec.CommandContext(t.Context(), python, filepath.Join("python", "limits.py"))
	script.Env = append(os.Environ(), "CLIENT_BASE_URL="+g.URL+"/v1", "CLIENT_API_KEY=limited-secret", "CLIENT_MODEL="+tidegatetest.Model, "PYTHONDONTWRITEBYTECODE=1")
	if out, err := script.CombinedOutput(); err != nil || !strings.Contains(string(out), "obeyed") {
		t.Errorf("the client: %v\n%s", err, out)
	}
}
