package gateway

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// stopInStream starts a stream and stops the gateway of the shipped Caddyfile in its
// middle. It returns what the client got, and the status with which the process ended.
func stopInStream(t *testing.T, body []byte, env ...string) (tidegatetest.Live, int) {
	t.Helper()
	g := shipped(t, tidegatetest.StartSim(t), append(env, "TIDEGATE_DATA="+t.TempDir())...)
	begun := make(chan struct{})
	ended := make(chan tidegatetest.Live, 1)
	go func() {
		ended <- g.Chat(t.Context(), body, func(events int) {
			if events == 2 {
				close(begun)
			}
		})
	}()
	<-begun
	g.Signal(t, syscall.SIGTERM)
	return <-ended, g.Wait(t)
}

// A stream that is longer than TIDEGATE_GRACE is cut with an error event, so that its
// client can tell that from its end. A longer grace lets it finish.
func TestGraceOfStreams(t *testing.T) {
	t.Parallel()
	body := func(gap string) []byte {
		return tidegatetest.ChatBody(t, fmt.Sprintf("[[sim:gap=%s]] Is this read to its end?", gap), true)
	}
	t.Run("short", func(t *testing.T) {
		t.Parallel()
		long := body("10m")
		got, code := stopInStream(t, long, "TIDEGATE_GRACE=4s")
		if err := got.CheckCut(long); err != nil {
			t.Error(err)
		}
		if !strings.Contains(got.Failure, "The gateway is stopping") || code != 0 {
			t.Errorf("got the error event %s and status %d, want one that says why and 0", got.Failure, code)
		}
	})
	t.Run("long", func(t *testing.T) {
		t.Parallel()
		short := body("8s") // twice as long as the other's grace
		got, code := stopInStream(t, short, "TIDEGATE_GRACE=3m")
		if err := got.Check(short, true); err != nil || code != 0 {
			t.Errorf("got %v and status %d, want the whole stream and 0", err, code)
		}
	})
}

// Running lines have TIDEGATE_DRAIN_TIMEOUT to finish: a short one aborts a line, a
// long one lets it finish.
func TestDrainTimeoutOfLines(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		timeout, gap string
		aborted      int64
	}{
		"short": {"2s", "10m", 1},
		"long":  {"3m", "6s", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := tidegatetest.StartSim(t)
			g := shipped(t, sim, "TIDEGATE_DRAIN_TIMEOUT="+tt.timeout, "TIDEGATE_DATA="+t.TempDir())
			input := tidegatetest.BatchInput(t, 1, func(int) string { return "[[sim:slow=" + tt.gap + "]] One line" })
			g.Submit(t, input)
			tidegatetest.Eventually(t, 30*time.Second, "the line to run", func() bool { return sim.Stats(t).Running == 1 })
			g.Stop(t)
			if stats := sim.Stats(t); stats.Aborted != tt.aborted || stats.Calls != 1 {
				t.Errorf("the server saw %+v, want 1 call, %d aborted", stats, tt.aborted)
			}
		})
	}
}
